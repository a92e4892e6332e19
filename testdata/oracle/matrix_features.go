package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func init() {
	scenarios = append(scenarios, ageScenarios, timerScenarios, sourceScenarios, sealScenarios, limitScenarios, metaScenarios,
		subjectScenarios, consumerScenarios, otherScenarios)
}

func aged(c *server.StreamConfig) { c.MaxAge = longAge }

var hundred = strings.Repeat("ABC", 33)

// rotating stores messages on ten subjects in turn.
func (m *scene) rotating(count int) {
	for i := range count {
		m.put(fmt.Sprintf("foo.%d", (i+1)%10), nil, []byte(hundred), 0)
	}
}

var ageScenarios = []scenario{
	{id: "R124", coats: three, config: aged, write: func(m *scene) {
		m.long(func() { m.foo(100, "Hello World") })
		m.both("")
	}},
	{id: "R125", coats: bare, block: 8192, config: aged, write: func(m *scene) {
		m.long(func() { m.rotating(500) })
		m.stop()
		m.save("")
	}},
	{id: "R126", coats: bare, block: 8192, config: aged, write: func(m *scene) {
		m.long(func() { m.rotating(10) })
		m.rotating(10)
		m.both("")
	}},
	{id: "R128", coats: bare, block: 8192, config: aged, write: func(m *scene) {
		m.long(func() { m.rotating(150) })
		m.rotating(100)
		last := *number(m.block1(0), "last", "seq")
		m.rmRange(last-9, last)
		m.stop()
		m.save("")
	}},
	{id: "R131", coats: three, config: aged, write: func(m *scene) {
		m.long(func() { m.foo(100, "Hello World") })
		linkExpire(m.s.ptr)
		m.both("")
	}},
	{id: "R132", coats: three, config: aged, write: func(m *scene) {
		m.long(func() { m.foo(1, "") })
		m.stop()
		m.save("")
	}},
	{id: "R135", coats: four, block: 1024, config: func(c *server.StreamConfig) {
		aged(c)
		c.Retention = server.WorkQueuePolicy
	}, write: func(m *scene) {
		m.long(func() { m.foo(500, "Hello World") })
		linkExpire(m.s.ptr)
		m.stop()
		m.drop(m.blocks()...)
		m.save("")
	}},
	{id: "R136", coats: bare, config: aged, write: func(m *scene) {
		m.long(func() { m.foo(200, "x") })
		must(m.kill())
		m.save("")
	}},
	{id: "R137", coats: bare, config: func(c *server.StreamConfig) { c.MaxAge = 2 * time.Second }, write: func(m *scene) {
		m.foo(1, "x")
		m.stop()
		m.save("")
	}},
	{id: "R138", coats: bare, config: aged, write: func(m *scene) {
		m.long(func() { m.numbered("foo.", 1, 500, "x") })
		m.stop()
		m.save("")
	}},
	{id: "R139", coats: bare, config: func(c *server.StreamConfig) {
		c.MaxAge, c.SubjectDeleteMarkerTTL, c.AllowMsgTTL, c.AllowRollup = time.Second, time.Second, true, true
	}, write: func(m *scene) {
		m.foo(3, "x")
		m.stop()
		m.save("")
	}},
	{id: "R141", coats: seals, config: aged, write: func(m *scene) {
		m.long(func() { m.foo(5, "Hello World") })
		linkExpire(m.s.ptr)
		m.foo(5, "Hello World")
		m.both("")
	}},
}

func (m *scene) timed(count int) {
	for range count {
		m.put("foo", []string{"Nats-TTL: 1s"}, []byte("x"), 1)
	}
}

