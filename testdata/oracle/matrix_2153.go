package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func init() { scenarios = append(scenarios, since2153) }

// spoil puts a compression mark where a block was, and nothing that decompresses behind it.
func (m *scene) spoil(block string) {
	m.put1(block, binary.LittleEndian.AppendUint64([]byte{'c', 'm', 'p', 1}, 2))
}

// late tells what a setting that reads the first block at the open makes of a spoilt one, and of a sound one.
func (m *scene) late(label string, change func(*server.StreamConfig)) {
	before, block := m.read("meta.inf"), m.read("msgs/1.blk")
	m.editMeta(func(info *server.FileStreamInfo) { change(&info.StreamConfig) })
	m.save(label + "-sound")
	m.spoil("msgs/1.blk")
	m.save(label)
	m.put1("msgs/1.blk", block)
	m.put1("meta.inf", before)
}

// What v2.15.3 brought.
var since2153 = []scenario{
	{id: "R347", coats: bare, config: func(c *server.StreamConfig) { withTTL(c); c.AllowMsgSchedules = true }, write: func(m *scene) {
		const ttl, schedule, id = "Nats-TTL: 876000h", "Nats-Schedule: @at 2090-01-02T03:04:05Z", "Nats-Msg-Id: a"
		for i, headers := range [][]string{nil, {ttl}, {schedule}, {id, ttl, schedule}, {id}, {"Nats-TTL: "}} {
			m.put(fmt.Sprintf("foo.%d", i), headers, []byte("x"), 0)
		}
		m.both("")
	}},
	{id: "R348", coats: bare, write: func(m *scene) {
		m.foo(1, "x")
		m.stop()
		meta := m.read("meta.inf")
		for label, change := range map[string]func(*server.FileStreamInfo){
			"ttl":       func(info *server.FileStreamInfo) { info.AllowMsgTTL = true },
			"schedules": func(info *server.FileStreamInfo) { info.AllowMsgSchedules = true },
			"source": func(info *server.FileStreamInfo) {
				info.Sources = []*server.StreamSource{{Name: "ORIGIN"}}
			},
		} {
			m.put1("meta.inf", meta)
			m.editMeta(change)
			m.save(label)
		}
	}},
	{id: "R349", coats: bare, block: 256, config: limitsOf("ORIGIN1"), write: func(m *scene) {
		for seq := 1; seq <= 100; seq++ {
			m.put(fmt.Sprintf("foo.a.%d", seq%5), []string{fmt.Sprintf("Nats-Stream-Source: ORIGIN1 %d > > foo.a Id1", seq)}, nil, 0)
		}
		m.stop()
		for _, filter := range []string{"foo.b.>", "foo.a.>"} {
			m.editMeta(func(info *server.FileStreamInfo) {
				info.Sources = append(info.Sources[:1:1], &server.StreamSource{Name: "ORIGIN2", FilterSubject: filter})
			})
			label := strings.ReplaceAll(strings.TrimSuffix(filter, ".>"), ".", "-")
			m.save(label)
			block := m.read("msgs/2.blk")
			m.spoil("msgs/2.blk")
			m.save(label + "-spoilt")
			m.put1("msgs/2.blk", block)
		}
	}},
	{id: "R350", coats: bare, block: 64, write: func(m *scene) {
		m.foo(2, "Hello World, and more of it")
		m.stop()
		m.late("age", func(c *server.StreamConfig) { c.MaxAge, c.Duplicates = time.Minute, time.Minute })
	}},
	{id: "R362", coats: bare, block: 64, write: func(m *scene) {
		m.foo(2, "Hello World, and more of it")
		m.stop()
		m.late("messages", func(c *server.StreamConfig) { c.MaxMsgs = 1 })
		m.late("bytes", func(c *server.StreamConfig) { c.MaxBytes = 1 })
		m.late("subject", func(c *server.StreamConfig) { c.MaxMsgsPer = 1 })
		m.late("source", func(c *server.StreamConfig) { c.Sources = []*server.StreamSource{{Name: "ORIGIN"}} })
	}},
}
