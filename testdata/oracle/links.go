package main

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// keyGen derives a key encryption key from the name of an asset.
type keyGen func(context []byte) ([]byte, error)

// The reference keeps these to itself; they are bound by name.

//go:linkname linkOpenStore github.com/nats-io/nats-server/v2/server.newFileStoreWithCreatedAndMode
func linkOpenStore(fcfg server.FileStoreConfig, cfg server.StreamConfig, created time.Time,
	prf, oldprf keyGen, recovering bool) (unsafe.Pointer, error)

//go:linkname linkStop github.com/nats-io/nats-server/v2/server.(*fileStore).stop
func linkStop(fs unsafe.Pointer, remove, writeState bool) error

//go:linkname linkForceWriteFullState github.com/nats-io/nats-server/v2/server.(*fileStore).forceWriteFullState
func linkForceWriteFullState(fs unsafe.Pointer) error

//go:linkname linkConsumerStore github.com/nats-io/nats-server/v2/server.(*fileStore).ConsumerStore
func linkConsumerStore(fs unsafe.Pointer, name string, created time.Time, cfg *server.ConsumerConfig) (server.ConsumerStore, error)

//go:linkname linkRecompress github.com/nats-io/nats-server/v2/server.(*msgBlock).recompressOnDiskIfNeeded
func linkRecompress(mb unsafe.Pointer) error

//go:linkname linkCheckStreamCfg github.com/nats-io/nats-server/v2/server.(*Server).checkStreamCfg
func linkCheckStreamCfg(s *server.Server, cfg *server.StreamConfig, acc *server.Account, pedantic bool) (server.StreamConfig, *server.ApiError)

//go:linkname linkConsumerDefaults github.com/nats-io/nats-server/v2/server.setConsumerConfigDefaults
func linkConsumerDefaults(config *server.ConsumerConfig, stream *server.StreamConfig, lim *server.JSLimitOpts,
	account *server.JetStreamAccountLimits, pedantic bool) *server.ApiError

//go:linkname linkCheckConsumerCfg github.com/nats-io/nats-server/v2/server.checkConsumerCfg
func linkCheckConsumerCfg(config *server.ConsumerConfig, lim *server.JSLimitOpts, stream *server.StreamConfig, _ *server.Account,
	account *server.JetStreamAccountLimits, recovering bool) *server.ApiError

//go:linkname linkDecryptMeta github.com/nats-io/nats-server/v2/server.(*Server).decryptMeta
func linkDecryptMeta(s *server.Server, sc server.StoreCipher, ekey, buf []byte, account, context string) ([]byte, bool, error)

//go:linkname linkSupportsAPILevel github.com/nats-io/nats-server/v2/server.supportsRequiredApiLevel
func linkSupportsAPILevel(metadata map[string]string) bool

// storeMsg mirrors server.StoreMsg; checkLayout proves it.
type storeMsg struct {
	subj string
	hdr  []byte
	msg  []byte
	buf  []byte
	seq  uint64
	ts   int64
}

// iface is how an interface value lies in memory.
type iface struct {
	table unsafe.Pointer
	data  unsafe.Pointer
}

// storeTable is the method table that turns a bare store pointer into a server.StreamStore.
var storeTable = findStoreTable()

// findStoreTable gets the method table from the reference itself: a consumer kept in memory holds its stream's store as an
// interface value, and making such a consumer touches nothing but the store's consumer list. Zeroed memory stands for the
// store; it is thrown away.
func findStoreTable() unsafe.Pointer {
	blank := make([]unsafe.Pointer, 8192)
	consumer, err := linkConsumerStore(unsafe.Pointer(&blank[0]), "c", time.Time{}, &server.ConsumerConfig{MemoryStorage: true})
	if err != nil {
		panic(err)
	}
	field := reflect.ValueOf(consumer).Elem().FieldByName("ms")
	return (*iface)(unsafe.Pointer(field.UnsafeAddr())).table
}

func checkLayout() {
	theirs, ours := reflect.TypeOf(server.StoreMsg{}), reflect.TypeOf(storeMsg{})
	same := theirs.NumField() == ours.NumField()
	for i := 0; same && i < ours.NumField(); i++ {
		a, b := theirs.Field(i), ours.Field(i)
		same = a.Name == b.Name && a.Offset == b.Offset && a.Type == b.Type
	}
	if !same {
		panic(fmt.Sprintf("the layout of %v is not the expected one", theirs))
	}
}

// store is an open file store of the reference.
type store struct {
	server.StreamStore
	ptr unsafe.Pointer
}

// openStore opens a store the way a starting server does: in recovering mode, so that no timer fires.
func openStore(fcfg server.FileStoreConfig, cfg server.StreamConfig, created time.Time, prf, oldprf keyGen) (*store, error) {
	ptr, err := linkOpenStore(fcfg, cfg, created, prf, oldprf, true)
	if err != nil {
		return nil, err
	}
	st := &store{ptr: ptr}
	*(*iface)(unsafe.Pointer(&st.StreamStore)) = iface{storeTable, ptr}
	return st, nil
}

// abandon closes the store without writing anything, as far as the reference allows.
func (s *store) abandon() { _ = linkStop(s.ptr, false, false) }

// writeIndex writes index.db and its companions now.
func (s *store) writeIndex() error { return linkForceWriteFullState(s.ptr) }

// value gives reflective access to the store's own fields.
func (s *store) value() reflect.Value { return reflect.ValueOf(s.StreamStore).Elem() }

// setServer fills in the unexported server reference of a store configuration.
func setServer(fcfg *server.FileStoreConfig, srv *server.Server) {
	field := reflect.ValueOf(fcfg).Elem().FieldByName("srv")
	*(**server.Server)(unsafe.Pointer(field.UnsafeAddr())) = srv
}
