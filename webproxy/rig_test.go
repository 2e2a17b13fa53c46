package webproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/devpki"
	"sallyport/internal/memnet"
)

// rig is a Proxy between clients and a target, over memory networks.
type rig struct {
	*Proxy
	t      *testing.T
	target *memnet.Listener
	drain  context.CancelFunc // tells all clients that it is over

	ctx       context.Context
	clients   sync.WaitGroup
	mu        sync.Mutex
	exchanges []Exchange
	cuts      []string // how clients were cut off: by Abort, Drop or Expire
	cut       map[net.Conn]bool
}

// start has a handler answer as the target, in HTTP/1.1 or HTTP/2.
func start(t *testing.T, p *Proxy, handler http.HandlerFunc) *rig {
	t.Helper()
	r := prepare(t, p)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(r.target) // that it is closed
	}()
	t.Cleanup(func() {
		r.stop()
		_ = server.Close()
		<-served
	})
	return r
}

// startRaw has a function be the target, which is called with each connection and closes it.
func startRaw(t *testing.T, p *Proxy, serve func(net.Conn)) *rig {
	t.Helper()
	r := prepare(t, p)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := r.target.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		r.stop()
		_ = r.target.Close()
		conns.Wait()
	})
	return r
}

func prepare(t *testing.T, p *Proxy) *rig {
	r := &rig{Proxy: p, t: t, target: memnet.Listen(64 << 10), cut: make(map[net.Conn]bool)}
	r.ctx, r.drain = context.WithCancel(context.Background())
	if p.Dial == nil {
		p.Dial = r.target.Dial
	}
	if p.Log == nil {
		p.Log = slog.New(slog.NewTextHandler(faults{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	p.Observe = func(e Exchange) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.exchanges = append(r.exchanges, e)
	}
	return r
}

// faults fail a test when something is logged.
type faults struct{ t *testing.T }

func (f faults) Write(line []byte) (int, error) {
	f.t.Errorf("logged %s", line)
	return len(line), nil
}

// stop ends the Proxy, and waits for all of it.
func (r *rig) stop() {
	r.drain()
	r.Close()
	r.clients.Wait()
}

// observed are the exchanges that the Proxy has told of so far.
func (r *rig) observed() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Exchange(nil), r.exchanges...)
}

// cutOffs are how clients were cut off so far.
func (r *rig) cutOffs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.cuts)
}

// address is a connection with addresses of TCP, and a TLS session if there is one.
type address struct {
	net.Conn
	session *tls.ConnectionState
	rig     *rig
}

func (address) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711} }

func (a address) Secure() bool { return a.session != nil }

func (a address) ConnectionState() tls.ConnectionState { return *a.session }

// CloseWrite ends the writing.
func (a address) CloseWrite() error { return a.Conn.(*memnet.Conn).CloseWrite() }

// Abort resets the connection, for the target's sake.
func (a address) Abort() { a.cut("abort") }

// Drop resets it, for the client's sake.
func (a address) Drop() { a.cut("drop") }

// Expire resets it, for it took too long.
func (a address) Expire() { a.cut("expire") }

// cut resets the connection. What comes first stands.
func (a address) cut(how string) {
	a.rig.mu.Lock()
	defer a.rig.mu.Unlock()
	if !a.rig.cut[a.Conn] {
		a.rig.cut[a.Conn] = true
		a.rig.cuts = append(a.rig.cuts, how)
		a.Conn.(*memnet.Conn).Reset()
	}
}

// dial connects a client, without TLS if the session is nil.
func (r *rig) dial(session *tls.ConnectionState) net.Conn {
	client, server := memnet.Pipe(64 << 10)
	r.clients.Go(func() { r.Handle(r.ctx, address{server, session, r}) })
	return client
}

// client speaks HTTP as one does that is told the protocols to use.
func (r *rig) client(http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{
		Protocols:          protocols,
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return r.dial(nil), nil },
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask sends a request that is written out, and returns the answer with its body.
func (r *rig) ask(text string) (*http.Response, string) {
	r.t.Helper()
	c := r.dial(nil)
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, text) }() // the answer may come before all was read
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatalf("%v after %q", err, body)
	}
	return response, string(body)
}

// identity makes a certificate for a request, and the state of a session that showed it.
func identity(t *testing.T, request devpki.Request) *tls.ConnectionState {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	leaf := id.TLSCertificate().Leaf
	return &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leaf}}
}
