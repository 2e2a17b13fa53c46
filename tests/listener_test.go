package tests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestSocketFileHasThePermissionsThatWereAskedFor, whatever the umask is.
func TestSocketFileHasThePermissionsThatWereAskedFor(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	identity := p.client(t).flags()
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	self := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	for _, test := range []struct {
		umask string
		flags []string
		want  fs.FileMode
	}{
		{"000", []string{"--listen-mode", "0660"}, 0o660},
		{"077", []string{"--listen-mode", "0666"}, 0o666},
		{"000", []string{"--listen-mode", "600", "--listen-owner", self}, 0o600},
		{"000", []string{"--listen-owner", self}, 0o660},
		{"000", []string{"--listen-owner", strconv.Itoa(os.Getuid())}, 0o600},
		{"027", nil, 0o750},
	} {
		t.Run(test.umask+strings.Join(test.flags, " "), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "listen")
			args := append(slices.Clone(identity), "client", "--listen", "unix:"+path, "--target", service.address, "--cacert", p.root)
			under := []string{"-c", `umask ` + test.umask + ` && exec "$0" "$@"`, sallyport(t)}
			process := launchSallyport(t, nil, exec.Command("sh", append(append(under, args...), test.flags...)...))
			process.waitReady(t)
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != test.want {
				t.Errorf("the permissions are %v, want %v", got, test.want)
			}
			conn := dial(t, "unix", path)
			if err := errors.Join(roundTrip(conn), conn.Close()); err != nil {
				t.Error(err)
			}
			process.stop(t)
			checkGone(t, path)
		})
	}
}

func TestSocketFileIsGivenToItsOwner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		skip(t, "only root gives files away")
	}
	p, path := newPKI(t), filepath.Join(t.TempDir(), "listen")
	server := startServer(t, p, "unix:"+path, "127.0.0.1:1", "--allow-all", "--listen-owner", "nobody:nogroup")
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if system := info.Sys().(*syscall.Stat_t); system.Uid != nobody || system.Gid != nobody || info.Mode().Perm() != 0o660 {
		t.Errorf("it is %v of %d:%d, want 0660 of %d:%[4]d", info.Mode(), system.Uid, system.Gid, nobody)
	}
	server.stop(t)
	checkGone(t, path)

	code, _, stderr := run(t, serverLine(t, p, "unix:"+path, "127.0.0.1:1", "--allow-all", "--listen-owner", "nosuchuser")...)
	if code != 1 || !strings.Contains(stderr, `--listen-owner nosuchuser: no user "nosuchuser"`) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d and %q, want 1 and one line about the user", code, stderr)
	}
}

// TestEveryKindOfAddressIsListenedOnAndDialled, the status port's included, in
// the sandbox.
func TestEveryKindOfAddressIsListenedOnAndDialled(t *testing.T) {
	t.Parallel()
	const everywhere = "all by "
	loopback6 := netip.IPv6Loopback()
	for name, place := range map[string]func(t *testing.T) (flag, network, address string){
		"IPv4": func(t *testing.T) (string, string, string) {
			at := reserve(t)
			return at, "tcp", at
		},
		"IPv6": func(t *testing.T) (string, string, string) {
			at := reserveOn(t, loopback6)
			return at, "tcp", at
		},
		"IPv6 with a zone": func(t *testing.T) (string, string, string) {
			at := netip.AddrPortFrom(loopback6.WithZone("lo"), netip.MustParseAddrPort(reserveOn(t, loopback6)).Port()).String()
			return at, "tcp", at
		},
		"a name": func(t *testing.T) (string, string, string) {
			at := reserve(t)
			return "localhost:" + port(t, at), "tcp", at
		},
		everywhere + "IPv4": func(t *testing.T) (string, string, string) {
			at := reserve(t)
			return ":" + port(t, at), "tcp", at
		},
		everywhere + "IPv6": func(t *testing.T) (string, string, string) {
			at := reserveOn(t, loopback6)
			return ":" + port(t, at), "tcp", at
		},
		"a path": func(t *testing.T) (string, string, string) {
			path := filepath.Join(t.TempDir(), "s")
			return "unix:" + path, "unix", path
		},
		"a relative path": func(t *testing.T) (string, string, string) {
			dir, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			path, err := filepath.Rel(dir, filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			return "unix:" + path, "unix", path
		},
		"an abstract name": func(t *testing.T) (string, string, string) {
			at := "@sallyport" + t.TempDir()
			return "unix:" + at, "unix", at
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, entry, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
			between, _, _ := place(t)
			status, network, address := place(t)
			if network == "tcp" {
				status = "http://" + status
			}
			target := between
			if strings.HasPrefix(name, everywhere) {
				target = "localhost" + between
			}
			server := startUnready(t, nil, serverLine(t, p, between, service.address, "--allow-all", "--status", status)...)
			server.waitLine(t, "status port listening", "status="+strings.ReplaceAll(status, "%", "%25")) // as a URL has a zone (RFC 6874)
			client := start(t, append(p.client(t).flags(), "client", "--listen", entry, "--target", target,
				"--override-server-name", "localhost", "--cacert", p.root)...)
			needSandbox(t, client)
			if err := through(t, entry); err != nil {
				t.Error(err)
			}
			conn := dial(t, network, address)
			if _, err := io.WriteString(conn, "GET /livez HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if answer, err := io.ReadAll(conn); err != nil || !strings.Contains(string(answer), " 200 OK\r\n") {
				t.Errorf("the status port answers %q, %v", answer, err)
			}
			client.stop(t)
			server.stop(t)
		})
	}
}

