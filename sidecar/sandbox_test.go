package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/sandbox"
)

func TestConfinementIsWhatTheConfigurationNames(t *testing.T) {
	t.Parallel()
	const server = "server --allow-all --listen 127.0.0.1:8443 --target [::1]:8080 --cacert ca.pem "
	const client = "client --listen 127.0.0.1:8080 --target [::1]:8443 --cacert ca.pem "
	const acme = "--auto-acme-cert web.example --auto-acme-email ops@example.com --auto-acme-agree-to-tos "
	pair := sandbox.Rules{Files: []string{"c", "k", "ca.pem"}, BindPorts: []uint16{8443}, ConnectPorts: []uint16{8080}}
	acmes := sandbox.Rules{
		Files: []string{"ca.pem"}, WriteDirs: []string{certloader.ACMEStorage()}, Resolver: true, SystemTrust: true, Proxies: true,
		BindPorts: []uint16{8443, 8443}, ConnectPorts: []uint16{8080, 443},
	}
	with := func(r sandbox.Rules, change func(*sandbox.Rules)) sandbox.Rules {
		r.ConnectPorts = slices.Clone(r.ConnectPorts)
		r.BindPorts = slices.Clone(r.BindPorts)
		change(&r)
		return r
	}
	tests := []struct {
		line string
		want sandbox.Rules
	}{
		{server + "--cert c --key k", pair},
		{server + "--cert c --key k --no-watch-files", pair},
		{server + "--cert c --key k --syslog", with(pair, func(r *sandbox.Rules) { r.SystemLog = true })},
		{server + "--cert c --key k --status http://127.0.0.1:6060", with(pair, func(r *sandbox.Rules) {
			r.Itself, r.BindPorts = true, []uint16{6060, 8443}
		})},
		{server + "--cert c --key k --status http://127.0.0.1:6060 --netstat", with(pair, func(r *sandbox.Rules) {
			r.Itself, r.BindPorts = true, []uint16{6060, 8443}
		})},
		{server + "--cert c --key k --status unix:/run/status", with(pair, func(r *sandbox.Rules) {
			r.Itself, r.ListenSockets = true, []string{"/run/status"}
		})},
		{server + "--cert c --key k --metrics-graphite 127.0.0.1:2003 --metrics-url http://127.0.0.1/", with(pair, func(r *sandbox.Rules) {
			r.ConnectPorts = []uint16{2003, 80, 8080}
		})},
		{server + "--cert c --key k --metrics-url https://in.example:8443/x", with(pair, func(r *sandbox.Rules) {
			r.Resolver, r.ConnectPorts = true, []uint16{8443, 8080}
		})},
		{server + "--cert c --key k --session-ticket-keys t", with(pair, func(r *sandbox.Rules) {
			r.Files = []string{"c", "k", "t", "ca.pem"}
		})},
		{server + "--keystore s --storepass-file p --crl one --crl two", with(pair, func(r *sandbox.Rules) {
			r.Files = []string{"s", "p", "one", "two", "ca.pem"}
		})},
		{client + "--disable-authentication", sandbox.Rules{
			Files: []string{"ca.pem"}, BindPorts: []uint16{8080}, ConnectPorts: []uint16{8443},
		}},
		{"client --disable-authentication --listen unix:/run/in --target db.example:5432", sandbox.Rules{
			ListenSockets: []string{"/run/in"}, ConnectPorts: []uint16{5432}, Resolver: true, SystemTrust: true,
		}},
		{"client --disable-authentication --listen 127.0.0.1:8080 --target db.example:5432 --cacert ca.pem --proxy socks5://127.0.0.1 --proxy-auth-file a", sandbox.Rules{
			Files: []string{"a", "ca.pem"}, BindPorts: []uint16{8080}, ConnectPorts: []uint16{1080},
		}},
		{client + "--keystore s --storepass-file p --proxy https://proxy.example --proxy-cert c --proxy-key k --proxy-cacert a", sandbox.Rules{
			Files: []string{"s", "p", "c", "k", "a", "ca.pem"}, BindPorts: []uint16{8080}, ConnectPorts: []uint16{443}, Resolver: true,
		}},
		{client + "--keystore s --proxy https://127.0.0.1:3129", sandbox.Rules{
			Files: []string{"s", "ca.pem"}, BindPorts: []uint16{8080}, ConnectPorts: []uint16{3129}, SystemTrust: true,
		}},
		{client + "--use-workload-api-addr unix:///run/agent.sock", sandbox.Rules{
			DialSockets: []string{"/run/agent.sock"}, BindPorts: []uint16{8080}, ConnectPorts: []uint16{8443},
		}},
		{client + "--use-workload-api-addr tcp://127.0.0.1:8081", sandbox.Rules{
			BindPorts: []uint16{8080}, ConnectPorts: []uint16{8443, 8081},
		}},
		{"server --allow-all --listen unix:/run/in --target unix:@out --auto-tls", sandbox.Rules{
			ListenSockets: []string{"/run/in"}, DialSockets: []string{"@out"}, SystemTrust: true,
		}},
		{server + acme, with(acmes, func(r *sandbox.Rules) { r.ConnectPorts = append(r.ConnectPorts, 443, 8443) })},
		{server + acme + "--auto-acme-ca https://ca.example:9000/dir --auto-acme-alt-tls-alpn-port 5001", with(acmes, func(r *sandbox.Rules) {
			r.ConnectPorts, r.BindPorts = append(r.ConnectPorts, 9000, 5001), []uint16{8443, 5001}
		})},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, confinement(parse(t, "@", test.line))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.line, diff)
		}
	}
}

