package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
)

func init() {
	scenarios = append(scenarios, openScenarios, indexScenarios, blockScenarios)
}

func perSubject(count int64) func(*server.StreamConfig) {
	return func(c *server.StreamConfig) { c.MaxMsgsPer = count }
}

var openScenarios = []scenario{
	{id: "R001", coats: three, write: func(m *scene) {
		write := func() {
			for i := range 100 {
				m.put("foo", nil, fmt.Appendf(nil, "[%08d] Hello World!", i), 0)
			}
		}
		write()
		m.stop()
		m.save("first")
		m.reopen()
		write()
		m.stop()
		m.save("second")
	}},
	{id: "R004", coats: three, block: 4 * 44, write: func(m *scene) {
		m.foo(20, "Hello World")
		m.stop()
		m.save("")
	}},
	{id: "R005", coats: three, write: func(m *scene) {
		m.foo(1, strings.Repeat("x", 2048))
		m.rm(1)
		m.both("")
	}},
	{id: "R007", coats: three, config: aged, write: func(m *scene) {
		m.foo(1, "one")
		m.rm(1)
		m.foo(1, "two")
		_, err := m.s.Purge()
		must(err)
		m.long(func() { m.foo(2, "old") })
		linkExpire(m.s.ptr)
		m.both("")
	}},
	{id: "R009", coats: three, write: func(m *scene) {
		m.alternate()
		m.both("")
	}},
	{id: "R011", coats: bare, write: func(m *scene) {
		m.foo(9, "x")
		_, err := m.s.Purge()
		must(err)
		for i := range 5 {
			m.put("foo", []string{fmt.Sprintf("Nats-Msg-Id: %c%c%c", 'A'+i, 'A'+i, 'A'+i)}, []byte("hello"), 0)
		}
		m.both("")
	}},
	{id: "R012", coats: bare, write: func(m *scene) {
		m.foo(1, "x")
		m.put("foo", []string{"Nats-Msg-Id: AAA"}, []byte("hello"), 0)
		m.stop()
		m.save("")
	}},
	{id: "R272", coats: bare, config: func(c *server.StreamConfig) { c.Duplicates = 100e6 }, write: func(m *scene) {
		m.put("foo", []string{"Nats-Msg-Id: A"}, []byte("hello"), 0)
		m.stop()
		m.save("")
	}},
	{id: "R014", coats: bare, config: sourcesOf("C1", server.WorkQueuePolicy), write: func(m *scene) {
		m.sourced("C1", 1, 10)
		m.rmRange(1, 10)
		m.stop()
		m.save("")
	}},
	{id: "R015", coats: bare, config: sourcesOf("C1 C2", server.WorkQueuePolicy), write: func(m *scene) {
		m.sourced("C1", 1, 10)
		m.sourced("C2", 1, 10)
		m.rmRange(1, 18)
		m.stop()
		m.save("")
	}},
}

// alternate stores four empty messages on two subjects.
func (m *scene) alternate() {
	for i := range 4 {
		m.put(fmt.Sprintf("foo.%d", i%2), nil, nil, 0)
	}
}

// hashed appends the stream's hash.
func hashed(buf []byte) []byte {
	key := sha256.Sum256([]byte("S"))
	hash, err := highwayhash.New64(key[:])
	must(err)
	hash.Write(buf)
	return hash.Sum(buf)
}

func (m *scene) stale(index []byte, label string) {
	m.stop()
	m.put1("msgs/index.db", index)
	m.save(label)
}

// bounds is an index.db with an empty state, the given counts and padding.
func bounds(fields ...uint64) []byte {
	buf := []byte{11, 4, 0, 0, 0, 0, 0, 0}
	for _, field := range fields {
		buf = binary.AppendUvarint(buf, field)
	}
	return hashed(append(buf, make([]byte, 32)...))
}

func tenSubjects(m *scene) { m.numbered("foo.", 1, 10, "abc") }

