package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"strings"
	"testing"
	"time"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/config"
	"sallyport/devpki"
	"sallyport/internal/memnet"
	"sallyport/internal/spiffeagent"
)

// federation is two trust domains, of which the tunnel's own is example.org.
type federation struct{ own, other *devpki.CA }

func newFederation(t *testing.T) federation {
	t.Helper()
	var f federation
	for _, ca := range []**devpki.CA{&f.own, &f.other} {
		var err error
		if *ca, err = devpki.NewCA(devpki.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// agent tells of both domains, and has an SVID to give.
func (f federation) agent(t *testing.T) *spiffeagent.Agent {
	t.Helper()
	us, err := f.own.Issue(devpki.Request{URIs: []string{"spiffe://example.org/us"}})
	if err != nil {
		t.Fatal(err)
	}
	agent := spiffeagent.Start(t)
	agent.Say(spiffeagent.Answer{
		SVIDs:   []tls.Certificate{us.TLSCertificate()},
		Bundles: map[string][]*x509.Certificate{"example.org": {f.own.Root()}, "other.org": {f.other.Root()}},
	})
	return agent
}

func TestAFederatedDomainAnswersForItsIDsAlone(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	provider, err := certloader.WorkloadAPI(t.Context(), certloader.WorkloadAPIOptions{Address: f.agent(t).Address(), Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	source, err := certloader.New(t.Context(), provider)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	peer := func(ca *devpki.CA, id string) *tls.Config {
		alice, err := ca.Issue(devpki.Request{
			CommonName: "alice", OrganizationalUnits: []string{"eng"}, DNSNames: []string{"alice.example"}, URIs: []string{id},
		})
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{alice.TLSCertificate()}, InsecureSkipVerify: true}
	}
	near, far := peer(f.own, "spiffe://example.org/alice"), peer(f.other, "spiffe://other.org/alice")
	anyID, err := auth.ParseURIPattern("**")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		access    config.Access
		near, far bool
	}{
		"nobody":              {config.Access{}, false, false},
		"common name":         {config.Access{CommonNames: []string{"alice"}}, true, false},
		"organizational unit": {config.Access{OrganizationalUnits: []string{"eng"}}, true, false},
		"DNS name":            {config.Access{DNSNames: []string{"alice.example"}}, true, false},
		"another's name":      {config.Access{CommonNames: []string{"bob"}}, false, false},
		"URI":                 {config.Access{URIs: []auth.URIPattern{anyID}}, true, true},
		"URI beside a name":   {config.Access{CommonNames: []string{"bob"}, URIs: []auth.URIPattern{anyID}}, true, true},
		"all":                 {config.Access{All: true}, true, true},
	} {
		server := source.ServerConfig(certloader.ServerOptions{Authorize: authorizer(test.access, source)})
		if got := letIn(t, near, server); got != test.near {
			t.Errorf("%s: a peer of the own domain is let in: %t", name, got)
		}
		if got := letIn(t, far, server); got != test.far {
			t.Errorf("%s: a peer of a federated domain is let in: %t", name, got)
		}
	}
}

// letIn tells whether a server takes a client.
func letIn(t *testing.T, client, server *tls.Config) bool {
	t.Helper()
	near, far := memnet.Pipe(64 << 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, tls.Client(near, client))
	}()
	err := tls.Server(far, server).HandshakeContext(t.Context())
	_ = far.Close()
	<-done
	_ = near.Close()
	return err == nil
}

func TestWithoutAnOwnDomainNamesAreRefusedAtStart(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	line := "client --listen unix:@/in --target unix:@/out --disable-authentication --use-workload-api-addr " + newFederation(t).agent(t).Address()
	cfg := parse(t, dir, line+" --verify-cn alice")
	const want = "use --verify-uri"
	if s, err := New(t.Context(), cfg, Build{}, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("New: %v", err)
		if err == nil {
			_ = s.close()
		}
	}
	if err := Check(t.Context(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Check: %v", err)
	}
	if err := Check(t.Context(), parse(t, dir, line+" --verify-uri spiffe://example.org/us"), io.Discard); err != nil {
		t.Errorf("Check with a URI: %v", err)
	}
}

func TestThatEveryIDWillDoIsWarnedAbout(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	api := " --use-workload-api-addr " + newFederation(t).agent(t).Address()
	for line, want := range map[string]string{
		"server --allow-all":                          "--allow-uri says",
		"server --allow-uri spiffe://example.org/us":  "",
		"server --disable-authentication":             "",
		"client":                                      "--verify-uri says",
		"client --verify-uri spiffe://example.org/us": "",
	} {
		var log syncBuffer
		s, err := New(t.Context(), parse(t, dir, line+api+" --listen unix:@/in --target unix:@/out"), Build{}, &log)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if text := log.String(); strings.Contains(text, "level=WARN") != (want != "") || !strings.Contains(text, want) {
			t.Errorf("%s: logged %q, want %q", line, text, want)
		}
	}
}
