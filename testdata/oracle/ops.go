package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	_ "unsafe" // for linkname

	"github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats-server/v2/server/ats"
)

// The reference's coarse clock: how many stores use it, and where it stands. With one user too many its own goroutine never starts,
// and the clock stands where it is put.

//go:linkname coarseUsers github.com/nats-io/nats-server/v2/server/ats.refs
var coarseUsers atomic.Int64

//go:linkname coarseTime github.com/nats-io/nats-server/v2/server/ats.utime
var coarseTime atomic.Int64

// opsRequest is one line of the operations' protocol.
type opsRequest struct {
	Op  string `json:"op"`
	Now *int64 `json:"now"`

	Dir       string          `json:"dir"`
	Stream    json.RawMessage `json:"stream"`
	BlockSize uint64          `json:"block_size"`
	Sync      string          `json:"sync"`
	Cipher    string          `json:"cipher"`
	Key       string          `json:"key"`
	OldKey    string          `json:"old_key"`
	Account   string          `json:"account"`
	Flush     string          `json:"flush"`
	File      string          `json:"file"`
	Consumers bool            `json:"consumers"`

	Subject string   `json:"subject"`
	Hdr     []byte   `json:"hdr"`
	Msg     []byte   `json:"msg"`
	TTL     int64    `json:"ttl"`
	Seq     uint64   `json:"seq"`
	TS      int64    `json:"ts"`
	N       uint64   `json:"n"`
	Filter  string   `json:"filter"`
	Filters []string `json:"filters"`
	Keep    uint64   `json:"keep"`

	LastPerSubject bool   `json:"last_per_subject"`
	MaxSeq         uint64 `json:"max_seq"`
	MaxAllowed     int    `json:"max_allowed"`
	Failed         uint64 `json:"failed"`
	Data           []byte `json:"data"`

	Name   string          `json:"name"`
	Config json.RawMessage `json:"config"`
	State  *opsConsumer    `json:"state"`
	DSeq   uint64          `json:"dseq"`
	SSeq   uint64          `json:"sseq"`
	DC     uint64          `json:"dc"`

	Workload string `json:"workload"`
	Size     uint64 `json:"size"`
	Subjects uint64 `json:"subjects"`
	Seed     uint64 `json:"seed"`
}

// opsError is a refusal of the protocol.
type opsError struct{ kind, why string }

func (e *opsError) Error() string { return e.kind + ": " + e.why }

func refuse(kind, format string, args ...any) error {
	return &opsError{kind, fmt.Sprintf(format, args...)}
}

// fields is what an answer holds.
type fields = map[string]any

// refusalOf puts an error of the reference into the protocol's words.
func refusalOf(err error) (kind, why string) {
	if told := (*opsError)(nil); errors.As(err, &told) {
		return told.kind, told.why
	}
	for _, known := range []struct {
		err  error
		kind string
	}{
		{server.ErrStoreEOF, "eof"}, {server.ErrStoreMsgNotFound, "not-found"}, {server.ErrSequenceMismatch, "seq-mismatch"},
		{server.ErrMaxMsgs, "max-msgs"}, {server.ErrMaxBytes, "max-bytes"}, {server.ErrMaxMsgsPerSubject, "max-msgs-per-subject"},
		{server.ErrMsgTooLarge, "too-large"}, {server.ErrTooManyResults, "too-many"}, {server.ErrStoreOldUpdate, "old-update"},
		{server.ErrNoAckPolicy, "no-ack-policy"}, {server.ErrStoreClosed, "closed"},
	} {
		if errors.Is(err, known.err) {
			return known.kind, err.Error()
		}
	}
	if err.Error() == "deleted message" {
		return "not-found", err.Error()
	}
	return "other", err.Error()
}

// ops serves the operations' protocol with the reference's store behind it.
type ops struct {
	env *environment
	in  *bufio.Reader
	out *bufio.Writer
	// next is a request that was read and not yet served; over, that there is none left.
	next *opsRequest
	bad  error
	over bool

	now       int64
	s         *store
	cfg       server.StreamConfig
	dir       string
	keys      keys
	consumers map[string]server.ConsumerStore
	mutation  *mutation
}

// commandOps never returns: package testing ends the process. The clock of the store is a bubble of testing/synctest, which only a
// test may make; so the whole service is one.
func commandOps() error {
	out, err := syscall.Dup(1)
	if err != nil {
		return err
	}
	silent, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	os.Stdout = silent
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(3 << 30)
	env, err := newEnvironment()
	if err != nil {
		return err
	}
	o := &ops{
		env: env, in: bufio.NewReaderSize(os.Stdin, 1<<16), out: bufio.NewWriterSize(os.NewFile(uintptr(out), "answers"), 1<<16),
		mutation: mutationFrom(os.Getenv("OPS_MUTATE")),
	}
	env.opts.SyncInterval = 100 * 365 * 24 * time.Hour
	os.Args = os.Args[:1]
	everything := func(string, string) (bool, error) { return true, nil }
	testing.Main(everything, []testing.InternalTest{{Name: "ops", F: o.serve}}, nil, nil)
	return nil
}

