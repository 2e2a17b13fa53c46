package certloader_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport/certloader"
	"sallyport/devpki"
	"sallyport/internal/spiffeagent"
)

// lines collects what is logged.
type lines struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{} // receives when there is more
}

func newLines() *lines { return &lines{written: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// waitFor waits for a line.
func (l *lines) waitFor(t *testing.T, part string) {
	t.Helper()
	deadline := time.After(soon)
	for !strings.Contains(l.String(), part) {
		select {
		case <-l.written:
		case <-deadline:
			t.Fatalf("nothing logged with %q:\n%s", part, l)
		}
	}
}

// newWorkload returns the Provider of an agent, which has an answer by then,
// and what it logs.
func newWorkload(t testing.TB, agent *spiffeagent.Agent) (certloader.Provider, *lines) {
	t.Helper()
	log := newLines()
	provider, err := certloader.WorkloadAPI(t.Context(), certloader.WorkloadAPIOptions{
		Address: agent.Address(),
		Timeout: 30 * time.Second,
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := provider.Close(); err != nil {
			t.Error(err)
		}
	})
	return provider, log
}

// open returns a Source of the provider, which stays the test's to close.
func open(t testing.TB, provider certloader.Provider) *certloader.Source {
	t.Helper()
	source, err := certloader.New(t.Context(), provider)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestTheWorkloadAPIBringsTheFirstSVIDAndEveryBundle(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{CommonName: "own"}), newCA(t, devpki.Options{CommonName: "other"})
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	first := issue(t, sub, devpki.Request{CommonName: "first", URIs: []string{"spiffe://example.org/first"}})
	source := spiffe(t, spiffeagent.Answer{
		SVIDs:   []tls.Certificate{first.TLSCertificate(), svid(t, ca, "spiffe://example.org/second")},
		Bundles: bundles("example.org", ca, "other.org", other, "third.org", other),
	})
	var got []string
	for _, cert := range source.Certificates() {
		got = append(got, cert.Role+" "+cert.Subject)
	}
	want := "identity CN=first, intermediate CN=sub, ca CN=own, ca CN=other"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestARotationOfTheAgentIsLoaded(t *testing.T) {
	t.Parallel()
	ca, next := newCA(t, devpki.Options{CommonName: "old"}), newCA(t, devpki.Options{CommonName: "new"})
	agent := spiffeagent.Start(t)
	agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org/db")}, Bundles: bundles("example.org", ca)})
	provider, _ := newWorkload(t, agent)
	source := open(t, provider)

	renewed := svid(t, next, "spiffe://example.org/db")
	agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{renewed}, Bundles: bundles("example.org", ca, "example.org", next)})
	wantChanged(t, source)
	if err := source.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	certs := source.Certificates()
	if !certs[0].X509.Equal(renewed.Leaf) || len(certs) != 3 {
		t.Errorf("in use now: %v", certs)
	}
}

func TestAnAnswerThatIsRepeatedIsNoChange(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	id := svid(t, ca, "spiffe://example.org/db")
	agent := spiffeagent.Start(t)
	agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{id}, Bundles: bundles("example.org", ca)})
	provider, _ := newWorkload(t, agent)
	watcher := provider.(workloadapi.X509ContextWatcher)
	changed := func() bool {
		select {
		case <-provider.Changed():
			return true
		default:
			return false
		}
	}

	domain := spiffeid.RequireTrustDomainFromString("example.org")
	answer := func(cas ...*x509.Certificate) *workloadapi.X509Context {
		return &workloadapi.X509Context{
			SVIDs:   []*x509svid.SVID{{Certificates: []*x509.Certificate{id.Leaf}, PrivateKey: id.PrivateKey.(crypto.Signer)}},
			Bundles: x509bundle.NewSet(x509bundle.FromX509Authorities(domain, cas)),
		}
	}
	watcher.OnX509ContextUpdate(answer(ca.Root()))
	if changed() {
		t.Error("the same again was a change")
	}
	watcher.OnX509ContextUpdate(answer())
	if !changed() {
		t.Error("a bundle without its CA was no change")
	}
}

func TestAnAgentThatIsAwayIsRiddenOut(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	id := svid(t, ca, "spiffe://example.org/db")
	for name, leave := range map[string]struct {
		away, back func(*testing.T, *spiffeagent.Agent)
	}{
		"it is stopped": {
			func(_ *testing.T, a *spiffeagent.Agent) { a.Stop() },
			func(t *testing.T, a *spiffeagent.Agent) { a.Restart(t) },
		},
		"it cancels the calls":           {endingCalls(status.Error(codes.Canceled, "about to end")), nil},
		"it calls the calls invalid":     {endingCalls(status.Error(codes.InvalidArgument, "not like that")), nil},
		"it has no identity for us":      {endingCalls(status.Error(codes.PermissionDenied, "no identity issued")), nil},
		"it has nothing of the sort now": {endingCalls(status.Error(codes.Unimplemented, "what?")), nil},
		"it ends the calls":              {endingCalls(io.EOF), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := spiffeagent.Start(t)
			agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{id}, Bundles: bundles("example.org", ca)})
			provider, log := newWorkload(t, agent)
			source := open(t, provider)

			leave.away(t, agent)
			log.waitFor(t, "the Workload API is away; what it said last stays in use")
			if err := source.Reload(t.Context()); err != nil {
				t.Errorf("Reload while the agent is away: %v", err)
			}
			if err := mutual(t, source, source).err(); err != nil {
				t.Errorf("handshake while the agent is away: %v", err)
			}

			renewed := svid(t, ca, "spiffe://example.org/db")
			agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{renewed}, Bundles: bundles("example.org", ca)})
			if leave.back != nil {
				leave.back(t, agent)
			}
			wantChanged(t, source)
			if err := source.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !source.Certificates()[0].X509.Equal(renewed.Leaf) {
				t.Error("what the agent says since it is back is not in use")
			}
			if n := strings.Count(log.String(), "the Workload API answers"); n != 1 {
				t.Errorf("logged %d times that the agent is back:\n%s", n, log)
			}
		})
	}
}

