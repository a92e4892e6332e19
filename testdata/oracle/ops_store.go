package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

//go:linkname linkSyncBlocks github.com/nats-io/nats-server/v2/server.(*fileStore).syncBlocks
func linkSyncBlocks(fs unsafe.Pointer)

// Largest record of the format in bytes, and longest subject.
const (
	largestRecord  = 32 << 20
	longestSubject = 65535
)

// perform does what one request asks for, and lets what it started in the background come to an end.
func (o *ops) perform(r *opsRequest) (fields, error) {
	defer synctest.Wait()
	switch r.Op {
	case "open", "restore", "meta", "decode_state":
		return o.performUnopened(r)
	case "bench":
		return nil, refuse("bad-request", "a store is open")
	}
	if o.s == nil {
		if !knownOps[r.Op] {
			return nil, refuse("bad-request", "unknown operation %q", r.Op)
		}
		return nil, refuse("closed", "no store is open")
	}
	if strings.HasPrefix(r.Op, "consumer_") {
		return o.performConsumer(r)
	}
	if result, known, err := o.write(r); known {
		return result, err
	}
	return o.read(r)
}

var knownOps = func() map[string]bool {
	known := make(map[string]bool)
	for _, name := range strings.Fields(`open close update_config flush sync append append_at skip skip_many remove erase purge purge_ex
		compact truncate maintain load load_next load_prev load_last subject_of seq_from_time filtered_state subjects_state
		subjects_totals num_pending all_last multi_last state encoded_state digest dump consumer_open consumer_delivered consumer_ack
		consumer_update consumer_set_starting consumer_update_starting consumer_reset consumer_trim consumer_state consumer_close
		consumer_delete snapshot restore`) {
		known[name] = true
	}
	return known
}()

func (o *ops) performUnopened(r *opsRequest) (fields, error) {
	switch {
	case r.Op == "decode_state":
		return decodeState(r.Data)
	case r.Op == "meta":
		return o.meta(r)
	case o.s != nil:
		return nil, refuse("bad-request", "a store is open")
	case r.Op == "restore":
		if err := unpack(r.File, r.Dir); err != nil {
			return nil, err
		}
	}
	if err := o.open(r); err != nil {
		return nil, err
	}
	return o.state(), nil
}

// streamConfig reads a configuration and fills in what the server's check would.
func streamConfig(text json.RawMessage) (cfg server.StreamConfig, err error) {
	if err = json.Unmarshal(text, &cfg); err != nil {
		return cfg, refuse("bad-request", "stream: %s", err.Error())
	}
	if cfg.Name == "" {
		return cfg, refuse("bad-request", "stream without a name")
	}
	cfg.Storage, cfg.Replicas = server.FileStorage, max(cfg.Replicas, 1)
	for _, limit := range []*int64{&cfg.MaxMsgs, &cfg.MaxBytes, &cfg.MaxMsgsPer} {
		if *limit == 0 {
			*limit = -1
		}
	}
	if cfg.MaxMsgSize == 0 {
		cfg.MaxMsgSize = -1
	}
	if cfg.MaxConsumers == 0 {
		cfg.MaxConsumers = -1
	}
	return cfg, nil
}

// keys gathers what a request says about keys.
func (r *opsRequest) keys() (keys, error) {
	k := keys{key: r.Key, previous: r.OldKey, account: r.Account}
	if k.account == "" {
		k.account = "ACC"
	}
	switch r.Cipher {
	case "", "none":
		k.key, k.previous = "", r.OldKey
	case "chacha", "aes":
		if r.Key == "" {
			return k, refuse("bad-request", "a cipher needs a key")
		}
	default:
		return k, refuse("bad-request", "unknown cipher %q", r.Cipher)
	}
	var err error
	if r.Cipher == "aes" {
		k.cipher = server.AES
	} else {
		k.cipher = server.ChaCha
	}
	return k, err
}