// TestConfinementHasTheServiceManager be reached anew, unless that would take to reach every abstract socket.
func TestConfinementHasTheServiceManager(t *testing.T) {
	t.Parallel()
	for socket, want := range map[string][]string{"": nil, "/run/systemd/notify": {"/run/systemd/notify"}, "@/org/notify": nil} {
		c := parse(t, "@", "server --allow-all --listen :8443 --target [::1]:8080 --cacert ca.pem --cert c --key k")
		c.Manager.NotifySocket = socket
		if got := confinement(c).DialSockets; !slices.Equal(got, want) {
			t.Errorf("NOTIFY_SOCKET=%s: sockets %q, want %q", socket, got, want)
		}
	}
}

func TestWhatKeepsTheSandboxAway(t *testing.T) {
	t.Parallel()
	c := parse(t, "", "server --allow-all --listen :8443 --target localhost:8080 --cert c --pkcs11-module m")
	if got := unconfined(c); got != "--disable-landlock" {
		t.Errorf("with --disable-landlock: %q", got)
	}
	c.DisableLandlock = false
	if got := unconfined(c); !strings.HasPrefix(got, "--pkcs11-module") {
		t.Errorf("with --pkcs11-module: %q", got)
	}
	c.Tunnels[0].Identity.PKCS11 = config.PKCS11{}
	if got := unconfined(c); got != "" {
		t.Errorf("without either: %q", got)
	}
}

// insideVariable has the test binary be a process that New puts into its sandbox, and that then tries to get out.
const insideVariable = "SALLYPORT_TEST_INSIDE"

// An intrusion is what a process in its sandbox is to try.
type intrusion struct {
	Dir, Line  string   // as parse takes them
	Read, Dial []string // files, and TCP addresses
}

// inside is that process, and its exit code.
func inside(text string) int {
	var in intrusion
	err := json.Unmarshal([]byte(text), &in)
	if err == nil {
		err = in.try()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// try is the process in its sandbox. It writes what came of what it tried, "" or an error each, as one line of JSON, and then
// runs until its standard input ends.
func (in intrusion) try() error {
	none := func(string) (string, bool) { return "", false }
	command, err := config.Parse(strings.Fields(strings.ReplaceAll(in.Line, "@", in.Dir)), none, io.Discard, "test")
	if err != nil {
		return err
	}
	s, err := New(context.Background(), command.(*config.Sidecar), Build{}, os.Stderr)
	if err != nil {
		return err
	}
	results := make(map[string]string)
	note := func(what string, err error) {
		results[what] = ""
		if err != nil {
			results[what] = err.Error()
		}
	}
	for _, path := range in.Read {
		_, err := os.ReadFile(path)
		note(path, err)
	}
	for _, address := range in.Dial {
		conn, err := net.DialTimeout("tcp", address, patience)
		note(address, err)
		if err == nil {
			_ = conn.Close()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		signals <- os.Interrupt
	}()
	return s.Run(signals)
}

// TestIntruderReachesNothingElse, while the tunnel that it is in goes on.
func TestIntruderReachesNothingElse(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("Landlock is Linux's")
	}
	dir, elsewhere := newDir(t), t.TempDir()
	secret := filepath.Join(elsewhere, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	other, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	echo(t, listen(t, dir+"/out"))

	in := intrusion{
		Dir:  dir,
		Line: serverLine + "--allow-all",
		Read: []string{filepath.Join(dir, "server.pem"), secret, "/etc/shadow"},
		Dial: []string{other.Addr().String()},
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), insideVariable+"="+string(text))
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var results map[string]string
	err = json.NewDecoder(stdout).Decode(&results)
	if err == nil {
		var conn net.Conn
		if conn, err = (&rig{dir: dir}).dialTLS(t, "client"); err == nil {
			err = errors.Join(roundTrip(conn, "through the sandbox"), conn.Close())
		}
	}
	_ = stdin.Close()
	if wait := cmd.Wait(); err != nil || wait != nil {
		t.Fatalf("%v, %v: %s", err, wait, &log)
	}
	if !strings.Contains(log.String(), "running in a sandbox") {
		t.Skipf("this kernel has no Landlock: %s", &log)
	}
	if got := results[in.Read[0]]; got != "" {
		t.Errorf("its own certificate: %s", got)
	}
	for _, what := range append(in.Read[1:], in.Dial...) {
		if got := results[what]; !strings.Contains(got, "permission denied") {
			t.Errorf("%s: %q, want it denied", what, got)
		}
	}
}