func endingCalls(err error) func(*testing.T, *spiffeagent.Agent) {
	return func(_ *testing.T, a *spiffeagent.Agent) { a.Fail(err) }
}

func TestAnAnswerThatCannotBeUsedIsAnErrorUntilTheNext(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	good := spiffeagent.Answer{SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org/db")}, Bundles: bundles("example.org", ca)}
	mixed := svid(t, ca, "spiffe://example.org/db")
	mixed.PrivateKey = good.SVIDs[0].PrivateKey
	for name, bad := range map[string]spiffeagent.Answer{
		"no SVID":              {Bundles: good.Bundles},
		"a key of another":     {SVIDs: []tls.Certificate{mixed}, Bundles: good.Bundles},
		"the SVID of a domain": {SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org")}, Bundles: good.Bundles},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := spiffeagent.Start(t)
			agent.Say(good)
			provider, log := newWorkload(t, agent)
			source := open(t, provider)

			agent.Say(bad)
			wantChanged(t, source)
			err := source.Reload(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), "--use-workload-api-addr "+agent.Address()+": the agent's answer cannot be used: ") {
				t.Errorf("Reload: %v", err)
			}
			if err := mutual(t, source, source).err(); err != nil {
				t.Error(err)
			}
			if text := log.String(); text != "" {
				t.Errorf("logged what the reload tells:\n%s", text)
			}

			agent.Say(good)
			wantChanged(t, source)
			if err := source.Reload(t.Context()); err != nil {
				t.Errorf("Reload of a good answer: %v", err)
			}
		})
	}
}

func TestTrustAloneNeedsNoIdentity(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	agent := spiffeagent.Start(t)
	agent.Say(spiffeagent.Answer{Bundles: bundles("example.org", ca)})
	provider, err := certloader.WorkloadAPI(t.Context(), certloader.WorkloadAPIOptions{Address: agent.Address(), TrustOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	source := open(t, provider)
	if certs := source.Certificates(); len(certs) != 1 || certs[0].Role != certloader.RoleCA {
		t.Errorf("got %v, want a CA and no identity", certs)
	}
	server := spiffe(t, spiffeagent.Answer{SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org/db")}, Bundles: bundles("example.org", ca)})
	got := shake(t, source.ClientConfig(certloader.ClientOptions{}), server.ServerConfig(certloader.ServerOptions{}))
	if err := got.err(); err != nil {
		t.Error(err)
	}

	// Without any CA nobody is trusted, and not those that the system trusts.
	agent.Say(spiffeagent.Answer{})
	wantChanged(t, source)
	if err := source.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = shake(t, source.ClientConfig(certloader.ClientOptions{}), server.ServerConfig(certloader.ServerOptions{}))
	if reason(got.clientError) != "unknown_ca" {
		t.Errorf("without bundles: %v", got.clientError)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheStartWaitsForTheAgent(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	agent := spiffeagent.Start(t)
	log := newLines()
	type result struct {
		provider certloader.Provider
		err      error
	}
	done := make(chan result, 1)
	go func() {
		provider, err := certloader.WorkloadAPI(t.Context(), certloader.WorkloadAPIOptions{
			Address: agent.Address(), Log: slog.New(slog.NewTextHandler(log, nil)),
		})
		done <- result{provider, err}
	}()
	// Everything that can be wrong at first, one after another.
	log.waitFor(t, "no identity issued")
	agent.Stop()
	log.waitFor(t, "no such file or directory")
	agent.Say(spiffeagent.Answer{Bundles: bundles("example.org", ca)})
	agent.Restart(t)
	log.waitFor(t, "no SVIDs in response")
	agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org/db")}, Bundles: bundles("example.org", ca)})
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	if _, err := got.provider.Load(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-got.provider.Changed():
		t.Error("the first answer is a change")
	default:
	}
	if err := got.provider.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheStartGivesUp(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	refusing, empty, rejecting := spiffeagent.Start(t), spiffeagent.Start(t), spiffeagent.Start(t)
	empty.Say(spiffeagent.Answer{})
	rejecting.Fail(status.Error(codes.InvalidArgument, "not like that"))
	for _, test := range []struct {
		name    string
		ctx     context.Context //nolint:containedctx // one of the inputs
		address string
		timeout time.Duration
		parts   []string
	}{
		{"nobody there", t.Context(), "unix:///nowhere/agent.sock", time.Second, []string{"--use-workload-api-timeout 1s", "no such file or directory"}},
		{"no identity", t.Context(), refusing.Address(), time.Second, []string{"--use-workload-api-timeout 1s", "no identity issued"}},
		{"no use", t.Context(), empty.Address(), time.Second, []string{"--use-workload-api-timeout 1s", "no SVIDs in response"}},
		{"told off", t.Context(), rejecting.Address(), 0, []string{"not like that"}},
		{"canceled", canceled, refusing.Address(), 0, []string{"context canceled"}},
		{"no address", t.Context(), "", 0, []string{"scheme"}},
		{"not an address", t.Context(), "tcp://localhost:1", 0, []string{"must be an IP:port"}},
		{"a relative path", t.Context(), "unix:agent.sock", 0, []string{"must not be opaque"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := certloader.WorkloadAPI(test.ctx, certloader.WorkloadAPIOptions{Address: test.address, Timeout: test.timeout})
			wantError(t, err, append(test.parts, "--use-workload-api-addr "+test.address+": ")...)
		})
	}
}
