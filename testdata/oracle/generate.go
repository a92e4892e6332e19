package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// written says what was made and how to open it.
type written struct {
	ID      json.RawMessage `json:"id,omitempty"`
	Outcome string          `json:"outcome"` // written, error, panic
	Error   string          `json:"error,omitempty"`
	Dir     string          `json:"dir,omitempty"`
	Key     string          `json:"key,omitempty"`
	Cipher  string          `json:"cipher,omitempty"`
	Account string          `json:"account,omitempty"`
	Clean   bool            `json:"clean"` // ended with a stop, not with a crash
	Block   uint64          `json:"block,omitempty"`
	State   *state          `json:"state,omitempty"`
	Config  any             `json:"config,omitempty"`
}

// generate writes a store by recipe or at random.
func (env *environment) generate(q *question) any {
	result := &written{ID: q.ID, Outcome: "written"}
	defer env.recovered(func(outcome, text string) { result.Outcome, result.Error = outcome, text })
	if q.Op == "random" {
		drawKey(q)
	}
	w, err := newWriter(env, q)
	if err == nil {
		err = w.run(q)
	}
	if err != nil {
		result.Outcome, result.Error = "error", err.Error()
		return result
	}
	result.State = stateOf(w.s, nil)
	if len(result.State.Deleted) > 10_000 {
		result.State.Deleted, result.State.DeletedOmitted = nil, true
	}
	if !w.killed {
		w.stop()
	}
	env.log.take()
	result.Dir, result.Key, result.Account, result.Clean, result.Block = w.dir, q.Key, w.keys.account, !w.killed, w.block
	if q.Key != "" {
		result.Cipher = map[server.StoreCipher]string{server.ChaCha: "chacha", server.AES: "aes"}[w.keys.cipher]
	}
	result.Config = w.cfg
	return result
}

// drawKey seals about a quarter of the random stores, unless the caller has decided.
func drawKey(q *question) {
	if q.Key != "" || q.Cipher != "" {
		return
	}
	switch uint64(q.Seed) * 0x9E3779B97F4A7C15 >> 61 {
	case 0:
		q.Key, q.Cipher = fmt.Sprintf("key-%d", q.Seed), "chacha"
	case 1:
		q.Key, q.Cipher = fmt.Sprintf("key-%d", q.Seed), "aes"
	}
}

func (w *writer) run(q *question) error {
	if q.Op == "random" {
		return randomStore(w)
	}
	for _, r := range recipes {
		if r.name != q.Recipe {
			continue
		}
		cfg := server.StreamConfig{Subjects: w.subjects()}
		r.config(&cfg)
		switch q.Compress {
		case "":
		case "s2":
			cfg.Compression = server.S2Compression
		default:
			return fmt.Errorf("unknown compression %q", q.Compress)
		}
		block := r.block
		if q.Block != 0 {
			block = q.Block
		}
		if err := w.start(cfg, block, r.unchecked); err != nil {
			return err
		}
		return r.write(w, q)
	}
	return fmt.Errorf("unknown recipe %q", q.Recipe)
}

func commandGenerate(op string, args []string) error {
	q := &question{Op: op}
	set := flag.NewFlagSet(op, flag.ExitOnError)
	keyFlags(set, q)
	set.Int64Var(&q.Seed, "seed", 1, "seed")
	set.StringVar(&q.Out, "out", "", "stream directory to write; ACCOUNT/streams/NAME names the account")
	set.StringVar(&q.Compress, "compress", "", "s2")
	set.Int64Var(&q.BaseNs, "base-ns", 0, "time of the first message in ns")
	set.IntVar(&q.Msgs, "msgs", 0, "big: messages")
	set.IntVar(&q.Size, "size", 0, "big: bytes of one body")
	set.IntVar(&q.Subjects, "subjects", 0, "big: subjects")
	set.Float64Var(&q.TTLShare, "ttl-share", 0, "big: share of messages with a TTL")
	set.Float64Var(&q.DeleteShare, "delete-share", 0, "big: share of messages deleted")
	set.Uint64Var(&q.Block, "block-size", 0, "block size")
	set.StringVar(&q.Prefix, "prefix", "", "put before every subject")
	lowerLimit := set.Int64("lower-limit", 0, "afterwards, allow so many messages a subject; the store keeps what it has until it is opened. Not for an encrypted one")
	positional := parse(set, args)
	if op == "gen" {
		var err error
		if q.Recipe, err = one(positional, "recipe"); err != nil {
			return err
		}
	}
	if q.Out == "" {
		return fmt.Errorf("--out is missing")
	}
	env, err := newEnvironment()
	if err != nil {
		return err
	}
	result := env.generate(q).(*written)
	if err := encode(os.Stdout, result); err != nil {
		return err
	}
	if result.Outcome != "written" {
		return fmt.Errorf("%s: %s", result.Outcome, result.Error)
	}
	if *lowerLimit > 0 {
		return lowerSubjectLimit(q.Out, *lowerLimit)
	}
	return nil
}

// lowerSubjectLimit writes a stream's metadata anew, as an update of its configuration does.
func lowerSubjectLimit(dir string, limit int64) error {
	path := filepath.Join(dir, "meta.inf")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var info server.FileStreamInfo
	if err := json.Unmarshal(text, &info); err != nil {
		return err
	}
	info.MaxMsgsPer = limit
	if text, err = json.Marshal(info); err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "meta.sum"), []byte(metaSum(info.Name, text)), 0o600)
}
