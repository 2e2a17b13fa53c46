package tests

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os/exec"
	"syscall"
	"testing"
)

func TestReservedPortRefusesConnectionsUntilSomebodyListens(t *testing.T) {
	t.Parallel()
	for _, host := range loopback {
		address := reserveOn(t, host)
		if _, err := net.DialTimeout("tcp", address, patience); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialling %s: %v, want it refused", address, err)
		}
		// Go's listeners set SO_REUSEADDR, as other servers do.
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		dial(t, "tcp", address)
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReservedPortIsHandedToNobodyElse(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2000 {
		address := reserve(t)
		if seen[address] {
			t.Fatalf("%s was handed out twice", address)
		}
		seen[address] = true
	}
	for range 2000 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if address := listener.Addr().String(); seen[address] {
			t.Errorf("%s is reserved and was handed out to a listener", address)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReservedPortServesPeers(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	startPeer(t, "redis-server", "--bind", "127.0.0.1", "--port", port(t, address), "--save", "")
	accepting(t, "tcp", address)
	out, err := exec.Command(need(t, "redis-cli"), "-p", port(t, address), "ping").CombinedOutput()
	if err != nil || string(out) != "PONG\n" {
		t.Errorf("redis-cli ping: %q, %v", out, err)
	}
}

func TestProcessShowsLinesAndExitCode(t *testing.T) {
	t.Parallel()
	p := startPeer(t, "sh", "-c", `echo one; echo two >&2; read never; exit 3`)
	if line := p.waitLine(t, "on"); line != "one" {
		t.Errorf("waitLine: %q", line)
	}
	if lines := p.lines("two"); len(lines) != 0 {
		t.Errorf("standard error among the lines of standard output: %q", lines)
	}
	if code := p.exit(t); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if got := p.stderr.String(); got != "two\n" {
		t.Errorf("standard error: %q", got)
	}
}

func TestTargetEchoesAndPassesTheEndOn(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		service := serve(t, network, echo)
		conn := dial(t, network, service.listener.Addr().String())
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := conn.(halfCloser).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q back, %v", network, got, err)
		}
		if n := service.connections(); n != 1 {
			t.Errorf("%s: %d connections, want 1", network, n)
		}
	}
}

func TestTargetRecords(t *testing.T) {
	t.Parallel()
	handle, received := record()
	service := serve(t, "tcp", handle)
	conn := dial(t, "tcp", service.address)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "what the target has received", received); !bytes.Equal(got, []byte("hello")) {
		t.Errorf("received %q", got)
	}
}

func TestPKIIssuesForLocalhost(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	server := p.server(t)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := server.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}
