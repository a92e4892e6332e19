package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// wish is what `tokens` reads. Keys come from names, so that a name has the same key in every call.
type wish struct {
	Operator struct {
		Name          string `json:"name"`
		SigningKey    string `json:"signing_key"` // name of a further key, which signs the accounts that say so
		Strict        bool   `json:"strict"`
		SystemAccount string `json:"system_account"` // name of an account
		ServerVersion string `json:"server_version"`
	} `json:"operator"`
	Accounts []struct {
		Name      string                    `json:"name"`
		Called    string                    `json:"called"` // name in the token; default: the name
		SignedBy  string                    `json:"signed_by"`
		Limits    jwt.JetStreamLimits       `json:"limits"`
		Tiers     jwt.JetStreamTieredLimits `json:"tiers"`
		Expires   int64                     `json:"expires"`
		NotBefore int64                     `json:"not_before"`
	} `json:"accounts"`
}

// made is what it writes: the operator's token and key, and each account's, with a user's token that needs no signature.
type made struct {
	Key      string             `json:"key"`
	Operator string             `json:"operator"`
	Accounts map[string]account `json:"accounts"`
}

type account struct {
	Key   string `json:"key"`
	Token string `json:"token"`
	User  string `json:"user"`
}

func pair(prefix nkeys.PrefixByte, name string) (nkeys.KeyPair, string, error) {
	seed := sha256.Sum256([]byte(name))
	keys, err := nkeys.FromRawSeed(prefix, seed[:])
	if err != nil {
		return nil, "", err
	}
	public, err := keys.PublicKey()
	return keys, public, err
}

func commandTokens() error {
	var w wish
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	m, err := w.make()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

func (w *wish) make() (*made, error) {
	operator, operatorKey, err := pair(nkeys.PrefixByteOperator, w.Operator.Name)
	if err != nil {
		return nil, err
	}
	claims := jwt.NewOperatorClaims(operatorKey)
	claims.Name = w.Operator.Name
	claims.StrictSigningKeyUsage = w.Operator.Strict
	claims.AssertServerVersion = w.Operator.ServerVersion
	if name := w.Operator.SigningKey; name != "" {
		_, key, err := pair(nkeys.PrefixByteOperator, name)
		if err != nil {
			return nil, err
		}
		claims.SigningKeys.Add(key)
	}
	if name := w.Operator.SystemAccount; name != "" {
		if _, claims.SystemAccount, err = pair(nkeys.PrefixByteAccount, name); err != nil {
			return nil, err
		}
	}
	m := &made{Key: operatorKey, Accounts: map[string]account{}}
	if m.Operator, err = claims.Encode(operator); err != nil {
		return nil, err
	}
	for _, a := range w.Accounts {
		keys, key, err := pair(nkeys.PrefixByteAccount, a.Name)
		if err != nil {
			return nil, err
		}
		signer := operator
		if a.SignedBy != "" {
			if signer, _, err = pair(nkeys.PrefixByteOperator, a.SignedBy); err != nil {
				return nil, err
			}
		}
		claims := jwt.NewAccountClaims(key)
		claims.Name = a.Called
		if claims.Name == "" {
			claims.Name = a.Name
		}
		claims.Expires, claims.NotBefore = a.Expires, a.NotBefore
		claims.Limits.JetStreamLimits = a.Limits
		claims.Limits.JetStreamTieredLimits = a.Tiers
		token, err := claims.Encode(signer)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", a.Name, err)
		}
		_, userKey, err := pair(nkeys.PrefixByteUser, a.Name)
		if err != nil {
			return nil, err
		}
		user := jwt.NewUserClaims(userKey)
		user.BearerToken = true
		userToken, err := user.Encode(keys)
		if err != nil {
			return nil, err
		}
		m.Accounts[a.Name] = account{Key: key, Token: token, User: userToken}
	}
	return m, nil
}
