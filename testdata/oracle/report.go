package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/avl"
	"github.com/nats-io/nats-server/v2/server/thw"
)

// answer is the document given for one stream directory.
type answer struct {
	ID       json.RawMessage `json:"id,omitempty"`
	Outcome  string          `json:"outcome"` // opened, skipped, error, panic, timeout, oom
	Error    string          `json:"error,omitempty"`
	Name     string          `json:"name,omitempty"`
	OpenedAt int64           `json:"opened_at,omitempty"` // clock before the open call, ns
	OpenNs   int64           `json:"open_ns,omitempty"`
	FastPath *bool           `json:"fast_path,omitempty"`
	Log      []string        `json:"log"`

	State       *state            `json:"state,omitempty"`
	Subjects    map[string]uint64 `json:"subjects,omitempty"`
	SubjectsHex map[string]uint64 `json:"subjects_hex,omitempty"` // in place of subjects where one is not UTF-8
	TTL         *timers           `json:"ttl"`
	Schedules   *schedules        `json:"schedules"`
	Sources     map[string]source `json:"sources"`
	Blocks      []block           `json:"blocks,omitempty"`
	Consumers   []consumer        `json:"consumers,omitempty"`

	FilesAfter map[string]file `json:"files_after,omitempty"`
	*reading
}

// reading is what loading every message of a copy gave.
type reading struct {
	ReadOutcome string            `json:"read_outcome,omitempty"` // ok, omitted, error, panic, timeout, oom
	ReadError   string            `json:"read_error,omitempty"`
	Digest      string            `json:"digest,omitempty"`
	Unreadable  []uint64          `json:"unreadable,omitempty"`
	LoadErrors  map[uint64]string `json:"load_errors,omitempty"`
	ReadLog     []string          `json:"read_log,omitempty"`
	Contents    []content         `json:"contents,omitempty"`
}

// content is one message: its sequence and the first 8 bytes of the SHA-256 of what a content digest takes of it, in hex.
type content [2]any

type state struct {
	Msgs        uint64 `json:"messages"`
	Bytes       uint64 `json:"bytes"`
	FirstSeq    uint64 `json:"first_seq"`
	FirstTS     string `json:"first_ts"`
	LastSeq     uint64 `json:"last_seq"`
	LastTS      string `json:"last_ts"`
	NumSubjects int    `json:"num_subjects"`
	// NumDeleted is the length of Deleted; NumDeletedFast is what the server computes from the totals.
	NumDeleted     int                    `json:"num_deleted"`
	NumDeletedFast int                    `json:"num_deleted_fast"`
	Deleted        []uint64               `json:"deleted"`
	DeletedOmitted bool                   `json:"deleted_omitted,omitempty"`
	Lost           *server.LostStreamData `json:"lost,omitempty"`
}

type timers struct {
	Count   uint64   `json:"count"`
	Entries [][2]any `json:"entries"` // sequence, expiry in ns
}

type schedules struct {
	Count   int      `json:"count"`
	Entries [][3]any `json:"entries"` // subject, sequence, next fire time in ns
}

type source struct {
	Seq   uint64 `json:"seq"`
	Ident string `json:"ident"`
}

type block struct {
	Index     uint64 `json:"index"`
	First     uint64 `json:"first"`
	FirstNs   int64  `json:"first_ns"`
	Last      uint64 `json:"last"`
	LastNs    int64  `json:"last_ns"`
	Msgs      uint64 `json:"msgs"`
	Bytes     uint64 `json:"bytes"`
	RawBytes  uint64 `json:"raw_bytes"`
	Deleted   int    `json:"deleted"`
	TTLs      uint64 `json:"ttls"`
	Schedules uint64 `json:"schedules"`
	Closed    bool   `json:"closed,omitempty"`
	NoTrack   bool   `json:"no_track,omitempty"`
}

// Listing sequences one by one stops here; a damaged store can claim 2^63 of them.
const maxListed = 4 << 20

// describe fills in the part of the answer that comes from the open store, before anything else touches it.
func (a *answer) describe(s *store) {
	value := s.value()
	a.Blocks = blocksOf(value)
	a.State = stateOf(s, a.Blocks)
	a.setSubjects(s.SubjectsTotals(">"))
	a.TTL = timersOf(value)
	a.Schedules = schedulesOf(value)
	if sources := value.FieldByName("sources"); !sources.IsNil() {
		a.Sources = make(map[string]source)
		for key, position := range s.SourcesState() {
			a.Sources[key] = source{position.Seq, position.Ident}
		}
	}
}

