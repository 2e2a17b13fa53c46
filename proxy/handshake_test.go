package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// denied is an error that brings its reason, as those of authorizers do.
type denied struct{}

func (denied) Error() string  { return "nobody comes in here" }
func (denied) Reason() string { return "not_allowed" }

// dialerTo dials a kernel listener.
func dialerTo(ln net.Listener) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
	}
}

// TestReasonsOfHandshakes makes each way of failing happen between real TLS peers.
func TestReasonsOfHandshakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		server func(*tls.Config)
		client func(*testing.T, net.Conn, *tls.Config)
	}{
		{reason: "no_certificate", client: func(_ *testing.T, c net.Conn, config *tls.Config) {
			config.Certificates = nil
			config.MaxVersion = tls.VersionTLS12
			_ = tls.Client(c, config).Handshake()
		}},
		{reason: "no_certificate", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			config.Certificates = nil
			session := tls.Client(c, config)
			_ = session.Handshake() // the server's part of TLS 1.3 comes later
			if _, err := session.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
				t.Errorf("the client was told %v", err)
			}
		}},
		{
			reason: "not_allowed",
			server: func(config *tls.Config) {
				config.VerifyConnection = func(tls.ConnectionState) error { return denied{} }
			},
			client: func(_ *testing.T, c net.Conn, config *tls.Config) {
				_, _ = tls.Client(c, config).Read(make([]byte, 1))
			},
		},
		{reason: "protocol_version", client: func(_ *testing.T, c net.Conn, config *tls.Config) {
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			_ = tls.Client(c, config).Handshake()
		}},
		{
			reason: "no_shared_cipher",
			server: func(config *tls.Config) {
				config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			},
			client: func(_ *testing.T, c net.Conn, config *tls.Config) {
				config.MaxVersion = tls.VersionTLS12
				config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
				_ = tls.Client(c, config).Handshake()
			},
		},
		{
			reason: "no_shared_protocol",
			server: func(config *tls.Config) { config.NextProtos = []string{"postgresql"} },
			client: func(t *testing.T, c net.Conn, config *tls.Config) {
				config.NextProtos = []string{"h2"}
				if err := tls.Client(c, config).Handshake(); err == nil || !strings.Contains(err.Error(), "no application protocol") {
					t.Errorf("the client was told %v", err)
				}
			},
		},
		{reason: "not_tls", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}},
		{reason: "bad_tls_message", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {
			_, _ = c.Write([]byte{22, 3, 1, 0, 8, 1, 0, 0, 4, 1, 2, 3, 4}) // a ClientHello of four bytes
			_, _ = io.Copy(io.Discard, c)
		}},
		{reason: "oversized_record", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {
			_, _ = c.Write([]byte{22, 3, 1, 0xff, 0xff})
			_, _ = io.Copy(io.Discard, c)
		}},
		{reason: "bad_signature", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			config.Certificates[0].PrivateKey = newPKI(t).client.PrivateKey
			_, _ = tls.Client(c, config).Read(make([]byte, 1))
		}},
		{reason: "client_abort", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {}},
		{reason: "connection_lost", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {
			_, _ = c.Write([]byte{22, 3, 1})
		}},
		{reason: "timeout", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {
			_, _ = io.Copy(io.Discard, c)
		}},
		{reason: "peer_alert", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			config.RootCAs = newPKI(t).ca.Pool()
			_ = tls.Client(c, config).Handshake()
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				config := certs.serverConfig()
				if c.server != nil {
					c.server(config)
				}
				dialled := false
				r := start(t, &Server{
					TLS:              config,
					HandshakeTimeout: 10 * time.Second,
					Dial: func(context.Context) (net.Conn, error) {
						dialled = true
						return nil, errors.New("the target must not be dialled")
					},
				}, nil)
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c.client(t, client, certs.clientConfig())
				_ = client.Close()
				synctest.Wait()
				time.Sleep(alertLinger)
				_ = r.stop(t, time.Minute)
				wantEvents(t, r, "accepted", "handshake", "failed handshake "+c.reason, "closed "+c.reason)
				if dialled {
					t.Error("the target was dialled")
				}
				if !strings.Contains(r.log.String(), `msg="error on TLS handshake"`) || !strings.Contains(r.log.String(), "reason="+c.reason) {
					t.Errorf("log: %s", r.log)
				}
			})
		})
	}
}