func (o *ops) open(r *opsRequest) error {
	cfg, err := streamConfig(r.Stream)
	if err != nil {
		return err
	}
	k, err := r.keys()
	if err != nil {
		return err
	}
	if r.Dir == "" {
		return refuse("bad-request", "no directory")
	}
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return err
	}
	o.env.configure(k)
	p := &plan{dir: dir, cfg: cfg, created: time.Unix(0, o.now).UTC(), keys: k, block: r.BlockSize}
	if meta, err := os.Stat(filepath.Join(dir, "meta.inf")); err == nil && meta.Size() > 0 {
		var info server.FileStreamInfo
		if skip := o.env.readMeta(p, &question{Name: cfg.Name}, &info); skip != "" {
			return refuse("other", "%s", skip)
		}
		p.created = info.Created
	}
	fcfg := o.env.storeConfig(dir, &cfg, k)
	if r.BlockSize != 0 {
		fcfg.BlockSize = r.BlockSize
	}
	fcfg.SyncAlways = r.Sync == "always"
	s, err := openStore(fcfg, cfg, p.created, generator(k.key, k.account), generator(k.previous, k.account))
	if err != nil {
		return refuse("other", "%s", err.Error())
	}
	o.s, o.cfg, o.dir, o.keys, o.consumers = s, cfg, dir, k, make(map[string]server.ConsumerStore)
	synctest.Wait()
	return nil
}

// closeStore stops what is open, consumers included.
func (o *ops) closeStore() error {
	if o.s == nil {
		return nil
	}
	for _, c := range o.consumers {
		o.stopFlusher(c)
	}
	synctest.Wait()
	err := o.s.Stop()
	o.s, o.consumers = nil, nil
	return err
}

// meta says what meta.inf holds, after the server's checks.
func (o *ops) meta(r *opsRequest) (fields, error) {
	k, err := r.keys()
	if err != nil {
		return nil, err
	}
	cfg, err := streamConfig(r.Stream)
	if err != nil {
		return nil, err
	}
	previous := *o.env.opts
	defer func() { *o.env.opts = previous }()
	o.env.configure(k)
	p := &plan{dir: r.Dir, keys: k}
	var info server.FileStreamInfo
	if skip := o.env.readMeta(p, &question{Name: cfg.Name}, &info); skip != "" {
		return nil, refuse("other", "%s", skip)
	}
	if p.putBack != nil {
		p.putBack()
	}
	sealed := false
	if _, err := os.Stat(filepath.Join(r.Dir, "meta.key")); err == nil {
		sealed = true
	}
	return fields{"name": info.Name, "created": info.Created.UnixNano(), "sealed": sealed}, nil
}

// checkRecord refuses what the protocol does not let into a store.
func (o *ops) checkRecord(r *opsRequest, limited bool) error {
	s := r.Subject
	bad := s == "" || len(s) > longestSubject || strings.ContainsAny(s, " \t\r\n\f\v\x00")
	for _, token := range strings.Split(s, ".") {
		bad = bad || token == "" || token == "*" || token == ">"
	}
	if bad {
		return refuse("bad-subject", "%.100q", s)
	}
	size := len(r.Hdr) + len(r.Msg)
	if limited && o.cfg.MaxMsgSize >= 0 && size > int(o.cfg.MaxMsgSize) {
		return refuse("too-large", "%d bytes", size)
	}
	if recordSize(len(s), len(r.Hdr), len(r.Msg)) > largestRecord {
		return refuse("too-large", "%d bytes", size)
	}
	return nil
}

func recordSize(subject, hdr, msg int) int {
	if hdr > 0 {
		hdr += 4
	}
	return 22 + subject + hdr + msg + 8
}

func (o *ops) fast() (st server.StreamState) {
	o.s.FastState(&st)
	return st
}