func (a *answer) setSubjects(totals map[string]uint64) {
	a.Subjects = totals
	for subject := range totals {
		if !utf8.ValidString(subject) {
			a.Subjects = nil
			a.SubjectsHex = make(map[string]uint64, len(totals))
			for s, n := range totals {
				a.SubjectsHex[hex.EncodeToString([]byte(s))] = n
			}
			return
		}
	}
}

func stateOf(s *store, blocks []block) *state {
	var fast server.StreamState
	s.FastState(&fast)
	fast.Lost = s.lost()
	full := fast
	gaps := fast.LastSeq - fast.FirstSeq + 1 - fast.Msgs
	omit := gaps > maxListed && gaps < math.MaxInt64
	for _, b := range blocks {
		omit = omit || b.First > fast.FirstSeq && b.First-fast.FirstSeq > maxListed && gaps > 0
	}
	if !omit {
		full = s.State()
	}
	return &state{
		Msgs: full.Msgs, Bytes: full.Bytes,
		FirstSeq: full.FirstSeq, FirstTS: timestamp(full.FirstTime),
		LastSeq: full.LastSeq, LastTS: timestamp(full.LastTime),
		NumSubjects: full.NumSubjects, NumDeleted: full.NumDeleted, NumDeletedFast: fast.NumDeleted,
		Deleted: append([]uint64{}, full.Deleted...), DeletedOmitted: omit, Lost: full.Lost,
	}
}

func (s *store) lost() *server.LostStreamData {
	field := s.value().FieldByName("ld")
	return *(**server.LostStreamData)(unsafe.Pointer(field.UnsafeAddr()))
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func blocksOf(value reflect.Value) []block {
	list := value.FieldByName("blks")
	blocks := make([]block, list.Len())
	for i := range blocks {
		mb := list.Index(i).Elem()
		first, last := mb.FieldByName("first"), mb.FieldByName("last")
		deleted := (*avl.SequenceSet)(unsafe.Pointer(mb.FieldByName("dmap").UnsafeAddr()))
		blocks[i] = block{
			Index: mb.FieldByName("index").Uint(),
			First: first.FieldByName("seq").Uint(), FirstNs: first.FieldByName("ts").Int(),
			Last: last.FieldByName("seq").Uint(), LastNs: last.FieldByName("ts").Int(),
			Msgs: mb.FieldByName("msgs").Uint(), Bytes: mb.FieldByName("bytes").Uint(),
			RawBytes: mb.FieldByName("rbytes").Uint(), Deleted: deleted.Size(),
			TTLs: mb.FieldByName("ttls").Uint(), Schedules: mb.FieldByName("schedules").Uint(),
			Closed: mb.FieldByName("closed").Bool(), NoTrack: mb.FieldByName("noTrack").Bool(),
		}
	}
	return blocks
}

// timersOf reads the wheel through its own encoding, which is the only way it shows every entry.
func timersOf(value reflect.Value) *timers {
	field := value.FieldByName("ttls")
	if field.IsNil() {
		return nil
	}
	wheel := (*thw.HashWheel)(field.UnsafePointer())
	result := &timers{Count: wheel.Count(), Entries: [][2]any{}}
	rest := wheel.Encode(0)[17:]
	for len(rest) > 0 {
		expires, n := binary.Varint(rest)
		seq, m := binary.Uvarint(rest[n:])
		result.Entries = append(result.Entries, [2]any{seq, expires})
		rest = rest[n+m:]
	}
	slices.SortFunc(result.Entries, func(x, y [2]any) int { return compareUint(x[0].(uint64), y[0].(uint64)) })
	return result
}

func compareUint(x, y uint64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func schedulesOf(value reflect.Value) *schedules {
	field := value.FieldByName("scheduling")
	if field.IsNil() {
		return nil
	}
	entries := field.Elem().FieldByName("schedules")
	result := &schedules{Count: entries.Len(), Entries: [][3]any{}}
	for it := entries.MapRange(); it.Next(); {
		entry := it.Value().Elem()
		result.Entries = append(result.Entries, [3]any{it.Key().String(), entry.FieldByName("seq").Uint(), entry.FieldByName("ts").Int()})
	}
	slices.SortFunc(result.Entries, func(x, y [3]any) int {
		if x[0].(string) < y[0].(string) {
			return -1
		}
		return 1
	})
	return result
}
