package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// century is longer than any fixture lives: a limit that is set but never reached.
	century = int64(100 * 365 * 24 * time.Hour)
	// longWait keeps a delivered message pending for as long as the server runs.
	longWait = int64(24 * time.Hour)
	// farTTL expires about 2076, farSchedule fires in 2090.
	farTTL      = "438000h"
	farSchedule = "@at 2090-01-02T03:04:05Z"
)

// text is a compressible body of exactly size bytes that differs with n.
func text(n, size int) string {
	line := fmt.Sprintf("line %06d of a body that compresses well; ", n)
	return strings.Repeat(line, size/len(line)+1)[:size]
}

// steps runs each step until one fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) publishMany(first, last, size int, subject func(n int) string) error {
	for n := first; n <= last; n++ {
		if err := c.publish(subject(n), text(n, size)); err != nil {
			return err
		}
	}
	return nil
}

func always(subject string) func(int) string { return func(int) string { return subject } }

func writeAcme(c *client) error {
	return steps(
		func() error { return c.stream("LEDGER", object{"subjects": []string{"ledger.*"}}) },
		func() error { return c.publishMany(1, 12, 40, always("ledger.main")) },
		func() error { return c.remove("LEDGER", false, 3, 12) },
		func() error { return c.consumer("LEDGER", "audit", true, object{"ack_wait": longWait}) },
	)
}

func writeGlobal(c *client) error {
	line := minor()
	parts := []func(*client) error{
		writeOrders, writeConsumers, writeWork, writeKeyValue, writeHistory, writeCompacted, writeAggregate,
	}
	if line >= 11 {
		parts = append(parts, writeTTLs)
	}
	if line >= 12 {
		parts = append(parts, writeSchedules)
	}
	// Cipher and compression change little about these.
	if c.everything {
		parts = append(parts, writeMoreConsumers, writeInterest, writeLimits, writeAged, writePurged, writeJumped,
			writeEmpty, writeOdd, writeSealed, writeMirror)
		if line >= 10 {
			parts = append(parts, writeFirstSequence)
		}
		if line >= 11 {
			parts = append(parts, writeMarkers)
		}
		if line >= 12 {
			parts = append(parts, writeCounter, writeBatch)
		}
	}
	for _, part := range parts {
		if err := part(c); err != nil {
			return err
		}
	}
	return nil
}

// writeMore changes a store that was stopped once, so that its side files fall behind.
func writeMore(c *client) error {
	err := steps(
		func() error { return c.publishMany(300, 330, 300, always("orders.late")) },
		func() error { return c.remove("ORDERS", false, 4, 205) },
		func() error { return c.publish("$KV.settings.colour", "violet") },
		func() error { return c.publish("history.9", text(99, 60)) },
		func() error { return c.waitFor("AGGREGATE", 16) },
		func() error { return c.remove("COMPACTED", true, 33) },
		func() error {
			messages, err := c.pull("ORDERS", "shipping", 2)
			if err != nil {
				return err
			}
			return c.settleMessages("+ACK", messages...)
		},
		func() error {
			messages, err := c.pull("WORK", "workers", 2)
			if err != nil {
				return err
			}
			return c.settleMessages("+ACK", messages...)
		},
	)
	if err == nil && minor() >= 11 {
		err = c.publish("ttl.late", "after the restart", "Nats-TTL", farTTL)
	}
	if err == nil && minor() >= 12 {
		err = c.publish("schedule.late", "after the restart",
			"Nats-Schedule", farSchedule, "Nats-Schedule-Target", "fire.late")
	}
	return err
}

// writeOrders fills three blocks: max_bytes 100,000 gives blocks of 32,000 bytes, the smallest there are.
func writeOrders(c *client) error {
	subject := func(n int) string {
		if n%9 == 0 {
			return "orders.cancelled"
		}
		return fmt.Sprintf("orders.%s.%d", []string{"eu", "us", "asia"}[n%3], n%5)
	}
	return steps(
		func() error {
			return c.stream("ORDERS", object{"subjects": []string{"orders.>"}, "max_bytes": 100_000})
		},
		func() error { return c.publishMany(1, 205, 300, subject) },
		func() error { return c.remove("ORDERS", false, 1, 2, 7, 11, 12, 13, 14, 60, 62, 101, 140, 150, 151) },
		func() error { return c.remove("ORDERS", c.erase, 20, 21, 130) },
		func() error { return c.purge("ORDERS", object{"filter": "orders.cancelled"}) },
		func() error { return c.remove("ORDERS", false, 204) },
		func() error {
			return c.publish("orders.eu.header", "with headers", "Nats-Msg-Id", "id-1", "X-Colour", "red", "X-Colour", "blue")
		},
		func() error { return c.publish("orders.eu.empty", "") },
		func() error { return c.remove("ORDERS", false, 207) },
	)
}