var timerScenarios = []scenario{
	{id: "R142", coats: bare, config: withTTL, write: func(m *scene) {
		m.timed(10)
		m.stop()
		m.save("")
	}},
	{id: "R143", coats: bare, config: withTTL, write: func(m *scene) {
		m.foo(1, "x")
		m.timed(9)
		m.without("", "msgs/thw.db")
	}},
	{id: "R147", coats: four, config: withTTL, write: func(m *scene) {
		m.timed(1)
		m.newBlock()
		m.timed(1)
		m.newBlock()
		m.record(1, "foo", []byte("NATS/1.0\r\nNats-TTL: 1s\r\n\r\n"), []byte("x"))
		must(m.kill())
		m.drop("msgs/index.db", "msgs/thw.db")
		m.save("repeated")
		m.drop("msgs/2.blk", "msgs/2.key")
		m.save("")
	}},
	{id: "R148", coats: four, config: func(c *server.StreamConfig) {
		withTTL(c)
		withSchedules(c)
	}, write: func(m *scene) {
		m.put("foo", []string{"Nats-TTL: 5", "Nats-Schedule: @at 2091-03-04T05:06:07Z", "Nats-Schedule-Target: bar"}, nil, 5)
		m.both("")
	}},
	{id: "R149", coats: bare, config: withTTL, write: func(m *scene) {
		m.timed(10)
		must(m.s.writeIndex())
		m.save("")
	}},
	{id: "R150", coats: bare, config: withTTL, write: func(m *scene) {
		m.timed(10)
		m.without("", "msgs/thw.db")
	}},
	{id: "R284", coats: bare, config: withTTL, write: func(m *scene) {
		m.timed(10)
		m.purgeSubject("foo", 0, 0)
		m.stop()
		m.save("")
	}},
	{id: "R285", coats: bare, config: withTTL, write: func(m *scene) {
		m.timed(10)
		must(m.s.Truncate(5))
		m.stop()
		m.save("")
	}},
	{id: "R151", coats: bare, config: withSchedules, write: func(m *scene) {
		m.put("foo", []string{"Nats-Schedule: @at 2091-03-04T05:06:07Z", "Nats-Schedule-Target: bar"}, nil, 0)
		m.without("", "msgs/sched.db")
	}},
}

// sourcesOf configures sources by name.
func sourcesOf(names string, retention server.RetentionPolicy) func(*server.StreamConfig) {
	return func(c *server.StreamConfig) {
		c.Retention = retention
		for _, name := range strings.Fields(names) {
			c.Sources = append(c.Sources, &server.StreamSource{Name: name})
		}
	}
}

func limitsOf(names string) func(*server.StreamConfig) {
	return sourcesOf(names, server.LimitsPolicy)
}

// sourced stores messages that came from another stream.
func (m *scene) sourced(origin string, from, to int) {
	for seq := from; seq <= to; seq++ {
		m.put("foo", []string{fmt.Sprintf("Nats-Stream-Source: %s %d > > foo %s", origin, seq, "Id"+origin)}, nil, 0)
	}
}

// outdated writes the state, goes on, and puts the old source positions back.
func (m *scene) outdated(more func()) {
	must(m.s.writeIndex())
	old := m.read("sources.db")
	more()
	m.stop()
	m.put1("sources.db", old)
	m.save("")
}

