package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

func init() {
	scenarios = append(scenarios, tombScenarios, purgeScenarios, compactScenarios)
}

// converted asks about a plain store as it is, and then with either cipher: about the plain store that the server is to seal, with
// index.db and without, and about the sealed one without index.db.
func (m *scene) converted(label string, write func(m *scene)) {
	write(m)
	m.stop()
	m.save(label+"clean", unkeyed)
	index := m.read("msgs/index.db")
	m.drop("msgs/index.db")
	m.save(label+"noidx", unkeyed)
	for _, cipher := range []string{"aes", "chacha"} {
		m.save(label+cipher+"-bare", keyed(cipher))
		m.put1("msgs/index.db", index)
		m.save(label+cipher+"-clean", keyed(cipher))
		whole := filepath.Join(m.tmp, label+cipher)
		must(copyTree(m.dir, whole))
		q := &question{}
		keyed(cipher)(q)
		m.ask(q, m.dir)
		m.drop("msgs/index.db")
		m.save(label+cipher+"-noidx", keyed(cipher))
		must(os.RemoveAll(m.dir))
		must(copyTree(whole, m.dir))
		m.drop("msgs/index.db")
	}
}

// interior plays one of the interior delete cases on an empty store and on one with a message.
func interior(id string, step func(m *scene)) scenario {
	return scenario{id: id, coats: []coat{bare[0], s2[0]}, write: func(m *scene) {
		m.converted("empty-", step)
		// A second history needs an empty directory.
		m.drop("msgs", "meta.inf", "meta.sum")
		m.reopen()
		m.foo(1, "")
		m.converted("one-", step)
	}}
}

func (m *scene) skips(count int) {
	for range count {
		_, err := m.s.SkipMsg(0)
		must(err)
	}
}

func (m *scene) erase(seq uint64) {
	_, err := m.s.EraseMsg(seq)
	must(err)
}

var tombScenarios = []scenario{
	{id: "R063", coats: three, block: 256, write: func(m *scene) {
		m.skips(10)
		m.foo(1, "Hello World")
		m.skips(2)
		m.foo(1, "Hello World")
		m.skips(1)
		m.stop()
		m.save("first")
		m.reopen()
		m.skips(1)
		m.foo(1, "Hello World!")
		m.stop()
		m.save("second")
	}},
	{id: "R064", coats: three, write: func(m *scene) {
		m.foo(100, "Hello World")
		m.rmRange(1, 50)
		m.both("")
	}},
	{id: "R065", coats: three, write: func(m *scene) {
		m.foo(100, "Hello World")
		for seq := uint64(2); seq <= 100; seq += 2 {
			m.rm(seq)
		}
		m.both("")
	}},
	{id: "R066", coats: bare, write: func(m *scene) {
		m.foo(2, "Hello World")
		m.erase(1)
		m.stop()
		m.save("")
	}},
	{id: "R067", coats: three, write: func(m *scene) {
		m.foo(100, "")
		m.rmRange(2, 40)
		m.compactBlock(0)
		m.rm(1)
		m.both("")
	}},
	{id: "R069", coats: bare, write: func(m *scene) {
		m.skips(22)
		for range 4 {
			m.again()
		}
		m.stop()
		m.save("")
	}},
	{id: "R071", coats: []coat{bare[0], s2[0]}, block: 256, write: func(m *scene) {
		_, err := m.s.PurgeEx("", 1_000_000_000, 0)
		must(err)
		m.foo(200, "hello")
		m.rmRange(1_000_000_001, 1_000_000_040)
		m.both("")
	}},
	{id: "R072", coats: bare, config: perSubject(1), write: func(m *scene) {
		m.skips(1)
		must(m.kill())
		m.drop("msgs/index.db")
		m.save("")
	}},
	{id: "R073", coats: three, write: func(m *scene) {
		m.alternate()
		m.rm(1)
		m.both("")
	}},
	{id: "R075", coats: three, block: 132, write: func(m *scene) {
		m.foo(4, "")
		m.rm(1, 2)
		m.both("")
	}},
	{id: "R076", coats: three, write: func(m *scene) {
		m.foo(3, "")
		m.erase(2)
		m.foo(1, "")
		m.both("")
	}},
	{id: "R078", coats: three, write: func(m *scene) {
		m.foo(2, "")
		m.foo(1, "secret")
		m.rm(2)
		m.foo(1, "")
		m.erase(3)
		m.both("")
	}},
	{id: "R080", coats: three, block: 330, write: func(m *scene) {
		m.foo(20, "")
		m.rmRange(1, 20)
		m.both("")
	}},
	{id: "R082", coats: four, block: 330, write: func(m *scene) {
		m.foo(50, "")
		m.rmRange(2, 49)
		m.newBlock()
		m.foo(50, "")
		m.rmRange(50, 100)
		must(linkWriteTombstone(m.s.ptr, 1, 0))
		m.without("", "msgs/index.db")
	}},
	{id: "R083", coats: three, write: func(m *scene) {
		m.foo(1, "")
		must(m.s.SkipMsgs(2, 3))
		m.both("")
	}},
	{id: "R085", coats: four, write: func(m *scene) {
		m.foo(2, "")
		m.newBlock()
		m.foo(1, "")
		m.rm(2, 3)
		m.both("three-")
		m.drop("msgs/index.db")
		m.foo(1, "")
		m.rm(1)
		m.stop()
		m.save("one")
	}},
	interior("R087", func(m *scene) {
		last := m.last()
		m.foo(1, "")
		m.rm(last + 1)
		must(m.s.Truncate(last + 1))
	}),
	interior("R088", func(m *scene) {
		last := m.last()
		m.foo(1, "")
		m.erase(last + 1)
		must(m.s.Truncate(last + 1))
	}),
	interior("R090", func(m *scene) { m.skips(1) }),
	{id: "R092", coats: bare, write: func(m *scene) {
		m.foo(10, "Hello World")
		m.rm(5, 1, 10, 3, 2)
		_, err := m.s.Purge()
		must(err)
		m.foo(10, "Hello World")
		m.rm(11, 15, 16, 20)
		m.both("")
	}},
}

