package main

import (
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

//go:linkname linkExpireMsgs github.com/nats-io/nats-server/v2/server.(*fileStore).expireMsgs
func linkExpireMsgs(fs unsafe.Pointer)

//go:linkname linkRunMsgScheduling github.com/nats-io/nats-server/v2/server.(*fileStore).runMsgScheduling
func linkRunMsgScheduling(fs unsafe.Pointer)

//go:linkname linkCancelAgeChk github.com/nats-io/nats-server/v2/server.(*fileStore).cancelAgeChk
func linkCancelAgeChk(fs unsafe.Pointer)

//go:linkname linkGetMessageTTL github.com/nats-io/nats-server/v2/server.getMessageTTL
func linkGetMessageTTL(hdr []byte) (int64, error)

//go:linkname linkSliceHeader github.com/nats-io/nats-server/v2/server.sliceHeader
func linkSliceHeader(key string, hdr []byte) []byte

// writable makes an unexported boolean field settable.
func writable(value reflect.Value, field string) *bool {
	return (*bool)(unsafe.Pointer(value.FieldByName(field).UnsafeAddr()))
}

// setTimers lets the store act because of time, or not.
func (o *ops) setTimers(acting bool) {
	value := o.s.value()
	mu := (*sync.RWMutex)(unsafe.Pointer(value.FieldByName("mu").UnsafeAddr()))
	mu.Lock()
	defer mu.Unlock()
	*writable(value, "recovering") = !acting
	if scheduling := value.FieldByName("scheduling"); !scheduling.IsNil() {
		*writable(scheduling.Elem(), "paused") = !acting
	}
	if !acting {
		linkCancelAgeChk(o.s.ptr)
	}
}

// maintain makes one pass of what the timers would start, with the parts of the stream layer that it needs.
func (o *ops) maintain() (err error) {
	keep := func(e error) {
		if err == nil && e != nil && e != server.ErrStoreMsgNotFound && e != server.ErrStoreEOF {
			err = e
		}
	}
	o.s.RegisterStorageRemoveMsg(func(seq uint64) {
		_, e := o.s.RemoveMsg(seq)
		keep(e)
	})
	handler := reflect.MakeFunc(reflect.TypeFor[server.ProcessJetStreamMsgHandler](), func(args []reflect.Value) []reflect.Value {
		m := args[0].Elem()
		keep(o.process(m.FieldByName("subj").String(), m.FieldByName("hdr").Bytes(), m.FieldByName("msg").Bytes()))
		return nil
	})
	o.s.RegisterProcessJetStreamMsg(handler.Interface().(server.ProcessJetStreamMsgHandler))
	o.setTimers(true)
	linkExpireMsgs(o.s.ptr)
	linkRunMsgScheduling(o.s.ptr)
	o.setTimers(false)
	o.s.RegisterStorageRemoveMsg(nil)
	o.s.RegisterProcessJetStreamMsg(nil)
	return err
}

// process stores what the store hands up, a marker or a scheduled message, and does what its headers ask for.
func (o *ops) process(subject string, hdr, msg []byte) error {
	ttl, err := linkGetMessageTTL(hdr)
	if err != nil {
		return err
	}
	if err := o.s.StoreRawMsg(subject, hdr, msg, o.fast().LastSeq+1, o.now, ttl, true); err != nil {
		return err
	}
	if string(linkSliceHeader(server.JSMsgRollup, hdr)) == server.JSMsgRollupSubject {
		if _, err := o.s.PurgeEx(subject, 0, 1); err != nil {
			return err
		}
	}
	if string(linkSliceHeader(server.JSScheduleNext, hdr)) == server.JSScheduleNextPurge {
		schedule := strings.Clone(string(linkSliceHeader(server.JSScheduler, hdr)))
		if _, err := o.s.PurgeEx(schedule, 0, 0); err != nil {
			return err
		}
	}
	return nil
}