var indexScenarios = []scenario{
	{id: "R018", coats: three, block: 100, write: func(m *scene) {
		body := strings.Repeat("A", 19)
		m.many("A", 2, body)
		m.stop()
		m.save("two")
		m.reopen()
		m.many("A", 1, body)
		m.stop()
		index := m.read("msgs/index.db")
		m.reopen()
		m.many("A", 1, body)
		m.stale(index, "stale")
	}},
	{id: "R020", coats: three, block: 132, write: func(m *scene) {
		m.walOne()
		m.stop()
		m.save("one")
		m.reopen()
		m.walTwo()
		m.stop()
		m.save("two")
	}},
	{id: "R021", coats: four, block: 132, write: func(m *scene) {
		m.walOne()
		m.stop()
		index := m.read("msgs/index.db")
		m.reopen()
		m.walTwo()
		m.stop()
		m.save("true")
		m.put1("msgs/index.db", index)
		m.save("stale")
	}},
	{id: "R022", coats: three, block: 132, write: func(m *scene) {
		body := strings.Repeat("A", 19)
		m.many("A", 2, body)
		m.stop()
		index := m.read("msgs/index.db")
		m.reopen()
		m.many("A", 6, body)
		m.stop()
		m.save("true")
		m.put1("msgs/index.db", index)
		m.save("stale")
	}},
	{id: "R024", coats: bare, block: 256, config: perSubject(1), write: func(m *scene) {
		m.numbered("foo.", 1, 12, "hello")
		m.stop()
		index := m.read("msgs/index.db")
		m.reopen()
		m.numbered("foo.", 1, 6, "hello")
		m.stop()
		m.save("true")
		m.put1("msgs/index.db", index)
		m.save("stale")
	}},
	{id: "R027", coats: bare, write: func(m *scene) {
		m.numbered("foo.", 1, 10, "abc")
		m.rm(8, 9, 10)
		_, err := m.s.PurgeEx("foo.*", 8, 0)
		must(err)
		must(m.s.writeIndex())
		m.save("forced")
		m.stop()
		m.save("clean")
	}},
	{id: "R028", coats: bare, write: func(m *scene) {
		tenSubjects(m)
		m.stop()
		index := m.read("msgs/index.db")
		index = index[:len(index)-8]
		index[2] = 9
		m.put1("msgs/index.db", hashed(index))
		m.save("nine")
		index[2] = 0
		// The old hash stays in front of the new one, as the server's own test has it.
		m.put1("msgs/index.db", hashed(hashed(index)))
		m.save("none")
	}},
	{id: "R030", coats: bare, write: func(m *scene) {
		m.foo(100, "abc")
		m.stop()
		m.put1("msgs/1.idx", bytes.Repeat([]byte{0x5A}, 60))
		m.put1("msgs/1.fss", bytes.Repeat([]byte{0xA5}, 60))
		m.stay("")
	}},
	{id: "R031", coats: three, write: func(m *scene) {
		m.foo(100, "Hello World")
		for seq := uint64(2); seq <= 100; seq += 2 {
			_, err := m.s.EraseMsg(seq)
			must(err)
		}
		m.both("")
	}},
	{id: "R032", coats: bare, write: func(m *scene) {
		for i := range 400 {
			tokens := []string{"foo"}
			for range 1 + m.random.IntN(5) {
				tokens = append(tokens, words[m.random.IntN(len(words))])
			}
			m.put(fmt.Sprintf("%s.%d", strings.Join(tokens, "."), i%350), nil, nil, 0)
		}
		m.stop()
		m.save("")
	}},
	{id: "R034", coats: bare, block: 4096, config: perSubject(1), write: func(m *scene) {
		m.numbered("foo.", 1, 10, "x")
		m.stop()
		index := m.read("msgs/index.db")
		m.reopen()
		m.numbered("foo.", 1, 1001, "x")
		m.stale(index, "")
	}},
	{id: "R035", coats: bare, block: 4096, config: func(c *server.StreamConfig) { c.MaxMsgs = 1001 }, write: func(m *scene) {
		m.numbered("foo.", 1, 10, "x")
		m.stop()
		index := m.read("msgs/index.db")
		m.reopen()
		m.numbered("foo.", 1, 1001, "x")
		m.stale(index, "")
	}},
	{id: "R039", coats: three, write: func(m *scene) {
		for i := range 100 {
			m.put(fmt.Sprintf("foo.%d", i%10), nil, []byte("abc"), 0)
		}
		m.stop()
		m.cut("msgs/index.db", 0)
		m.save("")
	}},
	{id: "R273", coats: bare, write: func(m *scene) {
		tenSubjects(m)
		m.stale(bounds(1<<40), "")
	}},
	{id: "R275", coats: bare, write: func(m *scene) {
		tenSubjects(m)
		m.stale(bounds(0, 1<<62), "")
	}},
}

// stay saves without waiting for background removals.
func (m *scene) stay(label string) { m.save(label) }

func (m *scene) walOne() {
	m.many("A", 1, strings.Repeat("A", 19))
	m.many("Z", 1, strings.Repeat("Z", 19))
	m.rm(1)
}

func (m *scene) walTwo() {
	m.many("A", 1, strings.Repeat("A", 19))
	m.many("Z", 1, strings.Repeat("Z", 19))
	m.rm(2, 4)
}

