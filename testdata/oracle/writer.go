package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// Times of generated messages start here unless the caller says otherwise: 2026-01-01T00:00:00Z.
const defaultBaseNs = 1_767_225_600_000_000_000

// writer makes one store, message by message, with chosen times.
type writer struct {
	env   *environment
	dir   string
	cfg   server.StreamConfig
	keys  keys
	block uint64
	s     *store
	// prefix stands before every subject.
	prefix string

	random *rand.Rand
	nowNs  int64
	seen   int // blocks already looked at for compression
	killed bool
}

func newWriter(env *environment, q *question) (*writer, error) {
	dir, err := filepath.Abs(q.Out)
	if err != nil {
		return nil, err
	}
	k, err := q.keys(dir)
	if err != nil {
		return nil, err
	}
	if q.Cipher != "" && q.Key == "" {
		return nil, fmt.Errorf("a cipher needs a key")
	}
	if _, err := os.Stat(filepath.Join(dir, "msgs")); err == nil {
		return nil, fmt.Errorf("%s already holds a store", q.Out)
	}
	w := &writer{env: env, dir: dir, keys: k, nowNs: q.BaseNs, prefix: q.Prefix, random: rand.New(rand.NewPCG(uint64(q.Seed), 0x6a657473616d))}
	if w.nowNs == 0 {
		w.nowNs = defaultBaseNs
	}
	env.configure(k)
	return w, nil
}

// start opens the new store; unchecked leaves the configuration as it is, which a server would not.
func (w *writer) start(cfg server.StreamConfig, blockSize uint64, unchecked bool) error {
	cfg.Name, cfg.Storage = filepath.Base(w.dir), server.FileStorage
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if !unchecked {
		if skip := w.env.checkConfig(&cfg, w.keys.account, false); skip != "" {
			return fmt.Errorf("%s", skip)
		}
	}
	w.cfg, w.block = cfg, blockSize
	return w.open()
}

func (w *writer) open() (err error) {
	created := time.Unix(0, defaultBaseNs).UTC()
	p := &plan{dir: w.dir, cfg: w.cfg, created: created, keys: w.keys, block: w.block}
	w.s, err = w.env.open(p)
	w.seen = 0
	return err
}

// tick moves the clock on by up to a second.
func (w *writer) tick() int64 {
	w.nowNs += 1 + w.random.Int64N(int64(time.Second))
	return w.nowNs
}

func (w *writer) last() uint64 {
	var st server.StreamState
	w.s.FastState(&st)
	return st.LastSeq
}

// put stores one message; a refusal by a discard-new limit is not an error here.
func (w *writer) put(subject string, headers []string, body []byte, ttl int64) {
	var hdr []byte
	if len(headers) > 0 {
		hdr = []byte("NATS/1.0\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n")
	}
	_ = w.s.StoreRawMsg(subject, hdr, body, w.last()+1, w.tick(), ttl, true)
	w.finishBlocks(false)
}

// finishBlocks compresses the blocks that are no longer written to here and now, where the reference does it in the background.
func (w *writer) finishBlocks(all bool) {
	if w.cfg.Compression == server.NoCompression {
		return
	}
	blocks := w.s.value().FieldByName("blks")
	if blocks.Len() == w.seen && !all {
		return
	}
	w.seen = blocks.Len()
	from := max(0, blocks.Len()-2)
	if all {
		from = 0
	}
	for i := from; i < blocks.Len()-1; i++ {
		mb := blocks.Index(i)
		mu := (*sync.RWMutex)(unsafe.Pointer(mb.Elem().FieldByName("mu").UnsafeAddr()))
		mu.Lock()
		_ = linkRecompress(mb.UnsafePointer())
		mu.Unlock()
	}
}

// stop ends cleanly: index.db and its companions are written.
func (w *writer) stop() {
	w.finishBlocks(true)
	settle(w.dir)
	_ = w.s.Stop()
}

// kill ends as a crash would: what is on disk at this moment stays, nothing is written on the way out.
func (w *writer) kill() error {
	w.finishBlocks(true)
	settle(w.dir)
	crashed := w.dir + ".crashed"
	if err := copyTree(w.dir, crashed); err != nil {
		return err
	}
	w.s.abandon()
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	return os.Rename(crashed, w.dir)
}

// restart ends and opens again.
func (w *writer) restart(clean bool) error {
	if clean {
		w.stop()
	} else if err := w.kill(); err != nil {
		return err
	}
	return w.open()
}

var words = strings.Fields("anchor barrel compass driftwood ebb flotsam gale hull island jib keel lagoon mast north oar pier " +
	"quay reef sail tide undertow vessel wake yard")

// body is text that compresses.
func (w *writer) body(size int) []byte {
	var text strings.Builder
	for text.Len() < size {
		word := words[w.random.IntN(len(words))]
		for range 1 + w.random.IntN(3) {
			text.WriteString(word)
			text.WriteByte(' ')
		}
	}
	return []byte(text.String()[:size])
}

func (w *writer) subject(count int) string {
	return fmt.Sprintf("%sorders.%d", w.prefix, w.random.IntN(count))
}

// subjects is what a generated stream listens to.
func (w *writer) subjects() []string {
	return []string{w.prefix + "orders.>", w.prefix + "plan.>", w.prefix + "raw.*"}
}

// fill stores plain messages.
func (w *writer) fill(count, size, subjects int) {
	for range count {
		w.put(w.subject(subjects), nil, w.body(size/2+w.random.IntN(size+1)), 0)
	}
}

// pick is a random sequence between the first and the last.
func (w *writer) pick() uint64 {
	var st server.StreamState
	w.s.FastState(&st)
	if st.LastSeq < st.FirstSeq || st.LastSeq == 0 {
		return 1
	}
	return st.FirstSeq + w.random.Uint64N(st.LastSeq-st.FirstSeq+1)
}
