package policy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
)

func TestTrueAloneLetsIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, rule, reason, text string }{
		{"true", "allow = true", "", ""},
		{"false", "allow = false", policy.ReasonDenied, "data.access.allow is false"},
		{"undefined", "allow { 1 == 2 }", policy.ReasonDenied, "data.access.allow is undefined"},
		{"another name", "alow = true", policy.ReasonDenied, "data.access.allow is undefined"},
		{"null", "allow = null", policy.ReasonError, "null, not a boolean"},
		{"one", "allow = 1", policy.ReasonError, "a number, not a boolean"},
		{"the text true", `allow = "true"`, policy.ReasonError, "a string, not a boolean"},
		{"an array of true", "allow = [true]", policy.ReasonError, "an array or a set, not a boolean"},
		{"a set", "allow[x] { x := true }", policy.ReasonError, "an array or a set, not a boolean"},
		{"an object", `allow = {"result": true}`, policy.ReasonError, "an object, not a boolean"},
		{"two values", "allow = true\nallow = false", policy.ReasonError, "conflict"},
		{"division by zero", "allow { 1 / input.zero == 1 }\nallow { x := 0; 1 / x > 0 }", policy.ReasonError, "divide by zero"},
		{"an error under not", `allow { not refused }
refused { to_number(input.certificate.Subject.CommonName) == 1 }`, policy.ReasonError, "to_number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := load(t, file(t, "package access\n"+test.rule), query)
			err := p.Authorizer(from)(peer(t, alice))
			if got := reason(t, err); got != test.reason {
				t.Fatalf("reason %q, want %q (%v)", got, test.reason, err)
			}
			if err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %q, want %q in it", err, test.text)
			}
		})
	}
}

func TestQueryMayCompare(t *testing.T) {
	t.Parallel()
	path := file(t, "package access\nlevel = count(input.certificate.Subject.CommonName)")
	for query, want := range map[string]string{
		"data.access.level == 5":  "",
		"data.access.level == 6":  policy.ReasonDenied,
		"x := data.access.level":  policy.ReasonError,
		"data.access[x]":          policy.ReasonError,
		"not data.access.level":   policy.ReasonDenied,
		"not data.access.unknown": "",
	} {
		if got := reason(t, load(t, path, query).Authorizer(from)(peer(t, alice))); got != want {
			t.Errorf("%s: reason %q, want %q", query, got, want)
		}
	}
}

func TestAnswerThatTakesTooLongRefuses(t *testing.T) {
	t.Parallel()
	path := file(t, "package access\nallow { numbers.range(1, 1000000)[_] + numbers.range(1, 1000000)[_] == -1 }\nallow { true }")
	p, err := policy.Load(t.Context(), path, query, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Authorizer(from)(peer(t, alice))
	if got := reason(t, err); got != policy.ReasonError || !strings.Contains(err.Error(), "no answer within 50ms") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reason %q, %v", got, err)
	}
}

// TestSeveralAnswersAreNone, though each of them is true.
func TestSeveralAnswersAreNone(t *testing.T) {
	t.Parallel()
	p := load(t, file(t, "package access\neach = [true, true, true]"), "data.access.each[_]")
	err := p.Authorizer(from)(peer(t, alice))
	if got := reason(t, err); got != policy.ReasonError || !strings.Contains(err.Error(), "3 answers; ask for one boolean") {
		t.Errorf("reason %q, %v", got, err)
	}
}

// TestCertificateThatThePolicyCannotSeeIsRefused: JSON has years of four digits.
func TestCertificateThatThePolicyCannotSeeIsRefused(t *testing.T) {
	t.Parallel()
	state := peer(t, alice)
	late := *state.PeerCertificates[0]
	late.NotAfter = time.Date(10_000, time.January, 1, 0, 0, 0, 0, time.UTC)
	state.PeerCertificates[0] = &late
	err := load(t, file(t, "package access\nallow = true"), query).Authorizer(from)(state)
	if got := reason(t, err); got != policy.ReasonError || !strings.Contains(err.Error(), "the certificate cannot be written as JSON") {
		t.Errorf("reason %q, %v", got, err)
	}
}

