package tests

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/devpki"
)

// scrape asks for the metrics as Prometheus gets them: each sample by its name
// with its labels.
func (s *statusPort) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	code, text := s.get(t, "/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d %s", code, text)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		samples[line[:at]] = value
	}
	return samples
}

// counted are the samples of Sallyport's own counters that have moved, those of
// histograms being how much they observed.
func (s *statusPort) counted(t *testing.T) map[string]float64 {
	t.Helper()
	samples := s.scrape(t)
	maps.DeleteFunc(samples, func(name string, value float64) bool {
		family, _, _ := strings.Cut(name, "{")
		family, ours := strings.CutPrefix(family, "sallyport_")
		counter := strings.HasSuffix(family, "_total") || strings.HasSuffix(family, "_count") || family == "connections_open"
		return value == 0 || !ours || !counter
	})
	return samples
}

// TestMetricsAreExact counts a known sequence of connections: three that are
// forwarded, two that are denied, one whose target is gone, one that speaks no
// TLS, and a port probe. Every number is as it has to be, in each vocabulary.
func TestMetricsAreExact(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	path := filepath.Join(t.TempDir(), "target")
	service := serveOn(t, "unix", path, echo)
	server := startServer(t, p, listen, "unix:"+path, "--allow-cn", "alice", "--log-level", "debug")
	trusted, denied := p.clientConfig(p.issue(t, "alice", alice)), p.clientConfig(p.issue(t, "bob", bob))
	for range 3 {
		if err := attempt(t, listen, trusted); err != nil {
			t.Fatal(err)
		}
	}
	server.waitLines(t, 3, "closed pipe")
	service.close()
	for range 2 {
		if attempt(t, listen, denied) == nil {
			t.Error("bob was let in")
		}
	}
	if attempt(t, listen, trusted) == nil {
		t.Error("the target has gone, and something echoes")
	}
	speakNoTLS(t, listen)
	_ = dial(t, "tcp", listen).Close()
	server.waitLines(t, 2, "not_allowed")
	server.waitLine(t, "error on dial")
	server.waitLine(t, "not_tls")
	server.waitLine(t, "client_abort")
	eventually(t, "nothing is open", func() bool {
		return server.status.scrape(t)[`sallyport_connections_open{tunnel="server"}`] == 0
	})

	theirs := map[string]float64{
		"accept.total": 8, "accept.success": 3, "accept.error": 5, "accept.timeout": 0,
		"conn.open": 0, "conn.timeout": 0, "conn.handshake.count": 8, "conn.lifetime.count": 8,
	}
	samples := server.status.scrape(t)
	for name, want := range theirs {
		if got := server.status.metric(t, "ghostunnel."+name); got != want {
			t.Errorf("JSON: %s is %v, want %v", name, got, want)
		}
		if got := samples["ghostunnel_"+strings.ReplaceAll(name, ".", "_")]; got != want {
			t.Errorf("Prometheus: %s is %v, want %v", name, got, want)
		}
	}
	moved := float64(3 * len("there and back"))
	want := map[string]float64{
		`accepted_total{tunnel="server"}`:                                                                          8,
		`closed_total{reason="eof",tunnel="server"}`:                                                               3,
		`closed_total{reason="not_allowed",tunnel="server"}`:                                                       2,
		`closed_total{reason="no_such_socket",tunnel="server"}`:                                                    1,
		`closed_total{reason="not_tls",tunnel="server"}`:                                                           1,
		`closed_total{reason="client_abort",tunnel="server"}`:                                                      1,
		`failures_total{reason="not_allowed",stage="handshake",tunnel="server"}`:                                   2,
		`failures_total{reason="not_tls",stage="handshake",tunnel="server"}`:                                       1,
		`failures_total{reason="client_abort",stage="handshake",tunnel="server"}`:                                  1,
		`failures_total{reason="no_such_socket",stage="dial",tunnel="server"}`:                                     1,
		`handshake_failures_total{reason="not_allowed",tunnel="server"}`:                                           2,
		`handshake_failures_total{reason="not_tls",tunnel="server"}`:                                               1,
		`handshake_failures_total{reason="client_abort",tunnel="server"}`:                                          1,
		`dial_failures_total{reason="no_such_socket",target="unix:` + path + `",tunnel="server"}`:                  1,
		`authorization_denied_total{reason="not_allowed",tunnel="server"}`:                                         2,
		`peer_connections_total{identity="spiffe://test/team/alice",tunnel="server"}`:                              3,
		`tls_connections_total{cipher="TLS_AES_128_GCM_SHA256",resumed="false",tunnel="server",version="TLS 1.3"}`: 4,
		`bytes_total{direction="in",tunnel="server"}`:                                                              moved,
		`bytes_total{direction="out",tunnel="server"}`:                                                             moved,
		`handshake_duration_seconds_count{tunnel="server"}`:                                                        8,
		`connection_duration_seconds_count{tunnel="server"}`:                                                       8,
		`dial_duration_seconds_count{tunnel="server"}`:                                                             4,
	}
	got := map[string]float64{}
	for name, value := range server.status.counted(t) {
		got[strings.TrimPrefix(name, "sallyport_")] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	server.stop(t)
}

// TestBytesAreCountedWhileConnectionsLive, in both modes.
func TestBytesAreCountedWhileConnectionsLive(t *testing.T) {
	t.Parallel()
	tun := newTunnel(t, "tcp", serve(t, "tcp", echo).address)
	conn := dial(t, tun.network, tun.address)
	for round := 1; round <= 3; round++ {
		if _, err := io.WriteString(conn, "ping"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		for name, process := range map[string]*process{"client": tun.client, "server": tun.server} {
			// What was read here may have been counted a moment ago or in a moment.
			eventually(t, fmt.Sprint(name, " counts ", 4*round, " bytes each way"), func() bool {
				samples := process.status.scrape(t)
				return samples[`sallyport_bytes_total{direction="in",tunnel="`+name+`"}`] == float64(4*round) &&
					samples[`sallyport_bytes_total{direction="out",tunnel="`+name+`"}`] == float64(4*round) &&
					samples[`sallyport_connections_open{tunnel="`+name+`"}`] == 1
			})
		}
	}
	_ = conn.Close()
	tun.stop(t)
}

// TestEachFailureOfAHandshakeHasItsReason, in the event and in the metrics, and
// moves nothing else.
func TestEachFailureOfAHandshakeHasItsReason(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	crl := newCRLIssuer(t, p)
	revoked := p.issue(t, "revoked", alice)
	crl.revoke(revoked.cert)
	crl.publish()
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-cn", "alice", "--crl", crl.path,
		"--connect-timeout", "2s", "--cipher-suites", "AES", "--log-level", "debug", "--log-format", "json")
	good := p.issue(t, "alice", alice)
	with := func(change func(*devpki.Request)) *tls.Config {
		request := alice
		change(&request)
		return p.clientConfig(p.issue(t, "other", request))
	}
	refused := func(config *tls.Config) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if attempt(t, listen, config) == nil {
				t.Error("it was let in")
			}
		}
	}
	adapted := func(change func(*tls.Config)) *tls.Config {
		config := p.clientConfig(good)
		change(config)
		return config
	}
	ways := map[string]func(*testing.T){
		"no_certificate": refused(p.clientConfig()),
		"unknown_ca": refused(adapted(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{newPKI(t).issue(t, "x", alice).TLSCertificate()}
		})),
		"expired": refused(with(func(r *devpki.Request) {
			r.NotBefore, r.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
		})),
		"not_yet_valid": refused(with(func(r *devpki.Request) {
			r.NotBefore, r.NotAfter = time.Now().Add(time.Hour), time.Now().Add(48*time.Hour)
		})),
		"bad_certificate":  refused(with(func(r *devpki.Request) { r.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })),
		"not_allowed":      refused(p.clientConfig(p.issue(t, "bob", bob))),
		"revoked":          refused(p.clientConfig(revoked)),
		"peer_alert":       refused(adapted(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() })),
		"protocol_version": refused(adapted(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })),
		"no_shared_cipher": refused(adapted(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
		})),
		"bad_signature":    refused(adapted(func(c *tls.Config) { c.Certificates[0].PrivateKey = newPKI(t).client(t).Key })),
		"oversized_record": func(t *testing.T) { sendAndLeave(t, listen, []byte{22, 3, 1, 255, 255}) },
		"not_tls":          func(t *testing.T) { speakNoTLS(t, listen) },
		"client_abort":     func(t *testing.T) { _ = dial(t, "tcp", listen).Close() },
		"connection_lost":  func(t *testing.T) { sendAndLeave(t, listen, []byte{22, 3, 1}) },
		"bad_tls_message":  func(t *testing.T) { sendAndLeave(t, listen, []byte{22, 3, 1, 0, 8, 1, 0, 0, 4, 1, 2, 3, 4}) },
		"timeout": func(t *testing.T) {
			if _, err := io.Copy(io.Discard, dial(t, "tcp", listen)); isTimeout(err) {
				t.Fatal(err)
			}
		},
	}
	const failures = "sallyport_handshake_failures_total"
	before := server.status.scrape(t)
	for _, reason := range slices.Sorted(maps.Keys(ways)) {
		if value, ok := before[failures+`{reason="`+reason+`",tunnel="server"}`]; !ok || value != 0 {
			t.Errorf("%s is not there at 0 before it happens", reason)
		}
		ways[reason](t)
		line := server.waitLine(t, `"error on TLS handshake"`, `"reason":"`+reason+`"`)
		var event struct{ Level, Stage, Identity string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.Stage != "handshake" {
			t.Errorf("%v in %s", err, line)
		}
		if want := map[bool]string{true: "DEBUG", false: "WARN"}[reason == "client_abort"]; event.Level != want {
			t.Errorf("%s is logged at level %s, want %s", reason, event.Level, want)
		}
		if slices.Contains([]string{"not_allowed", "revoked", "expired", "unknown_ca"}, reason) && event.Identity == "" {
			t.Errorf("who was refused is not named: %s", line)
		}
		after := server.status.scrape(t)
		moved := map[string]float64{}
		for name, value := range after {
			if strings.HasPrefix(name, failures) && value != before[name] {
				moved[name] = value - before[name]
			}
		}
		if diff := cmp.Diff(map[string]float64{failures + `{reason="` + reason + `",tunnel="server"}`: 1}, moved); diff != "" {
			t.Errorf("%s: -want +moved:\n%s", reason, diff)
		}
		before = after
	}
	server.stop(t)
}

