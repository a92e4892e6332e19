package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/gsl"
)

func spread(sm *server.StoreMsg) *storeMsg { return (*storeMsg)(unsafe.Pointer(sm)) }

func message(sm *server.StoreMsg) fields {
	m := spread(sm)
	return fields{"seq": m.seq, "ts": m.ts, "subject": m.subj, "hdr": m.hdr, "msg": m.msg}
}

// live walks over the messages from a sequence on, until visit says no.
func (o *ops) live(from uint64, filter string, visit func(m *storeMsg) bool) error {
	var smv server.StoreMsg
	for {
		sm, seq, err := o.s.LoadNextMsg(filter, wild(filter), from, &smv)
		if err == server.ErrStoreEOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !visit(spread(sm)) {
			return nil
		}
		from = seq + 1
	}
}

// firstSeq is the first sequence by the messages; the reference's own lags behind now and then.
func (o *ops) firstSeq(st server.StreamState) uint64 {
	first := uint64(0)
	_ = o.live(0, ">", func(m *storeMsg) bool { first = m.seq; return false })
	switch {
	case first != 0:
		return first
	case st.LastSeq != 0:
		return st.LastSeq + 1
	}
	return st.FirstSeq
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// state answers first sequence, first time and the deleted sequences by the messages.
func (o *ops) state() fields {
	st := o.fast()
	var firstTS int64
	var first, next, count uint64
	deleted := [][2]uint64{}
	err := o.live(0, ">", func(m *storeMsg) bool {
		if count == 0 {
			first, firstTS = m.seq, m.ts
		} else if m.seq > next {
			deleted = append(deleted, [2]uint64{next, m.seq - 1})
		}
		next = m.seq + 1
		count++
		return true
	})
	if count == 0 {
		first = o.firstSeq(st)
	} else if next <= st.LastSeq {
		deleted = append(deleted, [2]uint64{next, st.LastSeq})
	}
	numDeleted := uint64(0)
	for _, run := range deleted {
		numDeleted += run[1] - run[0] + 1
	}
	result := fields{
		"messages": st.Msgs, "bytes": st.Bytes, "first_seq": first, "first_ts": firstTS,
		"last_seq": st.LastSeq, "last_ts": nanoseconds(st.LastTime), "num_subjects": st.NumSubjects,
		"num_deleted": numDeleted, "deleted": deleted, "lost": o.lostSeqs(), "consumers": len(o.consumers),
	}
	// Not part of the protocol: where the reference disagrees with its own messages.
	if err != nil {
		result["odd"] = err.Error()
	} else if count != st.Msgs {
		result["odd"] = fields{"loaded": count}
	}
	return result
}

func (o *ops) lostSeqs() []uint64 {
	if lost := o.s.lost(); lost != nil {
		return slices.Sorted(slices.Values(lost.Msgs))
	}
	return nil
}

// filterOf is the one filter of a request, everything where there is none.
func filterOf(text string) string {
	if text == "" {
		return ">"
	}
	return text
}

func filtersOf(r *opsRequest) []string {
	if len(r.Filters) == 0 {
		return []string{">"}
	}
	return r.Filters
}

func sublist(filters []string) *gsl.SimpleSublist {
	list := gsl.NewSimpleSublist()
	for _, filter := range filters {
		_ = list.Insert(filter, struct{}{})
	}
	return list
}

func wild(filter string) bool { return strings.ContainsAny(filter, "*>") }

// read serves what leaves the store as it is.
func (o *ops) read(r *opsRequest) (fields, error) {
	switch r.Op {
	case "load", "load_next", "load_prev", "load_last":
		return o.load(r)
	case "subject_of":
		if r.Seq > o.fast().LastSeq {
			return nil, server.ErrStoreEOF
		}
		subject, err := o.s.SubjectForSeq(r.Seq)
		return fields{"subject": subject}, err
	case "seq_from_time":
		seq := o.fast().LastSeq + 1
		err := o.live(0, ">", func(m *storeMsg) bool {
			if m.ts >= r.TS {
				seq = m.seq
			}
			return m.ts < r.TS
		})
		return fields{"seq": seq}, err
	case "filtered_state":
		return o.filteredState(r)
	case "subjects_state":
		return o.subjectsState(r)
	case "subjects_totals":
		return fields{"totals": o.s.SubjectsTotals(filterOf(r.Filter))}, nil
	case "num_pending":
		return o.numPending(r)
	case "all_last":
		seqs, err := o.s.AllLastSeqs()
		return fields{"seqs": seqs}, err
	case "multi_last":
		seqs, err := o.s.MultiLastSeqs(slices.Clone(filtersOf(r)), r.MaxSeq, r.MaxAllowed)
		return fields{"seqs": seqs}, err
	case "state":
		return o.state(), nil
	case "encoded_state":
		data, err := o.s.EncodedStreamState(r.Failed, false)
		return fields{"data": data}, err
	case "digest":
		return o.digest()
	case "dump":
		return o.dump(r)
	}
	return nil, refuse("bad-request", "unknown operation %q", r.Op)
}

func (o *ops) load(r *opsRequest) (fields, error) {
	var smv server.StoreMsg
	var sm *server.StoreMsg
	var err error
	filters := filtersOf(r)
	one := len(filters) == 1
	switch r.Op {
	case "load":
		if r.Seq == 0 {
			return nil, refuse("bad-seq", "0")
		}
		if r.Seq > o.fast().LastSeq {
			return nil, server.ErrStoreEOF
		}
		sm, err = o.s.LoadMsg(r.Seq, &smv)
	case "load_last":
		sm, err = o.s.LoadLastMsg(filterOf(r.Filter), &smv)
	case "load_next":
		if one {
			sm, _, err = o.s.LoadNextMsg(filters[0], wild(filters[0]), r.Seq, &smv)
		} else {
			sm, _, err = o.s.LoadNextMsgMulti(sublist(filters), r.Seq, &smv)
		}
	case "load_prev":
		if one {
			sm, _, err = o.s.LoadPrevMsg(filters[0], wild(filters[0]), r.Seq, &smv)
		} else {
			sm, _, err = o.s.LoadPrevMsgMulti(sublist(filters), r.Seq, &smv)
		}
	}
	if err != nil {
		return nil, err
	}
	return fields{"msg": message(sm)}, nil
}

// span is what subject counts tell.
type span struct {
	Messages uint64 `json:"messages"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

func (s *span) add(seq uint64) {
	if s.Messages++; s.First == 0 {
		s.First = seq
	}
	s.Last = seq
}

// The next three answer by the messages.

func (o *ops) filteredState(r *opsRequest) (fields, error) {
	var all span
	err := o.live(r.Seq, filterOf(r.Filter), func(m *storeMsg) bool { all.add(m.seq); return true })
	return fields{"messages": all.Messages, "first_seq": all.First, "last_seq": all.Last}, err
}

func (o *ops) subjectsState(r *opsRequest) (fields, error) {
	subjects := make(map[string]*span)
	err := o.live(0, filterOf(r.Filter), func(m *storeMsg) bool {
		of := subjects[m.subj]
		if of == nil {
			of = &span{}
			subjects[strings.Clone(m.subj)] = of
		}
		of.add(m.seq)
		return true
	})
	return fields{"subjects": subjects}, err
}

func (o *ops) numPending(r *opsRequest) (fields, error) {
	last := o.fast().LastSeq
	filters := filtersOf(r)
	if r.LastPerSubject {
		list, seen := sublist(filters), make(map[string]bool)
		err := o.live(r.Seq, ">", func(m *storeMsg) bool {
			if list.HasInterest(m.subj) {
				seen[strings.Clone(m.subj)] = true
			}
			return true
		})
		return fields{"total": uint64(len(seen)), "valid_through": last}, err
	}
	var total uint64
	var err error
	if len(filters) == 1 {
		total, _, err = o.s.NumPending(r.Seq, filters[0], false)
	} else {
		total, _, err = o.s.NumPendingMulti(r.Seq, sublist(filters), false)
	}
	result := fields{"total": total, "valid_through": last}
	// Not part of the protocol: where the reference disagrees with its own messages.
	list, counted := sublist(filters), uint64(0)
	failed := o.live(r.Seq, ">", func(m *storeMsg) bool {
		if list.HasInterest(m.subj) {
			counted++
		}
		return true
	})
	if err == nil && failed == nil && counted != total {
		result["odd"] = fields{"loaded": counted}
	}
	return result, err
}

func (o *ops) digest() (fields, error) {
	hash := sha256.New()
	var word [8]byte
	err := o.live(0, ">", func(m *storeMsg) bool {
		binary.LittleEndian.PutUint64(word[:], m.seq)
		hash.Write(word[:])
		binary.LittleEndian.PutUint64(word[:], uint64(m.ts))
		hash.Write(word[:])
		for _, part := range [][]byte{[]byte(m.subj), m.hdr, m.msg} {
			binary.LittleEndian.PutUint32(word[:4], uint32(len(part)))
			hash.Write(word[:4])
			hash.Write(part)
		}
		return true
	})
	return fields{"digest": "sha256:" + hex.EncodeToString(hash.Sum(nil))}, err
}

func (o *ops) dump(r *opsRequest) (fields, error) {
	messages := []fields{}
	if r.N == 0 {
		return fields{"msgs": messages}, nil
	}
	err := o.live(r.Seq, ">", func(m *storeMsg) bool {
		messages = append(messages, fields{"seq": m.seq, "ts": m.ts, "subject": strings.Clone(m.subj),
			"hdr": slices.Clone(m.hdr), "msg": slices.Clone(m.msg)})
		return uint64(len(messages)) < r.N
	})
	return fields{"msgs": messages}, err
}

// decodeState says what the reference makes of an encoded stream state. Not part of the protocol: comparing asks for it.
func decodeState(data []byte) (fields, error) {
	st, err := server.DecodeStreamState(data)
	if err != nil {
		return nil, err
	}
	deleted := []uint64{}
	for _, block := range st.Deleted {
		block.Range(func(seq uint64) bool {
			if seq >= st.FirstSeq && seq <= st.LastSeq {
				deleted = append(deleted, seq)
			}
			return true
		})
	}
	slices.Sort(deleted)
	return fields{
		"messages": st.Msgs, "bytes": st.Bytes, "first_seq": st.FirstSeq, "last_seq": st.LastSeq, "failed": st.Failed,
		"deleted": slices.Compact(deleted),
	}, nil
}