var sourceScenarios = []scenario{
	{id: "R287", coats: bare, block: 256, config: limitsOf("ORIGIN"), write: func(m *scene) {
		m.sourced("ORIGIN", 1, 10)
		m.stop()
		m.save("")
	}},
	{id: "R288", coats: bare, block: 256, config: limitsOf("ORIGIN"), write: func(m *scene) {
		m.sourced("ORIGIN", 1, 10)
		m.without("", "sources.db")
	}},
	{id: "R290", coats: bare, config: func(c *server.StreamConfig) {
		limitsOf("ORIGIN")(c)
		withTTL(c)
	}, write: func(m *scene) {
		for seq := 1; seq <= 10; seq++ {
			m.put("foo", []string{fmt.Sprintf("Nats-Stream-Source: ORIGIN %d", seq)}, nil, 0)
		}
		m.without("", "sources.db")
	}},
	{id: "R291", coats: bare, config: limitsOf("ORIGIN1 ORIGIN2"), write: func(m *scene) {
		m.sourced("ORIGIN1", 1, 1)
		m.sourced("ORIGIN2", 1, 1)
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) { info.Sources = info.Sources[:1] })
		m.save("")
	}},
	{id: "R293", coats: bare, config: limitsOf("ORIGIN1"), write: func(m *scene) {
		m.sourced("ORIGIN1", 1, 10)
		m.rm(10)
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) {
			info.Sources = append(info.Sources, &server.StreamSource{Name: "ORIGIN2"})
		})
		m.save("backward")
		m.editMeta(func(info *server.FileStreamInfo) { info.AllowMsgTTL = true })
		m.save("linear")
	}},
	{id: "R294", coats: bare, block: 256, config: func(c *server.StreamConfig) {
		for i := range 3 {
			c.Sources = append(c.Sources, &server.StreamSource{Name: fmt.Sprintf("ORIGIN%d", i), FilterSubject: fmt.Sprintf("foo.%d", i)})
		}
	}, write: func(m *scene) {
		rounds := func(from, to int) {
			for seq := from; seq <= to; seq++ {
				for i := range 3 {
					m.put(fmt.Sprintf("foo.%d", i), []string{fmt.Sprintf("Nats-Stream-Source: ORIGIN%d %d foo.%d > foo.%d Id%d", i, seq, i, i, i)}, nil, 0)
				}
			}
		}
		rounds(1, 15)
		m.outdated(func() { rounds(16, 30) })
	}},
	{id: "R296", coats: four, config: limitsOf("ORIGIN"), write: func(m *scene) {
		m.sourced("ORIGIN", 1, 5)
		m.outdated(func() { m.sourced("ORIGIN", 6, 6) })
	}},
	{id: "R297", coats: bare, config: limitsOf("ORIGIN"), write: func(m *scene) {
		m.sourced("ORIGIN", 1, 1)
		m.outdated(func() { m.put("foo", []string{"Nats-Stream-Source: ORIGIN 9"}, nil, 0) })
	}},
	{id: "R299", coats: bare, config: limitsOf("ORIGIN"), write: func(m *scene) {
		m.stop()
		m.save("none")
		m.reopen()
		m.sourced("ORIGIN", 1, 1)
		m.stop()
		m.save("one")
		m.editMeta(func(info *server.FileStreamInfo) { info.Sources = nil })
		m.save("gone")
	}},
	{id: "R300", coats: bare, config: limitsOf("ORIGIN"), write: func(m *scene) {
		m.sourced("ORIGIN", 1, 5)
		m.stop()
		m.save("fresh")
		m.reopen()
		m.purge()
		m.stop()
		m.save("purged")
		m.drop("sources.db")
		m.save("lost")
	}},
}

