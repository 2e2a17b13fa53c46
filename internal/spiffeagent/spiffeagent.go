// Package spiffeagent is a SPIFFE agent for tests: a Workload API, with gRPC and
// a socket as a real agent has them, that says to everybody what the test has it
// say.
//
//	agent := spiffeagent.Start(t)
//	agent.Say(spiffeagent.Answer{
//		SVIDs:   []tls.Certificate{id.TLSCertificate()}, // spiffe://example.org/db
//		Bundles: map[string][]*x509.Certificate{"example.org": {ca.Root()}},
//	})
//	… --use-workload-api-addr agent.Address() …
//
// It attests nobody, issues nothing, and speaks of X.509 alone.
package spiffeagent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Answer is what an agent has for those that ask.
type Answer struct {
	// SVIDs have their Leaf set, with one URI in it. The first is the default.
	SVIDs []tls.Certificate

	// Bundles is the CAs of each trust domain: those that the SVIDs are of, and
	// those that these are federated with.
	Bundles map[string][]*x509.Certificate
}

// Agent is a SPIFFE agent. It is safe for concurrent use.
type Agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	socket string

	mu      sync.Mutex
	answer  Answer
	failure error
	changed chan struct{} // closed when either does
	server  *grpc.Server  // nil while the agent is stopped
	serving sync.WaitGroup
}

// Start starts an agent that has no identity for anybody. It ends with the test.
func Start(t testing.TB) *Agent {
	t.Helper()
	// t.TempDir has the test's name in it, and the path of a socket is short.
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{socket: filepath.Join(dir, "socket"), changed: make(chan struct{})}
	a.Fail(status.Error(codes.PermissionDenied, "no identity issued"))
	a.Restart(t)
	t.Cleanup(func() {
		a.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Address is where the agent listens, as SPIFFE_ENDPOINT_SOCKET has it.
func (a *Agent) Address() string { return "unix://" + a.socket }

// Say has the agent answer so from now on, and tell those that listen already.
func (a *Agent) Say(answer Answer) { a.set(answer, nil) }

// Fail has the agent end every call with an error; io.EOF is an end without one.
func (a *Agent) Fail(err error) { a.set(Answer{}, err) }

func (a *Agent) set(answer Answer, failure error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.failure = answer, failure
	close(a.changed)
	a.changed = make(chan struct{})
}

// Stop ends the agent, as a signal does: the socket is gone, and so is every
// call.
func (a *Agent) Stop() {
	a.mu.Lock()
	server := a.server
	a.server = nil
	a.mu.Unlock()
	if server != nil {
		server.Stop()
	}
	a.serving.Wait()
}

// Restart starts the agent again where it was.
func (a *Agent) Restart(t testing.TB) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	a.mu.Lock()
	a.server = server
	a.mu.Unlock()
	a.serving.Go(func() {
		if err := server.Serve(ln); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
}

// FetchX509SVID implements the call of those that want an identity.
func (a *Agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return a.tell(stream.Context(), func(answer Answer) error {
		response, err := answer.withSVIDs()
		if err != nil {
			return err
		}
		return stream.Send(response)
	})
}

// FetchX509Bundles implements the call of those that want trust alone.
func (a *Agent) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return a.tell(stream.Context(), func(answer Answer) error {
		return stream.Send(&workload.X509BundlesResponse{Bundles: answer.bundles()})
	})
}

// tell passes on what there is to say, until the caller has heard enough.
func (a *Agent) tell(ctx context.Context, send func(Answer) error) error {
	// SPIFFE Workload Endpoint, 7: so that no browser can be made to ask.
	if header := metadata.ValueFromIncomingContext(ctx, "workload.spiffe.io"); len(header) != 1 || header[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		a.mu.Lock()
		answer, failure, changed := a.answer, a.failure, a.changed
		a.mu.Unlock()
		if errors.Is(failure, io.EOF) {
			return nil
		}
		if failure != nil {
			return failure
		}
		if err := send(answer); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// withSVIDs is the answer to those that want an identity.
func (a Answer) withSVIDs() (*workload.X509SVIDResponse, error) {
	response := &workload.X509SVIDResponse{FederatedBundles: a.bundles()}
	for _, svid := range a.SVIDs {
		key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
		if err != nil {
			return nil, err
		}
		id := svid.Leaf.URIs[0]
		own := "spiffe://" + id.Host
		response.Svids = append(response.Svids, &workload.X509SVID{
			SpiffeId:    id.String(),
			X509Svid:    concat(svid.Certificate),
			X509SvidKey: key,
			Bundle:      a.bundles()[own],
		})
		delete(response.FederatedBundles, own)
	}
	return response, nil
}

// bundles is the CAs in DER, by the IDs of their trust domains.
func (a Answer) bundles() map[string][]byte {
	all := make(map[string][]byte)
	for domain, cas := range a.Bundles {
		var ders [][]byte
		for _, ca := range cas {
			ders = append(ders, ca.Raw)
		}
		all["spiffe://"+domain] = concat(ders)
	}
	return all
}

func concat(parts [][]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}
