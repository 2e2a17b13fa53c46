package tests

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A handed socket is one that a service manager opens and hands over.
type handed struct {
	name    string
	address string // as systemd writes it: IP:PORT, or a path
}

// network is the socket's, as package net calls it.
func (h handed) network() string {
	if filepath.IsAbs(h.address) {
		return "unix"
	}
	return "tcp"
}

// startActivated starts sallyport as systemd does: with sockets that are open,
// at the first connection to one of them.
func startActivated(t *testing.T, sockets []handed, args ...string) *process {
	t.Helper()
	var names []string
	activate := []string{"--setenv=" + raceOptions} // it passes on nothing else
	for _, s := range sockets {
		activate = append(activate, "--listen="+s.address)
		names = append(names, s.name)
	}
	activate = append(activate, "--fdname="+strings.Join(names, ":"), sallyport(t))
	p := launch(t, exec.Command(need(t, "systemd-socket-activate"), append(activate, args...)...))
	wakeUp(t, p, sockets[0])
	return p
}

// wakeUp makes the connection that sallyport is started at, once the sockets are
// there. It is lost if the process ends rather than accept it.
func wakeUp(t *testing.T, p *process, s handed) {
	t.Helper()
	eventually(t, "a connection to "+s.address, func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended with code %d", p.name, p.cmd.ProcessState.ExitCode())
		default:
		}
		conn, err := net.DialTimeout(s.network(), s.address, patience)
		return err == nil && conn.Close() == nil
	})
}

// handedPair is a socket for connections and one for the status port.
func handedPair(t *testing.T, listen, status string) []handed {
	t.Helper()
	place := func(network string) string {
		if network == "unix" {
			return filepath.Join(t.TempDir(), "s")
		}
		return reserve(t)
	}
	return []handed{{"web", place(listen)}, {"status", place(status)}}
}

// TestSystemdHandsOverBothSockets, of either kind, by name. All that a tunnel
// goes through in its life it goes through with them.
func TestSystemdHandsOverBothSockets(t *testing.T) {
	t.Parallel()
	need(t, "systemd-socket-activate")
	for _, test := range []struct{ mode, listen, status string }{
		{"server", "tcp", "unix"},
		{"server", "tcp", "tcp"},
		{"client", "unix", "tcp"},
		{"client", "tcp", "unix"},
	} {
		t.Run(strings.Join([]string{test.mode, test.listen, test.status}, " "), func(t *testing.T) {
			t.Parallel()
			p, sockets := newPKI(t), handedPair(t, test.listen, test.status)
			web, status := sockets[0], sockets[1]
			left := handed{"left", reserve(t)}
			args := []string{test.mode, "--listen", "systemd:web", "--status", "systemd:status", "--cacert", p.root}
			connectTo := func() net.Conn { return dial(t, web.network(), web.address) }
			if test.mode == "server" {
				args = append(append(args, "--target", serve(t, "tcp", echo).address, "--allow-all"), p.server(t).flags()...)
				config := p.clientConfig(p.client(t))
				connectTo = func() net.Conn {
					return tls.Client(dial(t, web.network(), web.address), config)
				}
			} else {
				service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
				args = append(append(args, "--target", service.address), p.client(t).flags()...)
			}
			process := startActivated(t, append(sockets, left), args...)
			process.status = newStatusPort(map[string]string{"unix": "unix:"}[test.status] + status.address)
			process.waitReady(t)
			process.waitLine(t, "msg=listening", "listen="+map[string]string{"unix": "unix:"}[test.listen]+web.address)
			scheme := map[string]string{"unix": "unix:", "tcp": "https://"}[test.status]
			process.waitLine(t, "status port listening", "status="+scheme+status.address)

			process.waitLine(t, "level=WARN", "no flag names", "names=[left]")
			if conn, err := net.DialTimeout("tcp", left.address, patience); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("connecting to the socket that no flag names: %v, %v; want it refused", conn, err)
			}
			environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", process.cmd.Process.Pid))
			if err != nil || !strings.Contains(string(environ), "LISTEN_FDNAMES=web:status:left") {
				t.Errorf("sockets were not handed over in the way of systemd: %q, %v", environ, err)
			}

			open := connectTo()
			if err := roundTrip(open); err != nil {
				t.Fatal(err)
			}
			process.signal(t, syscall.SIGHUP)
			process.waitLine(t, "msg=reloaded")
			if err := exchange(connectTo(), 1, 100_000, 1000); err != nil {
				t.Errorf("after a reload: %v", err)
			}
			process.signal(t, syscall.SIGTERM)
			process.waitLine(t, "shutting down")
			if err := exchange(open, 1, 100_000, 1000); err != nil {
				t.Errorf("a connection during the drain: %v", err)
			}
			if code := process.exit(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			for _, s := range sockets {
				if _, err := os.Lstat(s.address); s.network() == "unix" && err != nil {
					t.Errorf("the service manager's socket is gone: %v", err)
				}
			}
		})
	}
}

