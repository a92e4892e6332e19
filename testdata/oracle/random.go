package main

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func sortStrings(list []string) { slices.Sort(list) }

// splitKey takes a source key apart: origin, filter, destination.
func splitKey(key string) []string {
	parts := strings.SplitN(key, " ", 3)
	for len(parts) < 3 {
		parts = append(parts, ">")
	}
	return parts
}

func (w *writer) chance(percent int) bool { return w.random.IntN(100) < percent }

// randomConfig draws a configuration the server accepts.
func (w *writer) randomConfig() server.StreamConfig {
	cfg := server.StreamConfig{Subjects: w.subjects()}
	switch {
	case w.chance(15):
		cfg.Retention = server.InterestPolicy
	case w.chance(15):
		cfg.Retention = server.WorkQueuePolicy
	}
	if w.chance(20) {
		cfg.MaxMsgs = 5 + w.random.Int64N(80)
	}
	if w.chance(20) {
		cfg.MaxBytes = 400 + w.random.Int64N(8000)
	}
	if w.chance(20) {
		cfg.MaxMsgsPer = 1 + w.random.Int64N(6)
	}
	if w.chance(20) {
		cfg.MaxAge = longAge
	}
	if w.chance(15) {
		cfg.Discard = server.DiscardNew
		cfg.DiscardNewPer = cfg.MaxMsgsPer > 0 && w.chance(50)
	}
	if w.chance(30) {
		cfg.Compression = server.S2Compression
	}
	if w.chance(10) {
		cfg.FirstSeq = 1 + w.random.Uint64N(5000)
	}
	cfg.AllowMsgTTL = w.chance(35)
	if cfg.AllowMsgTTL && w.chance(10) {
		cfg.SubjectDeleteMarkerTTL = time.Minute
	}
	if cfg.Discard != server.DiscardNew {
		cfg.AllowMsgSchedules = w.chance(25)
	}
	if !cfg.AllowMsgSchedules && w.chance(25) {
		withSources(&cfg)
		cfg.Sources = cfg.Sources[:1+w.random.IntN(len(cfg.Sources))]
	}
	if w.chance(4) {
		cfg.PersistMode = server.AsyncPersistMode
	}
	cfg.AllowRollup = cfg.AllowMsgSchedules || cfg.SubjectDeleteMarkerTTL > 0
	return cfg
}

// randomStore draws a configuration and a history. It ends cleanly or with a crash.
func randomStore(w *writer) error {
	cfg := w.randomConfig()
	sizes := []uint64{256, 512, 1024, 2048, 4096, 8192}
	if err := w.start(cfg, sizes[w.random.IntN(len(sizes))], false); err != nil {
		return err
	}
	if cfg.MaxAge > 0 && w.chance(70) {
		ageing(1 + w.random.IntN(25))(w)
	}
	for range w.random.IntN(130) {
		if err := w.step(); err != nil {
			return err
		}
	}
	if w.chance(45) {
		w.killed = true
		return w.kill()
	}
	return nil
}

// step does one random operation.
func (w *writer) step() error {
	weights := []int{520, 60, 20, 12, 8, 4, 6, 12, 8, 10, 8, 10}
	switch weighted(w.random, weights) {
	case 0:
		w.randomPut()
	case 1:
		_, _ = w.s.RemoveMsg(w.pick())
	case 2:
		_, _ = w.s.EraseMsg(w.pick())
	case 3:
		w.skip(1)
	case 4:
		w.skip(1 + w.random.Uint64N(40))
	case 5:
		_, _ = w.s.Purge()
		settle(w.dir)
	case 6:
		_, _ = w.s.PurgeEx(w.subject(6), 0, w.random.Uint64N(3))
	case 7:
		_, _ = w.s.Compact(w.pick())
	case 8:
		_ = w.s.Truncate(w.pick())
	case 9:
		return w.restart(true)
	case 10:
		return w.restart(false)
	case 11:
		_ = w.s.writeIndex()
	}
	w.finishBlocks(false)
	return nil
}

func (w *writer) skip(count uint64) {
	var st server.StreamState
	if w.s.FastState(&st); st.LastTime.IsZero() {
		return // the reference would stamp the present time
	}
	if count == 1 {
		_, _ = w.s.SkipMsg(st.LastSeq + 1)
	} else {
		_ = w.s.SkipMsgs(st.LastSeq+1, count)
	}
}

func (w *writer) randomPut() {
	size := w.random.IntN(120)
	if w.chance(4) {
		size = w.random.IntN(1500)
	}
	subject := w.subject(6)
	var headers []string
	var ttl int64
	switch {
	case w.cfg.AllowMsgSchedules && w.chance(25):
		scheduling(1)(w)
		return
	case w.cfg.AllowMsgTTL && w.chance(35):
		form := ttlForms[w.random.IntN(len(ttlForms))]
		headers, ttl = []string{"Nats-TTL: " + form.value}, form.seconds
	case len(w.cfg.Sources) > 0 && w.chance(60):
		headers = w.sourceHeader(1 + w.random.Uint64N(1000))
	case w.chance(20):
		headers = []string{"Nats-Msg-Id: " + words[w.random.IntN(len(words))]}
	}
	w.put(subject, headers, w.body(size), ttl)
}
