package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// recipe writes one kind of store. Where ended is false, a clean stop follows.
type recipe struct {
	name, about string
	block       uint64
	config      func(cfg *server.StreamConfig)
	write       func(w *writer, q *question) error
	unchecked   bool // configuration no server would accept for a stream
}

// Old enough to be expired and young enough to stay, under this age, for decades.
const (
	longAge = 30 * 365 * 24 * time.Hour
	oldNs   = 315_532_800_000_000_000 // 1980-01-01
)

func plain(*server.StreamConfig) {}

func steps(list ...func(w *writer)) func(*writer, *question) error {
	return func(w *writer, _ *question) error {
		for _, step := range list {
			step(w)
		}
		return nil
	}
}

func filling(count, size, subjects int) func(w *writer) {
	return func(w *writer) { w.fill(count, size, subjects) }
}

var recipes []recipe

func init() {
	recipes = append(recipes, plainRecipes...)
	recipes = append(recipes, timedRecipes...)
	recipes = append(recipes, mixedRecipes...)
}

var plainRecipes = []recipe{
	{name: "basic", about: "forty messages in one block", config: plain, write: steps(filling(40, 60, 5))},
	{name: "empty", about: "never written", config: plain, write: steps()},
	{name: "multi-block", about: "many blocks of 1 KB", block: 1024, config: plain, write: steps(filling(80, 80, 5))},
	{name: "deletes", about: "scattered deletes", block: 2048, config: plain, write: steps(filling(100, 60, 5), func(w *writer) {
		for range 30 {
			_, _ = w.s.RemoveMsg(w.pick())
		}
	})},
	{name: "tail-deletes", about: "the last messages are deleted", block: 1024, config: plain, write: steps(filling(50, 60, 5), func(w *writer) {
		for last := w.last(); last > 38; last-- {
			_, _ = w.s.RemoveMsg(last)
		}
	})},
	{name: "erase", about: "messages overwritten in place", block: 2048, config: plain, write: steps(filling(60, 60, 5), func(w *writer) {
		for range 15 {
			_, _ = w.s.EraseMsg(w.pick())
		}
	})},
	{name: "skips", about: "sequences never used", block: 1024, config: plain, write: steps(filling(10, 60, 5), func(w *writer) {
		_, _ = w.s.SkipMsg(w.last() + 1)
		w.fill(5, 60, 5)
		_ = w.s.SkipMsgs(w.last()+1, 25)
		w.fill(20, 60, 5)
		_ = w.s.SkipMsgs(w.last()+1, 7)
	})},
	{name: "purge", about: "purged, then written again", block: 1024, config: plain, write: steps(filling(40, 60, 5), func(w *writer) {
		_, _ = w.s.Purge()
		settle(w.dir)
		w.fill(10, 60, 5)
	})},
	{name: "purge-all", about: "purged and left empty", block: 1024, config: plain, write: steps(filling(40, 60, 5), func(w *writer) {
		_, _ = w.s.Purge()
	})},
	{name: "purge-subject", about: "one subject purged, another purged but for two", block: 1024, config: plain, write: steps(filling(80, 60, 4), func(w *writer) {
		_, _ = w.s.PurgeEx(w.prefix+"orders.1", 0, 0)
		_, _ = w.s.PurgeEx(w.prefix+"orders.2", 0, 2)
	})},
	{name: "compact", about: "everything below a sequence dropped", block: 1024, config: plain, write: steps(filling(80, 60, 5), func(w *writer) {
		_, _ = w.s.Compact(37)
	})},
	{name: "truncate", about: "everything above a sequence dropped", block: 1024, config: plain, write: steps(filling(80, 60, 5), func(w *writer) {
		_ = w.s.Truncate(52)
	})},
	{name: "max-msgs", about: "at its message limit", block: 1024, config: func(c *server.StreamConfig) { c.MaxMsgs = 25 }, write: steps(filling(60, 60, 5))},
	{name: "max-bytes", about: "at its byte limit", block: 1024, config: func(c *server.StreamConfig) { c.MaxBytes = 3000 }, write: steps(filling(60, 60, 5))},
	{name: "max-msgs-per-subject", about: "three messages for each subject", block: 1024, config: func(c *server.StreamConfig) { c.MaxMsgsPer = 3 }, write: steps(filling(60, 60, 6))},
	{name: "discard-new", about: "full, new messages refused", block: 1024, config: func(c *server.StreamConfig) {
		c.MaxMsgs, c.Discard = 25, server.DiscardNew
	}, write: steps(filling(40, 60, 5))},
	{name: "first-seq", about: "starts at sequence 1000", block: 1024, config: func(c *server.StreamConfig) { c.FirstSeq = 1000 }, write: steps(filling(30, 60, 5))},
	{name: "first-seq-empty", about: "starts at sequence 1000, never written", config: func(c *server.StreamConfig) { c.FirstSeq = 1000 }, write: steps()},
	{name: "no-subjects", about: "records without subjects, as in a raft log", block: 1024, unchecked: true, config: func(c *server.StreamConfig) { c.Subjects = nil }, write: steps(func(w *writer) {
		for range 60 {
			w.put("", nil, w.body(40), 0)
		}
		_, _ = w.s.Compact(15)
	})},
	{name: "many-subjects", about: "five hundred subjects", block: 4096, config: plain, write: steps(filling(700, 20, 500))},
	{name: "headers", about: "messages with headers", block: 1024, config: plain, write: steps(func(w *writer) {
		for i := range 40 {
			w.put(w.subject(5), []string{fmt.Sprintf("Nats-Msg-Id: %d", i), "Kind: " + words[i%len(words)]}, w.body(i), 0)
		}
	})},
	{name: "interest", about: "interest retention", block: 1024, config: func(c *server.StreamConfig) { c.Retention = server.InterestPolicy }, write: steps(filling(40, 60, 5), acknowledge)},
	{name: "workqueue", about: "work queue retention, half taken", block: 1024, config: func(c *server.StreamConfig) { c.Retention = server.WorkQueuePolicy }, write: steps(filling(40, 60, 5), acknowledge)},
	{name: "kill", about: "crashed, no index.db", block: 1024, config: plain, write: steps(filling(60, 60, 5), crash)},
	{name: "kill-deletes", about: "crashed after deletes, no index.db", block: 1024, config: plain, write: steps(filling(60, 60, 5), func(w *writer) {
		for range 15 {
			_, _ = w.s.RemoveMsg(w.pick())
		}
	}, crash)},
	{name: "stale-index", about: "crashed with an old index.db", block: 1024, config: plain, write: staleIndex},
}

// acknowledge removes the first half in a scattered order, as consumers would.
func acknowledge(w *writer) {
	for _, i := range w.random.Perm(20) {
		_, _ = w.s.RemoveMsg(uint64(i + 1))
	}
}

func crash(w *writer) {
	w.killed = w.kill() == nil
}

func staleIndex(w *writer, _ *question) error {
	w.fill(30, 60, 5)
	if err := w.restart(true); err != nil {
		return err
	}
	index := filepath.Join(w.dir, "msgs", "index.db")
	old, err := os.ReadFile(index)
	if err != nil {
		return err
	}
	w.fill(30, 60, 5)
	_, _ = w.s.RemoveMsg(5)
	crash(w)
	return os.WriteFile(index, old, 0o600)
}