var blockScenarios = []scenario{
	{id: "R040", coats: three, write: func(m *scene) {
		m.foo(100, "Hello World")
		m.stop()
		m.flip("msgs/1.blk", 44*60+30)
		m.save("clean")
		m.drop("msgs/index.db")
		m.save("noidx")
		m.reopen()
		m.stop()
		m.save("mended")
	}},
	{id: "R041", coats: three, block: 4096, write: func(m *scene) {
		m.foo(500, "Hello World")
		m.without("", "msgs/1.blk")
		m.reopen()
		_, _ = m.s.LoadMsg(1, nil)
		time.Sleep(300 * time.Millisecond)
		m.stop()
		m.save("loaded")
	}},
	{id: "R042", coats: four, block: 4096, write: func(m *scene) {
		m.foo(500, "Hello World")
		m.stop()
		m.drop("msgs/1.blk")
		m.reopen()
		_, _ = m.s.LoadMsg(1, nil)
		_ = m.s.State()
		time.Sleep(300 * time.Millisecond) // the store rebuilds itself in the background
		m.without("", "msgs/6.blk")
	}},
	{id: "R044", coats: three, write: func(m *scene) {
		m.foo(1, "")
		m.stop()
		m.put1("msgs/10.blk.random", nil)
		m.put1("msgs/10.blk..tmp", nil)
		m.save("clean")
		m.drop("msgs/index.db")
		m.save("noidx")
	}},
	{id: "R045", coats: bare, write: func(m *scene) {
		m.foo(1, "Hello World")
		m.stop()
		m.drop("msgs/index.db", "msgs/1.blk")
		m.editMeta(func(info *server.FileStreamInfo) { info.AllowMsgTTL = true })
		m.save("")
	}},
	{id: "R047", coats: four, write: func(m *scene) {
		m.foo(1, "one")
		m.newBlock()
		m.foo(1, "two")
		m.newBlock()
		m.foo(1, "three")
		m.without("", "msgs/2.blk")
	}},
	{id: "R048", coats: four, write: func(m *scene) {
		for _, seq := range []uint64{1, 3, 2, 4} {
			m.record(seq, "", nil, nil)
		}
		m.save("")
	}},
	{id: "R051", coats: three, write: func(m *scene) {
		m.foo(5, "")
		m.stop()
		m.cut("msgs/1.blk", 0)
		m.save("")
	}},
	{id: "R053", coats: bare, write: func(m *scene) {
		m.foo(5, "")
		m.stop()
		whole := m.read("msgs/1.blk")
		m.put1("msgs/1.blk", whole[33:])
		m.save("head")
		m.put1("msgs/1.blk", whole[:4*33])
		m.save("tail")
		m.put1("msgs/1.blk", whole[33:4*33])
		m.save("ends")
	}},
	{id: "R054", coats: three, write: func(m *scene) {
		m.foo(3, "")
		m.rm(2)
		deletedOf(m.block1(0)).Empty()
		must(m.s.writeIndex())
		m.save("")
	}},
	{id: "R056", coats: bare, config: perSubject(1), write: func(m *scene) {
		m.record(2, "A", nil, []byte("A"))
		m.record(4, "B", nil, []byte("B"))
		m.record(12, "C", nil, []byte("C"))
		m.save("")
	}},
	{id: "R057", coats: bare, write: func(m *scene) {
		m.foo(10, "")
		_, err := m.s.Purge()
		must(err)
		*number(m.block1(-1), "last", "seq") = 9
		must(m.s.writeIndex())
		m.save("")
	}},
	{id: "R058", coats: bare, block: 3 * 200, config: func(c *server.StreamConfig) { c.MaxBytes = 10_000 }, write: func(m *scene) {
		m.foo(20, strings.Repeat("random", 27)+"12345")
		names := m.blocks()
		m.without("", names[len(names)-2])
	}},
	{id: "R060", coats: bare, write: func(m *scene) {
		m.foo(1, "Hello World")
		m.stop()
		m.cut("msgs/1.blk", 1)
		m.drop("msgs/index.db")
		m.save("")
	}},
	{id: "R061", coats: bare, block: 4096, config: func(c *server.StreamConfig) { c.Retention = server.InterestPolicy }, write: func(m *scene) {
		m.foo(1000, "")
		m.rmRange(1, 500)
		m.stop()
		m.save("whole")
		for _, name := range m.blocks() {
			m.cut(name, int64(len(m.read(name))-1))
		}
		m.save("cut")
	}},
	{id: "R276", coats: s2, block: 4 << 20, write: func(m *scene) {
		m.many("foo", 1, strings.Repeat("x", 7_368_035-33))
		m.foo(1, "small")
		m.both("")
	}},
	{id: "R278", coats: s2, block: 16 << 10, write: func(m *scene) {
		m.put("foo", nil, m.body(17<<10), 0)
		m.foo(1, "small")
		m.stop()
		m.flip("msgs/1.blk", len(m.read("msgs/1.blk"))/2)
		m.save("clean")
		m.drop("msgs/index.db")
		m.save("noidx")
	}},
}
