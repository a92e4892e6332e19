package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// consumerScript is a random life of one consumer with what the reference made of every step.
type consumerScript struct {
	Config string         `json:"config"`
	Steps  []consumerStep `json:"steps"`
	File   []byte         `json:"file"`
}

type consumerStep struct {
	Op    string     `json:"op"`
	Args  []uint64   `json:"args,omitempty"`
	Given *flatState `json:"given,omitempty"`
	Error string     `json:"error,omitempty"`
	After *flatState `json:"after,omitempty"` // left out where nothing changed
}

type flatState struct {
	Delivered   [2]uint64   `json:"d"`
	Floor       [2]uint64   `json:"f"`
	Pending     [][3]uint64 `json:"p,omitempty"` // stream sequence, number of the first delivery, seconds
	Redelivered [][2]uint64 `json:"r,omitempty"`
}

const scriptSecond = uint64(time.Second)

func flatten(state *server.ConsumerState) *flatState {
	flat := &flatState{
		Delivered: [2]uint64{state.Delivered.Consumer, state.Delivered.Stream},
		Floor:     [2]uint64{state.AckFloor.Consumer, state.AckFloor.Stream},
	}
	for seq, pending := range state.Pending {
		flat.Pending = append(flat.Pending, [3]uint64{seq, pending.Sequence, uint64(pending.Timestamp) / scriptSecond})
	}
	for seq, count := range state.Redelivered {
		flat.Redelivered = append(flat.Redelivered, [2]uint64{seq, count})
	}
	slices.SortFunc(flat.Pending, func(a, b [3]uint64) int { return slices.Compare(a[:], b[:]) })
	slices.SortFunc(flat.Redelivered, func(a, b [2]uint64) int { return slices.Compare(a[:], b[:]) })
	return flat
}

func (flat *flatState) state() *server.ConsumerState {
	state := &server.ConsumerState{
		Delivered:   server.SequencePair{Consumer: flat.Delivered[0], Stream: flat.Delivered[1]},
		AckFloor:    server.SequencePair{Consumer: flat.Floor[0], Stream: flat.Floor[1]},
		Pending:     map[uint64]*server.Pending{},
		Redelivered: map[uint64]uint64{},
	}
	for _, p := range flat.Pending {
		state.Pending[p[0]] = &server.Pending{Sequence: p[1], Timestamp: int64(p[2] * scriptSecond)}
	}
	for _, r := range flat.Redelivered {
		state.Redelivered[r[0]] = r[1]
	}
	return state
}

// drawState draws what an update may be given: mostly sound. Delivered is never zero, for of such a state the reference reads the
// file instead.
func drawState(random *rand.Rand) *flatState {
	number := func() uint64 { return 1 + random.Uint64N(30) }
	flat := &flatState{Delivered: [2]uint64{number(), number()}}
	for at := range flat.Floor {
		flat.Floor[at] = random.Uint64N(flat.Delivered[at] + 1)
		if random.IntN(12) == 0 {
			flat.Floor[at] = number()
		}
	}
	for range random.IntN(4) {
		seq := number()
		if gap := flat.Delivered[1] - flat.Floor[1]; flat.Floor[1] < flat.Delivered[1] && random.IntN(12) > 0 {
			seq = flat.Floor[1] + 1 + random.Uint64N(gap)
		}
		known := func(p [3]uint64) bool { return p[0] == seq }
		if !slices.ContainsFunc(flat.Pending, known) {
			flat.Pending = append(flat.Pending, [3]uint64{seq, random.Uint64N(30), number()})
		}
	}
	for range random.IntN(3) {
		seq := number()
		known := func(r [2]uint64) bool { return r[0] == seq }
		if !slices.ContainsFunc(flat.Redelivered, known) {
			flat.Redelivered = append(flat.Redelivered, [2]uint64{seq, number()})
		}
	}
	return flat
}

