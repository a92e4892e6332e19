package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
)

// plan is everything the open call of one stream needs.
type plan struct {
	dir     string
	cfg     server.StreamConfig
	created time.Time
	keys    keys
	block   uint64
	// putBack returns a meta.key that was taken away for a conversion; nil where none was.
	putBack func()
}

// planStream does for one stream directory what a stand-alone server does before it opens the store. A skip reason means that the
// server leaves the directory alone.
func (env *environment) planStream(q *question) (p *plan, skip string, err error) {
	dir, err := filepath.Abs(q.Dir)
	if err != nil {
		return nil, "", err
	}
	k, err := q.keys(dir)
	if err != nil {
		return nil, "", err
	}
	env.configure(k)
	p = &plan{dir: dir, keys: k, block: q.BlockSize}

	var info server.FileStreamInfo
	if len(q.Config) > 0 {
		if err := json.Unmarshal(q.Config, &info); err != nil {
			return nil, "", fmt.Errorf("config: %w", err)
		}
	} else if skip = env.readMeta(p, q, &info); skip != "" {
		return p, skip, nil
	}
	if skip = repairConfig(&info.StreamConfig); skip != "" {
		return p, skip, nil
	}
	if q.Raw {
		skip = ""
	} else if skip = env.checkConfig(&info.StreamConfig, k.account, q.Replicated); skip != "" {
		if p.putBack != nil {
			p.putBack()
		}
		return p, skip, nil
	}
	p.cfg, p.created = info.StreamConfig, info.Created
	if p.created.IsZero() || q.CreatedNow {
		p.created = time.Now().UTC()
	}
	if name := streamName(q, dir); p.cfg.Name != name {
		p.dir = filepath.Join(filepath.Dir(dir), p.cfg.Name)
	}
	return p, "", nil
}

func streamName(q *question, dir string) string {
	if q.Name != "" {
		return q.Name
	}
	return filepath.Base(dir)
}

// readMeta covers the steps from finding meta.inf to taking meta.key away for a conversion.
func (env *environment) readMeta(p *plan, q *question, info *server.FileStreamInfo) (skip string) {
	name := streamName(q, p.dir)
	buf, err := os.ReadFile(filepath.Join(p.dir, "meta.inf"))
	if err != nil {
		return "meta.inf: " + cause(err)
	}
	sum, err := os.ReadFile(filepath.Join(p.dir, "meta.sum"))
	if err != nil {
		return "meta.sum: " + cause(err)
	}
	if string(sum) != metaSum(name, buf) {
		return "meta.sum: checksum mismatch"
	}
	keyFile := filepath.Join(p.dir, "meta.key")
	sealed, converting := false, false
	keyBuf, err := os.ReadFile(keyFile)
	if err == nil {
		plain, other, err := linkDecryptMeta(env.srv, p.keys.cipher, keyBuf, buf, p.keys.account, name)
		if err != nil {
			return "meta.key: " + err.Error()
		}
		buf, sealed, converting = plain, true, other
	}
	if skip = decodeInfo(buf, info); skip != "" {
		return skip
	}
	if p.keys.key != "" && sealed && converting {
		os.Remove(keyFile)
		p.putBack = func() { _ = os.WriteFile(keyFile, keyBuf, 0o600) }
	}
	return ""
}

func cause(err error) string {
	if os.IsNotExist(err) {
		return "absent"
	}
	return err.Error()
}

// metaSum is the expected content of meta.sum.
func metaSum(name string, meta []byte) string {
	key := sha256.Sum256([]byte(name))
	hash, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err)
	}
	hash.Write(meta)
	return hex.EncodeToString(hash.Sum(nil))
}

// decodeInfo parses a stream's meta data; unknown fields and a too high API level leave the stream offline.
func decodeInfo(buf []byte, info *server.FileStreamInfo) (skip string) {
	strict, err := decode(buf, info)
	if err != nil {
		return "meta.inf: " + err.Error()
	}
	if !linkSupportsAPILevel(info.Metadata) {
		return "offline: required API level"
	}
	if strict != nil {
		return "offline: " + strict.Error()
	}
	return ""
}

// decode reads meta data as the server does: strictly, else leniently, else field by field without what does not fit. strict says
// what the first attempt stumbled over; such an asset is left offline.
func decode[T any](buf []byte, info *T) (strict, err error) {
	decoder := json.NewDecoder(bytes.NewReader(buf))
	decoder.DisallowUnknownFields()
	if strict = decoder.Decode(info); strict == nil {
		return nil, nil
	}
	var blank T
	*info = blank
	if json.Unmarshal(buf, info) == nil {
		return strict, nil
	}
	*info = blank
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(buf, &fields); err != nil {
		return strict, err
	}
	for name, value := range fields {
		one, err := json.Marshal(map[string]json.RawMessage{name: value})
		if trial := *new(T); err == nil && json.Unmarshal(one, &trial) == nil {
			_ = json.Unmarshal(one, info)
		}
	}
	return strict, nil
}

// repairConfig mends what older servers let through.
func repairConfig(cfg *server.StreamConfig) (skip string) {
	if cfg.Mirror != nil {
		cfg.Duplicates = 0
	}
	for i, subject := range cfg.Subjects {
		if server.IsValidSubject(subject) {
			continue
		}
		trimmed := strings.TrimSpace(subject)
		if !server.IsValidSubject(trimmed) {
			return fmt.Sprintf("config: invalid subject %q", subject)
		}
		cfg.Subjects[i] = trimmed
	}
	if cfg.Mirror != nil {
		cfg.Subjects = nil
	}
	return ""
}

// checkConfig applies the server's own configuration check with its defaults, and the rules that follow it.
func (env *environment) checkConfig(cfg *server.StreamConfig, account string, replicated bool) (skip string) {
	checked, apiErr := linkCheckStreamCfg(env.srv, cfg, server.NewAccount(account), false)
	if apiErr != nil {
		return "config: " + apiErr.Error()
	}
	*cfg = checked
	if cfg.Replicas > 1 && !replicated {
		return "config: replicas > 1 on a stand-alone server"
	}
	if cfg.Storage != server.FileStorage {
		return "config: not a file store"
	}
	sources := cfg.Sources
	if cfg.Mirror != nil {
		sources = append([]*server.StreamSource{cfg.Mirror}, sources...)
	}
	for _, source := range sources {
		if f := source.FilterSubject; f != "" && len(source.SubjectTransforms) == 0 && !server.IsValidSubject(f) {
			return fmt.Sprintf("config: invalid filter subject %q", f)
		}
	}
	if t := cfg.SubjectTransform; t != nil {
		if _, err := server.NewSubjectTransform(t.Source, t.Destination); err != nil {
			return "config: subject transform: " + err.Error()
		}
	}
	if t := cfg.RePublish; t != nil {
		if _, err := server.NewSubjectTransform(t.Source, t.Destination); err != nil {
			return "config: republish: " + err.Error()
		}
	}
	return ""
}

// open makes the store come up from disk.
func (env *environment) open(p *plan) (*store, error) {
	fcfg := env.storeConfig(p.dir, &p.cfg, p.keys)
	if p.block != 0 {
		fcfg.BlockSize = p.block
	}
	return openStore(fcfg, p.cfg, p.created, generator(p.keys.key, p.keys.account), generator(p.keys.previous, p.keys.account))
}
