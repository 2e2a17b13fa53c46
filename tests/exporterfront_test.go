package tests

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An exporterFront is the front of a node exporter, both real.
type exporterFront struct {
	*process
	exporter nodeExporter
	listen   string // where the exporter's metrics are, through the front
	metrics  string // where the front's own are
}

// startExporterFront starts both, the front with the variables that say where they are.
func startExporterFront(t *testing.T) exporterFront {
	t.Helper()
	exporter := startNodeExporter(t)
	front := startFront(t, exporter.at)
	front.exporter = exporter
	return front
}

// A nodeExporter is Debian's.
type nodeExporter struct {
	*process
	at string
}

func startNodeExporter(t *testing.T) nodeExporter {
	t.Helper()
	at := reserve(t)
	exporter := nodeExporter{startPeer(t, "prometheus-node-exporter", "--web.listen-address="+at), at}
	accepting(t, "tcp", at)
	return exporter
}

// startFront starts a front of what listens at an address.
func startFront(t *testing.T, exporter string) exporterFront {
	t.Helper()
	front := exporterFront{listen: reserve(t), metrics: reserve(t)}
	env := []string{"SERVER_IP=127.0.0.1", "SERVER_PORT=" + port(t, exporter), "METRICS_PORT=" + port(t, front.metrics), "DEBUG=true"}
	front.process = startUnready(t, env, "server", "--protocol", "http", "--disable-tls", "--listen", front.listen, "--metrics-compat", "prometheus-tunnel")
	front.status = newStatusPort("http://" + front.metrics)
	front.waitReady(t)
	return front
}

// ask sends requests until the test ends.
func (front exporterFront) ask(t *testing.T) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	again(t, 100*time.Millisecond, func(ctx context.Context) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+front.listen, nil)
		if err != nil {
			return
		}
		if resp, err := client.Do(request); err == nil {
			_ = resp.Body.Close()
		}
	})
}

