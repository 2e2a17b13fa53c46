package tests

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPlaintextStaysOnThisMachineUnlessToldOtherwise. 0.0.0.0 is every address
// of the machine and so not a local one.
func TestPlaintextStaysOnThisMachineUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"server", "client"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			anywhere := func(address string) string { return "0.0.0.0:" + port(t, address) }
			var args []string
			var unsafe string
			var try func() error
			if mode == "server" {
				service := serve(t, "tcp", echo)
				unsafe = "--unsafe-target"
				args = append(p.server(t).flags(), "server", "--listen", listen, "--target", anywhere(service.address), "--allow-all")
				try = func() error { return attempt(t, listen, p.clientConfig(p.client(t))) }
			} else {
				service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
				unsafe = "--unsafe-listen"
				args = append(p.client(t).flags(), "client", "--listen", anywhere(listen), "--target", service.address)
				try = func() error { return through(t, listen) }
			}
			args = append(args, "--cacert", p.root)
			code, _, stderr := run(t, args...)
			if code != 2 || !strings.Contains(stderr, unsafe) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("without %s: exit code %d and %q, want 2 and one line that names it", unsafe, code, stderr)
			}
			process := start(t, append(args, unsafe)...)
			if err := try(); err != nil {
				t.Errorf("with %s: %v", unsafe, err)
			}
			process.stop(t)
		})
	}
}

// unresolvable is a name that never has an address (RFC 6761, 6.4).
const unresolvable = "nowhere.invalid"

func TestTargetThatDoesNotResolveEndsTheStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	target := unresolvable + ":443"
	code, stdout, stderr := run(t, append(p.client(t).flags(), "client", "--listen", reserve(t), "--target", target, "--cacert", p.root)...)
	if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !containsAll(stderr, []string{"--target " + target, "--skip-resolve"}) {
		t.Errorf("exit code %d, %q and %q; want 1 and one line that names the target and --skip-resolve", code, stdout, stderr)
	}
}

func TestSkipResolveStartsWithATargetThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	client := startClient(t, p, listen, unresolvable+":443", "--skip-resolve")
	if err := through(t, listen); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client's connection ended with %v, want a reset", err)
	}
	client.waitLine(t, "error on dial", "reason=name_resolution", unresolvable)
	client.stop(t)
}

// TestTargetThatIsDownResetsTheClient, logs why, and is found as soon as it is
// up.
func TestTargetThatIsDownResetsTheClient(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	config := p.targetConfig(p.server(t))
	for _, test := range []struct {
		network, reason string
		target          func(t *testing.T) (address, listen string)
	}{
		{"tcp", "connection_refused", func(t *testing.T) (string, string) {
			t.Helper()
			address := reserve(t)
			return address, address
		}},
		{"unix", "no_such_socket", func(t *testing.T) (string, string) {
			t.Helper()
			path := filepath.Join(t.TempDir(), "target")
			return "unix:" + path, path
		}},
	} {
		t.Run(test.network, func(t *testing.T) {
			t.Parallel()
			listen := reserve(t)
			target, later := test.target(t)
			client := startClient(t, p, listen, target, "--override-server-name", "localhost")
			if err := through(t, listen); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client's connection ended with %v, want a reset", err)
			}
			client.waitLine(t, "error on dial", "reason="+test.reason)

			serveOn(t, test.network, later, overTLS(config, echo))
			if err := through(t, listen); err != nil {
				t.Errorf("when the target is up: %v", err)
			}
			client.stop(t)
		})
	}
}

// TestTargetThatIsDownIsNoEmptyAnswer: in TLS an answer ends with an alert,
// close_notify. In TLS 1.2 one can see from outside that there was none.
func TestTargetThatIsDownIsNoEmptyAnswer(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, reserve(t), "--allow-all")
	var received bytes.Buffer
	config := p.clientConfig(p.client(t))
	config.MaxVersion = tls.VersionTLS12
	conn := tls.Client(tapped{dial(t, "tcp", listen), &received}, config)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, conn); n != 0 || isTimeout(err) {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
	const alert, header = 21, 5 // RFC 5246, 6.2.1
	for records := received.Bytes(); len(records) >= header; {
		if records[0] == alert {
			t.Error("the server has sent an alert")
		}
		records = records[min(len(records), header+int(binary.BigEndian.Uint16(records[3:]))):]
	}
	server.waitLine(t, "error on dial", "reason=connection_refused")
	server.stop(t)
}

// tapped copies what is read from a connection.
type tapped struct {
	net.Conn

	to io.Writer
}

func (c tapped) Read(p []byte) (int, error) { return io.TeeReader(c.Conn, c.to).Read(p) }

// TestListenerThatIsTakenEndsTheStart: only a socket file can be, since TCP
// ports are shared.
func TestListenerThatIsTakenEndsTheStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	service := serve(t, "unix", echo)
	occupied := service.address
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, []byte("precious"))
	for _, listen := range []string{occupied, "unix:" + file, "unix:/nowhere/at/all"} {
		code, _, stderr := run(t, append(p.client(t).flags(), "client", "--listen", listen, "--target", "127.0.0.1:1", "--cacert", p.root)...)
		if code != 1 || !strings.Contains(stderr, "--listen "+listen) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("exit code %d and %q, want 1 and one line that names --listen %s", code, stderr, listen)
		}
	}
	if conn, err := net.Dial("unix", service.listener.Addr().String()); err != nil {
		t.Errorf("the socket that was occupied: %v", err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// TestStaleSocketIsReplaced: a process that was killed leaves its file.
func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	path := filepath.Join(t.TempDir(), "listen")
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	first := startClient(t, p, "unix:"+path, service.address)
	first.signal(t, syscall.SIGKILL)
	first.exit(t)
	second := startClient(t, p, "unix:"+path, service.address)
	conn := dial(t, "unix", path)
	if err := exchange(conn, 1, 1000, 1000); err != nil {
		t.Error(err)
	}
	second.stop(t)
	checkGone(t, path)
}

// TestProcessesShareATCPPort: the next one takes over before the first lets go.
func TestProcessesShareATCPPort(t *testing.T) {
	t.Parallel()
	p, listen, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
	first := startServer(t, p, listen, service.address, "--allow-all")
	config := p.clientConfig(p.client(t))
	open := connect(t, listen, config)
	if err := roundTrip(open); err != nil {
		t.Fatal(err)
	}
	second := startServer(t, p, listen, service.address, "--allow-all")
	first.signal(t, syscall.SIGTERM)
	first.waitLine(t, "shutting down")
	eventually(t, "the second takes over", func() bool { return attempt(t, listen, config) == nil })
	if err := exchange(open, 1, 1000, 1000); err != nil {
		t.Errorf("the first one's connection: %v", err)
	}
	if code := first.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for range 10 {
		if err := attempt(t, listen, config); err != nil {
			t.Error(err)
		}
	}
	second.stop(t)
}
