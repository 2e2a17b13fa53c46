package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/devpki"
)

// withdrawn rejects peers of one common name.
func withdrawn(name string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if state.PeerCertificates[0].Subject.CommonName == name {
			return denied{}
		}
		return nil
	}
}

// as returns a client configuration with an identity of that common name.
func (p *pki) as(t testing.TB, name string) *tls.Config {
	t.Helper()
	id, err := p.ca.Issue(devpki.Request{CommonName: name})
	if err != nil {
		t.Fatal(err)
	}
	config := p.clientConfig()
	config.Certificates = []tls.Certificate{id.TLSCertificate()}
	return config
}

// converse opens a TLS connection through the rig and sends a word each way.
func (r *rig) converse(t testing.TB, config *tls.Config) (client *tls.Conn, target net.Conn) {
	t.Helper()
	raw, err := r.front.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client = tls.Client(newWire(raw, new(buffers)), config)
	mustWrite(t, client, "ping")
	target = r.accept(t)
	wantRead(t, target, "ping")
	mustWrite(t, target, "pong")
	wantRead(t, client, "pong")
	return client, target
}

func TestRecheckClosesTheConnectionsOfRejectedClientsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		r := start(t, &Server{TLS: p.serverConfig(), CloseTimeout: time.Minute}, nil)
		alice, aliceTarget := r.converse(t, p.as(t, "alice"))
		mallory, malloryTarget := r.converse(t, p.as(t, "mallory"))

		if closed := r.Recheck(withdrawn("nobody")); closed != 0 {
			t.Errorf("closed %d connections that nothing is wrong with", closed)
		}
		if closed := r.Recheck(withdrawn("mallory")); closed != 1 {
			t.Errorf("closed %d connections, want 1", closed)
		}
		// Neither end may take what it got for the whole.
		wantReadError(t, mallory, io.EOF)
		if !newSide(mallory).truncated() {
			t.Error("the rejected client was sent close_notify")
		}
		wantReadError(t, malloryTarget, syscall.ECONNRESET)
		synctest.Wait()
		if closed := r.Recheck(withdrawn("mallory")); closed != 0 {
			t.Errorf("closed %d connections again", closed)
		}

		mustWrite(t, alice, "still here")
		wantRead(t, aliceTarget, "still here")
		if err := alice.Close(); err != nil {
			t.Error(err)
		}
		closeAll(aliceTarget, mallory, malloryTarget)
		_ = r.stop(t, time.Minute)
		if events := r.journal.all(); !slices.Contains(events, "closed not_allowed") || !slices.Contains(events, "closed eof") {
			t.Errorf("events: %q", events)
		}
		if log := r.log.String(); !strings.Contains(log, "reason=not_allowed") {
			t.Errorf("the log does not say why:\n%s", log)
		}
	})
}

func TestRecheckClosesTheConnectionsToRejectedTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		r := start(t, &Server{CloseTimeout: time.Minute}, p.clientConfig())
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target := tls.Server(r.accept(t), p.serverConfig())
		mustWrite(t, client, "ping")
		wantRead(t, target, "ping")

		if closed := r.Recheck(withdrawn("server")); closed != 1 {
			t.Errorf("closed %d connections, want 1", closed)
		}
		wantReadError(t, client, syscall.ECONNRESET)
		closeAll(client, target)
		_ = r.stop(t, time.Minute)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed not_allowed")
	})
}

func TestRecheckLeavesPlainConnectionsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{CloseTimeout: time.Minute}, nil)
		client, target := r.connect(t)
		closed := r.Recheck(func(tls.ConnectionState) error { return denied{} })
		if closed != 0 {
			t.Errorf("closed %d connections without a certificate", closed)
		}
		mustWrite(t, client, "ping")
		wantRead(t, target, "ping")
		closeAll(client, target)
		_ = r.stop(t, time.Minute)
	})
}

// Trust is withdrawn after a peer was let in, and before the connection is open.
func TestRecheckReachesConnectionsThatAreNotOpenYet(t *testing.T) {
	t.Parallel()
	for rejected, words := range map[string]string{
		"client": "nobody comes in here",
		"server": "TLS handshake with the target: nobody comes in here",
	} {
		t.Run(rejected, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPKI(t)
				var r *rig
				checked := make(chan struct{})
				server := &Server{TLS: p.serverConfig()}
				server.Dial = func(ctx context.Context) (net.Conn, error) {
					target, err := TLSDialer(r.back.Dial, p.clientConfig(), nil)(ctx)
					<-checked
					return target, err
				}
				r = start(t, server, nil)
				raw, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				client := tls.Client(raw, p.clientConfig())
				mustWrite(t, client, "secret")
				target := tls.Server(r.accept(t), p.serverConfig())
				if err := target.Handshake(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()

				if closed := r.Recheck(withdrawn(rejected)); closed != 0 {
					t.Errorf("closed %d connections that were not open", closed)
				}
				close(checked)
				if got, err := io.ReadAll(target); len(got) > 0 {
					t.Errorf("the target got %q, %v", got, err)
				}
				closeAll(client, target)
				_ = r.stop(t, time.Minute)
				wantEvents(t, r, "accepted", "handshake", "handshake", "failed handshake not_allowed", "closed not_allowed")
				if log := r.log.String(); !strings.Contains(log, words) {
					t.Errorf("the log does not say %q:\n%s", words, log)
				}
			})
		})
	}
}