var purgeScenarios = []scenario{
	{id: "R093", coats: three, block: 640, write: func(m *scene) {
		m.foo(32, strings.Repeat("x", 80))
		m.purge()
		m.stop()
		m.save("")
	}},
	{id: "R094", coats: four, block: 640, write: func(m *scene) {
		m.foo(32, strings.Repeat("x", 80))
		old := filepath.Join(m.tmp, "old")
		must(copyTree(m.path("msgs"), old))
		m.purge()
		settle(m.dir)
		m.stop()
		must(copyTree(old, m.path("__msgs__")))
		m.stay("")
	}},
	{id: "R095", coats: seals, block: 640, write: func(m *scene) {
		m.foo(32, strings.Repeat("x", 80))
		m.finishBlocks(true)
		old := filepath.Join(m.tmp, "old")
		must(copyTree(m.path("msgs"), old))
		m.purge()
		settle(m.dir)
		m.s.abandon()
		marker := m.lastBlock()
		block, key := m.read(marker), m.read(strings.TrimSuffix(marker, "blk")+"key")
		m.drop("msgs")
		must(copyTree(old, m.path("msgs")))
		m.drop("msgs/index.db")
		m.put1(marker, block)
		m.put1("__new_msgs__/"+filepath.Base(strings.TrimSuffix(marker, "blk")+"key"), key)
		m.save("")
	}},
	{id: "R097", coats: four, block: 1000, write: func(m *scene) {
		body := strings.Repeat("x", 20)
		m.many("foo.0", 1, body)
		m.many("foo.1", 200, body)
		m.many("foo.2", 1, "xxxxxx")
		must(m.s.writeIndex())
		index := m.read("msgs/index.db")
		m.purgeSubject("foo.1", 0, 0)
		m.both("")
		m.stale(index, "stale")
	}},
	{id: "R099", coats: three, block: 132, write: func(m *scene) {
		m.stages()
		m.both("")
	}},
	{id: "R100", coats: three, block: 132, write: func(m *scene) {
		m.stages()
		m.purgeHalf()
		m.both("")
	}},
	{id: "R102", coats: three, block: 132, write: func(m *scene) {
		m.stages()
		m.purgeHalf()
		m.purgeSubject("C", 0, 2)
		m.purge()
		m.both("")
	}},
	{id: "R103", coats: three, write: func(m *scene) {
		m.alternate()
		m.purge()
		m.both("")
	}},
	{id: "R105", coats: three, write: func(m *scene) {
		m.alternate()
		m.purgeSubject("foo.1", 0, 0)
		m.both("")
	}},
}