// TestSocketsThatWereNotHandedOverEndTheStart, in one line that says what there is.
func TestSocketsThatWereNotHandedOverEndTheStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	flags := append(p.server(t).flags(), "server", "--target", "127.0.0.1:1", "--allow-all", "--cacert", p.root)
	for _, test := range []struct {
		name    string
		sockets []handed
		args    []string
		want    []string
	}{
		{"by nobody", nil, []string{"--listen", "systemd:web"}, []string{"--listen systemd:web: systemd handed over no socket"}},
		{"launchd", nil, []string{"--listen", "launchd:web"}, []string{"--listen launchd:web: there is no launchd on this system"}},
		{
			"under another name", handedPair(t, "tcp", "unix"), []string{"--listen", "systemd:tls"},
			[]string{"--listen systemd:tls: systemd handed over no socket of this name, but web, status"},
		},
		{
			"two of one name", []handed{{"web", reserve(t)}, {"web", reserve(t)}}, []string{"--listen", "systemd:web"},
			[]string{"--listen systemd:web: systemd handed over several sockets of this name"},
		},
		{
			"of a kind that certificates are not for", handedPair(t, "tcp", "unix"),
			[]string{"--listen", "systemd:web", "--status", "systemd:status", "--status-client-ca", p.root},
			[]string{"--status-client-ca", "--status systemd:status", "UNIX socket"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var process *process
			if len(test.sockets) > 0 {
				process = startActivated(t, test.sockets, append(flags, test.args...)...)
			} else {
				process = startUnready(t, nil, append(flags, test.args...)...)
			}
			code := process.exit(t)
			if stderr := process.stderr.String(); code != 1 || !containsAll(stderr, test.want) || strings.Count(stderr, "sallyport: ") != 1 {
				t.Errorf("exit code %d and %q, want 1 and one line with %q", code, stderr, test.want)
			}
		})
	}
}

// TestASocketIsKeptForATunnelThatDoesNotStart: systemd hands it over once. Whoever connects is served when the tunnel is.
func TestASocketIsKeptForATunnelThatDoesNotStart(t *testing.T) {
	t.Parallel()
	need(t, "systemd-socket-activate")
	for name, mend := range map[string]func(t *testing.T, m *many, tunnels func(key string)){
		"its files are mended": func(t *testing.T, m *many, _ func(string)) {
			key, err := os.ReadFile(m.pki.server(t).key)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(m.pki.dir, "late.pem"), key)
		},
		"the file has others": func(t *testing.T, m *many, tunnels func(string)) { tunnels(m.pki.server(t).key) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, target := newMany(t), serve(t, "tcp", echo).address
			sockets, runs := []handed{{"web", reserve(t)}}, reserve(t)
			tunnels := func(key string) {
				m.write(t, one("waits", "systemd:web", target, "key: "+key), one("runs", runs, target))
			}
			tunnels(filepath.Join(m.pki.dir, "late.pem"))
			m.process = startActivated(t, sockets, "run", "--config", m.config, "--status", "http://"+reserve(t))
			m.waitLine(t, "a tunnel does not start", "tunnel=waits", "late.pem")
			m.visit(t, runs)
			early := tls.Client(dial(t, "tcp", sockets[0].address), m.client(t))
			mend(t, m, tunnels)
			m.signal(t, syscall.SIGHUP)
			m.waitLine(t, "msg=listening", "tunnel=waits", "listen="+sockets[0].address)
			if err := roundTrip(early); err != nil {
				t.Errorf("who had connected before: %v", err)
			}
			_ = early.Close()
			m.stop(t)
			if lines := m.lines("no flag names"); len(lines) > 0 {
				t.Errorf("%q", lines)
			}
		})
	}
}
