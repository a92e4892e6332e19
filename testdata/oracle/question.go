package main

import (
	"encoding/json"
	"path/filepath"
)

// question is one request: a line on the standard input of `serve`, or the flags of a subcommand.
type question struct {
	ID json.RawMessage `json:"id,omitempty"`
	Op string          `json:"op,omitempty"` // open (default), random, gen

	Dir     string `json:"dir,omitempty"`
	Name    string `json:"name,omitempty"` // stands for the directory's own name
	Key     string `json:"key,omitempty"`
	PrevKey string `json:"prev_key,omitempty"`
	Cipher  string `json:"cipher,omitempty"`
	Account string `json:"account,omitempty"` // default: the directory above streams

	Config     json.RawMessage `json:"config,omitempty"`   // used in place of meta.inf and its checks
	After      string          `json:"after,omitempty"`    // stop (default) or open
	Digest     *bool           `json:"digest,omitempty"`   // default true
	Contents   bool            `json:"contents,omitempty"` // with digest: a fingerprint of every message, one by one
	UpTo       uint64          `json:"up_to,omitempty"`    // read no message behind this one
	Consumers  bool            `json:"consumers,omitempty"`
	Replicated bool            `json:"replicated,omitempty"` // allow more than one replica
	Raw        bool            `json:"raw,omitempty"`        // take the configuration as it is, without the server's check
	CreatedNow bool            `json:"created_now,omitempty"`
	BlockSize  uint64          `json:"block_size,omitempty"`

	Out    string `json:"out,omitempty"`
	Seed   int64  `json:"seed,omitempty"`
	Recipe string `json:"recipe,omitempty"`
	sizing
}

// sizing shapes the recipe "big", and the compression and times of every recipe.
type sizing struct {
	Compress    string  `json:"compress,omitempty"`
	BaseNs      int64   `json:"base_ns,omitempty"`
	Msgs        int     `json:"msgs,omitempty"`
	Size        int     `json:"size,omitempty"`
	Subjects    int     `json:"subject_count,omitempty"`
	TTLShare    float64 `json:"ttl_share,omitempty"`
	DeleteShare float64 `json:"delete_share,omitempty"`
	Block       uint64  `json:"block,omitempty"`
	Prefix      string  `json:"prefix,omitempty"` // put before every subject, so that streams of one account do not overlap
}

func (q *question) wantsDigest() bool { return q.Digest == nil || *q.Digest }

// keys resolves the encryption settings, the account from the path where it is not given.
func (q *question) keys(dir string) (keys, error) {
	cipher, err := parseCipher(q.Cipher)
	if err != nil {
		return keys{}, err
	}
	account := q.Account
	if account == "" {
		account = accountOf(dir)
	}
	return keys{key: q.Key, previous: q.PrevKey, cipher: cipher, account: account}, nil
}

// accountOf reads the account name off a path that ends in ACCOUNT/streams/NAME.
func accountOf(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "$G"
	}
	streams := filepath.Dir(abs)
	if filepath.Base(streams) != "streams" {
		return "$G"
	}
	return filepath.Base(filepath.Dir(streams))
}
