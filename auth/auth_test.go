package auth_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/auth"
	"sallyport/devpki"
)

// peer is the state of a connection whose peer showed a certificate as
// requested, and was verified.
func peer(t testing.TB, req devpki.Request) tls.ConnectionState {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{id.Leaf},
		VerifiedChains:   [][]*x509.Certificate{{id.Leaf, ca.Certificate()}},
	}
}

func pattern(t testing.TB, text string) auth.URIPattern {
	t.Helper()
	p, err := auth.ParseURIPattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func alice(t testing.TB) tls.ConnectionState {
	return peer(t, devpki.Request{
		CommonName:          "alice",
		OrganizationalUnits: []string{"eng", "ops"},
		DNSNames:            []string{"alice.example", "*.wild.example"},
		IPs:                 []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		URIs:                []string{"spiffe://example/other", "spiffe://example/users/alice"},
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	state := alice(t)
	for _, test := range []struct {
		name  string
		rule  auth.Authorizer
		allow bool
	}{
		{"common name", auth.CommonName("alice"), true},
		{"common name of other case", auth.CommonName("Alice"), false},
		{"common name's beginning", auth.CommonName("ali"), false},
		{"empty common name", auth.CommonName(""), false},
		{"a DNS name is no common name", auth.CommonName("alice.example"), false},

		{"first unit", auth.OrganizationalUnit("eng"), true},
		{"second unit", auth.OrganizationalUnit("ops"), true},
		{"another unit", auth.OrganizationalUnit("sales"), false},
		{"empty unit", auth.OrganizationalUnit(""), false},

		{"DNS name", auth.DNSName("alice.example"), true},
		{"DNS name below", auth.DNSName("x.alice.example"), false},
		{"wildcard as itself", auth.DNSName("*.wild.example"), true},
		{"wildcard expanded", auth.DNSName("x.wild.example"), false},
		{"a common name is no DNS name", auth.DNSName("alice"), false},
		{"empty DNS name", auth.DNSName(""), false},

		{"IPv4 address", auth.IPAddress(netip.MustParseAddr("192.0.2.1")), true},
		{"IPv4 address mapped into IPv6", auth.IPAddress(netip.MustParseAddr("::ffff:192.0.2.1")), true},
		{"IPv6 address", auth.IPAddress(netip.MustParseAddr("2001:db8::1")), true},
		{"IPv6 address with a zone", auth.IPAddress(netip.MustParseAddr("2001:db8::1%eth0")), false},
		{"another address", auth.IPAddress(netip.MustParseAddr("192.0.2.2")), false},
		{"no address", auth.IPAddress(netip.Addr{}), false},

		{"URI", auth.URI(pattern(t, "spiffe://example/users/alice")), true},
		{"URI by wildcard", auth.URI(pattern(t, "spiffe://example/users/*")), true},
		{"another URI", auth.URI(pattern(t, "spiffe://example/hosts/*")), false},
		{"zero pattern", auth.URI(auth.URIPattern{}), false},

		{"any peer", auth.AnyPeer(), true},
		{"no rules", auth.Any(), false},
		{"one of many matches", auth.Any(auth.CommonName("bob"), auth.DNSName("alice.example")), true},
		{"none of many matches", auth.Any(auth.CommonName("bob"), auth.DNSName("bob.example")), false},
		{"any of any", auth.Any(auth.Any(), auth.Any(auth.AnyPeer())), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.rule(state)
			if allowed := err == nil; allowed != test.allow {
				t.Fatalf("allowed = %t (%v), want %t", allowed, err, test.allow)
			}
			if err == nil {
				return
			}
			denied, ok := errors.AsType[*auth.DeniedError](err)
			if !ok {
				t.Fatalf("error is a %T: %v", err, err)
			}
			if denied.Identity != "spiffe://example/other" || !strings.Contains(err.Error(), denied.Identity) {
				t.Errorf("error %q does not name the peer", err)
			}
			if denied.Reason() != "not_allowed" {
				t.Errorf("reason = %q", denied.Reason())
			}
		})
	}
}

func TestUnverifiedPeersAreDeniedByEveryRule(t *testing.T) {
	t.Parallel()
	unverified := alice(t)
	unverified.VerifiedChains = nil
	inChain := alice(t) // alice's certificate, but only behind that of another peer
	bob := peer(t, devpki.Request{CommonName: "bob"})
	inChain.PeerCertificates = append(bob.PeerCertificates, inChain.PeerCertificates...)

	named := map[string]auth.Authorizer{
		"common name": auth.CommonName("alice"),
		"unit":        auth.OrganizationalUnit("eng"),
		"DNS name":    auth.DNSName("alice.example"),
		"IP address":  auth.IPAddress(netip.MustParseAddr("192.0.2.1")),
		"URI":         auth.URI(pattern(t, "spiffe://example/users/alice")),
	}
	for name, rule := range named {
		if err := rule(alice(t)); err != nil {
			t.Fatalf("%s: does not match at all: %v", name, err)
		}
		if rule(inChain) == nil {
			t.Errorf("%s: matches a certificate that is not the peer's own", name)
		}
	}
	named["any peer"] = auth.AnyPeer()
	for name, rule := range named {
		for kind, state := range map[string]tls.ConnectionState{
			"unverified":                 unverified,
			"without certificate":        {},
			"chains without certificate": {VerifiedChains: [][]*x509.Certificate{{}}},
		} {
			if rule(state) == nil {
				t.Errorf("%s: lets in a peer that is %s", name, kind)
			}
		}
	}
}

func TestAnyTellsWhatKeptARuleFromDeciding(t *testing.T) {
	t.Parallel()
	broken := errors.New("the policy is broken")
	fails := func(tls.ConnectionState) error { return broken }

	err := auth.Any(auth.CommonName("bob"), auth.Any(fails))(alice(t))
	denied, ok := errors.AsType[*auth.DeniedError](err)
	if !ok || !errors.Is(err, broken) || !strings.Contains(err.Error(), broken.Error()) {
		t.Errorf("error = %v, want a denial that wraps %q", err, broken)
	}
	if ok && denied.Reason() != "not_allowed" {
		t.Errorf("reason = %q", denied.Reason())
	}
	if err := auth.Any(fails, auth.CommonName("alice"))(alice(t)); err != nil {
		t.Errorf("a broken rule kept out a peer that another lets in: %v", err)
	}
}

// refusal is an error of a rule from elsewhere, with a reason of its own.
type refusal string

func (r refusal) Error() string  { return "refused: " + string(r) }
func (r refusal) Reason() string { return string(r) }

func TestADenialHasTheReasonOfTheRuleThatGaveOne(t *testing.T) {
	t.Parallel()
	denies := func(tls.ConnectionState) error { return refusal("policy_denied") }
	for name, rule := range map[string]auth.Authorizer{
		"alone":               auth.Any(denies),
		"behind one that not": auth.Any(auth.CommonName("bob"), denies),
		"before one that not": auth.Any(denies, auth.CommonName("bob")),
		"within another":      auth.Any(auth.CommonName("bob"), auth.Any(denies)),
	} {
		denied, ok := errors.AsType[*auth.DeniedError](rule(alice(t)))
		if !ok || denied.Reason() != "policy_denied" || denied.Identity == "" {
			t.Errorf("%s: %v (%+v), want a denial of the peer with the rule's reason", name, denied, denied)
		}
	}
}

func TestDenialQuotesWhatThePeerChose(t *testing.T) {
	t.Parallel()
	err := auth.Any()(peer(t, devpki.Request{CommonName: "eve\nlevel=info msg=fine"}))
	if text := err.Error(); strings.Contains(text, "\n") || !strings.Contains(text, `eve\n`) {
		t.Errorf("text = %q", text)
	}
	if text := auth.Any()(peer(t, devpki.Request{CommonName: "eve"})).Error(); text != `no access rule matches "eve"` {
		t.Errorf("text = %q", text)
	}
	if text := auth.Any()(tls.ConnectionState{}).Error(); !strings.Contains(text, "without a certificate") {
		t.Errorf("text without certificate = %q", text)
	}
}

func TestIdentityCutsALongName(t *testing.T) {
	t.Parallel()
	for length := range 4 {
		name := strings.Repeat("x", length) + strings.Repeat("€", 1000)
		got := auth.Identity(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}}})
		short, cut := strings.CutSuffix(got, "…")
		if !cut || !strings.HasPrefix(name, short) || len(short) < 253 || len(short) > 256 || !utf8.ValidString(got) {
			t.Errorf("cut to %q", got)
		}
	}
}