// fetch gets a page, and fails the test if there is none.
func fetch(t *testing.T, url string) (code int, body string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestExporterFront takes where the exporter is, where its own metrics port is to be and
// how much to log from the environment, as prometheus-tunnel does.
func TestExporterFront(t *testing.T) {
	t.Parallel()
	front := startExporterFront(t)
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ok", "/version": `"version"`} {
		if code, body := front.status.get(t, path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if code, body := fetch(t, "http://"+front.listen+"/metrics"); code != http.StatusOK || !strings.Contains(body, "\nnode_uname_info{") {
		t.Errorf("%d through the front, and no node_uname_info in\n%.500s", code, body)
	}
	if err := front.exporter.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-front.exporter.done
	if code, body := fetch(t, "http://"+front.listen+"/metrics?secret=hunter2"); code != http.StatusBadGateway {
		t.Errorf("%d where there is no exporter, want 502\n%s", code, body)
	}
	eventually(t, "/healthz says that there is no exporter", func() bool { // answers are shared for a second
		code, _ := front.status.get(t, "/healthz")
		return code == http.StatusServiceUnavailable
	})
	host, _, _ := strings.Cut(front.listen, ":")
	_, text := front.status.get(t, "/metrics")
	for _, want := range []string{
		`proxy_total_requests{tunnel="server"} 2`,
		`proxy_response_status_total{status="200",tunnel="server"} 1`,
		`proxy_response_status_total{status="502",tunnel="server"} 1`,
		`proxy_request_duration_seconds_count{tunnel="server"} 2`,
		`http_dataplane_requests_total{code="200",host="` + host + `",method="GET",tunnel="server"} 1`,
		`http_dataplane_request_duration_seconds_count{code="502",host="` + host + `",method="GET",tunnel="server"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	front.waitLine(t, "msg=request ", "method=GET", "path=/metrics", "code=200")
	front.waitLine(t, `level=ERROR msg="request failed"`, "path=/metrics", "code=502", "reason=connection_refused")
	if lines := front.lines("hunter2"); len(lines) > 0 {
		t.Errorf("what a query holds is in the log: %q", lines)
	}
	front.stop(t)
}

// TestPrometheusScrapesAnExporterThroughItsFront, in the clear and over TLS, and the front
// itself, and takes the alerts for both.
func TestPrometheusScrapesAnExporterThroughItsFront(t *testing.T) {
	t.Parallel()
	need(t, "prometheus")
	front := startExporterFront(t)
	p, listen := newPKI(t), reserve(t)
	client := p.client(t)
	startServer(t, p, listen, front.exporter.at, "--protocol", "http", "--allow-cn", "client")
	prometheus := startPrometheus(t, []string{
		fmt.Sprintf("job_name: node\nstatic_configs: [{targets: [%s]}]", front.listen),
		fmt.Sprintf("job_name: node-tls\nscheme: https\ntls_config: {ca_file: %s, cert_file: %s, key_file: %s}\nstatic_configs: [{targets: [%s]}]", p.root, client.cert, client.key, listen),
		fmt.Sprintf("job_name: exporter-front\nstatic_configs: [{targets: [%s]}]", front.metrics),
	}, quickRules(t, rulesFile), quickRules(t, frontRules))
	for _, expr := range []string{
		`up{job="node"} == 1`,
		`node_uname_info{job="node"}`,
		`node_uname_info{job="node-tls"}`,
		`up{job="exporter-front"} == 1`,
		`sallyport_build_info{job="exporter-front"}`,
		`proxy_total_requests{job="exporter-front", tunnel="server"} > 1`,
		`proxy_response_status_total{job="exporter-front", status="200"} > 1`,
		`http_dataplane_requests_total{job="exporter-front", code="200", method="GET"} > 1`,
		`histogram_quantile(0.95, rate(proxy_request_duration_seconds_bucket{job="exporter-front"}[15s]))`,
	} {
		eventually(t, expr+" has an answer", func() bool {
			_, ok := prometheus.value(t, expr)
			return ok
		})
	}
	var known struct {
		Groups []struct {
			Rules []struct{ Name, Type, Health string }
		}
	}
	if err := prometheus.ask(t, "/api/v1/rules", url.Values{"type": {"alert"}}, &known); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, group := range known.Groups {
		for _, rule := range group.Rules {
			names = append(names, rule.Name)
			if rule.Health == "err" {
				t.Errorf("%s cannot be evaluated", rule.Name)
			}
		}
	}
	want := slices.Concat(alertNames(t, frontRules), alertNames(t, rulesFile))
	slices.Sort(want)
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("Prometheus has the alerts\n\t%q\nwant\n\t%q", names, want)
	}
}

// TestEachAlertOfAFrontFiresForItsFailure: a front for each of them, scraped by a real
// Prometheus, and one that is well.
func TestEachAlertOfAFrontFiresForItsFailure(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("to wait for alerts takes half a minute; make test-full runs it")
	}
	need(t, "prometheus")
	answering := func(handle http.HandlerFunc) string {
		service := httptest.NewServer(handle)
		t.Cleanup(service.Close)
		return strings.TrimPrefix(service.URL, "http://")
	}
	var calls atomic.Int64
	well := startFront(t, answering(func(http.ResponseWriter, *http.Request) {}))
	failing := startFront(t, answering(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	slow := startFront(t, answering(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(1500 * time.Millisecond):
		case <-r.Context().Done():
		}
	}))
	alone, idle, gone := startFront(t, reserve(t)), startFront(t, reserve(t)), reserve(t)
	for _, front := range []exporterFront{well, failing, slow, alone} {
		front.ask(t)
	}
	want := map[string]string{
		failing.metrics: "ProxyHighErrorRate",
		slow.metrics:    "ProxyHighLatency",
		alone.metrics:   "ProxyHighErrorRate ProxyTargetDown",
		idle.metrics:    "ProxyNoTraffic",
		gone:            "ProxyDown",
	}
	targets := strings.Join(append(slices.Collect(maps.Keys(want)), well.metrics), ", ")
	prometheus := startPrometheus(t, []string{fmt.Sprintf("job_name: exporter-front\nstatic_configs: [{targets: [%s]}]", targets)}, quickRules(t, frontRules))
	var got map[string]string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("alerts that fire\n\t%v\nwant\n\t%v", got, want)
		}
	})
	eventually(t, "each alert fires", func() bool {
		got = prometheus.firing(t, false)
		return maps.Equal(got, want)
	})
}
