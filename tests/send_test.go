package tests

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestGraphiteIsSentReadings has a carbon of the test's own take lines, which
// goes away and comes back meanwhile. The last reading is of after the drain.
func TestGraphiteIsSentReadings(t *testing.T) {
	t.Parallel()
	p, listen, carbon := newPKI(t), reserve(t), reserve(t)
	handle, readings := record()
	first := serveOn(t, "tcp", carbon, handle)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all",
		"--metrics-graphite", carbon, "--metrics-interval", "20ms", "--metrics-prefix", "edge one")
	reading := string(receive(t, "a reading", readings))
	for _, line := range []string{"edge_one.accept.total.count 0 ", "edge_one.conn.open.count 0 ", "edge_one.conn.handshake.99-percentile 0.00 "} {
		if !strings.Contains("\n"+reading, "\n"+line) {
			t.Errorf("no %q in\n%s", line, reading)
		}
	}
	first.close()
	server.waitLine(t, "metrics do not arrive")
	handle, readings = record()
	serveOn(t, "tcp", carbon, handle)
	receive(t, "a reading, after the carbon is back", readings)
	server.waitLine(t, "metrics arrive again")

	conn := connect(t, listen, p.clientConfig(p.client(t)))
	server.waitLine(t, "opening pipe")
	server.signal(t, syscall.SIGTERM)
	server.waitLine(t, "shutting down")
	if err := roundTrip(conn); err != nil {
		t.Error(err)
	}
	_ = conn.Close()
	if code := server.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	eventually(t, "a reading tells of the end of the last connection", func() bool {
		for len(readings) > 0 {
			reading := "\n" + string(<-readings)
			if strings.Contains(reading, "\nedge_one.conn.open.count 0 ") && strings.Contains(reading, "\nedge_one.conn.lifetime.count 1 ") {
				return true
			}
		}
		return false
	})
}

// TestMetricsArePushed to a receiver over HTTPS, which --cacert vouches for and
// which fails now and then.
func TestMetricsArePushed(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	var requests atomic.Int64
	last := make(chan map[string]float64, 1000)
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= 2 {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		user, password, _ := r.BasicAuth()
		var list []struct {
			Metric, Hostname string
			Value            float64
			Timestamp        int64
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &list); err != nil || user != "me" || password != "hunter2" || r.Method != http.MethodPost {
			t.Errorf("%s by %s: %v in %s", r.Method, user, err, body)
		}
		values := map[string]float64{}
		for _, sample := range list {
			values[sample.Metric] = sample.Value
		}
		last <- values
	}))
	receiver.TLS = &tls.Config{Certificates: []tls.Certificate{p.server(t).TLSCertificate()}, MinVersion: tls.VersionTLS12}
	receiver.StartTLS()
	t.Cleanup(receiver.Close)
	_, at, err := net.SplitHostPort(receiver.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	to := "https://me:hunter2@localhost:" + at + "/hunter2?key=hunter2"
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all",
		"--metrics-url", to, "--metrics-interval", "20ms", "--log-level", "debug")
	receive(t, "a reading", last)
	server.waitLine(t, "metrics do not arrive", "500 Internal Server Error")
	server.waitLine(t, "metrics arrive again")
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Fatal(err)
	}
	server.waitLine(t, "closed pipe")
	server.stop(t)
	var values map[string]float64
	for len(last) > 0 {
		values = <-last
	}
	if len(values) != 22 || values["ghostunnel.accept.success"] != 1 || values["ghostunnel.conn.open"] != 0 {
		t.Errorf("the last reading is %v", values)
	}
	if all := server.stdout.String() + server.stderr.String(); strings.Contains(all, "hunter2") {
		t.Error("what lets one in at the receiver is shown")
	}
}

// TestMetricsAreNotPushedToAStranger, whose certificate is of another CA.
func TestMetricsAreNotPushedToAStranger(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a stranger was sent something")
	}))
	receiver.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	receiver.TLS = &tls.Config{Certificates: []tls.Certificate{newPKI(t).server(t).TLSCertificate()}, MinVersion: tls.VersionTLS12}
	receiver.StartTLS()
	t.Cleanup(receiver.Close)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all",
		"--metrics-url", receiver.URL, "--metrics-interval", "20ms")
	server.waitLine(t, "metrics do not arrive", "not signed by a trusted CA")
	server.stop(t)
}