// TestKeepAliveIsSetOnAllConnections: what is accepted, what is dialled, and
// those of the status port. The kernel tells for each when it will probe.
func TestKeepAliveIsSetOnAllConnections(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		skip(t, "/proc/net/tcp is Linux's")
	}
	for _, test := range []struct {
		flag     string
		from, to int // seconds to the first probe; 0: there is none
	}{
		{"1h", 3500, 3600},
		{"0", 0, 0},
	} {
		t.Run(test.flag, func(t *testing.T) {
			t.Parallel()
			p, listen, status, service := newPKI(t), reserve(t), reserve(t), serve(t, "tcp", echo)
			server := start(t, serverLine(t, p, listen, service.address, "--allow-all", "--status", "http://"+status, "--keepalive", test.flag)...)
			conn := connect(t, listen, p.clientConfig(p.client(t)))
			if err := roundTrip(conn); err != nil {
				t.Fatal(err)
			}
			asking := dial(t, "tcp", status)
			if _, err := io.WriteString(asking, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := asking.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			for _, side := range []struct{ what, local, remote string }{
				{"accepted", listen, ""},
				{"dialled", "", service.address},
				{"accepted by the status port", status, ""},
			} {
				// What is on its way yet has another timer.
				var timers []int
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("timers of what was %s: %v", side.what, timers)
					}
				})
				eventually(t, "the right timer of what was "+side.what, func() bool {
					timers = keepAliveTimers(t, side.local, side.remote)
					for _, seconds := range timers {
						if seconds < test.from || seconds > test.to {
							return false
						}
					}
					return len(timers) > 0
				})
			}
			if err := errors.Join(conn.Close(), asking.Close()); err != nil {
				t.Error(err)
			}
			server.stop(t)
		})
	}
}

// keepAliveTimers tells of each established connection with this local or this
// remote address in how many seconds it will be probed (proc_net_tcp.txt); 0 is
// never, and -1 that it waits for something else.
func keepAliveTimers(t *testing.T, local, remote string) []int {
	t.Helper()
	const established, idle, probing = "01", "00", "02"
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	var timers []int
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[3] != established ||
			local != "" && fields[1] != kernelAddress(t, local) || remote != "" && fields[2] != kernelAddress(t, remote) {
			continue
		}
		kind, when, _ := strings.Cut(fields[5], ":")
		ticks, err := strconv.ParseInt(when, 16, 64)
		switch {
		case err != nil:
			t.Fatalf("%q: %v", line, err)
		case kind == idle:
			timers = append(timers, 0)
		case kind == probing:
			timers = append(timers, int(ticks/100)) // USER_HZ
		default:
			timers = append(timers, -1)
		}
	}
	return timers
}

// kernelAddress is an IPv4 address as the kernel's tables have it.
func kernelAddress(t *testing.T, address string) string {
	t.Helper()
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	ip := at.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), at.Port())
}
