package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// serveHTTP runs a target that speaks HTTP/1.1, and HTTP/2 without TLS.
func serveHTTP(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return listener.Addr().String()
}

// echoHTTP tells what it was asked, and sends the body back.
func echoHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Seen-Protocol", r.Proto)
	h.Set("Seen-For", r.Header.Get("X-Forwarded-For"))
	h.Set("Seen-Proto", r.Header.Get("X-Forwarded-Proto"))
	h.Set("Seen-Host", r.Header.Get("X-Forwarded-Host"))
	h.Set("Seen-Cert", r.Header.Get("X-Forwarded-Client-Cert"))
	_, _ = fmt.Fprintf(w, "%s %s\n", r.Method, r.RequestURI)
	_, _ = io.Copy(w, r.Body)
}

// TestHTTPWithCurl has curl ask through a server, in both versions of HTTP.
func TestHTTPWithCurl(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	listen := reserve(t)
	server := startServer(t, p, listen, serveHTTP(t, echoHTTP), "--allow-cn", "client", "--protocol", "http")
	identity := p.client(t)
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []struct{ flag, shown string }{{"--http1.1", "HTTP/1.1 200"}, {"--http2", "HTTP/2 200"}} {
		got := strings.ReplaceAll(curl(t, "--include", version.flag, "--cacert", p.root, "--cert", identity.cert, "--key", identity.key,
			"-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Client-Cert: Hash=00", "--data-binary", "body",
			"https://localhost:"+port+"/a%2Fb?q=1"), "\r\n", "\n")
		head, body, _ := strings.Cut(got, "\n\n")
		if !strings.HasPrefix(head, version.shown) || body != "POST /a%2Fb?q=1\nbody" {
			t.Errorf("%s: got %q", version.flag, got)
		}
		for _, want := range []string{
			`(?i)^seen-protocol: HTTP/1\.1$`, `(?i)^seen-for: 127\.0\.0\.1$`, `(?i)^seen-proto: https$`, `(?i)^seen-host: localhost:` + port + `$`,
			`(?i)^seen-cert: Hash=[0-9a-f]{64};Subject="CN=client"`, `(?i)^x-request-id: [A-Z2-7]{26}$`,
		} {
			if !regexp.MustCompile("(?m)" + want).MatchString(head) {
				t.Errorf("%s: no %s in\n%s", version.flag, want, head)
			}
		}
	}
	server.waitLine(t, "opening pipe", "identity=client", "alpn=h2")
	server.stop(t)
}

// TestRequestsComeFromWhereAPROXYHeaderSays has the address of a header told to the target.
func TestRequestsComeFromWhereAPROXYHeaderSays(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	start(t, "server", "--protocol", "http", "--disable-tls", "--listen", address, "--target", serveHTTP(t, echoHTTP),
		"--proxy-protocol-in", "127.0.0.1", "--status", "http://"+reserve(t))
	c := dial(t, "tcp", address)
	_, _ = io.WriteString(c, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || response.Header.Get("Seen-For") != "203.0.113.7" {
		t.Error(response, err)
	}
	if got := statuses(t, address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); len(got) > 0 {
		t.Errorf("a request without a header was answered: %v", got)
	}
}

// TestRequestsAfterAReloadGoByTheNewIdentity has one client ask on one connection while the
// identity of the tunnel's client changes: the kept connections are those of the old one.
func TestRequestsAfterAReloadGoByTheNewIdentity(t *testing.T) {
	t.Parallel()
	tun := newTunnel(t, "tcp", serveHTTP(t, echoHTTP), "--protocol", "http", "--no-watch-files")
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	serial := func() string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tun.address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		hash, _, _ := strings.Cut(response.Header.Get("Seen-Cert"), ";")
		return hash
	}
	first := serial()
	if again := serial(); first == "" || again != first {
		t.Errorf("the target was told of %q, and then of %q", first, again)
	}
	tun.pki.client(t) // in the place of the other
	tun.client.signal(t, syscall.SIGHUP)
	tun.client.waitLine(t, "msg=reloaded")
	if second := serial(); second == "" || second == first {
		t.Errorf("after the reload the target was told of %q, before it of %q", second, first)
	}
	tun.stop(t)
}

