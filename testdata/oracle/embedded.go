package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// standing is what a whole server made of its store_dir.
type standing struct {
	Ready    bool                         `json:"ready"`
	Log      []string                     `json:"log"`
	Accounts map[string]map[string]stream `json:"accounts"`
}

type stream struct {
	Offline  string            `json:"offline,omitempty"`
	FastPath bool              `json:"fast_path"`
	State    *state            `json:"state,omitempty"`
	Subjects map[string]uint64 `json:"subjects,omitempty"`
	TTL      *timers           `json:"ttl"`
	Schedule *schedules        `json:"schedules"`
	Sources  map[string]source `json:"sources"`
}

// commandServer starts a server on a store_dir, prints its streams, and shuts it down. Streams are looked at as soon as the server
// is ready, so timers may have fired already.
func commandServer(args []string) error {
	q := &question{}
	set := flag.NewFlagSet("server", flag.ExitOnError)
	keyFlags(set, q)
	wait := set.Duration("wait", 60*time.Second, "how long to wait for the server")
	storeDir, err := one(parse(set, args), "store_dir")
	if err != nil {
		return err
	}
	cipher, err := parseCipher(q.Cipher)
	if err != nil {
		return err
	}
	accounts := accountDirs(storeDir)
	indexed := indexedStreams(storeDir, accounts)
	opts, err := serverOptions(storeDir, accounts)
	if err != nil {
		return err
	}
	opts.JetStreamKey, opts.JetStreamOldKey, opts.JetStreamCipher = q.Key, q.PrevKey, cipher
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	log := &logLines{}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	result := standing{Ready: srv.ReadyForConnections(*wait)}
	if len(accounts) > 0 && len(opts.Accounts) > 0 {
		if err := srv.GlobalAccount().EnableJetStream(nil, nil); err != nil {
			log.add("E", "global account: %v", []any{err})
		}
	}
	result.Log = log.take()
	result.Accounts = streamsOf(srv, indexed, result.Log)
	return encode(os.Stdout, result)
}

// accountDirs lists the accounts other than the global one that have a directory.
func accountDirs(storeDir string) (accounts []string) {
	entries, _ := os.ReadDir(filepath.Join(storeDir, "jetstream"))
	for _, entry := range entries {
		if name := entry.Name(); entry.IsDir() && name != "$G" && name != "$SYS" && !strings.HasPrefix(name, ".") {
			accounts = append(accounts, name)
		}
	}
	return accounts
}

func indexedStreams(storeDir string, accounts []string) map[string]bool {
	indexed := make(map[string]bool)
	for _, account := range append([]string{"$G"}, accounts...) {
		streams := filepath.Join(storeDir, "jetstream", account, "streams")
		entries, _ := os.ReadDir(streams)
		for _, entry := range entries {
			indexed[account+"/"+entry.Name()] = indexInPlace(filepath.Join(streams, entry.Name()))
		}
	}
	return indexed
}

// serverOptions goes through a configuration file, which is how accounts get their JetStream limits.
func serverOptions(storeDir string, accounts []string) (*server.Options, error) {
	var text strings.Builder
	abs, err := filepath.Abs(storeDir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&text, "server_name: oracle\nlisten: \"127.0.0.1:-1\"\njetstream: { store_dir: %q, max_file: 1TB, max_mem: 256MB }\n", abs)
	if len(accounts) > 0 {
		text.WriteString("accounts: {\n")
		for i, account := range accounts {
			fmt.Fprintf(&text, "  %q: { jetstream: enabled, users: [ { user: u%d, password: p } ] }\n", account, i)
		}
		text.WriteString("}\n")
	}
	file, err := os.CreateTemp("", "oracle-*.conf")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(text.String()); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	opts, err := server.ProcessConfigFile(file.Name())
	if err != nil {
		return nil, err
	}
	opts.NoLog, opts.NoSigs = true, true
	return opts, nil
}

// streamsOf walks the server's own tables: accounts, their streams, the store of each.
func streamsOf(srv *server.Server, indexed map[string]bool, log []string) map[string]map[string]stream {
	result := make(map[string]map[string]stream)
	js := reflect.ValueOf(srv).Elem().FieldByName("js")
	load := reflect.NewAt(js.Type(), unsafe.Pointer(js.UnsafeAddr())).MethodByName("Load")
	jetstream := load.Call(nil)[0]
	if jetstream.IsNil() {
		return result
	}
	for accounts := jetstream.Elem().FieldByName("accounts").MapRange(); accounts.Next(); {
		account := accounts.Key().String()
		result[account] = make(map[string]stream)
		for streams := accounts.Value().Elem().FieldByName("streams").MapRange(); streams.Next(); {
			name := streams.Key().String()
			fast := indexed[account+"/"+name]
			for _, line := range log {
				fast = fast && !strings.Contains(line, "Filestore ["+name+"] Recovering stream state from index errored")
			}
			result[account][name] = streamOf(streams.Value().Elem(), fast)
		}
	}
	return result
}

func streamOf(mset reflect.Value, fast bool) stream {
	field, offline := mset.FieldByName("store"), mset.FieldByName("offlineReason").String()
	// One that is stopped over a consumer has a store still.
	if field.IsNil() || offline != "" {
		return stream{Offline: offline}
	}
	held := *(*server.StreamStore)(unsafe.Pointer(field.UnsafeAddr()))
	if held.Type() != server.FileStorage {
		return stream{Offline: "not a file store"}
	}
	var a answer
	a.describe(&store{StreamStore: held, ptr: (*iface)(unsafe.Pointer(&held)).data})
	return stream{FastPath: fast, State: a.State, Subjects: a.Subjects, TTL: a.TTL, Schedule: a.Schedules, Sources: a.Sources}
}
