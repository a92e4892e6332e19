package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

var timedRecipes = []recipe{
	{name: "max-age", about: "the older half has expired", block: 1024, config: func(c *server.StreamConfig) { c.MaxAge = longAge }, write: steps(ageing(30), filling(30, 60, 5))},
	{name: "max-age-all", about: "everything has expired", block: 1024, config: func(c *server.StreamConfig) { c.MaxAge = longAge }, write: steps(ageing(30))},
	{name: "ttl", about: "message TTLs of every form", block: 1024, config: withTTL, write: steps(expiring(50))},
	{name: "ttl-kill", about: "message TTLs, crashed without thw.db", block: 1024, config: withTTL, write: steps(expiring(50), crash)},
	{name: "schedules", about: "message schedules", block: 1024, config: withSchedules, write: steps(scheduling(30))},
	{name: "schedules-kill", about: "message schedules, crashed without sched.db", block: 1024, config: withSchedules, write: steps(scheduling(30), crash)},
	{name: "sources", about: "sourced messages with headers of every form", block: 1024, config: withSources, write: steps(sourcing(60))},
	{name: "sources-kill", about: "sourced messages, crashed without sources.db", block: 1024, config: withSources, write: steps(sourcing(60), crash)},
}

var mixedRecipes = []recipe{
	{name: "mixed", about: "a little of everything", block: 1536, config: func(c *server.StreamConfig) {
		withTTL(c)
		withSchedules(c)
		c.MaxMsgsPer = 12
	}, write: steps(filling(40, 60, 6), expiring(20), scheduling(8), func(w *writer) {
		for range 12 {
			_, _ = w.s.RemoveMsg(w.pick())
		}
		_, _ = w.s.EraseMsg(w.pick())
		_, _ = w.s.PurgeEx(w.prefix+"orders.3", 0, 1)
		_ = w.s.SkipMsgs(w.last()+1, 4)
		w.fill(20, 60, 6)
		_, _ = w.s.Compact(9)
	})},
	{name: "consumers", about: "three consumers with state", block: 1024, config: plain, write: consuming},
	{name: "big", about: "any size: --msgs --size --subjects --ttl-share --delete-share --block-size", config: withTTL, write: big},
}

func withTTL(c *server.StreamConfig) { c.AllowMsgTTL = true }

func withSchedules(c *server.StreamConfig) { c.AllowMsgSchedules = true }

func withSources(c *server.StreamConfig) {
	c.Sources = []*server.StreamSource{
		{Name: "NORTH"},
		{Name: "SOUTH", FilterSubject: "orders.>"},
		{Name: "EAST", SubjectTransforms: []server.SubjectTransformConfig{{Source: "raw.*", Destination: "orders.{{wildcard(1)}}"}}},
		{Name: "WEST", External: &server.ExternalStream{ApiPrefix: "$JS.west.API", DeliverPrefix: "west.deliver"}},
	}
}

// ageing stores messages from long ago.
func ageing(count int) func(w *writer) {
	return func(w *writer) {
		now := w.nowNs
		w.nowNs = oldNs
		w.fill(count, 60, 5)
		w.nowNs = now
	}
}

// ttlForms are header values with the seconds a server makes of them; 0 where it would refuse the message.
var ttlForms = []struct {
	value   string
	seconds int64
}{
	{"60", 60}, {"1h", 3600}, {"90s", 90}, {"never", -1}, {"007", 7}, {"1500ms", 1}, {"36500d", 0}, {"2540400h", 9_145_440_000}, {"", 0}, {"0", 0},
	{"-5", 0}, {"315360000", 315_360_000}, {"1h30m", 5400},
}

func expiring(count int) func(w *writer) {
	return func(w *writer) {
		for i := range count {
			form := ttlForms[w.random.IntN(len(ttlForms))]
			headers := []string{"Nats-TTL: " + form.value}
			if i%4 == 3 {
				headers, form.seconds = nil, 0
			}
			w.put(w.subject(5), headers, w.body(40), form.seconds)
		}
	}
}

var scheduleForms = [][]string{
	{"Nats-Schedule: @at 2091-03-04T05:06:07Z"}, {"Nats-Schedule: @at 2020-03-04T05:06:07.5Z"}, {"Nats-Schedule: @every 87600h"},
	{"Nats-Schedule: 0 0 12 1 1 *"}, {"Nats-Schedule: 15 30 4 29 2 *"}, {"Nats-Schedule: @yearly"}, {"Nats-Schedule: nonsense"}, {"Nats-Schedule: "},
	{"Nats-Schedule: 0 0 6 1 7 *", "Nats-Schedule-Time-Zone: Europe/Berlin"}, {"Nats-Schedule: @every 10ms"},
}