func writeConsumers(c *client) error {
	err := steps(
		func() error {
			return c.consumer("ORDERS", "shipping", true, object{"ack_wait": longWait, "max_ack_pending": 100})
		},
		func() error { return c.consumer("ORDERS", "passing", false, object{"ack_wait": longWait}) },
	)
	if err != nil {
		return err
	}
	messages, err := c.pull("ORDERS", "shipping", 12)
	if err != nil {
		return err
	}
	err = steps(
		func() error { return c.settleMessages("+ACK", messages[0], messages[1], messages[2], messages[4]) },
		func() error { return c.settleMessages("+TERM", messages[6]) },
		func() error { return c.settleMessages("-NAK", messages[5], messages[7]) },
	)
	if err != nil {
		return err
	}
	again, err := c.pull("ORDERS", "shipping", 3) // the two refused ones come again
	if err != nil {
		return err
	}
	if err = c.settleMessages("-NAK", again[0]); err != nil {
		return err
	}
	if _, err = c.pull("ORDERS", "shipping", 1); err != nil {
		return err
	}
	_, err = c.pull("ORDERS", "passing", 4)
	return err
}

func writeMoreConsumers(c *client) error {
	err := steps(
		func() error { return c.consumer("ORDERS", "untouched", true, object{"filter_subject": "orders.us.>"}) },
		func() error { return c.consumer("ORDERS", "readonly", true, object{"ack_policy": "none"}) },
		func() error {
			return c.consumer("ORDERS", "upto", true, object{"ack_policy": "all", "ack_wait": longWait})
		},
		func() error {
			return c.consumer("ORDERS", "pushed", true, object{"deliver_subject": "deliver.pushed", "ack_wait": longWait})
		},
	)
	if err != nil {
		return err
	}
	if _, err = c.pull("ORDERS", "readonly", 30); err != nil {
		return err
	}
	messages, err := c.pull("ORDERS", "upto", 10)
	if err != nil {
		return err
	}
	if err = c.settleMessages("+ACK", messages[6]); err != nil {
		return err
	}
	line := minor()
	if line >= 10 {
		err = c.consumer("ORDERS", "filters", true, object{"filter_subjects": []string{"orders.eu.>", "orders.asia.>"},
			"ack_wait": longWait, "metadata": object{"team": "north"}})
	}
	if err == nil && line >= 11 {
		err = c.consumer("ORDERS", "paused", true, object{"pause_until": "2090-01-02T03:04:05Z"})
	}
	return err
}

func writeWork(c *client) error {
	err := steps(
		func() error {
			return c.stream("WORK", object{"subjects": []string{"work.*"}, "retention": "workqueue"})
		},
		func() error { return c.consumer("WORK", "workers", true, object{"ack_wait": longWait}) },
		func() error {
			return c.publishMany(1, 30, 50, func(n int) string { return fmt.Sprintf("work.%d", n%4) })
		},
	)
	if err != nil {
		return err
	}
	messages, err := c.pull("WORK", "workers", 20)
	if err != nil {
		return err
	}
	for i, msg := range messages {
		if i%5 == 3 {
			continue
		}
		if err = c.settleMessages("+ACK", msg); err != nil {
			return err
		}
	}
	return nil
}

func writeInterest(c *client) error {
	err := steps(
		func() error {
			return c.stream("EVENTS", object{"subjects": []string{"events.>"}, "retention": "interest"})
		},
		func() error { return c.consumer("EVENTS", "left", true, object{"ack_wait": longWait}) },
		func() error { return c.consumer("EVENTS", "right", true, object{"ack_wait": longWait}) },
		func() error { return c.publishMany(1, 15, 50, always("events.tick")) },
	)
	for _, side := range []string{"left", "right"} {
		if err != nil {
			return err
		}
		messages, pullErr := c.pull("EVENTS", side, 8)
		if pullErr != nil {
			return pullErr
		}
		err = c.settleMessages("+ACK", messages[:5]...)
	}
	return err
}

