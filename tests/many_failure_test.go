package tests

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// tunnelReport is what /_status says of one tunnel.
type tunnelReport struct {
	Name, Message, Error string
	OK                   bool `json:"ok"`
	BackendOK            bool `json:"backend_ok"`
	Connections          struct{ Open, Total int }
}

// tunnelsOf asks for the status of a process, or of one of its tunnels.
func tunnelsOf(t *testing.T, p *process, query string) (code int, whole tunnelReport, tunnels map[string]tunnelReport) {
	t.Helper()
	var report struct {
		tunnelReport
		Tunnels []tunnelReport
	}
	code = p.status.getJSON(t, "/_status"+query, &report)
	tunnels = make(map[string]tunnelReport)
	for _, tunnel := range report.Tunnels {
		tunnels[tunnel.Name] = tunnel
	}
	return code, report.tunnelReport, tunnels
}

// TestATunnelThatCannotStartStopsNoOther has one without its certificate and one without its port, beside one that runs: they
// are tried again until they can.
func TestATunnelThatCannotStartStopsNoOther(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target := serve(t, "tcp", echo).address
	late := m.pki.server(t)
	moved := late.cert + ".later"
	if err := os.Rename(late.cert, moved); err != nil {
		t.Fatal(err)
	}
	id := m.pki.issue(t, "another", devpki.Request{CommonName: "server", DNSNames: []string{"localhost"}, IPs: loopback})
	socket := filepath.Join(m.pki.dir, "taken")
	writeFile(t, socket, nil) // which is no socket
	well, uncertified := reserve(t), reserve(t)
	own := []string{"cert: " + id.cert, "key: " + id.key}
	m.write(t, one("well", well, target, own...), one("uncertified", uncertified, target), one("unbound", "unix:"+socket, target, own...))
	m.run(t)
	m.visit(t, well)
	code, whole, tunnels := tunnelsOf(t, m.process, "")
	if code != http.StatusServiceUnavailable || whole.OK {
		t.Errorf("%d %+v: all seems to be well", code, whole)
	}
	if w := tunnels["well"]; !w.OK || w.Error != "" || w.Message != "listening" {
		t.Errorf("the one that runs: %+v", w)
	}
	for name, reason := range map[string]string{"uncertified": "no such file", "unbound": "not a socket"} {
		if w := tunnels[name]; w.OK || w.Message != "initializing" || !strings.Contains(w.Error, reason) || !strings.Contains(w.Error, m.config+":") {
			t.Errorf("%s: %+v, want the reason with the place in the file", name, w)
		}
		if code, _ := m.status.get(t, "/readyz?tunnel="+name); code != http.StatusServiceUnavailable {
			t.Errorf("/readyz of %s: %d", name, code)
		}
	}
	for path, want := range map[string]int{"/readyz": 200, "/healthz": 503, "/_status?tunnel=well": 200, "/healthz?tunnel=well": 200, "/readyz?tunnel=none": 404} {
		if code, body := m.status.get(t, path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	if up := metricOf(t, m.process, `sallyport_tunnel_up{tunnel="unbound"}`); up != 0 {
		t.Errorf("sallyport_tunnel_up is %v of a tunnel that does not run", up)
	}
	if n := metricOf(t, m.process, `sallyport_accepted_total{tunnel="unbound"}`); n != 0 { // it would count on after a failure
		t.Errorf("sallyport_accepted_total is %v of a tunnel that has not run", n)
	}

	writeFile(t, late.cert, []byte("nothing"))
	eventually(t, "the status tells why the latest try has failed", func() bool {
		_, _, tunnels := tunnelsOf(t, m.process, "")
		return strings.Contains(tunnels["uncertified"].Error, "no PEM block in it")
	})
	if err := os.Rename(moved, late.cert); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	m.signal(t, syscall.SIGHUP) // sooner than the next try by itself
	eventually(t, "all tunnels run", func() bool {
		code, _, _ := tunnelsOf(t, m.process, "")
		return code == http.StatusOK
	})
	m.visit(t, uncertified)
	m.stop(t)
}

// TestWithoutAnyTunnelThereIsNoProcess has all of them fail.
func TestWithoutAnyTunnelThereIsNoProcess(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	m.write(t, one("one", reserve(t), "localhost:1", "cert: /none"), one("two", reserve(t), "localhost:1", "cert: /none-either"))
	code, _, stderr := run(t, "run", "--config", m.config, "--status", "http://"+reserve(t))
	if code != 1 || !strings.Contains(stderr, "/none:") && !strings.Contains(stderr, "/none-either") {
		t.Errorf("exit code %d, and: %s", code, stderr)
	}
}

// TestAFileThatCannotBeAppliedChangesNothing has new tunnels that cannot be had beside changes that could be made.
func TestAFileThatCannotBeAppliedChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target := serve(t, "tcp", echo).address
	stays, goes, comes, status := reserve(t), reserve(t), reserve(t), reserve(t)
	m.write(t, one("stays", stays, target), one("goes", goes, target))
	m.process = start(t, "run", "--config", m.config, "--status", "http://"+status)
	other := t.TempDir()
	other = filepath.Join(other, "elsewhere")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	failures := 0.0
	for name, c := range map[string]struct{ tunnel, want string }{
		"a syntax error":         {"- {", "sallyport.yaml:"},
		"an unknown key":         {one("comes", comes, target, "idle-timeuot: 1m"), "idle-timeout"},
		"a port that is taken":   {one("comes", stays, target), stays},
		"the status port":        {one("comes", "localhost:"+port(t, status), target), "--status " + status},
		"no certificate":         {one("comes", comes, target, "cert: "+m.pki.dir+"/none.pem"), "no such file"},
		"a path out of reach":    {one("comes", comes, target, "cert: "+other+"/cert.pem"), "needs to read in " + other},
		"a target out of reach":  {one("comes", comes, "localhost:1"), "needs to connect to port 1"},
		"a socket out of reach":  {one("comes", "unix:"+other+"/in", target), "needs to listen in " + other},
		"a socket of systemd's":  {one("comes", "systemd:web", target), "restart"},
		"two tunnels of a name":  {one("stays", comes, target), "stays"},
		"a process key in there": {one("comes", comes, target, "log-level: debug"), "log-level"},
	} {
		m.write(t, one("stays", stays, target), c.tunnel)
		m.signal(t, syscall.SIGHUP)
		failures++
		eventually(t, "the reload with "+name+" fails", func() bool {
			return metricOf(t, m.process, `sallyport_reload_total{result="failure",tunnel=""}`) >= failures
		})
		eventually(t, name+" is told", func() bool {
			_, body := m.status.get(t, "/_status")
			return strings.Contains(body, "last_reload_error") && strings.Contains(body, c.want)
		})
		failures = metricOf(t, m.process, `sallyport_reload_total{result="failure",tunnel=""}`)
		_, _, tunnels := tunnelsOf(t, m.process, "")
		if len(tunnels) != 2 || !tunnels["goes"].OK || !tunnels["stays"].OK {
			t.Errorf("%s: %+v", name, tunnels)
		}
	}
	for _, address := range []string{stays, goes} {
		m.visit(t, address)
	}
	m.write(t, one("stays", stays, target), one("goes", goes, target))
	m.reload(t)
	m.stop(t)
}

// TestSettingsOfTheProcessTakeARestart changes some of them beside a tunnel, and has the latter take effect.
func TestSettingsOfTheProcessTakeARestart(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target := serve(t, "tcp", echo).address
	before, after := reserve(t), reserve(t)
	m.write(t, one("web", before, target))
	m.run(t)
	m.top = strings.Replace(m.top, "watch-files: false", "watch-files: false\nlog-level: debug\nmetrics-prefix: mine\nshutdown-timeout: 7s", 1)
	m.write(t, one("web", after, target))
	m.reload(t)
	m.visit(t, after)
	line := m.waitLine(t, "settings of the process have changed")
	for key, named := range map[string]bool{"log-level": true, "metrics-prefix": true, "shutdown-timeout": false} {
		if strings.Contains(line, key) != named {
			t.Errorf("%s is named: %t, want %t: %s", key, !named, named, line)
		}
	}
	m.reload(t) // and it is not told again
	if lines := m.lines("settings of the process have changed"); len(lines) != 1 {
		t.Errorf("told %d times", len(lines))
	}
	m.stop(t)
}

// TestTheFileIsWatched changes it, and waits.
func TestTheFileIsWatched(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	m.top = strings.Replace(m.top, "watch-files: false", "watch-files: true", 1)
	target := serve(t, "tcp", echo).address
	before, after := reserve(t), reserve(t)
	m.write(t, one("web", before, target))
	m.run(t)
	m.write(t, one("web", after, target))
	m.waitLine(t, "msg=reloaded")
	m.visit(t, after)
	m.stop(t)
}

// TestTheStatusPortShowsTheCertificateOfTheFirstTunnel, of those that there are by now.
func TestTheStatusPortShowsTheCertificateOfTheFirstTunnel(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target, at := serve(t, "tcp", echo).address, reserve(t)
	tunnel := func(name string) string {
		id := m.pki.issue(t, name, devpki.Request{CommonName: name, DNSNames: []string{"localhost"}, IPs: loopback})
		return one(name, reserve(t), target, "cert: "+id.cert, "key: "+id.key)
	}
	a, b, broken := tunnel("a"), tunnel("b"), one("broken", reserve(t), target, "cert: "+m.pki.dir+"/none.pem")
	m.write(t, broken, a, b)
	m.process = startUnready(t, nil, "run", "--config", m.config, "--status", at)
	m.waitLine(t, "status port listening")
	shown := func() string {
		conn, err := tls.Dial("tcp", at, &tls.Config{RootCAs: m.pki.Pool(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if name := shown(); name != "a" {
		t.Errorf("it shows the certificate of %s, want a", name)
	}
	m.write(t, b)
	m.reload(t)
	if name := shown(); name != "b" {
		t.Errorf("with b alone it shows the certificate of %s", name)
	}
	m.stop(t)
}
