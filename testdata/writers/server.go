package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const globalAccount = "$G"

// settle is how long the server gets to bring buffered appends and consumer states to disk.
const settle = 500 * time.Millisecond

// session runs a server over storeDir for one account. work drives it; running, if any, is called while
// the server is still up, after it has settled.
func session(c storeCase, storeDir, account string, work func(*client) error, running func() error) error {
	conf, err := os.CreateTemp("", "jetsam-writer-*.conf")
	if err != nil {
		return err
	}
	defer os.Remove(conf.Name())
	if _, err = conf.WriteString(config(c, storeDir, account)); err != nil {
		return err
	}
	if err = conf.Close(); err != nil {
		return err
	}
	opts, err := server.ProcessConfigFile(conf.Name())
	if err != nil {
		return err
	}
	opts.NoLog, opts.NoSigs = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	go srv.Start()
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	if !srv.ReadyForConnections(10 * time.Second) {
		return errors.New("server did not come up")
	}
	nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo("u", "p"), nats.CustomInboxPrefix("_INBOX.fixture"))
	if err != nil {
		return err
	}
	defer nc.Close()
	everything := c.compression == "none" && c.cipher == "none" && c.ending != stale
	cl := &client{nc: nc, compression: c.compression, everything: everything}
	cl.erase = !c.spoilsErase() || c.ending == erased
	if err = work(cl); err != nil {
		return err
	}
	time.Sleep(settle)
	if running != nil {
		return running()
	}
	return nil
}

func config(c storeCase, storeDir, account string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: \"127.0.0.1:-1\"\nserver_name: fixture\n")
	fmt.Fprintf(&b, "jetstream {\n store_dir: %q\n max_mem: 64M\n max_file: 64M\n", storeDir)
	if c.cipher != "none" {
		fmt.Fprintf(&b, " key: %q\n cipher: %s\n", fixtureKey, c.cipher)
	}
	b.WriteString("}\n")
	if account == globalAccount {
		b.WriteString("authorization { user: u, password: p }\n")
	} else {
		fmt.Fprintf(&b, "accounts { %s { jetstream: enabled, users: [ { user: u, password: p } ] } }\n", account)
	}
	return b.String()
}

// copyStore replaces dir's jetstream tree by the one of storeDir. A file that vanishes while a running
// server is copied is left out, as it would be after a power cut.
func copyStore(storeDir, dir string) error {
	from, to := filepath.Join(storeDir, "jetstream"), filepath.Join(dir, "jetstream")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
}
