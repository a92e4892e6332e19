package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/avl"
)

//go:linkname linkCompactBlock github.com/nats-io/nats-server/v2/server.(*msgBlock).compact
func linkCompactBlock(mb unsafe.Pointer) error

//go:linkname linkWriteRecord github.com/nats-io/nats-server/v2/server.(*msgBlock).writeMsgRecord
func linkWriteRecord(mb unsafe.Pointer, rl, seq uint64, subj string, hdr, msg []byte, ts int64, flush bool) error

//go:linkname linkWriteTombstone github.com/nats-io/nats-server/v2/server.(*fileStore).writeTombstone
func linkWriteTombstone(fs unsafe.Pointer, seq uint64, ts int64) error

//go:linkname linkNewBlock github.com/nats-io/nats-server/v2/server.(*fileStore).newMsgBlockForWrite
func linkNewBlock(fs unsafe.Pointer) (unsafe.Pointer, error)

//go:linkname linkExpire github.com/nats-io/nats-server/v2/server.(*fileStore).expireMsgs
func linkExpire(fs unsafe.Pointer)

// The key of every encrypted store in testdata, and the one a store is turned over to.
const (
	fixtureKey = "sekret-fixture-key"
	secondKey  = "second-fixture-key"
)

// coat is how the blocks of a scenario are dressed.
type coat struct{ name, compress, cipher string }

var (
	bare = []coat{{"plain", "", ""}}
	s2   = []coat{{"s2", "s2", ""}}
	aes  = []coat{{"aes", "", "aes"}}
	// chacha and the rest stand for the six combinations.
	three = []coat{bare[0], s2[0], {"s2-aes", "s2", "aes"}}
	four  = []coat{bare[0], s2[0], {"chacha", "", "chacha"}, {"s2-aes", "s2", "aes"}}
	seals = []coat{aes[0], {"chacha", "", "chacha"}, {"s2-aes", "s2", "aes"}, {"s2-chacha", "s2", "chacha"}}
)

// scenario is the set-up of one row of the parity matrix.
type scenario struct {
	id     string
	coats  []coat
	block  uint64
	config func(*server.StreamConfig)
	write  func(*scene)
}

var scenarios [][]scenario

