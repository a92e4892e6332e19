// Command writers lets a real nats-server of one line write small JetStream stores.
//
// The server's release is the one the module file names (go.mod, or lines/*.mod through -modfile), the
// source is the same for every line. See ../README.md for how the stores are used.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// fixtureKey is the server key of every encrypted store. It protects nothing.
const fixtureKey = "sekret-fixture-key"

// ending says how the life of a store ends.
type ending string

const (
	// stopped: the server was shut down, every side file is fresh.
	stopped ending = "stopped"
	// killed: the store was copied from under the running server that created it.
	killed ending = "killed"
	// stale: stopped once, started again, written to, then copied from under the server.
	stale ending = "stale"
	// erased: stopped, and 2.10 has overwritten messages inside compressed blocks, which ruins those blocks.
	erased ending = "erased"
)

// storeCase is one store to write.
type storeCase struct {
	compression string // "none" or "s2"
	cipher      string // "none", "chacha" or "aes"
	ending      ending
}

func (c storeCase) name() string {
	body := "plain"
	if c.compression == "s2" {
		body = "s2"
	}
	name := body + "-" + c.cipher
	if c.ending != stopped {
		name += "-" + string(c.ending)
	}
	return name
}

// minor is the second number of the linked server's release: 9 for 2.9.25.
func minor() int {
	parts := strings.Split(server.VERSION, ".")
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		panic("server version " + server.VERSION)
	}
	return n
}

// spoilsErase tells whether the linked server ruins a block when it erases a message of this case's ORDERS.
func (c storeCase) spoilsErase() bool {
	return minor() == 10 && c.compression == "s2" && c.cipher == "none"
}

func cases() []storeCase {
	compressions := []string{"none"}
	if minor() >= 10 {
		compressions = append(compressions, "s2")
	}
	var all []storeCase
	for _, compression := range compressions {
		for _, cipher := range []string{"none", "chacha", "aes"} {
			all = append(all, storeCase{compression, cipher, stopped})
		}
	}
	richest := compressions[len(compressions)-1]
	all = append(all, storeCase{"none", "none", killed}, storeCase{richest, "chacha", stale})
	// index.db differs by a field or two from 2.10 on: its plain stale form need not come from every line.
	switch minor() {
	case 10:
		all = append(all, storeCase{"s2", "none", erased}, storeCase{"none", "none", stale})
	case 9, 15:
		all = append(all, storeCase{"none", "none", stale})
	}
	return all
}

func main() {
	out := flag.String("out", "", "directory that receives <server version>/<case>")
	only := flag.String("case", "", "write this case only")
	flag.Parse()
	if *out == "" {
		fmt.Fprintln(os.Stderr, "writers: -out is needed")
		os.Exit(2)
	}
	for _, c := range cases() {
		if *only != "" && *only != c.name() {
			continue
		}
		dir := filepath.Join(*out, "v"+server.VERSION, c.name())
		began := time.Now()
		if err := writeCase(c, dir); err != nil {
			fmt.Fprintf(os.Stderr, "writers: %s %s: %v\n", server.VERSION, c.name(), err)
			os.Exit(1)
		}
		fmt.Printf("%s %s %.1fs\n", server.VERSION, c.name(), time.Since(began).Seconds())
	}
}

// writeCase lets a server write the store of c and leaves it, with the server's own account of it, in dir.
func writeCase(c storeCase, dir string) error {
	storeDir, err := os.MkdirTemp("", "jetsam-writer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(storeDir)

	report := report{Server: server.VERSION, Case: c.name(), Accounts: map[string]accountReport{}}

	// A second account, so that walking a store directory meets more than one.
	if err := session(c, storeDir, "ACME", func(cl *client) error {
		if err := writeAcme(cl); err != nil {
			return err
		}
		return cl.describe(report.Accounts, "ACME")
	}, nil); err != nil {
		return fmt.Errorf("account ACME: %w", err)
	}

	keep := func() error { return copyStore(storeDir, dir) }
	first := func(cl *client) error {
		if err := writeGlobal(cl); err != nil {
			return err
		}
		return cl.describe(report.Accounts, globalAccount)
	}
	switch c.ending {
	case stopped, erased:
		if err = session(c, storeDir, globalAccount, first, nil); err == nil {
			err = keep()
		}
	case killed:
		err = session(c, storeDir, globalAccount, first, keep)
	case stale:
		if err = session(c, storeDir, globalAccount, first, nil); err == nil {
			err = session(c, storeDir, globalAccount, func(cl *client) error {
				if err := writeMore(cl); err != nil {
					return err
				}
				return cl.describe(report.Accounts, globalAccount)
			}, keep)
		}
	}
	if err != nil {
		return err
	}
	return report.save(filepath.Join(dir, "written.json"))
}
