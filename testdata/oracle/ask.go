package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// ask opens the directory in place and answers. Where messages are to be read, a copy made beforehand serves; partial is called
// with the answer so far before that begins, because reading may take the process down.
func (env *environment) ask(q *question, partial func(*answer)) *answer {
	a := &answer{ID: q.ID, Log: []string{}}
	var spare string
	if q.wantsDigest() {
		dir, err := os.MkdirTemp("", "oracle-")
		if err != nil {
			a.Outcome, a.Error = "error", err.Error()
			return a
		}
		defer os.RemoveAll(dir)
		spare = filepath.Join(dir, "s")
		if err := copyTree(q.Dir, spare); err != nil {
			a.Outcome, a.Error = "error", "copy: "+err.Error()
			return a
		}
	}
	env.askInPlace(q, a)
	if a.Outcome != "opened" || spare == "" {
		return a
	}
	partial(a)
	copied := *q
	copied.Dir = spare
	if copied.Name == "" {
		copied.Name = a.Name
	}
	if copied.Account == "" {
		if abs, err := filepath.Abs(q.Dir); err == nil {
			copied.Account = accountOf(abs)
		}
	}
	a.reading = env.readAll(&copied, a.State)
	return a
}

// askInPlace does the open call and describes the store and what it leaves on disk.
func (env *environment) askInPlace(q *question, a *answer) {
	defer env.recovered(func(outcome, text string) {
		a.Outcome, a.Error = outcome, text
		a.Log = append(a.Log, env.log.take()...)
	})
	p, skip, err := env.planStream(q)
	switch {
	case err != nil:
		a.Outcome, a.Error = "error", err.Error()
		return
	case skip != "":
		a.Outcome, a.Error = "skipped", skip
		return
	}
	a.Name = p.cfg.Name
	indexed := indexInPlace(p.dir)
	begin := time.Now()
	a.OpenedAt = begin.UnixNano()
	s, err := env.open(p)
	a.OpenNs = time.Since(begin).Nanoseconds()
	a.Log = append(a.Log, env.log.take()...)
	if err != nil {
		a.Outcome, a.Error = "error", err.Error()
		if p.putBack != nil {
			p.putBack()
		}
		a.FilesAfter = snapshot(p.dir)
		return
	}
	a.Outcome = "opened"
	fast := indexed
	for _, line := range a.Log {
		fast = fast && !strings.Contains(line, "Recovering stream state from index errored")
	}
	a.FastPath = &fast
	a.describe(s)
	if q.Consumers {
		a.Consumers = env.openConsumers(s, p)
	}
	settle(p.dir)
	if q.After == "open" {
		a.FilesAfter = snapshot(p.dir)
		s.abandon()
	} else {
		if err := s.Stop(); err != nil {
			a.Error = "stop: " + err.Error()
		}
		a.FilesAfter = snapshot(p.dir)
	}
	a.Log = append(a.Log, env.log.take()...)
}

// recovered turns a panic of the reference into an outcome. In a server nothing would catch it.
func (env *environment) recovered(report func(outcome, text string)) {
	if r := recover(); r != nil {
		report("panic", fmt.Sprint(r))
	}
}

// readAll opens a copy and loads every message that the state counts.
func (env *environment) readAll(q *question, counted *state) (r *reading) {
	r = &reading{}
	defer env.recovered(func(outcome, text string) {
		r.ReadOutcome, r.ReadError = outcome, text
		r.ReadLog = append(r.ReadLog, env.log.take()...)
	})
	p, skip, err := env.planStream(q)
	if err == nil && skip != "" {
		err = fmt.Errorf("skipped: %s", skip)
	}
	if err != nil {
		r.ReadOutcome, r.ReadError = "error", err.Error()
		return r
	}
	p.dir = q.Dir
	s, err := env.open(p)
	env.log.take()
	if err != nil {
		r.ReadOutcome, r.ReadError = "error", err.Error()
		return r
	}
	defer s.abandon()
	r.load(s, counted, q)
	r.ReadLog = env.log.take()
	return r
}

// load reads sequence by sequence. A span too large to walk is walked block by block.
func (r *reading) load(s *store, counted *state, q *question) {
	deleted := make(map[uint64]struct{}, len(counted.Deleted))
	for _, seq := range counted.Deleted {
		deleted[seq] = struct{}{}
	}
	type span struct{ first, last uint64 }
	var spans []span
	switch {
	case q.UpTo > 0:
		spans = []span{{counted.FirstSeq, min(counted.LastSeq, q.UpTo)}}
	case counted.LastSeq-counted.FirstSeq > maxListed || counted.DeletedOmitted:
		var total uint64
		for _, b := range blocksOf(s.value()) {
			if b.Msgs == 0 || b.Last < b.First {
				continue
			}
			if total += b.Last - b.First; total > maxListed || b.Last-b.First > maxListed {
				r.ReadOutcome, r.ReadError = "omitted", "too many sequences"
				return
			}
			spans = append(spans, span{b.First, b.Last})
		}
	case counted.Msgs > 0 || counted.LastSeq >= counted.FirstSeq:
		spans = []span{{counted.FirstSeq, counted.LastSeq}}
	}
	digest := sha256.New()
	r.LoadErrors = make(map[uint64]string)
	var sm server.StoreMsg
	for _, sp := range spans {
		for seq := sp.first; seq <= sp.last && seq >= sp.first; seq++ {
			if _, gone := deleted[seq]; gone || seq == 0 {
				continue
			}
			m, err := s.LoadMsg(seq, &sm)
			if err == nil {
				message := (*storeMsg)(unsafe.Pointer(m))
				addMessage(digest, message)
				if q.Contents {
					one := sha256.New()
					addMessage(one, message)
					r.Contents = append(r.Contents, content{message.seq, hex.EncodeToString(one.Sum(nil)[:8])})
				}
				continue
			}
			if counted.DeletedOmitted && (err == server.ErrStoreMsgNotFound || err.Error() == "deleted message") {
				continue
			}
			r.Unreadable = append(r.Unreadable, seq)
			if len(r.LoadErrors) < 1000 {
				r.LoadErrors[seq] = strings.ToValidUTF8(err.Error(), "\uFFFD")
			}
		}
	}
	r.ReadOutcome = "ok"
	r.Digest = "sha256:" + hex.EncodeToString(digest.Sum(nil))
}

// addMessage feeds one message to a content digest.
func addMessage(digest hash.Hash, m *storeMsg) {
	buf := make([]byte, 0, 28+len(m.subj)+len(m.hdr)+len(m.msg))
	buf = binary.LittleEndian.AppendUint64(buf, m.seq)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(m.ts))
	for _, part := range [][]byte{[]byte(m.subj), m.hdr, m.msg} {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(part)))
		buf = append(buf, part...)
	}
	digest.Write(buf)
}
