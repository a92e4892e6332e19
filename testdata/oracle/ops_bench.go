package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// splitmix is the protocol's source of random numbers.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// benching is one workload under way.
type benching struct {
	o       *ops
	r       *opsRequest
	random  splitmix
	s       *store
	cfg     server.StreamConfig
	started time.Time
	elapsed time.Duration
}

// bench runs one workload by the real clock, with the collector at work as in a server.
func (o *ops) bench(r *opsRequest) (fields, error) {
	if o.s != nil {
		return nil, refuse("bad-request", "a store is open")
	}
	if r.N == 0 || r.Subjects == 0 || r.Size > 1<<20 || r.Dir == "" {
		return nil, refuse("bad-request", "bench needs dir, n, size up to 1 MiB and subjects")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	if r.Stream == nil {
		r.Stream = json.RawMessage(`{"name":"BENCH","subjects":["bench.>"]}`)
	}
	b := &benching{o: o, r: r, random: splitmix(r.Seed)}
	var err error
	if b.cfg, err = streamConfig(r.Stream); err != nil {
		return nil, err
	}
	if r.Workload == "kv" {
		b.cfg.MaxMsgsPer = 1
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		return nil, err
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	defer func() { _ = b.s.Stop() }()
	check, err := b.run()
	return fields{"elapsed_ns": b.elapsed.Nanoseconds(), "check": check}, err
}

func (b *benching) open() error {
	k, err := b.r.keys()
	if err != nil {
		return err
	}
	b.o.env.configure(k)
	fcfg := b.o.env.storeConfig(b.r.Dir, &b.cfg, k)
	if b.r.BlockSize != 0 {
		fcfg.BlockSize = b.r.BlockSize
	}
	fcfg.SyncAlways = b.r.Sync == "always"
	fcfg.AsyncFlush = b.r.Flush == "batch" && !fcfg.SyncAlways
	created := time.Unix(0, defaultBaseNs).UTC()
	b.s, err = openStore(fcfg, b.cfg, created, generator(k.key, k.account), generator(k.previous, k.account))
	return err
}

func (b *benching) reopen() error {
	if err := b.s.Stop(); err != nil {
		return err
	}
	return b.open()
}

func (b *benching) begin() { b.started = time.Now() }
func (b *benching) end()   { b.elapsed = time.Since(b.started) }

func subjectName(n uint64) string { return "bench.k." + strconv.FormatUint(n, 10) }

// fill stores n messages; only the appends and the flush behind them are timed.
func (b *benching) fill() error {
	noise := make([]byte, 1<<20)
	drawn := splitmix(b.r.Seed + 1)
	for i := 0; i < len(noise); i += 8 {
		binary.LittleEndian.PutUint64(noise[i:], drawn.next())
	}
	names := make([]string, b.r.Subjects)
	for i := range names {
		names[i] = subjectName(uint64(i))
	}
	type pick struct{ subject, offset uint32 }
	picks := make([]pick, b.r.N)
	for i := range picks {
		picks[i].subject = uint32(b.random.next() % b.r.Subjects)
		picks[i].offset = uint32(b.random.next() % (1<<20 - b.r.Size + 1))
	}
	b.begin()
	for i, p := range picks {
		body := noise[p.offset : uint64(p.offset)+b.r.Size]
		if err := b.s.StoreRawMsg(names[p.subject], nil, body, uint64(i)+1, defaultBaseNs+1000*int64(i), 0, false); err != nil {
			return err
		}
	}
	err := b.s.FlushAllPending()
	b.end()
	return err
}

func (b *benching) messages() uint64 {
	var st server.StreamState
	b.s.FastState(&st)
	return st.Msgs
}

func messageSum(sm *server.StoreMsg) uint64 {
	m := spread(sm)
	sum := m.seq + uint64(len(m.msg))
	if len(m.msg) > 0 {
		sum += uint64(m.msg[0])
	}
	return sum
}

// draws are n numbers below a bound.
func (b *benching) draws(bound uint64) []uint64 {
	drawn := make([]uint64, b.r.N)
	for i := range drawn {
		drawn[i] = b.random.next() % bound
	}
	return drawn
}

func (b *benching) run() (check uint64, err error) {
	if err := b.fill(); err != nil || b.r.Workload == "append" || b.r.Workload == "kv" {
		return b.messages(), err
	}
	if err := b.reopen(); err != nil {
		return 0, err
	}
	switch b.r.Workload {
	case "load", "load_last":
		return b.loads()
	case "scan":
		b.begin()
		check, err = b.scan(">", 0)
		b.end()
	case "scan_filtered":
		b.begin()
		for i := range min(10, b.r.Subjects) {
			if check, err = b.scan(subjectName(i), check); err != nil {
				break
			}
		}
		b.end()
	case "remove":
		return b.removes()
	case "purge_subject":
		b.begin()
		for i := range b.r.Subjects {
			n, err := b.s.PurgeEx(subjectName(i), 0, 0)
			if err != nil {
				return 0, err
			}
			check += n
		}
		b.end()
	case "reopen", "rebuild":
		if err := b.s.Stop(); err != nil {
			return 0, err
		}
		if b.r.Workload == "rebuild" {
			_ = os.Remove(filepath.Join(b.r.Dir, "msgs", "index.db"))
		}
		b.begin()
		err = b.open()
		b.end()
		if err == nil {
			check = b.messages()
		}
	default:
		return 0, refuse("bad-request", "unknown workload %q", b.r.Workload)
	}
	return check, err
}

func (b *benching) loads() (check uint64, err error) {
	var smv server.StoreMsg
	var sm *server.StoreMsg
	byLast := b.r.Workload == "load_last"
	bound := b.r.N
	if byLast {
		bound = b.r.Subjects
	}
	drawn := b.draws(bound)
	names := make([]string, b.r.Subjects)
	for i := range names {
		names[i] = subjectName(uint64(i))
	}
	b.begin()
	for _, n := range drawn {
		if byLast {
			sm, err = b.s.LoadLastMsg(names[n], &smv)
		} else {
			sm, err = b.s.LoadMsg(1+n, &smv)
		}
		if err == server.ErrStoreMsgNotFound && byLast {
			err = nil
			continue // no message was drawn for this subject
		}
		if err != nil {
			return 0, fmt.Errorf("load %d: %w", n, err)
		}
		check += messageSum(sm)
	}
	b.end()
	return check, nil
}

func (b *benching) scan(filter string, check uint64) (uint64, error) {
	var smv server.StoreMsg
	for from := uint64(1); ; {
		sm, seq, err := b.s.LoadNextMsg(filter, wild(filter), from, &smv)
		if err == server.ErrStoreEOF {
			return check, nil
		}
		if err != nil {
			return 0, err
		}
		check += messageSum(sm)
		from = seq + 1
	}
}

func (b *benching) removes() (check uint64, err error) {
	order := make([]uint64, b.r.N)
	for i := range order {
		order[i] = uint64(i) + 1
	}
	for i := len(order) - 1; i > 0; i-- {
		j := b.random.next() % uint64(i+1)
		order[i], order[j] = order[j], order[i]
	}
	b.begin()
	for _, seq := range order[:len(order)/2] {
		removed, err := b.s.RemoveMsg(seq)
		if err != nil {
			return 0, err
		}
		if removed {
			check++
		}
	}
	b.end()
	return check, nil
}