func (m *scene) purge() {
	_, err := m.s.Purge()
	must(err)
	settle(m.dir)
}

func (m *scene) purgeSubject(subject string, seq, keep uint64) {
	_, err := m.s.PurgeEx(subject, seq, keep)
	must(err)
}

func (m *scene) stages() {
	m.many("A", 10, strings.Repeat("A", 19))
	m.purge()
}

func (m *scene) purgeHalf() {
	for range 5 {
		m.many("B", 1, strings.Repeat("B", 19))
		m.many("C", 1, strings.Repeat("C", 19))
	}
	m.purgeSubject("B", 0, 0)
}

func (m *scene) compact(seq uint64) {
	_, err := m.s.Compact(seq)
	must(err)
}

var compactScenarios = []scenario{
	{id: "R106", coats: three, block: 350, write: func(m *scene) {
		m.foo(10, "Hello World")
		m.compact(6)
		m.stop()
		m.save("six")
		m.reopen()
		m.compact(100)
		m.both("hundred-")
	}},
	{id: "R107", coats: three, block: 350, write: func(m *scene) {
		m.foo(49, "ok")
		m.many("bar", 51, "ok")
		must(m.s.Truncate(50))
		m.rm(10, 20, 30, 40)
		must(m.s.Truncate(25))
		m.both("")
	}},
	{id: "R109", coats: three, write: func(m *scene) {
		m.foo(4, strings.Repeat("Z", 1024))
		m.compact(4)
		m.both("")
	}},
	{id: "R111", coats: three, write: func(m *scene) {
		m.alternate()
		m.compact(3)
		m.both("")
	}},
	{id: "R112", coats: three, write: func(m *scene) {
		m.alternate()
		must(m.s.Truncate(2))
		m.both("")
	}},
	{id: "R114", coats: three, write: func(m *scene) {
		m.foo(6, "")
		m.rm(1, 3, 4, 6)
		m.newBlock()
		m.compactBlock(0)
		m.both("twice-")
		m.rm(5)
		m.compactBlock(0)
		m.both("single-")
	}},
	{id: "R117", coats: bare, write: func(m *scene) {
		m.foo(20, strings.Repeat("x", 256))
		m.compact(20)
		m.compactBlock(0)
		m.both("")
	}},
	{id: "R118", coats: three, write: func(m *scene) {
		m.foo(4, "")
		m.rm(1, 4)
		m.compactBlock(0)
		// The block is behind the store now, so no index.db can be written.
		m.save("")
	}},
	{id: "R119", coats: three, write: func(m *scene) {
		m.foo(2, "")
		m.newBlock()
		mb := m.block1(0)
		deletedOf(mb).Insert(1)
		deletedOf(mb).Insert(2)
		*number(mb, "msgs") = 0
		m.compactBlock(0)
		m.save("")
	}},
	{id: "R121", coats: three, write: func(m *scene) {
		m.foo(5, "")
		m.save("before")
		must(m.s.Truncate(3))
		m.both("")
	}},
	{id: "R122", coats: bare, block: 256, config: perSubject(1), write: func(m *scene) {
		m.numbered("foo.", 1, 6, "hello")
		m.numbered("foo.", 2, 5, "hello")
		m.compactBlock(0)
		m.both("")
	}},
	{id: "R123", coats: bare, config: func(c *server.StreamConfig) { c.MaxAge = 5e9 }, write: func(m *scene) {
		m.compact(1_000_000)
		m.both("")
	}},
	{id: "R279", coats: four, block: 350, write: func(m *scene) {
		m.foo(12, "ok")
		m.rm(4, 5)
		m.compactBlock(0)
		must(m.s.Truncate(5))
		m.both("")
	}},
}