// scene is a scenario being played.
type scene struct {
	*writer
	env  *environment
	desk *desk
	id   string
	coat coat
	out  string // where stores are saved
	tmp  string
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func commandMatrix(args []string) error {
	set := flag.NewFlagSet("matrix", flag.ExitOnError)
	out := set.String("out", "", "directory to write below: one directory for each store")
	ids := parse(set, args)
	if *out == "" {
		return fmt.Errorf("--out is missing")
	}
	env, err := newEnvironment()
	if err != nil {
		return err
	}
	d := &desk{memoryMB: 2000, timeout: time.Minute}
	defer func() {
		if d.worker != nil {
			d.worker.end()
		}
	}()
	failed := 0
	for _, group := range scenarios {
		for _, s := range group {
			if len(ids) > 0 && !slices.Contains(ids, s.id) {
				continue
			}
			for _, c := range s.coats {
				if err := env.play(s, c, *out, d); err != nil {
					fmt.Fprintf(os.Stderr, "%s %s: %v\n", s.id, c.name, err)
					failed++
				}
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d scenarios failed", failed)
	}
	return nil
}

func (env *environment) play(s scenario, c coat, out string, d *desk) (err error) {
	tmp, err := os.MkdirTemp("", "matrix-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	m := &scene{env: env, desk: d, id: s.id, coat: c, out: out, tmp: tmp}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	q := &question{Seed: 1, Out: filepath.Join(tmp, "M", "streams", "S"), Cipher: c.cipher}
	if c.cipher != "" {
		q.Key = fixtureKey
	}
	m.writer, err = newWriter(env, q)
	must(err)
	cfg := server.StreamConfig{Subjects: []string{"foo", "foo.>", "bar", "A", "B", "C", "Z"}}
	if s.config != nil {
		s.config(&cfg)
	}
	if c.compress == "s2" {
		cfg.Compression = server.S2Compression
	}
	must(m.start(cfg, s.block, false))
	s.write(m)
	m.s.abandon()
	return nil
}

// save keeps a copy of the directory as it is now, with the server's verdict on it.
func (m *scene) save(label string, asked ...func(*question)) {
	settle(m.dir)
	name := m.id + "-" + m.coat.name
	if label != "" {
		name += "-" + label
	}
	kept := filepath.Join(m.out, name)
	must(os.RemoveAll(kept))
	must(copyTree(m.dir, filepath.Join(kept, "M", "streams", "S")))

	trial := filepath.Join(m.tmp, "trial", "M", "streams", "S")
	must(os.RemoveAll(filepath.Join(m.tmp, "trial")))
	must(copyTree(m.dir, trial))
	q := &question{Cipher: m.coat.cipher}
	if m.coat.cipher != "" {
		q.Key = fixtureKey
	}
	for _, change := range asked {
		change(q)
	}
	verdict := m.ask(q, trial)
	request, err := json.Marshal(q)
	must(err)
	verdict["request"] = request
	text, err := json.Marshal(verdict)
	must(err)
	must(os.WriteFile(filepath.Join(kept, "verdict.json"), append(text, '\n'), 0o644))
}

// ask puts a directory to a child and gives its answer, without what differs between two askings.
func (m *scene) ask(q *question, dir string) map[string]json.RawMessage {
	asked := *q
	asked.Dir = dir
	line, err := json.Marshal(&asked)
	must(err)
	verdict := make(map[string]json.RawMessage)
	must(json.Unmarshal(m.desk.put(line), &verdict))
	var files map[string]map[string]any
	if json.Unmarshal(verdict["files_after"], &files) == nil {
		for _, file := range files {
			delete(file, "sha256")
		}
		verdict["files_after"], err = json.Marshal(files)
		must(err)
	}
	delete(verdict, "open_ns")
	return verdict
}

// Questions that differ from the usual one.

func keyed(cipher string) func(*question) {
	return func(q *question) { q.Key, q.Cipher = fixtureKey, cipher }
}

func unkeyed(q *question) { q.Key, q.Cipher = "", "" }

// stop ends cleanly. Unlike the writer's it leaves blocks of earlier openings alone: a server does not compress them either, and
// doing so spoils encrypted ones whose key has not been read yet.
func (m *scene) stop() {
	m.finishBlocks(false)
	settle(m.dir)
	_ = m.s.Stop()
}

// both saves the store after a clean stop, and once more without index.db; then it is open again.
func (m *scene) both(prefix string, asked ...func(*question)) {
	m.stop()
	m.save(prefix+"clean", asked...)
	index := m.read("msgs/index.db")
	m.drop("msgs/index.db")
	m.save(prefix+"noidx", asked...)
	m.put1("msgs/index.db", index)
	m.reopen()
}

// without stops, removes files and saves.
func (m *scene) without(label string, files ...string) {
	m.stop()
	m.drop(files...)
	m.save(label)
}

// reopen opens the store again. A block whose key has not been read yet is spoiled when the server compresses it, so that every
// message is read first where both come together.
func (m *scene) reopen() {
	m.env.configure(m.keys)
	must(m.open())
	m.seen = m.s.value().FieldByName("blks").Len()
	if m.coat.compress == "" || m.coat.cipher == "" {
		return
	}
	state := m.s.State()
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		_, _ = m.s.LoadMsg(seq, nil)
	}
}

func (m *scene) again() {
	m.stop()
	m.reopen()
}

func (m *scene) path(name string) string { return filepath.Join(m.dir, name) }

func (m *scene) read(name string) []byte {
	content, err := os.ReadFile(m.path(name))
	must(err)
	return content
}

func (m *scene) put1(name string, content []byte) {
	must(os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	must(os.WriteFile(m.path(name), content, 0o644))
}

func (m *scene) drop(names ...string) {
	for _, name := range names {
		must(os.RemoveAll(m.path(name)))
	}
}

func (m *scene) cut(name string, length int64) { must(os.Truncate(m.path(name), length)) }

func (m *scene) flip(name string, offset int) {
	content := m.read(name)
	content[offset] ^= 0xFF
	m.put1(name, content)
}

// blocks lists the block files in order of their number.
func (m *scene) blocks() (names []string) {
	for n := 1; len(names) < 5000 && n < 100_000; n++ {
		name := fmt.Sprintf("msgs/%d.blk", n)
		if _, err := os.Stat(m.path(name)); err == nil {
			names = append(names, name)
		} else if len(names) > 0 {
			if _, err := os.Stat(m.path(fmt.Sprintf("msgs/%d.blk", n+1))); err != nil {
				break
			}
		}
	}
	return names
}

func (m *scene) lastBlock() string {
	names := m.blocks()
	return names[len(names)-1]
}

// foo stores messages on one subject.
func (m *scene) foo(count int, body string) { m.many("foo", count, body) }

func (m *scene) many(subject string, count int, body string) {
	for range count {
		m.put(subject, nil, []byte(body), 0)
	}
}

// numbered stores messages on subjects that end in a number.
func (m *scene) numbered(prefix string, from, to int, body string) {
	for i := from; i <= to; i++ {
		m.put(fmt.Sprintf("%s%d", prefix, i), nil, []byte(body), 0)
	}
}

// long stores messages that have been there since 1980.
func (m *scene) long(write func()) {
	now := m.nowNs
	m.nowNs = oldNs
	write()
	m.nowNs = now
}

func (m *scene) rm(seqs ...uint64) {
	for _, seq := range seqs {
		_, err := m.s.RemoveMsg(seq)
		must(err)
		m.finishBlocks(false)
	}
}

func (m *scene) rmRange(from, to uint64) {
	for seq := from; seq <= to; seq++ {
		m.rm(seq)
	}
}

func (m *scene) newBlock() {
	_, err := linkNewBlock(m.s.ptr)
	must(err)
	m.finishBlocks(false)
}

// record writes a message record into the last block without telling the store.
func (m *scene) record(seq uint64, subject string, headers, body []byte) {
	length := uint64(22 + len(subject) + len(body) + 8)
	if len(headers) > 0 {
		length += uint64(4 + len(headers))
	}
	must(linkWriteRecord(m.block1(-1).Addr().UnsafePointer(), length, seq, subject, headers, body, m.tick(), true))
}

// block1 is a block of the open store; negative counts from the end.
func (m *scene) block1(i int) reflect.Value {
	list := m.s.value().FieldByName("blks")
	if i < 0 {
		i += list.Len()
	}
	return list.Index(i).Elem()
}

func (m *scene) compactBlock(i int) {
	mb := m.block1(i)
	mu := (*sync.RWMutex)(unsafe.Pointer(mb.FieldByName("mu").UnsafeAddr()))
	mu.Lock()
	defer mu.Unlock()
	must(linkCompactBlock(mb.Addr().UnsafePointer()))
}

// number gives write access to an unsigned field of a block.
func number(mb reflect.Value, path ...string) *uint64 {
	for _, name := range path {
		mb = mb.FieldByName(name)
	}
	return (*uint64)(unsafe.Pointer(mb.UnsafeAddr()))
}

func deletedOf(mb reflect.Value) *avl.SequenceSet {
	return (*avl.SequenceSet)(unsafe.Pointer(mb.FieldByName("dmap").UnsafeAddr()))
}

// editMeta changes the stream's metadata while the store is stopped.
func (m *scene) editMeta(change func(*server.FileStreamInfo)) {
	var info server.FileStreamInfo
	must(json.Unmarshal(m.read("meta.inf"), &info))
	change(&info)
	text, err := json.Marshal(info)
	must(err)
	m.put1("meta.inf", text)
	m.put1("meta.sum", []byte(metaSum("S", text)))
}