// serve answers until the input ends: in a bubble from the first request to a reset, outside of bubbles what needs the real clock.
func (o *ops) serve(t *testing.T) {
	for o.peek() {
		switch o.next.Op {
		case "bench":
			request := o.take()
			if o.now == 0 {
				o.now = o.clock(request)
			}
			o.answer(request, o.bench)
		case "reset":
			o.now = 0
			o.answer(o.take(), func(*opsRequest) (fields, error) { return fields{}, nil })
		default:
			coarseUsers.Store(1)
			synctest.Test(t, func(*testing.T) { o.serveInBubble() })
			coarseUsers.Store(0)
		}
		collectSometimes()
	}
	_ = o.out.Flush()
}

func (o *ops) clock(request *opsRequest) int64 {
	if request.Now == nil {
		return o.now
	}
	return max(o.now, *request.Now)
}

// serveInBubble answers until a request needs to stand outside.
func (o *ops) serveInBubble() {
	o.setClock(o.now)
	for o.peek() && o.next.Op != "reset" && !(o.next.Op == "bench" && o.s == nil) {
		request := o.take()
		o.now = o.clock(request)
		o.setClock(o.now)
		if o.now == 0 {
			o.now = time.Now().UnixNano()
		}
		o.answer(request, o.perform)
		if ahead := time.Now().UnixNano() - o.now; ahead > 0 {
			fmt.Fprintf(os.Stderr, "oracle: the clock ran %d ns ahead in %s\n", ahead, request.Op)
		}
	}
	_ = o.closeStore()
	synctest.Wait()
}

// setClock lets the time pass until then. Whatever the reference does in the background meanwhile is done when it returns.
func (o *ops) setClock(now int64) {
	if ahead := now - time.Now().UnixNano(); ahead > 0 {
		time.Sleep(time.Duration(ahead))
	}
	synctest.Wait()
	coarseTime.Store(max(now, time.Now().UnixNano()))
}

// peek makes sure that a request is waiting in o.next, unless the input is over.
func (o *ops) peek() bool {
	for o.next == nil && !o.over {
		if !o.lineWaits() {
			_ = o.out.Flush()
		}
		line, err := o.in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			o.over = true
		}
		o.over = o.over || err == io.EOF
		if len(strings.TrimSpace(string(line))) == 0 {
			continue
		}
		o.next, o.bad = &opsRequest{}, nil
		if err := json.Unmarshal(line, o.next); err != nil {
			o.bad = refuse("bad-request", "%s", err.Error())
		}
	}
	return o.next != nil
}

func (o *ops) lineWaits() bool {
	waiting, _ := o.in.Peek(o.in.Buffered())
	return strings.Contains(string(waiting), "\n")
}

func (o *ops) take() *opsRequest {
	request := o.next
	o.next = nil
	return request
}

func (o *ops) answer(request *opsRequest, perform func(*opsRequest) (fields, error)) {
	result, err := fields(nil), o.bad
	if err == nil {
		result, err = protected(request, perform)
	}
	if err != nil {
		kind, why := refusalOf(err)
		_ = encode(o.out, fields{"err": kind, "why": why})
		return
	}
	if result == nil {
		result = fields{}
	}
	o.mutation.apply(request.Op, result)
	_ = encode(o.out, fields{"ok": result})
}

// protected turns a panic of the reference into an answer.
func protected(request *opsRequest, perform func(*opsRequest) (fields, error)) (result fields, err error) {
	defer func() {
		if r := recover(); r != nil {
			result, err = nil, refuse("other", "panic: %v\n%s", r, debug.Stack())
		}
	}()
	return perform(request)
}

// collectSometimes collects garbage only between services: a collection drops weakly held caches, and what a store answers may
// depend on them.
func collectSometimes() {
	var memory runtime.MemStats
	if runtime.ReadMemStats(&memory); memory.HeapAlloc > 256<<20 {
		runtime.GC()
	}
}

// mutation makes one answer wrong, to see that comparing finds it: the n-th to an operation, in one field.
type mutation struct {
	op, field string
	left      int
}

// mutationFrom reads OP.FIELD or OP.FIELD.N.
func mutationFrom(text string) *mutation {
	parts := strings.Split(text, ".")
	if len(parts) < 2 {
		return nil
	}
	m := &mutation{op: parts[0], field: parts[1], left: 1}
	if len(parts) > 2 {
		_, _ = fmt.Sscan(parts[2], &m.left)
	}
	return m
}

func (m *mutation) apply(op string, result fields) {
	if m == nil || op != m.op {
		return
	}
	if m.left--; m.left != 0 {
		return
	}
	switch value := result[m.field].(type) {
	case uint64:
		result[m.field] = value + 1
	case int64:
		result[m.field] = value + 1
	case int:
		result[m.field] = value + 1
	case bool:
		result[m.field] = !value
	default:
		delete(result, m.field)
	}
}