func scheduling(count int) func(w *writer) {
	return func(w *writer) {
		for i := range count {
			headers := append([]string{}, scheduleForms[w.random.IntN(len(scheduleForms))]...)
			w.put(fmt.Sprintf("%splan.%d", w.prefix, w.random.IntN(12)), append(headers, "Nats-Schedule-Target: "+w.prefix+"orders.0"), w.body(20), 0)
			if i%5 == 4 {
				w.put(w.subject(5), nil, w.body(30), 0)
			}
		}
	}
}

func sourcing(count int) func(w *writer) {
	return func(w *writer) {
		for i := range count {
			w.put(w.subject(5), w.sourceHeader(uint64(i+1)), w.body(30), 0)
		}
	}
}

// sourceHeader is the header of a sourced message in one of its historical forms, for a configured source or a foreign one.
func (w *writer) sourceHeader(seq uint64) []string {
	sources := w.cfg.Sources
	if len(sources) == 0 || w.random.IntN(8) == 0 {
		return nil
	}
	key := w.sourceKey()
	name := sources[w.random.IntN(len(sources))].Name
	parts := splitKey(key)
	forms := []string{
		fmt.Sprintf("%s %d %s %s raw.1 %s", parts[0], seq, parts[1], parts[2], "Id3ntity"),
		fmt.Sprintf("%s %d %s %s raw.1", parts[0], seq, parts[1], parts[2]),
		fmt.Sprintf("%s %d %s %s", parts[0], seq, parts[1], parts[2]),
		fmt.Sprintf("%s %d", name, seq),
		fmt.Sprintf("$JS.ACK.%s.cons.1.%d.%d.%d.0", name, seq, seq, w.nowNs),
		fmt.Sprintf("$JS.ACK.hub.AbCdEfGh.%s.cons.1.%d.%d.%d.0.rand", name, seq, seq, w.nowNs),
		fmt.Sprintf("ELSEWHERE %d > > raw.1", seq),
		"garbled",
	}
	weights := []int{6, 3, 3, 1, 1, 1, 1, 1}
	return []string{"Nats-Stream-Source: " + forms[weighted(w.random, weights)]}
}

// sourceKey draws one of the keys the store itself has seeded for its configured sources.
func (w *writer) sourceKey() string {
	var keys []string
	for key := range w.s.SourcesState() {
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return "NONE > >"
	}
	sortStrings(keys)
	return keys[w.random.IntN(len(keys))]
}

func weighted(random *rand.Rand, weights []int) int {
	total := 0
	for _, weight := range weights {
		total += weight
	}
	drawn := random.IntN(total)
	for i, weight := range weights {
		if drawn -= weight; drawn < 0 {
			return i
		}
	}
	return 0
}

func consuming(w *writer, _ *question) error {
	w.fill(60, 60, 5)
	created := time.Unix(0, defaultBaseNs).UTC()
	for i, name := range []string{"ahead", "idle", "worker"} {
		cfg := &server.ConsumerConfig{Durable: name, Name: name, AckPolicy: server.AckExplicit, MaxDeliver: -1, AckWait: 30 * time.Second, Replicas: 1, MaxAckPending: 1000}
		o, err := w.s.ConsumerStore(name, created, cfg)
		if err != nil {
			return err
		}
		if name == "idle" {
			continue
		}
		for seq := uint64(1); seq <= uint64(20+10*i); seq++ {
			if err := o.UpdateDelivered(seq, seq, 1, w.tick()); err != nil {
				return err
			}
		}
		_ = o.UpdateDelivered(uint64(21+10*i), 3, 2, w.tick())
		for _, seq := range []uint64{1, 2, 5, 8} {
			_ = o.UpdateAcks(seq, seq)
		}
	}
	return nil
}

func big(w *writer, q *question) error {
	count, size, subjects := q.Msgs, q.Size, q.Subjects
	if count == 0 {
		count = 100_000
	}
	if size == 0 {
		size = 128
	}
	if subjects == 0 {
		subjects = 100
	}
	bodies := make([][]byte, 64)
	for i := range bodies {
		bodies[i] = w.body(size)
	}
	names := make([]string, subjects)
	for i := range names {
		names[i] = fmt.Sprintf("%sorders.%d.created", w.prefix, i)
	}
	hdr := []byte("NATS/1.0\r\nNats-TTL: 2540400h\r\n\r\n")
	for i := range count {
		var h []byte
		var ttl int64
		if q.TTLShare > 0 && w.random.Float64() < q.TTLShare {
			h, ttl = hdr, 9_145_440_000
		}
		w.nowNs += 1_000_000
		if err := w.s.StoreRawMsg(names[w.random.IntN(subjects)], h, bodies[i%len(bodies)], uint64(i+1), w.nowNs, ttl, true); err != nil {
			return err
		}
		if i%256 == 0 {
			w.finishBlocks(false)
		}
	}
	for range int(q.DeleteShare * float64(count)) {
		_, _ = w.s.RemoveMsg(1 + w.random.Uint64N(uint64(count)))
	}
	return nil
}