func TestDenialCutsWhatThePeerChose(t *testing.T) {
	t.Parallel()
	for name, identity := range map[string]string{
		"letters":     strings.Repeat("x", 100_000),
		"wide ones":   strings.Repeat("\u20ac", 50_000),
		"broken ones": strings.Repeat("\x80", 50_000),
	} {
		text := (&auth.DeniedError{Identity: identity}).Error()
		if len(text) > 300 || !strings.Contains(text, "…") {
			t.Errorf("%s: %d bytes: %.400s", name, len(text), text)
		}
	}
	exact := strings.Repeat("x", 256)
	if text := (&auth.DeniedError{Identity: exact}).Error(); !strings.HasSuffix(text, exact+`"`) {
		t.Errorf("256 bytes were cut: %s", text)
	}
}

func TestWhenLimitsARule(t *testing.T) {
	t.Parallel()
	state := alice(t)
	broken := errors.New("the policy is broken")
	for _, test := range []struct {
		name  string
		holds bool
		rule  auth.Authorizer
		allow bool
	}{
		{"holds and matches", true, auth.CommonName("alice"), true},
		{"holds and does not match", true, auth.CommonName("bob"), false},
		{"does not hold and matches", false, auth.CommonName("alice"), false},
		{"does not hold, and the rule is broken", false, func(tls.ConnectionState) error { return broken }, false},
	} {
		err := auth.When(func(tls.ConnectionState) bool { return test.holds }, test.rule)(state)
		if (err == nil) != test.allow || errors.Is(err, broken) {
			t.Errorf("%s: %v", test.name, err)
		}
		if _, ok := errors.AsType[*auth.DeniedError](err); err != nil && !ok {
			t.Errorf("%s: error is a %T", test.name, err)
		}
	}
}

func TestIdentityPrefersTheMostTelling(t *testing.T) {
	t.Parallel()
	full := devpki.Request{CommonName: "alice", DNSNames: []string{"a.example", "b.example"}, URIs: []string{"spiffe://example/a", "spiffe://example/b"}}
	noURI, noName := full, full
	noURI.URIs = nil
	noName.URIs, noName.CommonName = nil, ""
	address := peer(t, devpki.Request{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})

	for _, test := range []struct {
		name  string
		state tls.ConnectionState
		want  string
	}{
		{"first URI", peer(t, full), "spiffe://example/a"},
		{"common name", peer(t, noURI), "alice"},
		{"first DNS name", peer(t, noName), "a.example"},
		{"serial number", address, "serial " + address.PeerCertificates[0].SerialNumber.Text(16)},
		{"no certificate", tls.ConnectionState{}, ""},
	} {
		if got := auth.Identity(test.state); got != test.want {
			t.Errorf("%s: Identity = %q, want %q", test.name, got, test.want)
		}
	}
}