func drawStep(random *rand.Rand, now *flatState) consumerStep {
	number := func() uint64 { return 1 + random.Uint64N(30) }
	switch draw := random.IntN(100); {
	case draw < 30:
		return consumerStep{Op: "deliver", Args: []uint64{now.Delivered[0] + 1, now.Delivered[1] + 1 + random.Uint64N(3), 1, number()}}
	case draw < 42:
		seq := number()
		if len(now.Pending) > 0 && random.IntN(4) > 0 {
			seq = now.Pending[random.IntN(len(now.Pending))][0]
		}
		return consumerStep{Op: "deliver", Args: []uint64{now.Delivered[0] + 1, seq, 2 + random.Uint64N(3), number()}}
	case draw < 46:
		return consumerStep{Op: "deliver", Args: []uint64{number(), number(), random.Uint64N(4), number()}}
	case draw < 76 && len(now.Pending) > 0:
		p := now.Pending[random.IntN(len(now.Pending))]
		number := p[1]
		if random.IntN(4) == 0 {
			number = now.Delivered[0]
		}
		return consumerStep{Op: "ack", Args: []uint64{number, p[0]}}
	case draw < 82:
		return consumerStep{Op: "ack", Args: []uint64{number(), number()}}
	case draw < 87:
		return consumerStep{Op: "update", Given: drawState(random)}
	case draw < 90:
		return consumerStep{Op: "force_update", Given: drawState(random)}
	case draw < 92:
		return consumerStep{Op: "set_starting", Args: []uint64{number()}}
	case draw < 95:
		return consumerStep{Op: "update_starting", Args: []uint64{number()}}
	case draw < 96:
		return consumerStep{Op: "reset", Args: []uint64{number()}}
	}
	return consumerStep{Op: "trim", Args: []uint64{random.Uint64N(30)}}
}

func (step *consumerStep) run(o server.ConsumerStore) error {
	a := step.Args
	switch step.Op {
	case "deliver":
		return o.UpdateDelivered(a[0], a[1], a[2], int64(a[3]*scriptSecond))
	case "ack":
		return o.UpdateAcks(a[0], a[1])
	case "update":
		return o.Update(step.Given.state())
	case "force_update":
		return o.ForceUpdate(step.Given.state())
	case "set_starting":
		return o.SetStarting(a[0])
	case "update_starting":
		o.UpdateStarting(a[0])
	case "reset":
		return o.Reset(a[0])
	case "trim":
		o.RemoveRedeliveredBelow(a[0])
	}
	return nil
}

func kindOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, server.ErrStoreMsgNotFound):
		return "not-found"
	case errors.Is(err, server.ErrNoAckPolicy):
		return "no-ack-policy"
	case errors.Is(err, server.ErrStoreOldUpdate):
		return "old-update"
	}
	return "bad-state"
}

func writeScript(st *store, dir, name string, steps int, random *rand.Rand) (*consumerScript, error) {
	policies := []string{"none", "all", "explicit", "explicit", "flow_control"}
	script := &consumerScript{Config: fmt.Sprintf(`{"durable_name":%q,"ack_policy":%q,"max_deliver":%d}`,
		name, policies[random.IntN(len(policies))], random.IntN(4)-1)}
	var cfg server.ConsumerConfig
	if err := json.Unmarshal([]byte(script.Config), &cfg); err != nil {
		return nil, err
	}
	o, err := linkConsumerStore(st.ptr, name, time.Unix(1_700_000_000, 0).UTC(), &cfg)
	if err != nil {
		return nil, err
	}
	before := &flatState{}
	for number := range steps {
		step := drawStep(random, before)
		if number == steps-1 {
			// Whatever was to be written at once is written once more by this one's way.
			step = consumerStep{Op: "update_starting", Args: []uint64{1}}
		}
		step.Error = kindOf(step.run(o))
		state, err := o.State()
		if err != nil {
			return nil, err
		}
		after := flatten(state)
		if !same(before, after) {
			step.After = after
		}
		before = after
		script.Steps = append(script.Steps, step)
	}
	if err := o.Stop(); err != nil {
		return nil, err
	}
	script.File, err = os.ReadFile(filepath.Join(dir, "obs", name, "o.dat"))
	return script, err
}

func same(a, b *flatState) bool {
	return a.Delivered == b.Delivered && a.Floor == b.Floor && slices.Equal(a.Pending, b.Pending) &&
		slices.Equal(a.Redelivered, b.Redelivered)
}

func commandConsumerScripts(args []string) error {
	set := flag.NewFlagSet("consumer-scripts", flag.ExitOnError)
	seed := set.Uint64("seed", 1, "what the scripts are drawn from")
	count := set.Int("count", 20, "scripts")
	steps := set.Int("steps", 40, "steps of each")
	parse(set, args)
	dir, err := os.MkdirTemp("", "oracle-consumers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := server.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Storage: server.FileStorage}
	st, err := openStore(server.FileStoreConfig{StoreDir: dir}, cfg, time.Now(), nil, nil)
	if err != nil {
		return err
	}
	defer st.abandon()
	random := rand.New(rand.NewPCG(*seed, 0))
	out := json.NewEncoder(os.Stdout)
	for number := range *count {
		script, err := writeScript(st, dir, fmt.Sprintf("c%d", number), *steps, random)
		if err != nil {
			return err
		}
		if err := out.Encode(script); err != nil {
			return err
		}
	}
	return nil
}
