package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/config"
	"sallyport/devpki"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(insideVariable); text != "" {
		os.Exit(inside(text))
	}
	// go-metrics starts one goroutine for the process with its first timer, and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// patience is how long a condition may take to come true before a test gives up.
const patience = 20 * time.Second

// syncBuffer is a buffer that a process writes to while a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// rig is a Sidecar in this process, on UNIX sockets in a directory of its own.
type rig struct {
	dir     string
	sidecar *Sidecar
	signals chan os.Signal
	ended   chan error
	log     *syncBuffer
}

// newDir makes a directory with a development CA. Its path is short enough for UNIX sockets.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := devpki.Init(dir, devpki.FileOptions{Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// parse reads a command line in which @ stands for the directory.
func parse(t *testing.T, dir, line string) *config.Sidecar {
	t.Helper()
	none := func(string) (string, bool) { return "", false }
	command, err := config.Parse(strings.Fields(strings.ReplaceAll(line, "@", dir)), none, io.Discard, "test")
	if err != nil {
		t.Fatal(err)
	}
	c := command.(*config.Sidecar)
	c.DisableLandlock = true // a sandbox would be for good, and hold all other tests too
	return c
}

const (
	serverLine = "server --listen unix:@/in --target unix:@/out --cert @/server.pem --key @/server-key.pem --cacert @/ca.pem --status unix:@/status "
	clientLine = "client --listen unix:@/in --target unix:@/out --override-server-name localhost --cert @/client.pem --key @/client-key.pem --cacert @/ca.pem --status unix:@/status "
)

// start runs a command line; it is stopped when the test ends, if it has not ended by then.
func start(t *testing.T, dir, line string) *rig {
	t.Helper()
	return startWith(t, dir, parse(t, dir, line))
}

func startWith(t *testing.T, dir string, cfg *config.Sidecar) *rig {
	t.Helper()
	r := &rig{dir: dir, signals: make(chan os.Signal, 8), ended: make(chan error, 1), log: &syncBuffer{}}
	s, err := New(t.Context(), cfg, Build{Version: "test"}, r.log)
	if err != nil {
		t.Fatal(err)
	}
	r.sidecar = s
	go func() {
		r.ended <- s.Run(r.signals)
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.signals <- os.Interrupt
		r.signals <- os.Interrupt
		_ = r.wait(t)
	})
	return r
}

// wait returns what Run returned.
func (r *rig) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("Run did not return; log:\n%s", r.log)
		return nil
	}
}

// waitLog waits until the log has the text so many times.
func (r *rig) waitLog(t *testing.T, text string, times int) {
	t.Helper()
	eventually(t, func() bool { return strings.Count(r.log.String(), text) >= times }, func() string {
		return "log has no " + text + ":\n" + r.log.String()
	})
}

func eventually(t *testing.T, condition func() bool, complaint func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(complaint())
		}
	}
}

// tlsConfig is that of a peer with one of the directory's identities; no name is no certificate.
func tlsConfig(t *testing.T, dir, name string) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := &tls.Config{RootCAs: roots, ClientCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// echo serves an echo on a listener until the test ends.
func echo(t *testing.T, ln net.Listener) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// dialTLS connects to the server mode tunnel as somebody.
func (r *rig) dialTLS(t *testing.T, name string) (*tls.Conn, error) {
	t.Helper()
	socket, err := net.Dial("unix", r.dir+"/in")
	if err != nil {
		return nil, err
	}
	c := tls.Client(socket, tlsConfig(t, r.dir, name))
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return c, c.Handshake()
}

// roundTrip sends a line and wants it back.
func roundTrip(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && got != text+"\n" {
		err = errors.New("got " + got)
	}
	return err
}

// answer is the part of /_status that the tests look at.
type answer struct {
	OK                bool      `json:"ok"`
	Message           string    `json:"message"`
	BackendOK         bool      `json:"backend_ok"`
	BackendError      string    `json:"backend_error"`
	LastReload        time.Time `json:"last_reload"`
	LastReloadSuccess time.Time `json:"last_reload_success"`
	LastReloadError   string    `json:"last_reload_error"`
	Connections       struct{ Open, Total int64 }
	Certificates      []struct{ Role, Subject, Serial, Route string }
}

func (r *rig) http() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", r.dir+"/status")
		},
	}}
}