var sealScenarios = []scenario{
	{id: "R153", coats: three, write: func(m *scene) {
		m.foo(50, "aes ftw")
		m.consumer("o22", server.AckExplicit, func(o server.ConsumerStore) {
			must(o.Update(&server.ConsumerState{
				Delivered: server.SequencePair{Consumer: 22, Stream: 22}, AckFloor: server.SequencePair{Consumer: 11, Stream: 11},
			}))
		})
		m.stop()
		m.save("", consumers)
	}},
	{id: "R154", coats: aes, write: func(m *scene) {
		m.foo(100, "aes ftw")
		m.stop()
		m.save("", unkeyed)
	}},
	{id: "R158", coats: seals, write: func(m *scene) {
		m.put("foo", nil, []byte("TOP SECRET DOCUMENT #1"), 0)
		m.foo(9, "TOP SECRET DOCUMENT")
		m.consumer("dlc", server.AckExplicit, func(o server.ConsumerStore) { must(o.UpdateDelivered(1, 1, 1, m.tick())) })
		m.stop()
		m.save("", consumers)
	}},
	{id: "R160", coats: []coat{aes[0], four[2]}, write: func(m *scene) {
		m.again()
		m.foo(1, "TOP SECRET DOCUMENT")
		m.again()
		m.stop()
		m.save("")
	}},
	{id: "R162", coats: seals, block: 2048, write: rekeyed},
	{id: "R164", coats: bare, block: 4096, config: func(c *server.StreamConfig) { c.MaxMsgs = 100 }, write: func(m *scene) {
		m.foo(200, strings.Repeat("x", 40))
		m.stop()
		m.save("", keyed("chacha"))
	}},
	{id: "R165", coats: seals, block: 1024, write: func(m *scene) {
		m.foo(60, "Hello World")
		m.stop()
		whole := filepath.Join(m.tmp, "whole")
		must(copyTree(m.dir, whole))
		for _, length := range []int64{0, 70} {
			names := m.blocks()
			for _, name := range names {
				m.cut(strings.TrimSuffix(name, "blk")+"key", length)
			}
			m.save(fmt.Sprintf("all-%d", length))
			m.drop("msgs/index.db")
			m.save(fmt.Sprintf("all-%d-noidx", length))
			m.drop("msgs")
			must(copyTree(filepath.Join(whole, "msgs"), m.path("msgs")))
			m.cut(strings.TrimSuffix(names[1], "blk")+"key", length)
			m.drop("msgs/index.db")
			m.save(fmt.Sprintf("second-%d-noidx", length))
			m.drop("msgs")
			must(copyTree(filepath.Join(whole, "msgs"), m.path("msgs")))
		}
	}},
}

// rekeyed turns a store over to another key: with both ciphers the old one may have.
func rekeyed(m *scene) {
	for i := range 30 {
		m.put("foo", nil, fmt.Appendf(nil, "%02d %s", i, strings.Repeat("Hello ", 30)), 0)
	}
	m.stop()
	whole := filepath.Join(m.tmp, "whole")
	must(copyTree(m.dir, whole))
	for _, cipher := range []string{"aes", "chacha"} {
		both := func(q *question) { q.Key, q.PrevKey, q.Cipher = secondKey, fixtureKey, cipher }
		m.save("to-"+cipher, both)
		q := &question{}
		both(q)
		m.ask(q, m.dir)
		m.save("in-"+cipher, func(q *question) { q.Key, q.Cipher = secondKey, cipher })
		must(os.RemoveAll(m.dir))
		must(copyTree(whole, m.dir))
	}
}

func consumers(q *question) { q.Consumers = true }

func (m *scene) consumer(name string, ack server.AckPolicy, use func(server.ConsumerStore)) {
	created := time.Unix(0, defaultBaseNs).UTC()
	o, err := m.s.ConsumerStore(name, created, &server.ConsumerConfig{
		Durable: name, Name: name, AckPolicy: ack, MaxDeliver: -1, AckWait: 30 * time.Second, Replicas: 1, MaxAckPending: 1000,
	})
	must(err)
	use(o)
}

func tightened(c *server.StreamConfig) { c.MaxMsgs, c.MaxMsgsPer = 15, 2 }

var limitScenarios = []scenario{
	{id: "R170", coats: three, config: func(c *server.StreamConfig) { c.MaxMsgs = 1 }, write: func(m *scene) {
		m.foo(2, "Hello World")
		m.stop()
		m.save("")
	}},
	{id: "R172", coats: bare, write: func(m *scene) {
		for range 10 {
			m.many("A", 1, "abc")
			m.many("B", 1, "abc")
		}
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) { tightened(&info.StreamConfig) })
		m.save("clean")
		m.drop("msgs/index.db")
		m.save("noidx")
	}},
	{id: "R173", coats: three, config: func(c *server.StreamConfig) { c.FirstSeq = 1000 }, write: func(m *scene) {
		m.stop()
		m.save("fresh")
		m.reopen()
		m.foo(2, "Hello World")
		m.both("")
	}},
	{id: "R175", coats: bare, block: 1024, write: func(m *scene) {
		m.numbered("foo.", 1, 100, "")
		for range 500 {
			m.many(fmt.Sprintf("foo.%d", 1+m.random.IntN(100)), 1, "")
		}
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) { info.MaxMsgsPer = 1 })
		m.save("clean")
		m.drop("msgs/index.db")
		m.save("noidx")
	}},
}