func TestLimitBeginsWithTheHandshake(t *testing.T) {
	t.Parallel()
	p, err := policy.Load(t.Context(), file(t, v0), query, time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Authorizer(from)(peer(t, alice))
	if got := reason(t, err); got != policy.ReasonError {
		t.Errorf("an answer after the time was up: reason %q, %v", got, err)
	}
}

func TestPeerThatIsNotVerifiedIsRefused(t *testing.T) {
	t.Parallel()
	p := load(t, file(t, "package access\nallow = true"), query)
	unverified := peer(t, alice)
	unverified.VerifiedChains = nil
	for name, state := range map[string]tls.ConnectionState{"no certificate": {}, "no chain": unverified} {
		if got := reason(t, p.Authorizer(from)(state)); got != policy.ReasonDenied {
			t.Errorf("%s: reason %q", name, got)
		}
	}
}

func TestInput(t *testing.T) {
	t.Parallel()
	state := peer(t, alice)
	old := state
	old.Version, old.CipherSuite, old.ServerName, old.NegotiatedProtocol = tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "", ""
	for _, test := range []struct {
		state  tls.ConnectionState
		remote net.Addr
		holds  string
	}{
		{state, from, `input.certificate.Subject.CommonName == "alice"`},
		{state, from, `input.certificate.Subject.OrganizationalUnit == ["operations"]`},
		{state, from, `input.certificate.DNSNames[_] == "alice.test"`},
		{state, from, `input.certificate.IPAddresses == ["192.0.2.1"]`},
		{state, from, `input.certificate.URIs[0].Scheme == "spiffe"`},
		{state, from, `input.certificate.URIs[0].Host == "test"`},
		{state, from, `input.certificate.URIs[0].Path == "/team/alice"`},
		{state, from, `input.certificate.URIs[0].RawQuery == "x=1"`},
		{state, from, `input.certificate.Issuer.CommonName == "test CA"`},
		{state, from, `input.certificate.IsCA == false`},
		{state, from, `input.certificate.Version == 3`},
		{state, from, `input.certificate.SerialNumber == ` + state.PeerCertificates[0].SerialNumber.String()},
		{state, from, `time.parse_rfc3339_ns(input.certificate.NotAfter) > time.now_ns()`},
		{state, from, `input.certificate.ExtKeyUsage[_] == 2`},
		{state, from, `input.tls == {"version": "TLS 1.3", "sni": "service.test", "alpn": "h2", "cipher": "TLS_AES_128_GCM_SHA256"}`},
		{old, from, `input.tls == {"version": "TLS 1.2", "sni": "", "alpn": "", "cipher": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}`},
		{state, from, `input.remote == "192.0.2.7:40312"`},
		{state, from, `net.cidr_contains("192.0.2.0/24", input.remote_ip)`},
		{state, from, `not net.cidr_contains("198.51.100.0/24", input.remote_ip)`},
		{state, &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7"), Port: 1}, `input.remote_ip == "192.0.2.7"`},
		{state, &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "eth0"}, `input.remote_ip == "fe80::1"; input.remote == "[fe80::1%eth0]:1"`},
		{state, &net.UnixAddr{Net: "unix", Name: "/run/app"}, `input.remote == "/run/app"; not input.remote_ip`},
		{state, nil, `input.remote == ""; not input.remote_ip`},
	} {
		p := load(t, file(t, "package access\nallow { "+test.holds+" }"), query)
		if err := p.Authorizer(test.remote)(test.state); err != nil {
			t.Errorf("%s: %v", test.holds, err)
		}
	}
}

// TestManyAskAtOnce has a policy reloaded while it answers; the race detector
// looks on.
func TestManyAskAtOnce(t *testing.T) {
	t.Parallel()
	p := load(t, file(t, v0), query)
	state := peer(t, alice)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if err := p.Authorizer(from)(state); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		if err := p.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
}