// write serves what changes the store.
func (o *ops) write(r *opsRequest) (result fields, known bool, err error) {
	switch r.Op {
	case "close":
		err = o.closeStore()
	case "update_config":
		err = o.updateConfig(r)
	case "flush":
		err = o.s.FlushAllPending()
	case "sync":
		if err = o.s.FlushAllPending(); err == nil {
			linkSyncBlocks(o.s.ptr)
			err = o.s.writeIndex()
		}
	case "append":
		result, err = o.append(r, o.fast().LastSeq+1, o.now, true)
	case "append_at":
		seq := r.Seq
		if last := o.fast().LastSeq; seq == 0 {
			seq = last + 1
		}
		result, err = o.append(r, seq, r.TS, false)
	case "skip":
		var seq uint64
		seq, err = o.s.SkipMsg(r.Seq)
		result = fields{"seq": seq}
	case "skip_many":
		err = o.skipMany(r)
	case "remove", "erase":
		result, err = o.remove(r)
	case "purge", "purge_ex", "compact":
		result, err = o.purge(r)
	case "truncate":
		err = o.truncate(r)
	case "maintain":
		err = o.maintain()
	case "snapshot":
		err = o.snapshot(r)
	default:
		return nil, false, nil
	}
	return result, true, err
}

func (o *ops) append(r *opsRequest, seq uint64, ts int64, limited bool) (fields, error) {
	if err := o.checkRecord(r, limited); err != nil {
		return nil, err
	}
	if seq != o.fast().LastSeq+1 {
		return nil, server.ErrSequenceMismatch
	}
	if err := o.s.StoreRawMsg(r.Subject, r.Hdr, r.Msg, seq, ts, r.TTL, limited); err != nil {
		return nil, err
	}
	return fields{"seq": seq, "ts": ts}, nil
}

func (o *ops) updateConfig(r *opsRequest) error {
	cfg, err := streamConfig(r.Stream)
	if err != nil {
		return err
	}
	if cfg.Name != o.cfg.Name {
		return refuse("bad-request", "another name")
	}
	if err := o.s.UpdateConfig(&cfg); err != nil {
		return err
	}
	o.cfg = cfg
	return nil
}

func (o *ops) skipMany(r *opsRequest) error {
	if r.N == 0 {
		return refuse("bad-request", "n is 0")
	}
	seq := r.Seq
	if seq == 0 {
		seq = o.fast().LastSeq + 1
	}
	return o.s.SkipMsgs(seq, r.N)
}

func (o *ops) remove(r *opsRequest) (fields, error) {
	st := o.fast()
	switch {
	case r.Seq > st.LastSeq:
		return nil, server.ErrStoreEOF
	case r.Seq == 0 || r.Seq < o.firstSeq(st):
		return nil, server.ErrStoreMsgNotFound
	}
	call := o.s.RemoveMsg
	if r.Op == "erase" {
		call = o.s.EraseMsg
	}
	removed, err := call(r.Seq)
	// Within the range a sequence that no block knows is gone like any other.
	if err == server.ErrStoreMsgNotFound {
		err = nil
	}
	return fields{"removed": removed}, err
}

// purge counts by the messages: the reference's own figure is too high now and then.
func (o *ops) purge(r *opsRequest) (fields, error) {
	before := o.fast().Msgs
	var err error
	switch r.Op {
	case "purge":
		_, err = o.s.Purge()
	case "compact":
		_, err = o.s.Compact(r.Seq)
	default:
		_, err = o.s.PurgeEx(r.Filter, r.Seq, r.Keep)
	}
	if err != nil {
		return nil, err
	}
	return fields{"purged": before - o.fast().Msgs}, nil
}

func (o *ops) truncate(r *opsRequest) error {
	st := o.fast()
	if st.Msgs == 0 || r.Seq < o.firstSeq(st) || r.Seq > st.LastSeq {
		return refuse("bad-seq", "%d is outside", r.Seq)
	}
	return o.s.Truncate(r.Seq)
}