func (r *rig) status(t *testing.T) (a answer) {
	t.Helper()
	response, err := r.http().Get("http://status/_status")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

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

func TestReloadTakesNewFilesAndKeepsOldOnesWhenTheyAreBad(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := start(t, dir, serverLine+"--allow-all")
	before := r.status(t)
	old, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}

	good, err := os.ReadFile(dir + "/server-key.pem")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/server-key.pem", []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 1)
	a := r.status(t)
	if !a.OK || a.Message != "listening" || !strings.Contains(a.LastReloadError, "--key "+dir+"/server-key.pem") || a.LastReload.IsZero() {
		t.Errorf("status after a bad reload: %+v", a)
	}
	if a.Certificates[0].Serial != before.Certificates[0].Serial {
		t.Error("the certificate changed")
	}
	if c, err := r.dialTLS(t, "client"); err != nil {
		t.Errorf("after a bad reload: %v", err)
	} else if err := roundTrip(c, "still serving"); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile(dir+"/server-key.pem", good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := devpki.IssueInto(dir, "server", devpki.FileOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGUSR1
	r.waitLog(t, "msg=reloaded", 1)
	a = r.status(t)
	if !a.OK || a.LastReloadError != "" || a.LastReloadSuccess.IsZero() {
		t.Errorf("status after a good reload: %+v", a)
	}
	if a.Certificates[0].Serial == before.Certificates[0].Serial {
		t.Error("the certificate did not change")
	}
	if err := roundTrip(old, "from before"); err != nil {
		t.Errorf("a connection from before the reloads: %v", err)
	}
	if n := strings.Count(r.log.String(), "reload failed"); n != 1 {
		t.Errorf("the failure is in the log %d times", n)
	}
}

// What was in the way may be gone without a file having changed.
func TestAFailedReloadIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --no-watch-files")
	if err := os.Rename(dir+"/server-key.pem", dir+"/away"); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 1)
	if err := os.Rename(dir+"/away", dir+"/server-key.pem"); err != nil {
		t.Fatal(err)
	}
	r.waitLog(t, "msg=reloaded", 1)
	if a := r.status(t); a.LastReloadError != "" {
		t.Errorf("status: %+v", a)
	}
	if n := strings.Count(r.log.String(), "msg=reloading"); n != 1 {
		t.Errorf("the tries made %d lines of log:\n%s", n, r.log)
	}
}

func TestTimedReload(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --timed-reload 10ms")
	r.waitLog(t, "msg=reloaded", 3)
}

func TestDrainWaitsForConnectionsAndEndsClean(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"SIGTERM", "SIGINT", "request"} {
		dir := newDir(t)
		echo(t, listen(t, dir+"/out"))
		r := start(t, dir, serverLine+"--allow-all --enable-shutdown")
		c, err := r.dialTLS(t, "client")
		if err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(c, "before"); err != nil {
			t.Fatal(err)
		}
		switch how {
		case "SIGTERM":
			r.signals <- syscall.SIGTERM
		case "SIGINT":
			r.signals <- os.Interrupt
		case "request":
			for range 3 {
				response, err := r.http().Post("http://status/_shutdown", "", nil)
				if err != nil || response.StatusCode != http.StatusOK {
					t.Fatal(response, err)
				}
				_ = response.Body.Close()
			}
		}
		eventually(t, func() bool { return r.status(t).Message == "stopping" }, func() string { return how + ": not stopping" })
		r.signals <- syscall.SIGHUP // is ignored
		eventually(t, func() bool {
			_, err := net.Dial("unix", dir+"/in")
			return err != nil
		}, func() string { return how + ": connections are still accepted" })
		if err := roundTrip(c, "during"); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		_ = c.Close()
		if err := r.wait(t); err != nil {
			t.Errorf("%s: Run: %v", how, err)
		}
		if strings.Contains(r.log.String(), "reloading") {
			t.Errorf("%s: it reloaded:\n%s", how, r.log)
		}
		for _, socket := range []string{"in", "status"} {
			if _, err := os.Stat(filepath.Join(dir, socket)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: the %s socket is left: %v", how, socket, err)
			}
		}
	}
}

func TestAForcedEndIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, want string }{
		{"--shutdown-timeout 50ms", "open connections were closed after --shutdown-timeout 50ms"},
		{"--shutdown-timeout 1h", "open connections were closed by a second signal, SIGTERM"},
	} {
		dir := newDir(t)
		echo(t, listen(t, dir+"/out"))
		r := start(t, dir, serverLine+"--allow-all "+c.flag)
		open, err := r.dialTLS(t, "client")
		if err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(open, "hello"); err != nil {
			t.Fatal(err)
		}
		r.signals <- syscall.SIGTERM
		if strings.Contains(c.flag, "1h") {
			r.waitLog(t, "shutting down", 1)
			r.signals <- syscall.SIGTERM
		}
		if err := r.wait(t); err == nil || err.Error() != c.want {
			t.Errorf("%s: Run: %v", c.flag, err)
		}
		r.waitLog(t, "reason=shutdown", 1)
	}
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

// hang puts a FIFO in the place of a file: reading it takes for ever, as from a disk that does not answer.
func hang(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Whoever hangs on it is let go in the end, for the sake of the leak check.
	t.Cleanup(func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		_ = f.Close()
	})
}

func TestAReloadThatHangsKeepsNoShutdownWaiting(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := start(t, dir, serverLine+"--allow-all --no-watch-files") // one reader to let go
	hang(t, dir+"/server-key.pem")
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "msg=reloading", 1)
	c, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(c, "meanwhile"); err != nil {
		t.Error(err)
	}
	r.signals <- syscall.SIGTERM
	eventually(t, func() bool { return r.status(t).Message == "stopping" }, func() string { return "not stopping" })
	_ = c.Close()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
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

// stuck is a writer that blocks once it is told to, like a pipe that nobody reads.
type stuck struct{ blocked chan struct{} }

func (w *stuck) Write(p []byte) (int, error) {
	<-w.blocked
	return len(p), nil
}

func TestAForcedEndWaitsForNoReaderOfTheLog(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	out := &stuck{make(chan struct{})}
	t.Cleanup(func() { close(out.blocked) })
	s, err := New(t.Context(), parse(t, dir, serverLine+"--allow-all --log-level error --shutdown-timeout 10ms"), Build{}, out)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(signals) }()
	_ = s.fleet.tunnels()[0].listener.Close() // fails, and the failure cannot be logged
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Error("Run did not return")
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

func TestAListenerThatFailsEndsTheProcess(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all")
	r.waitLog(t, "msg=listening", 1)
	_ = r.sidecar.fleet.tunnels()[0].listener.Close()
	if err := r.wait(t); err == nil || !strings.Contains(err.Error(), "--listen unix:"+dir+"/in") {
		t.Errorf("Run: %v", err)
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

func TestATimerLogsTheSameFailureOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --no-watch-files --timed-reload 5ms")
	spoil := func(text string) {
		next := dir + "/next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, dir+"/ca.pem"); err != nil {
			t.Fatal(err)
		}
	}
	const failed = "reload failed"
	spoil("garbage")
	r.waitLog(t, failed, 1)
	tries := strings.Count(r.log.String(), "msg=reloading")
	r.waitLog(t, "msg=reloading", tries+5)
	if n := strings.Count(r.log.String(), failed); n != 1 {
		t.Errorf("logged %d times:\n%s", n, r.log)
	}
	// Somebody who asks gets an answer, and what is new is told.
	r.signals <- syscall.SIGHUP
	r.waitLog(t, failed, 2)
	spoil("")
	r.waitLog(t, failed, 3)
}