var metaScenarios = []scenario{
	{id: "R177", coats: bare, write: func(m *scene) {
		m.consumer("obs", server.AckExplicit, func(server.ConsumerStore) {})
		m.stop()
		m.save("", consumers)
	}},
	{id: "R178", coats: bare, write: func(m *scene) {
		m.foo(10, "x")
		m.stop()
		meta, sum := m.read("meta.inf"), m.read("meta.sum")
		m.cut("meta.inf", 0)
		m.cut("meta.sum", 0)
		m.save("cut")
		m.put1("meta.inf", meta)
		m.put1("meta.sum", sum)
		m.save("again")
	}},
	{id: "R180", coats: bare, write: func(m *scene) {
		m.foo(1, "x")
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) { info.Subjects = []string{"foo", "bar", " baz "} })
		m.save("")
	}},
	{id: "R182", coats: bare, write: func(m *scene) {
		m.foo(100, "x")
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) { info.Sealed, info.DenyDelete, info.DenyPurge = true, true, true })
		m.save("")
	}},
	{id: "R183", coats: bare, write: func(m *scene) {
		m.nowNs = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() // far from expiry
		m.foo(10, "x")
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) {
			info.Subjects, info.MaxMsgs, info.MaxBytes, info.MaxAge = []string{"foo", "bar"}, 2222, 3_333_333, 22*time.Hour
		})
		m.save("")
	}},
	{id: "R186", coats: bare, config: func(c *server.StreamConfig) { c.Subjects, c.Mirror = nil, &server.StreamSource{Name: "ORIGIN"} }, write: func(m *scene) {
		m.foo(3, "x")
		m.consumer("all", server.AckExplicit, func(server.ConsumerStore) {})
		m.stop()
		m.save("", consumers)
	}},
	{id: "R303", coats: bare, write: func(m *scene) {
		m.foo(3, "x")
		m.stop()
		m.editMeta(func(info *server.FileStreamInfo) { info.Replicas = 3 })
		m.save("")
	}},
}

var subjectScenarios = []scenario{
	{id: "R220", coats: three, block: 1024, config: perSubject(1), write: func(m *scene) {
		m.numbered("foo.", 1, 100, "x")
		m.both("")
	}},
	{id: "R221", coats: three, config: func(c *server.StreamConfig) { c.Subjects = nil }, write: func(m *scene) {
		m.many("", 100, "Hello World")
		m.both("")
	}},
	{id: "R223", coats: bare, write: func(m *scene) {
		for range 200 {
			m.many(fmt.Sprintf("foo.%d", m.random.Int64()), 1, "")
		}
		for seq := uint64(1); seq <= 200; seq++ {
			if m.random.IntN(2) == 0 {
				m.rm(seq)
			}
		}
		m.both("")
		m.purge()
		m.stop()
		m.save("purged")
	}},
	{id: "R225", coats: bare, block: 4096, write: func(m *scene) {
		m.many("foo.A", 500, "")
		m.many("foo.B", 10, "")
		m.stop()
		m.save("")
	}},
	{id: "R226", coats: three, block: 256, config: perSubject(1), write: func(m *scene) {
		m.many("foo.0", 1, "hello")
		for i := 1; m.s.value().FieldByName("blks").Len() < 2; i++ {
			m.numbered("foo.", i, i, "hello")
		}
		m.many("foo.0", 1, "hello")
		m.both("")
	}},
	{id: "R228", coats: bare, block: 4096, write: func(m *scene) {
		for i := 1; i <= 500; i++ {
			subject := "foo"
			if i%5 == 0 {
				subject = fmt.Sprintf("foo.%d", i)
			}
			m.many(subject, 1, "")
		}
		m.rm(1, 4, 7)
		m.foo(1, "")
		m.stop()
		m.save("")
	}},
	{id: "R229", coats: bare, write: func(m *scene) {
		m.numbered("foo.", 1, 3, "x")
		m.numbered("foo.", 1, 2, "x")
		m.both("")
	}},
}