// TestTargetsThatFailAreAnsweredFor has each of them answered with the id of the request, which
// the log has too, and nobody wait.
func TestTargetsThatFailAreAnsweredFor(t *testing.T) {
	t.Parallel()
	p, stranger := newPKI(t), newPKI(t)
	silent := serve(t, "tcp", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }).address
	closing := serve(t, "tcp", func(net.Conn) {}).address
	stranded := reserve(t)
	startServer(t, stranger, stranded, closing, "--disable-authentication", "--protocol", "http")
	for _, test := range []struct {
		name, target string
		client       bool   // mode
		limit        string // the flag of the one that is waited for
		code         int
		reason       string
	}{
		{"nobody listens", reserve(t), false, "", http.StatusBadGateway, "connection_refused"},
		{"it closes the connection", closing, false, "", http.StatusBadGateway, "bad_response"},
		{"it says nothing", silent, false, "--http-response-timeout", http.StatusGatewayTimeout, "response_timeout"},
		{"it never shakes hands", silent, true, "--connect-timeout", http.StatusGatewayTimeout, "timeout"},
		{"it speaks no TLS", serveHTTP(t, echoHTTP), true, "", http.StatusBadGateway, "not_tls"},
		{"its CA is unknown", stranded, true, "", http.StatusBadGateway, "unknown_ca"},
	} {
		address := reserve(t)
		flags := []string{"--protocol", "http"}
		if test.limit != "" {
			flags = append(flags, test.limit, "500ms")
		}
		var sidecar *process
		if test.client {
			sidecar = startClient(t, p, address, test.target, flags...)
		} else {
			sidecar = start(t, append(flags, "server", "--disable-tls", "--listen", address, "--target", test.target, "--status", "http://"+reserve(t))...)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		request.Header.Set("X-Request-Id", "try-1")
		response, err := new(http.Client).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != test.code || response.Header.Get("X-Request-Id") != "try-1" || !strings.Contains(string(body), "request try-1") {
			t.Errorf("%s: %s %v %q %v", test.name, response.Status, response.Header, body, err)
		}
		sidecar.waitLine(t, "request failed", "request_id=try-1", "reason="+test.reason)
	}
}

// TestClientsThatDoNotReadTheirAnswersAreCut, be it a long one or many short ones; while a stream in which nothing happens for
// as long goes on, and so does a WebSocket that nobody reads.
func TestClientsThatDoNotReadTheirAnswersAreCut(t *testing.T) {
	t.Parallel()
	const size = 32 << 20 // more than sockets take
	cut := make(chan struct{})
	target := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			_, _ = w.Write(make([]byte, size))
		case "/short":
			_, _ = w.Write(make([]byte, 3<<10)) // which goes out when all is said
		case "/socket":
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Write(r.Context(), websocket.MessageBinary, make([]byte, size))
			_ = c.CloseNow()
		case "/events":
			_, _ = io.WriteString(w, "first\n")
			_ = http.NewResponseController(w).Flush()
			<-cut
			_, _ = io.WriteString(w, "second\n")
		}
	})
	listen := reserve(t)
	sidecar := start(t, "server", "--protocol", "http", "--disable-tls", "--listen", listen, "--target", target, "--http-read-timeout", "300ms")
	sidecar.waitLine(t, "listening")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, "ws://"+listen+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	events, err := new(http.Client).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = events.Body.Close() }()
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Fatalf("%q, %v", line, err)
	}

	long := dial(t, "tcp", listen)
	if _, err := io.WriteString(long, "GET /long HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	sidecar.waitLine(t, "msg=request", "path=/long", "reason=client_stalled")
	sidecar.waitLine(t, "closed pipe", "reason=client_stalled")
	short := dial(t, "tcp", listen)
	if err := short.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	for err == nil { // until nobody is there any more
		_, err = io.WriteString(short, strings.Repeat("GET /short HTTP/1.1\r\nHost: a\r\n\r\n", 1000))
	}
	sidecar.waitLine(t, "closed pipe", "remote="+short.LocalAddr().String(), "reason=client_stalled")

	close(cut)
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Errorf("%q, %v", line, err)
	}
	socket.SetReadLimit(-1)
	if _, got, err := socket.Read(ctx); len(got) != size || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), size, err)
	}
}

