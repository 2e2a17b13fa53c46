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
	"testing"
	"time"

	"sallyport/config"
	"sallyport/devpki"
)

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