var consumerScenarios = []scenario{
	{id: "R199", coats: three, write: func(m *scene) {
		m.foo(3, "x")
		m.consumer("o22", server.AckExplicit, func(o server.ConsumerStore) {
			for n := range uint64(4) {
				must(o.UpdateDelivered(n+1, 1, n+1, m.tick()))
			}
			must(o.UpdateDelivered(5, 2, 1, m.tick()))
		})
		m.stop()
		m.save("", consumers)
	}},
	{id: "R201", coats: three, write: func(m *scene) {
		m.foo(1, "x")
		must(m.s.SkipMsgs(2, 300))
		m.consumer("o22", server.AckExplicit, func(o server.ConsumerStore) {
			for i, seq := range []uint64{100, 110, 130, 150, 165} {
				must(o.UpdateDelivered(uint64(i+1), seq, 1, m.tick()))
			}
			for _, ack := range [][2]uint64{{1, 100}, {3, 130}, {2, 110}, {5, 165}, {4, 150}} {
				must(o.UpdateAcks(ack[0], ack[1]))
			}
			for i, seq := range []uint64{170, 171, 172, 173, 200} {
				must(o.UpdateDelivered(uint64(i+6), seq, 1, m.tick()))
			}
			must(o.UpdateAcks(7, 171))
			must(o.UpdateAcks(8, 172))
		})
		m.stop()
		m.save("", consumers)
	}},
	{id: "R214", coats: bare, write: func(m *scene) {
		m.foo(1, "x")
		m.consumer("o22", server.AckExplicit, func(o server.ConsumerStore) { must(o.UpdateDelivered(1, 1, 1, m.tick())) })
		m.stop()
		m.put1("obs/o22/o.dat", make([]byte, len(m.read("obs/o22/o.dat"))))
		m.save("", consumers)
	}},
	{id: "R215", coats: bare, write: func(m *scene) {
		m.foo(1, "x")
		m.consumer("o22", server.AckExplicit, func(o server.ConsumerStore) {
			must(o.UpdateDelivered(1, 1, 1, m.tick()))
			must(o.UpdateAcks(1, 1))
		})
		m.stop()
		m.drop("msgs/1.blk", "msgs/index.db")
		m.save("", consumers)
	}},
}

var otherScenarios = []scenario{
	{id: "R248", coats: three, write: func(m *scene) {
		m.foo(3, "Hello World")
		m.stop()
		m.put1("msgs/1.blk.tmp", m.read("msgs/1.blk")[:50])
		m.save("clean")
		m.drop("msgs/index.db")
		m.save("noidx")
	}},
	{id: "R254", coats: three, write: func(m *scene) { m.save("") }},
	{id: "R256", coats: three, config: func(c *server.StreamConfig) { c.Retention = server.WorkQueuePolicy }, write: func(m *scene) {
		m.compact(100_000_000)
		m.foo(20, "x")
		m.rmRange(100_000_000, 100_000_019)
		m.stop()
		m.save("whole")
		m.drop("msgs")
		m.save("wiped")
	}},
	{id: "R266", coats: three, write: func(m *scene) {
		m.foo(2, "x")
		m.rm(2)
		m.both("half-")
		must(m.s.Truncate(1))
		m.both("cut-")
	}},
	{id: "R339", coats: bare, config: func(c *server.StreamConfig) { c.MaxMsgs = 100 }, write: func(m *scene) {
		m.foo(50, "x")
		must(m.kill())
		m.save("raised")
		m.editMeta(func(info *server.FileStreamInfo) { info.MaxMsgs = 10 })
		m.save("older")
	}},
}