// TestWebSocketWithCurl has curl see the frames of a WebSocket as they come.
func TestWebSocketWithCurl(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	start(t, "server", "--protocol", "http", "--disable-tls", "--listen", address, "--status", "http://"+reserve(t),
		"--target", serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = c.CloseNow() }()
			_ = c.Write(r.Context(), websocket.MessageText, []byte("hello"))
		}))
	got := curl(t, "--include", "--no-buffer", "--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
		"-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "http://"+address+"/")
	// The answer to that key is in RFC 6455, section 1.3.
	if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") || !strings.HasSuffix(got, "\x81\x05hello") {
		t.Errorf("got %q", got)
	}
}

// TestWebSocketThroughATunnel goes through a client and a server, which speak HTTP/2
// with each other for all else.
func TestWebSocketThroughATunnel(t *testing.T) {
	t.Parallel()
	tun := newTunnel(t, "tcp", serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(-1)
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}), "--protocol", "http")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+tun.address+"/chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(-1)
	for _, size := range []int{0, 1, 1000, 100000, 3000000} {
		sent := strings.Repeat("x", size)
		if err := c.Write(ctx, websocket.MessageBinary, []byte(sent)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != sent {
			t.Fatalf("%d bytes, want %d; %v", len(got), size, err)
		}
	}
	// A drain lets it go on, and waits for its end.
	tun.client.signal(t, syscall.SIGTERM)
	tun.client.waitLine(t, "shutting down")
	if err := c.Write(ctx, websocket.MessageText, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(ctx); err != nil || string(got) != "still" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("closing: %v", err)
	}
	if code := tun.client.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	tun.server.stop(t)
}

// TestGRPCThroughATunnel has a gRPC client and a gRPC server talk: single calls, streams
// both ways, errors and metadata.
func TestGRPCThroughATunnel(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Pointer[metadata.MD]
	service := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			seen.Store(&md)
			_ = grpc.SetTrailer(ctx, metadata.Pairs("sum", "s"))
			return handler(ctx, request)
		}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { // of bytes, both ways
			for {
				message := new(healthpb.HealthCheckRequest)
				err := stream.RecvMsg(message)
				if errors.Is(err, io.EOF) {
					return status.Error(codes.DataLoss, "that was all")
				}
				if err != nil {
					return err
				}
				if err := stream.SendMsg(message); err != nil {
					return err
				}
			}
		}))
	healthpb.RegisterHealthServer(service, health.NewServer())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = service.Serve(listener)
	}()
	t.Cleanup(func() {
		service.Stop()
		<-served
	})

	p := newPKI(t)
	inner, outer := reserve(t), reserve(t)
	server := startServer(t, p, inner, listener.Addr().String(), "--allow-cn", "client", "--protocol", "http", "--http-target-h2c")
	client := startClient(t, p, outer, inner, "--protocol", "http")
	conn, err := grpc.NewClient(outer, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	var trailer metadata.MD
	for range 100 {
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, new(healthpb.HealthCheckRequest), grpc.Trailer(&trailer))
		if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatal(answer, err)
		}
	}
	if got := trailer.Get("sum"); !slices.Equal(got, []string{"s"}) {
		t.Errorf("trailer %v", trailer)
	}
	if got := strings.Join(seen.Load().Get("x-forwarded-client-cert"), ""); !strings.Contains(got, `Subject="CN=client"`) {
		t.Errorf("the service was told of %q", got)
	}
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "none"})
	if status.Code(err) != codes.NotFound {
		t.Error(err)
	}

	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test/Echo")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // one at a time
		sent := &healthpb.HealthCheckRequest{Service: strconv.Itoa(i)}
		if err := stream.SendMsg(sent); err != nil {
			t.Fatal(err)
		}
		got := new(healthpb.HealthCheckRequest)
		if err := stream.RecvMsg(got); err != nil || got.GetService() != sent.GetService() {
			t.Fatal(got, err)
		}
	}
	// A drain tells the client, which has begun no other call meanwhile, and waits for this one.
	client.signal(t, syscall.SIGTERM)
	client.waitLine(t, "shutting down")
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(healthpb.HealthCheckRequest)); status.Code(err) != codes.DataLoss || status.Convert(err).Message() != "that was all" {
		t.Errorf("the stream ended with %v", err)
	}
	if code := client.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	server.stop(t)
}