// TestReasonsOfDialling does the same for the target's side.
func TestReasonsOfDialling(t *testing.T) {
	t.Parallel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := dialerTo(nobody)
	_ = nobody.Close()
	certs := newPKI(t)
	other := certs.serverConfig()
	other.NextProtos = []string{"postgresql"}
	ours := certs.clientConfig()
	ours.NextProtos = []string{"h2"}
	old := certs.serverConfig()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	answering := func(config *tls.Config) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) {
			near, far := memnet.Pipe(16 << 10)
			go func() {
				_ = tls.Server(far, config).Handshake()
				_ = far.Close()
			}()
			return near, nil
		}
	}
	absent := &net.UnixAddr{Name: t.TempDir() + "/absent", Net: "unix"}

	for _, c := range []struct {
		name, event string
		dial        func(context.Context) (net.Conn, error)
	}{
		{"nobody listens", "failed dial connection_refused", refusing},
		{"no such UNIX socket", "failed dial no_such_socket", func(ctx context.Context) (net.Conn, error) {
			return net.DialUnix("unix", nil, absent)
		}},
		{"the name does not resolve", "failed dial name_resolution", func(context.Context) (net.Conn, error) {
			return nil, fmt.Errorf("dialling: %w", &net.DNSError{Err: "no such host", Name: "absent.test", IsNotFound: true})
		}},
		{"this machine has no address to reach it from", "failed dial unreachable", func(context.Context) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}
		}},
		{"nothing answers", "failed dial timeout", func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
		}},
		{"the target is not TLS", "failed handshake not_tls", TLSDialer(func(context.Context) (net.Conn, error) {
			near, far := memnet.Pipe(100)
			go func() {
				_, _ = io.WriteString(far, "220 ready\r\n")
				_, _ = io.Copy(io.Discard, far)
			}()
			return near, nil
		}, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil)},
		{"the target is silent", "failed handshake timeout", TLSDialer(func(context.Context) (net.Conn, error) {
			near, far := memnet.Pipe(100)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			return near, nil
		}, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil)},
		{"the target speaks another protocol", "failed handshake no_shared_protocol", TLSDialer(answering(other), ours, nil)},
		{"the target is too old", "failed handshake protocol_version", TLSDialer(answering(old), ours, nil)},
		{"the target hangs up", "failed handshake connection_lost", TLSDialer(func(context.Context) (net.Conn, error) {
			near, far := memnet.Pipe(100)
			_ = far.Close()
			return near, nil
		}, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			limit := time.Minute
			if strings.HasSuffix(c.event, "timeout") {
				limit = 100 * time.Millisecond
			}
			r := start(t, &Server{DialTimeout: limit, Dial: c.dial}, nil)
			client, err := r.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantReadError(t, client, syscall.ECONNRESET)
			_ = r.stop(t, time.Minute)
			want := []string{"accepted", c.event, "closed " + c.event[strings.LastIndexByte(c.event, ' ')+1:]}
			if strings.HasPrefix(c.event, "failed handshake") {
				want = slices.Insert(want, 1, "handshake")
			}
			wantEvents(t, r, want...)
		})
	}
}

// In TLS 1.3 the client may have sent data before the server refuses it. Closing a TCP socket with those bytes unread makes
// the kernel send a reset, which overtakes the alert.
func TestARefusedClientCanReadTheAlert(t *testing.T) {
	t.Parallel()
	certs := newPKI(t)
	config := certs.serverConfig()
	config.VerifyConnection = func(tls.ConnectionState) error { return denied{} }
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{TLS: config, HandshakeTimeout: time.Minute, Dial: func(context.Context) (net.Conn, error) {
		return nil, errors.New("the target must not be dialled")
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(front) }()

	for range 20 {
		client, err := tls.Dial("tcp", front.Addr().String(), certs.clientConfig())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = client.Write(make([]byte, 20<<10))
		_, err = client.Read(make([]byte, 1))
		if err == nil || !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("the client read %v, want the alert", err)
		}
		_ = client.Close()
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}
