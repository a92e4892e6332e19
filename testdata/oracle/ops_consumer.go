package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"sync"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// opsConsumer is a consumer's state in the words of the protocol; times are whole seconds.
type opsConsumer struct {
	Delivered   server.SequencePair `json:"delivered"`
	AckFloor    server.SequencePair `json:"ack_floor"`
	Pending     [][3]int64          `json:"pending"`
	Redelivered [][2]uint64         `json:"redelivered"`
}

func (c *opsConsumer) theirs() *server.ConsumerState {
	st := &server.ConsumerState{Delivered: c.Delivered, AckFloor: c.AckFloor}
	for _, p := range c.Pending {
		if st.Pending == nil {
			st.Pending = make(map[uint64]*server.Pending)
		}
		st.Pending[uint64(p[0])] = &server.Pending{Sequence: uint64(p[1]), Timestamp: p[2] * int64(time.Second)}
	}
	for _, r := range c.Redelivered {
		if st.Redelivered == nil {
			st.Redelivered = make(map[uint64]uint64)
		}
		st.Redelivered[r[0]] = r[1]
	}
	return st
}

func consumerState(c server.ConsumerStore) (fields, error) {
	st, err := c.State()
	if err != nil {
		return nil, err
	}
	pending, redelivered := [][3]int64{}, [][2]uint64{}
	for seq, p := range st.Pending {
		pending = append(pending, [3]int64{int64(seq), int64(p.Sequence), p.Timestamp / int64(time.Second)})
	}
	for seq, n := range st.Redelivered {
		redelivered = append(redelivered, [2]uint64{seq, n})
	}
	slices.SortFunc(pending, func(a, b [3]int64) int { return int(a[0] - b[0]) })
	slices.SortFunc(redelivered, func(a, b [2]uint64) int { return compareUint(a[0], b[0]) })
	return fields{"delivered": st.Delivered, "ack_floor": st.AckFloor, "pending": pending, "redelivered": redelivered}, nil
}

func (o *ops) performConsumer(r *opsRequest) (fields, error) {
	if !knownOps[r.Op] || r.Name == "" {
		return nil, refuse("bad-request", "%q of %q", r.Op, r.Name)
	}
	c := o.consumers[r.Name]
	if r.Op == "consumer_open" {
		if c != nil {
			return nil, refuse("bad-request", "%q is open", r.Name)
		}
		return o.openConsumer(r)
	}
	if c == nil {
		return nil, refuse("bad-request", "%q is not open", r.Name)
	}
	switch r.Op {
	case "consumer_delivered":
		return nil, c.UpdateDelivered(r.DSeq, r.SSeq, r.DC, r.TS)
	case "consumer_ack":
		return nil, c.UpdateAcks(r.DSeq, r.SSeq)
	case "consumer_update":
		if r.State == nil {
			return nil, refuse("bad-request", "no state")
		}
		err := c.Update(r.State.theirs())
		if err != nil && err != server.ErrStoreOldUpdate && err != server.ErrStoreClosed {
			err = refuse("bad-state", "%s", err.Error())
		}
		return nil, err
	case "consumer_set_starting":
		return nil, c.SetStarting(r.SSeq)
	case "consumer_update_starting":
		c.UpdateStarting(r.SSeq)
	case "consumer_reset":
		return nil, c.Reset(r.SSeq)
	case "consumer_trim":
		c.RemoveRedeliveredBelow(r.SSeq)
	case "consumer_state":
		return consumerState(c)
	case "consumer_close", "consumer_delete":
		o.stopFlusher(c)
		delete(o.consumers, r.Name)
		if r.Op == "consumer_delete" {
			return nil, c.Delete()
		}
		err := c.Stop()
		_ = o.s.RemoveConsumer(c)
		return nil, err
	}
	return nil, nil
}

func (o *ops) openConsumer(r *opsRequest) (fields, error) {
	var cfg server.ConsumerConfig
	if err := json.Unmarshal(r.Config, &cfg); err != nil {
		return nil, refuse("bad-request", "config: %s", err.Error())
	}
	c, err := o.s.ConsumerStore(r.Name, time.Unix(0, o.now).UTC(), &cfg)
	if err != nil {
		return nil, err
	}
	o.consumers[r.Name] = c
	return consumerState(c)
}

// stopFlusher ends the task that writes a consumer's state now and then. Stopping a consumer would wait for it by the clock, which must
// stand.
func (o *ops) stopFlusher(c server.ConsumerStore) {
	value := reflect.ValueOf(c).Elem()
	mu := (*sync.Mutex)(unsafe.Pointer(value.FieldByName("mu").UnsafeAddr()))
	quit := (*chan struct{})(unsafe.Pointer(value.FieldByName("qch").UnsafeAddr()))
	mu.Lock()
	if *quit != nil {
		close(*quit)
		*quit = nil
	}
	mu.Unlock()
	synctest.Wait()
}