// TestHTTP2WithH2load counts the answers to many requests at once.
func TestHTTP2WithH2load(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, extra := range [][]string{nil, {"--http-target-h2c"}} {
		listen := reserve(t)
		startServer(t, p, listen, serveHTTP(t, echoHTTP), append(extra, "--disable-authentication", "--protocol", "http")...)
		got := peerOutput(t, "", "h2load", "-n", "5000", "-c", "10", "-m", "50", "https://"+listen+"/")
		if !strings.Contains(got, "5000 succeeded, 0 failed, 0 errored, 0 timeout") || !strings.Contains(got, "status codes: 5000 2xx") || !strings.Contains(got, "Application protocol: h2") {
			t.Errorf("%v: %s", extra, got)
		}
	}
}

// TestNoRequestIsLost has wrk ask as fast as it can while a server reloads its identity
// again and again, and while another takes its place, on the same port.
func TestNoRequestIsLost(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("make test-full runs it, with all processors for wrk")
	}
	need(t, "wrk")
	p := newPKI(t)
	listen := reserve(t)
	service := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	flags := []string{"--disable-authentication", "--protocol", "http", "--quiet", "conns"}
	first := startServer(t, p, listen, service, flags...)
	result := make(chan string, 1)
	go func() {
		out, err := exec.Command("wrk", "-t", "2", "-c", "100", "-d", "8s", "--timeout", "60s", "https://"+listen+"/").CombinedOutput()
		result <- fmt.Sprintf("%s%v", out, err)
	}()
	// Handshakes that a drain finds in progress are cancelled; what it must not lose is a request.
	eventually(t, "connections", func() bool { return first.status.metric(t, "ghostunnel.accept.success") >= 100 })
	for i := range 10 {
		first.signal(t, syscall.SIGHUP)
		first.waitLines(t, i+1, "msg=reloaded")
	}
	second := startServer(t, p, listen, service, flags...)
	first.stop(t)
	got := receive(t, "what wrk has seen", result)
	if strings.Contains(got, "Socket errors") || strings.Contains(got, "Non-2xx") || !strings.HasSuffix(got, "<nil>") {
		t.Error(got)
	}
	second.stop(t)
}

// TestEventsReachABrowser has Chromium listen to events, each of which the target sends when
// it was told of the last.
func TestEventsReachABrowser(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("make test-full runs it")
	}
	told := make(chan string, 1)
	p := newPKI(t)
	listen := reserve(t)
	startServer(t, p, listen, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<!doctype html><title>0</title><script>
				new EventSource("/events").onmessage = e => { document.title = e.data; fetch("/told?" + e.data) }
			</script>`)
		case "/told":
			told <- r.URL.RawQuery
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 5 {
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i+1)
				_ = http.NewResponseController(w).Flush()
				select {
				case got := <-told:
					if got != strconv.Itoa(i+1) {
						return
					}
				case <-r.Context().Done():
					return
				}
			}
			<-r.Context().Done()
		}
	}), "--disable-authentication", "--protocol", "http")
	page := startBrowser(t).open(t, "https://"+listen+"/")
	eventually(t, "the fifth event", func() bool { return page.eval(t, "document.title") == "5" })
	if protocol := page.eval(t, "performance.getEntriesByType('navigation')[0].nextHopProtocol"); protocol != "h2" {
		t.Errorf("the page came by %s", protocol)
	}
}