// sendAndLeave sends bytes, and reads what comes until it is turned away or a
// moment after it has ended its own writing.
func sendAndLeave(t *testing.T, address string, what []byte) {
	t.Helper()
	conn := dial(t, "tcp", address)
	if _, err := conn.Write(what); err != nil {
		t.Fatal(err)
	}
	if err := conn.(halfCloser).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Fatal(err)
	}
}

// TestPromtoolFindsNothingInOurMetrics, while those under Ghostunnel's names
// are as they are.
func TestPromtoolFindsNothingInOurMetrics(t *testing.T) {
	t.Parallel()
	promtool := need(t, "promtool")
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all")
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Fatal(err)
	}
	_, _ = server.status.report(t) // has the target checked, so that it is known to be up
	_, text := server.status.get(t, "/metrics")
	if !strings.Contains(text, "\nsallyport_target_up{") {
		t.Error("the target was checked, and the metrics do not know")
	}
	for _, family := range []string{"process_open_fds", "process_cpu_seconds_total", "go_goroutines", "sallyport_build_info{"} {
		if !strings.Contains(text, "\n"+family) {
			t.Errorf("no %s", family)
		}
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	out, _ := check.CombinedOutput() // its exit code is of Ghostunnel's names
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "ghostunnel_") {
			t.Errorf("promtool: %s", line)
		}
	}
	server.stop(t)
}