func writeKeyValue(c *client) error {
	keys := []string{"colour", "size", "shape", "owner.name", "owner.mail"}
	return steps(
		func() error {
			return c.stream("KV_settings", object{"subjects": []string{"$KV.settings.>"}, "max_msgs_per_subject": 1,
				"allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true, "discard": "new"})
		},
		func() error {
			return c.publishMany(1, 40, 24, func(n int) string { return "$KV.settings." + keys[n*n%5] })
		},
		func() error { return c.publish("$KV.settings.size", "", "KV-Operation", "DEL") },
		func() error {
			return c.publish("$KV.settings.shape", "", "KV-Operation", "PURGE", "Nats-Rollup", "sub")
		},
	)
}

func writeHistory(c *client) error {
	return steps(
		func() error {
			return c.stream("HISTORY", object{"subjects": []string{"history.*"}, "max_msgs_per_subject": 3})
		},
		func() error {
			return c.publishMany(1, 40, 24, func(n int) string { return fmt.Sprintf("history.%d", n*n%7) })
		},
		func() error { return c.purge("HISTORY", object{"filter": "history.4", "keep": 1}) },
	)
}

func writeLimits(c *client) error {
	return steps(
		func() error { return c.stream("LIMITS", object{"subjects": []string{"limits.*"}, "max_msgs": 20}) },
		func() error {
			return c.publishMany(1, 50, 60, func(n int) string { return fmt.Sprintf("limits.%d", n%6) })
		},
		func() error { return c.remove("LIMITS", false, 40, 41) },
	)
}

func writeAged(c *client) error {
	return steps(
		func() error { return c.stream("AGED", object{"subjects": []string{"aged"}, "max_age": century}) },
		func() error { return c.publishMany(1, 10, 40, always("aged")) },
	)
}

func writeCompacted(c *client) error {
	return steps(
		func() error { return c.stream("COMPACTED", object{"subjects": []string{"compact.*"}}) },
		func() error {
			return c.publishMany(1, 40, 40, func(n int) string { return fmt.Sprintf("compact.%d", n%3) })
		},
		func() error { return c.remove("COMPACTED", false, 20, 28, 31) },
		func() error { return c.purge("COMPACTED", object{"seq": 25}) },
	)
}

func writePurged(c *client) error {
	return steps(
		func() error { return c.stream("PURGED", object{"subjects": []string{"purged"}}) },
		func() error { return c.publishMany(1, 10, 40, always("purged")) },
		func() error { return c.purge("PURGED", nil) },
	)
}

// writeJumped leaves a stream that a purge up to a far sequence has emptied.
func writeJumped(c *client) error {
	return steps(
		func() error { return c.stream("JUMPED", object{"subjects": []string{"jumped"}}) },
		func() error { return c.publishMany(1, 3, 40, always("jumped")) },
		func() error { return c.purge("JUMPED", object{"seq": 1000}) },
	)
}

// writeOdd stores subjects that are legal and uncomfortable; the one with byte 0x7F is never indexed.
func writeOdd(c *client) error {
	subjects := []string{
		"odd", "odd.a.b.c.d.e.f.g.h", "odd.größe", "odd.日本", "odd." + strings.Repeat("long", 50),
		"odd.del\x7fete", "odd.$x", "odd.a", "odd.ab", "odd.abc",
	}
	if err := c.stream("ODD", object{"subjects": []string{"odd", "odd.>"}, "description": "uncomfortable subjects"}); err != nil {
		return err
	}
	for n := 0; n < 2; n++ {
		for _, subject := range subjects {
			if err := c.publish(subject, "odd"); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeEmpty(c *client) error {
	return c.stream("EMPTY", object{"subjects": []string{"empty"}})
}

func writeSealed(c *client) error {
	settings := object{"subjects": []string{"sealed"}}
	return steps(
		func() error { return c.stream("SEALED", settings) },
		func() error { return c.publishMany(1, 5, 40, always("sealed")) },
		func() error { return c.update("SEALED", object{"subjects": []string{"sealed"}, "sealed": true}) },
	)
}

// writeAggregate reads from two streams; from 2.15 on its positions are kept in sources.db.
func writeAggregate(c *client) error {
	err := c.stream("AGGREGATE", object{"sources": []object{
		{"name": "HISTORY"},
		{"name": "COMPACTED", "filter_subject": "compact.2"},
	}})
	if err != nil {
		return err
	}
	return c.waitFor("AGGREGATE", 15)
}

func writeMirror(c *client) error {
	if err := c.stream("MIRROR", object{"mirror": object{"name": "COMPACTED"}}); err != nil {
		return err
	}
	return c.waitFor("MIRROR", 14)
}

// waitFor waits until a stream that copies others holds at least count messages and stays still.
func (c *client) waitFor(stream string, count float64) error {
	last := -1.0
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		info, err := c.api("STREAM.INFO."+stream, nil)
		if err != nil {
			return err
		}
		messages, _ := info["state"].(object)["messages"].(float64)
		if messages >= count && messages == last {
			return nil
		}
		last = messages
	}
	return errors.New(stream + " did not catch up")
}

func writeFirstSequence(c *client) error {
	return steps(
		func() error {
			return c.stream("FIRST", object{"subjects": []string{"first"}, "first_seq": 5000, "metadata": object{"origin": "elsewhere"}})
		},
		func() error { return c.publishMany(1, 6, 40, always("first")) },
		func() error { return c.remove("FIRST", false, 5002) },
		func() error { return c.stream("UNBORN", object{"subjects": []string{"unborn"}, "first_seq": 7000}) },
	)
}

func writeTTLs(c *client) error {
	return steps(
		func() error { return c.stream("TTLS", object{"subjects": []string{"ttl.*"}, "allow_msg_ttl": true}) },
		func() error { return c.publishMany(1, 3, 20, always("ttl.none")) },
		func() error { return c.publish("ttl.hours", "in hours", "Nats-TTL", farTTL) },
		func() error { return c.publish("ttl.seconds", "in seconds", "Nats-TTL", "1600000000") },
		func() error { return c.publish("ttl.never", "never", "Nats-TTL", "never") },
		func() error { return c.publish("ttl.gone", "deleted", "Nats-TTL", farTTL) },
		func() error { return c.publish("ttl.hours", "again", "X-Other", "1", "Nats-TTL", "438001h") },
		func() error { return c.remove("TTLS", false, 2, 7) },
	)
}

// writeMarkers lets two subjects age out, so that the server itself writes their delete markers.
func writeMarkers(c *client) error {
	settings := func(age int64) object {
		return object{"subjects": []string{"marker.*"}, "allow_msg_ttl": true, "allow_rollup_hdrs": true, "max_age": age,
			"duplicate_window": int64(time.Second), "subject_delete_marker_ttl": 50 * 365 * 24 * int64(time.Hour)}
	}
	return steps(
		func() error { return c.stream("MARKERS", settings(int64(time.Second))) },
		func() error {
			return c.publishMany(1, 4, 20, func(n int) string { return fmt.Sprintf("marker.%d", n%2) })
		},
		func() error { time.Sleep(1500 * time.Millisecond); return c.waitForLast("MARKERS", 6) },
		func() error { return c.update("MARKERS", settings(century)) },
		func() error { return c.publish("marker.kept", "kept") },
	)
}

func (c *client) waitForLast(stream string, sequence float64) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		info, err := c.api("STREAM.INFO."+stream, nil)
		if err != nil {
			return err
		}
		if last, _ := info["state"].(object)["last_seq"].(float64); last >= sequence {
			return nil
		}
	}
	return fmt.Errorf("%s did not reach sequence %.0f", stream, sequence)
}

func writeSchedules(c *client) error {
	return steps(
		func() error {
			return c.stream("SCHEDULES", object{"subjects": []string{"schedule.*", "fire.*"}, "allow_msg_schedules": true, "allow_msg_ttl": true})
		},
		func() error { return c.publish("fire.plain", "not scheduled") },
		func() error {
			return c.publish("schedule.one", "first", "Nats-Schedule", farSchedule, "Nats-Schedule-Target", "fire.one")
		},
		func() error {
			return c.publish("schedule.two", "second", "Nats-Schedule", "@at 2091-06-07T08:09:10Z", "Nats-Schedule-Target", "fire.two")
		},
		func() error {
			return c.publish("schedule.one", "replaced", "Nats-Schedule", "@at 2092-01-01T00:00:00Z", "Nats-Schedule-Target", "fire.one")
		},
		func() error {
			return c.publish("schedule.ttl", "third", "Nats-Schedule", farSchedule, "Nats-Schedule-Target", "fire.ttl", "Nats-Schedule-TTL", "1h")
		},
		func() error {
			return c.publish("schedule.gone", "fourth", "Nats-Schedule", farSchedule, "Nats-Schedule-Target", "fire.gone")
		},
		func() error { return c.remove("SCHEDULES", false, 6) },
	)
}

func writeCounter(c *client) error {
	err := c.stream("COUNTER", object{"subjects": []string{"counter.*"}, "allow_msg_counter": true})
	for n := 0; err == nil && n < 4; n++ {
		err = c.publish("counter.hits", "", "Nats-Incr", "+2")
	}
	return err
}

// writeBatch commits one atomic batch and leaves a second one staged.
func writeBatch(c *client) error {
	return steps(
		func() error { return c.stream("BATCH", object{"subjects": []string{"batch.*"}, "allow_atomic": true}) },
		func() error { return c.publish("batch.a", "one", "Nats-Batch-Id", "done", "Nats-Batch-Sequence", "1") },
		func() error {
			return c.publish("batch.b", "two", "Nats-Batch-Id", "done", "Nats-Batch-Sequence", "2", "Nats-Batch-Commit", "1")
		},
		func() error {
			return c.publish("batch.c", "staged", "Nats-Batch-Id", "open", "Nats-Batch-Sequence", "1")
		},
	)
}
