package certloader

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ticketKeyOf is a key of one byte again and again.
func ticketKeyOf(b byte) (key ticketKey) {
	for i := range key {
		key[i] = b
	}
	return key
}

func TestTicketKeysInAFile(t *testing.T) {
	t.Parallel()
	one, two := ticketKeyOf(1), ticketKeyOf(2)
	hexOne, base64Two := hex.EncodeToString(one[:]), base64.StdEncoding.EncodeToString(two[:])
	many := func(n int) string {
		var text strings.Builder
		for i := range n {
			key := ticketKeyOf(byte(i + 1))
			text.WriteString(hex.EncodeToString(key[:]) + "\n")
		}
		return text.String()
	}
	for _, test := range []struct {
		name, text string
		want       []ticketKey
		err        string
	}{
		{name: "one", text: hexOne, want: []ticketKey{one}},
		{name: "in the order of the file", text: base64Two + "\n" + hexOne + "\n", want: []ticketKey{two, one}},
		{name: "in capitals", text: strings.ToUpper(hex.EncodeToString([]byte(strings.Repeat("\xab", 32)))), want: []ticketKey{ticketKeyOf(0xab)}},
		{name: "with comments, blanks and the line ends of Windows", text: "# today's\r\n " + hexOne + " \r\n\r\n# yesterday's\r\n" + base64Two + "\r\n", want: []ticketKey{one, two}},
		{name: "as many as there may be", text: many(maxTicketKeys), want: slices.Collect(func(yield func(ticketKey) bool) {
			for i := range maxTicketKeys {
				yield(ticketKeyOf(byte(i + 1)))
			}
		})},
		{name: "one too many", text: many(maxTicketKeys + 1), err: "line 17: more than 16 keys"},
		{name: "none", text: "# none yet\n", err: "no key in it; openssl rand -hex 32 makes one"},
		{name: "too short", text: hexOne + "\n" + hexOne[2:], err: "line 2: not a key; write 32 bytes"},
		{name: "too long, as those of HAProxy are", text: base64.StdEncoding.EncodeToString([]byte(strings.Repeat("key", 16))), err: "line 1: not a key"},
		{name: "no digits", text: strings.Repeat("g", 64), err: "line 1: not a key"},
		{name: "in binary", text: string(two[:]), err: "line 1: not a key"},
		{name: "zeros", text: strings.Repeat("0", 64), err: "line 1: nothing but zeros"},
		{name: "twice, in two ways", text: hexOne + "\n" + base64.StdEncoding.EncodeToString(one[:]), err: "line 2: a key that is there already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseTicketKeys(test.text)
			if test.err == "" {
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("got %x, %v; want %x", got, err, test.want)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.err) || got != nil {
				t.Errorf("got %x, %v; want an error that begins with %q", got, err, test.err)
			}
		})
	}
}

// FuzzTicketKeys: what loads are keys, each once, that load as the same when they
// are written anew, and no error tells what is in the file.
func FuzzTicketKeys(f *testing.F) {
	one := ticketKeyOf(1)
	f.Add(hex.EncodeToString(one[:]))
	f.Add("# comment\n" + base64.StdEncoding.EncodeToString(one[:]) + "\n")
	f.Add("secret")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseTicketKeys(text)
		if err != nil {
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); len(line) > 20 && strings.Contains(err.Error(), line) {
					t.Errorf("%q tells what is in the file", err)
				}
			}
			return
		}
		if len(keys) == 0 || len(keys) > maxTicketKeys || slices.Contains(keys, ticketKey{}) {
			t.Fatalf("%d keys", len(keys))
		}
		var again strings.Builder
		for i, key := range keys {
			if slices.Contains(keys[:i], key) {
				t.Error("a key is there twice")
			}
			again.WriteString(hex.EncodeToString(key[:]) + "\n")
		}
		if same, err := parseTicketKeys(again.String()); err != nil || !slices.Equal(keys, same) {
			t.Errorf("written anew: %v", err)
		}
	})
}

// Replicas resume each other's sessions where they judge alike: by the same CAs
// and lists, in whatever order.
func TestTrustDigestTellsTrustApart(t *testing.T) {
	t.Parallel()
	ca := func(name string) *x509.Certificate { return &x509.Certificate{Raw: []byte(name)} }
	list := func(name string) *crl { return &crl{list: &x509.RevocationList{Raw: []byte(name)}} }
	trust := func(cas ...*x509.Certificate) *snapshot { return &snapshot{Material: Material{CAs: cas}} }
	with := func(s *snapshot, lists ...*crl) *snapshot {
		s.crls = &crls{all: lists}
		return s
	}
	domain := func(s *snapshot, name string) *snapshot {
		s.domains = trustDomains{spiffeid.RequireTrustDomainFromString(name): x509.NewCertPool()}
		return s
	}
	one, two := ca("one"), ca("two")
	seen := make(map[string]string)
	for name, s := range map[string]*snapshot{
		"the system's":   trust(),
		"a CA":           trust(one),
		"another":        trust(two),
		"both":           trust(one, two),
		"both in one":    trust(ca("onetwo")),
		"a list":         with(trust(one), list("1")),
		"another list":   with(trust(one), list("2")),
		"both lists":     with(trust(one), list("1"), list("2")),
		"a domain":       domain(trust(one), "example.org"),
		"another domain": domain(trust(one), "other.org"),
	} {
		digest := string(s.trustDigest())
		if other, known := seen[digest]; known {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[digest] = name
	}
	for name, s := range map[string]*snapshot{
		"both":       trust(two, one, two),
		"both lists": with(trust(one), list("2"), list("1")),
	} {
		if got := seen[string(s.trustDigest())]; got != name {
			t.Errorf("%s in another order has the digest of %q", name, got)
		}
	}
}
