package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// consumer is what became of one consumer directory.
type consumer struct {
	Name    string                `json:"name"`
	Outcome string                `json:"outcome"` // opened, skipped, deleted, error, panic
	Error   string                `json:"error,omitempty"`
	State   *server.ConsumerState `json:"state,omitempty"`
}

// openConsumers opens the store of every consumer, by name, as the server does after the stream.
func (env *environment) openConsumers(s *store, p *plan) []consumer {
	entries, _ := os.ReadDir(filepath.Join(p.dir, "obs"))
	consumers := make([]consumer, 0, len(entries))
	for _, entry := range entries {
		consumers = append(consumers, env.openConsumer(s, p, entry.Name()))
	}
	return consumers
}

func (env *environment) openConsumer(s *store, p *plan, name string) (c consumer) {
	c.Name = name
	defer env.recovered(func(outcome, text string) { c.Outcome, c.Error = outcome, text })
	dir := filepath.Join(p.dir, "obs", name)
	info, err := env.readConsumerMeta(p, dir, name)
	if err != nil {
		c.Outcome, c.Error = "skipped", err.Error()
		return c
	}
	if objection, removes := forbidsDelivery(p, info.ConsumerConfig); removes {
		c.Outcome, c.Error = "deleted", objection
		return c
	} else if objection != "" {
		c.Outcome, c.Error = "skipped", objection
		return c
	}
	opened, err := s.ConsumerStore(name, info.Created, &info.ConsumerConfig)
	if err != nil {
		c.Outcome, c.Error = "error", err.Error()
		return c
	}
	c.Outcome = "opened"
	if c.State, err = opened.State(); err != nil {
		c.Error = err.Error()
	}
	return c
}

func (env *environment) readConsumerMeta(p *plan, dir, name string) (info server.FileConsumerInfo, err error) {
	buf, err := os.ReadFile(filepath.Join(dir, "meta.inf"))
	if err != nil {
		return info, fmt.Errorf("meta.inf: %s", cause(err))
	}
	if _, err := os.Stat(filepath.Join(dir, "meta.sum")); os.IsNotExist(err) {
		return info, fmt.Errorf("meta.sum: absent")
	}
	if key, err := os.ReadFile(filepath.Join(dir, "meta.key")); err == nil {
		buf, _, err = linkDecryptMeta(env.srv, p.keys.cipher, key, buf, p.keys.account, p.cfg.Name+"."+name)
		if err != nil {
			return info, fmt.Errorf("meta.key: %w", err)
		}
	}
	strict, err := decode(buf, &info)
	if err != nil {
		return info, fmt.Errorf("meta.inf: %w", err)
	}
	if !linkSupportsAPILevel(info.Metadata) {
		return info, fmt.Errorf("offline: required API level")
	}
	if strict != nil {
		return info, fmt.Errorf("offline: %w", strict)
	}
	return info, nil
}

// forbidsDelivery says what the server has against where a consumer delivers to, and whether it removes the consumer's directory for
// it. Its other checks of a consumer's configuration are left out.
func forbidsDelivery(p *plan, found server.ConsumerConfig) (objection string, removes bool) {
	none := &server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1}
	limits := &server.JSLimitOpts{}
	if found.Durable == "" {
		found.Durable = found.Name
	}
	if err := linkConsumerDefaults(&found, &p.cfg, limits, none, false); err != nil {
		return "", false
	}
	err := linkCheckConsumerCfg(&found, limits, &p.cfg, nil, none, true)
	if err == nil {
		return "", false
	}
	removes = server.IsNatsErr(err, server.JSConsumerInvalidDeliverSubject)
	if removes || server.IsNatsErr(err, server.JSConsumerDeliverToWildcardsErr, server.JSConsumerDeliverCycleErr) {
		return err.Error(), removes
	}
	return "", false
}
