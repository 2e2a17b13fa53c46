package certloader

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ticketKey is what session tickets are sealed with, or rather what crypto/tls
// derives the keys for that from.
type ticketKey = [32]byte

// maxTicketKeys bounds what a ticket of somebody else costs: each key is tried.
const maxTicketKeys = 16

// WithTicketKeys returns a Provider that brings what provider brings, owns it,
// and adds the keys in the file at path, which session tickets are sealed with:
// servers that have the same keys and trust the same CAs resume each other's
// sessions. Without a path it returns provider itself, and each server makes
// keys of its own, a new one every day.
//
// The file has 32 random bytes on each line, as 64 hexadecimal digits or in
// base64. The first seals, all open. Empty lines and those that begin with a #
// do not count. Errors tell nothing of what is in it.
func WithTicketKeys(provider Provider, path string) Provider {
	if path == "" {
		return provider
	}
	return &sealing{provider, path}
}

type sealing struct {
	Provider
	path string
}

// Load loads what the provider has, and then the keys.
func (s *sealing) Load(ctx context.Context) (*Material, error) {
	material, err := s.Provider.Load(ctx)
	if err != nil {
		return nil, err
	}
	data, err := readFile(s.path)
	var keys []ticketKey
	if err == nil {
		keys, err = parseTicketKeys(string(data))
	}
	if err != nil {
		return nil, inFile("--session-ticket-keys", s.path, err)
	}
	with := *material
	with.ticketKeys = keys
	return &with, nil
}

// TicketKeys is how many keys WithTicketKeys has brought.
func (s *Source) TicketKeys() int { return len(s.current.Load().ticketKeys) }

// parseTicketKeys reads the keys in a file, of which there is one at least.
func parseTicketKeys(text string) ([]ticketKey, error) {
	var keys []ticketKey
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parseTicketKey(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		case slices.Contains(keys, key):
			return nil, fmt.Errorf("line %d: a key that is there already; leave one of them out", i+1)
		case len(keys) == maxTicketKeys:
			return nil, fmt.Errorf("line %d: more than %d keys; tickets last a week at most, so drop the oldest", i+1, maxTicketKeys)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in it; openssl rand -hex 32 makes one")
	}
	return keys, nil
}

// parseTicketKey reads one key. That of a line of zeros is none: it stands where
// somebody has left something out.
func parseTicketKey(line string) (key ticketKey, err error) {
	decode := base64.StdEncoding.DecodeString
	if len(line) == hex.EncodedLen(len(key)) {
		decode = hex.DecodeString
	}
	decoded, err := decode(line)
	switch {
	case err != nil || len(decoded) != len(key): // the cause might quote the key
		return key, errors.New("not a key; write 32 bytes as 64 hexadecimal digits or in base64, as openssl rand -hex 32 does")
	case copy(key[:], decoded) > 0 && key == ticketKey{}:
		return key, errors.New("nothing but zeros, which everybody knows; openssl rand -hex 32 makes a key")
	}
	return key, nil
}

// trustDigest names what peers are judged by, so that servers that share keys can
// tell whether they judge alike. It need not be exact: whoever resumes is judged
// anew in any case.
func (s *snapshot) trustDigest() []byte {
	var parts []string
	for _, ca := range s.CAs {
		parts = append(parts, "ca "+string(ca.Raw))
	}
	for domain := range s.domains {
		parts = append(parts, "domain "+domain.Name())
	}
	if s.crls != nil {
		for _, list := range s.crls.all {
			parts = append(parts, "crl "+string(list.list.Raw))
		}
	}
	slices.Sort(parts)
	all := sha256.New()
	for _, part := range slices.Compact(parts) {
		one := sha256.Sum256([]byte(part))
		all.Write(one[:])
	}
	return all.Sum(nil)
}