// TestMetricsArePushedByTheTrustOfTheFirstTunnel that there is by then: a reload of the file may put another one there.
func TestMetricsArePushedByTheTrustOfTheFirstTunnel(t *testing.T) {
	t.Parallel()
	other := newPKI(t)
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	receiver.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	receiver.TLS = &tls.Config{Certificates: []tls.Certificate{other.server(t).TLSCertificate()}, MinVersion: tls.VersionTLS12}
	receiver.StartTLS()
	t.Cleanup(receiver.Close)
	m := newMany(t)
	m.top = "metrics-url: " + receiver.URL + "\nmetrics-interval: 20ms\n" + m.top
	target := serve(t, "tcp", echo).address
	one, trusting := one("one", reserve(t), target), one("trusting", reserve(t), target, "cacert: "+other.root)
	m.write(t, one, trusting)
	m.run(t)
	m.waitLine(t, "metrics do not arrive", "not signed by a trusted CA")
	m.write(t, trusting)
	m.reload(t)
	m.waitLine(t, "metrics arrive again")
	m.stop(t)
}

// TestReceiversThatHangKeepNothingFromGoingOn: neither connections nor the end
// of the process wait for them.
func TestReceiversThatHangKeepNothingFromGoingOn(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hang := func(conn net.Conn) {
		<-release
		_ = conn.Close()
	}
	carbon, receiver := serve(t, "tcp", hang), serve(t, "tcp", hang)
	t.Cleanup(func() { close(release) }) // before they are waited for
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all",
		"--metrics-graphite", carbon.address, "--metrics-url", "http://"+receiver.address+"/", "--metrics-interval", "10ms")
	eventually(t, "both are tried", func() bool { return carbon.connections() > 0 && receiver.connections() > 0 })
	for range 3 {
		if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
			t.Fatal(err)
		}
	}
	if n := receiver.connections(); n > 2 {
		t.Errorf("a receiver that does not answer has %d connections", n)
	}
	started := time.Now()
	server.stop(t)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestCarbonAnswersWithOurValues has a real carbon store the readings, and reads
// them back.
func TestCarbonAnswersWithOurValues(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes a carbon; make test-full runs it")
	}
	fetch := need(t, "whisper-fetch")
	dir, lines, pickle, query := t.TempDir(), reserve(t), reserve(t), reserve(t)
	config := filepath.Join(dir, "carbon.conf")
	writeFile(t, config, fmt.Appendf(nil, `[cache]
STORAGE_DIR = %[1]s
CONF_DIR = %[1]s
LOG_DIR = %[1]s
PID_DIR = %[1]s
LOCAL_DATA_DIR = %[1]s/whisper
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = %[2]s
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = %[3]s
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = %[4]s
ENABLE_UDP_LISTENER = False
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = 10000
`, dir, port(t, lines), port(t, pickle), port(t, query)))
	writeFile(t, filepath.Join(dir, "storage-schemas.conf"), []byte("[all]\npattern = .*\nretentions = 1s:1h\n"))
	startPeer(t, "carbon-cache", "--config="+config, "--nodaemon", "--logdir="+dir, "start")
	accepting(t, "tcp", lines)

	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-cn", "alice",
		"--metrics-graphite", lines, "--metrics-interval", "1s")
	for range 3 {
		if err := attempt(t, listen, p.clientConfig(p.issue(t, "alice", alice))); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if attempt(t, listen, p.clientConfig(p.issue(t, "bob", bob))) == nil {
			t.Error("bob was let in")
		}
	}
	server.waitLines(t, 3, "closed pipe")
	server.waitLines(t, 2, "not_allowed")
	server.stop(t)
	for name, want := range map[string]float64{
		"accept/total/count": 5, "accept/success/count": 3, "accept/error/count": 2, "conn/open/count": 0,
		"conn/handshake/count": 5, "conn/lifetime/count": 5,
	} {
		path := filepath.Join(dir, "whisper", "ghostunnel", filepath.FromSlash(name)+".wsp")
		var got string
		eventually(t, name+" is stored", func() bool {
			if _, err := os.Stat(path); err != nil {
				return false
			}
			got = ""
			for line := range strings.Lines(peerOutput(t, "", fetch, path)) {
				if _, value, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && value != "None" {
					got = value
				}
			}
			value, err := strconv.ParseFloat(got, 64)
			return err == nil && value == want
		})
	}
}
