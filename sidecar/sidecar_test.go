package sidecar

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

func TestServerModeForwardsForThoseLetInAlone(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := devpki.IssueInto(dir, "mallory", devpki.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	echo(t, listen(t, dir+"/out"))
	r := start(t, dir, serverLine+"--allow-cn client")

	c, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(c, "hello"); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	for name, reason := range map[string]string{"mallory": "not_allowed", "": "no_certificate"} {
		if c, err := r.dialTLS(t, name); err == nil {
			if err := roundTrip(c, "let me in"); err == nil {
				t.Errorf("%q was let in", name)
			}
		}
		r.waitLog(t, "reason="+reason, 1)
	}
	r.waitLog(t, "closed pipe", 1)
	if a := r.status(t); !a.OK || a.Connections.Total != 3 || len(a.Certificates) != 2 || a.Certificates[0].Subject != "CN=server" {
		t.Errorf("status: %+v", a)
	}
}

func TestClientModeVerifiesTheTargetAndSendsItsCertificate(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server := tlsConfig(t, dir, "server")
	server.ClientAuth = tls.RequireAndVerifyClientCert
	echo(t, tls.NewListener(listen(t, dir+"/out"), server))
	for _, c := range []struct{ flags, reason string }{
		{"", ""},
		{"--verify-cn server", ""},
		{"--verify-cn somebody-else", "not_allowed"},
		{"--override-server-name elsewhere.example", "name_mismatch"},
	} {
		line := clientLine
		if strings.Contains(c.flags, "--override") {
			line = strings.Replace(line, "--override-server-name localhost ", "", 1)
		}
		r := start(t, dir, line+c.flags)
		client, err := net.Dial("unix", dir+"/in")
		if err != nil {
			t.Fatal(err)
		}
		err = roundTrip(client, "hello")
		if c.reason == "" && err != nil {
			t.Errorf("%q: %v", c.flags, err)
		}
		if c.reason != "" {
			if err == nil {
				t.Errorf("%q: the target was trusted", c.flags)
			}
			r.waitLog(t, "reason="+c.reason, 1)
		}
		if a := r.status(t); a.BackendOK != (c.reason == "") {
			t.Errorf("%q: status: %+v", c.flags, a)
		}
		_ = client.Close()
		r.signals <- syscall.SIGTERM
		if err := r.wait(t); err != nil {
			t.Errorf("%q: %v", c.flags, err)
		}
	}
}

// In TLS 1.3 such a target looks fine until one round trip after the handshake.
func TestStatusTellsThatTheTargetRefusesOurCertificate(t *testing.T) {
	t.Parallel()
	dir, other := newDir(t), newDir(t)
	server := tlsConfig(t, dir, "server")
	server.ClientAuth = tls.RequireAndVerifyClientCert
	server.ClientCAs = tlsConfig(t, other, "").RootCAs
	ln := tls.NewListener(listen(t, dir+"/out"), server)
	echo(t, ln)
	r := start(t, dir, clientLine)
	if a := r.status(t); a.OK || a.BackendOK || !strings.Contains(a.BackendError, "refused the connection after the TLS handshake") {
		t.Errorf("status: %+v", a)
	}
}

func TestTargetStatusIsAskedOverAConnectionToTheTarget(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	code := make(chan int, 1)
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(<-code)
	})}
	ln := listen(t, dir+"/out")
	served := make(chan error, 1)
	go func() { served <- backend.Serve(ln) }()
	t.Cleanup(func() {
		_ = backend.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	r := start(t, dir, serverLine+"--allow-all --target-status http://backend.example/health")
	code <- http.StatusServiceUnavailable
	if a := r.status(t); a.BackendOK || !strings.Contains(a.BackendError, "503") {
		t.Errorf("status: %+v", a)
	}
	code <- http.StatusOK
	eventually(t, func() bool { return r.status(t).BackendOK }, func() string { return "the backend is not seen to be up" })
}

func TestAFailedStartLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	busy := listen(t, dir+"/busy")
	echo(t, busy)
	for _, c := range []struct{ line, want string }{
		{strings.Replace(serverLine, "@/server-key.pem", "@/client-key.pem", 1), "--key " + dir + "/client-key.pem"},
		{strings.Replace(serverLine, "unix:@/out", "absent.invalid:80", 1) + "--unsafe-target", "--target absent.invalid:80"},
		{strings.Replace(serverLine, "unix:@/in", "unix:@/busy", 1), "--listen unix:" + dir + "/busy"},
		{strings.Replace(serverLine, "unix:@/status", "unix:@/busy", 1), "--status unix:" + dir + "/busy"},
	} {
		s, err := New(t.Context(), parse(t, dir, c.line+" --allow-all"), Build{}, io.Discard)
		if s != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line that begins with %s", c.line, err, c.want)
		}
		for _, socket := range []string{"in", "status"} {
			if _, err := os.Stat(filepath.Join(dir, socket)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the %s socket is left: %v", socket, err)
			}
		}
	}
}

func TestAStartThatHangsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	hang(t, dir+"/server-key.pem")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(enough) })
	s, err := New(ctx, parse(t, dir, serverLine+"--allow-all"), Build{}, io.Discard)
	if s != nil || !errors.Is(err, enough) {
		t.Errorf("New: %v, want the context's cause", err)
	}
}

func TestListenersOnOneAddressAreRefused(t *testing.T) {
	t.Parallel()
	address := func(text string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		a, b net.Addr
		want bool
	}{
		{address("127.0.0.1:1"), address("127.0.0.1:1"), true},
		{address("127.0.0.1:1"), address("0.0.0.0:1"), true},
		{address("[::]:1"), address("127.0.0.1:1"), true},
		{address("127.0.0.1:1"), address("127.0.0.1:2"), false},
		{address("127.0.0.1:1"), address("127.0.0.2:1"), false},
		{address("127.0.0.1:1"), &net.UnixAddr{Name: "/s", Net: "unix"}, false},
	} {
		err := distinct([]place{{"--listen x", c.a}, {"--status y", c.b}})
		if refused := err != nil; refused != c.want {
			t.Errorf("%v and %v: %v", c.a, c.b, err)
		}
	}
}

// The proxy and the metrics meet in words alone.
func TestTimeoutsArriveInTheMetrics(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	ln := listen(t, dir+"/out")
	defer func() { _ = ln.Close() }()
	r := start(t, dir, serverLine+"--allow-all --connect-timeout 1s --close-timeout 50ms")
	silent, err := net.Dial("unix", dir+"/in")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	r.waitLog(t, "reason=timeout", 1)

	c, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	target, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = target.Close() }()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r.waitLog(t, "reason=close_timeout", 1)

	response, err := r.http().Get("http://status/_metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var list []struct {
		Metric string
		Value  float64
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, m := range list {
		got[m.Metric] = m.Value
	}
	for name, want := range map[string]float64{
		"accept.total": 2, "accept.success": 1, "accept.error": 1, "accept.timeout": 1,
		"conn.timeout": 1, "conn.open": 0, "conn.handshake.count": 2, "conn.lifetime.count": 2,
	} {
		if value, there := got["ghostunnel."+name]; !there || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
}

func TestQuietAllPrintsNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --quiet all")
	if c, err := r.dialTLS(t, ""); err == nil {
		_ = roundTrip(c, "let me in")
	}
	eventually(t, func() bool { a := r.status(t).Connections; return a.Total == 1 && a.Open == 0 }, func() string { return "not refused" })
	r.signals <- syscall.SIGTERM
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if log := r.log.String(); log != "" {
		t.Errorf("log: %s", log)
	}
}

func TestLogLinesAreJSONWhereWanted(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --log-format json")
	r.signals <- syscall.SIGTERM
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(r.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["msg"] == "" {
			t.Errorf("%q: %v", line, err)
		}
	}
}
