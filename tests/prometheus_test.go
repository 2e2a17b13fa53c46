package tests

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A prometheus is a real one, which scrapes and evaluates every second.
type prometheus struct {
	base   string
	client *http.Client
}

// startPrometheus starts one with these scrape jobs, of which each is an item
// of the YAML list, and rule files.
func startPrometheus(t *testing.T, jobs []string, rules ...string) *prometheus {
	t.Helper()
	dir, listen := t.TempDir(), reserve(t)
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
	var files []string
	for i, rule := range rules {
		path := filepath.Join(dir, fmt.Sprintf("rules%d.yml", i))
		writeFile(t, path, []byte(rule))
		files = append(files, path)
	}
	config += "rule_files: [" + strings.Join(files, ", ") + "]\n"
	config += "scrape_configs:\n"
	for _, job := range jobs {
		config += "  - " + strings.ReplaceAll(strings.TrimSpace(job), "\n", "\n    ") + "\n"
	}
	path := filepath.Join(dir, "prometheus.yml")
	writeFile(t, path, []byte(config))
	startPeer(t, "prometheus", "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen)
	p := &prometheus{base: "http://" + listen, client: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
	eventually(t, "Prometheus is ready", func() bool {
		resp, err := p.client.Get(p.base + "/-/ready")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return p
}

// scrapeJob is a job that scrapes status ports over plain HTTP.
func scrapeJob(name string, targets ...*process) string {
	var hosts []string
	for _, target := range targets {
		hosts = append(hosts, strings.TrimPrefix(target.status.base, "http://"))
	}
	return fmt.Sprintf("job_name: %s\nstatic_configs: [{targets: [%s]}]", name, strings.Join(hosts, ", "))
}

// A series is one result of a query, at one time.
type series struct {
	Metric map[string]string
	Value  [2]any
}

// ask gets a path of Prometheus' API.
func (p *prometheus) ask(t *testing.T, path string, query url.Values, into any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s", answer.Error)
	}
	return nil
}

// query evaluates an expression now.
func (p *prometheus) query(t *testing.T, expr string) ([]series, error) {
	t.Helper()
	var data struct{ Result []series }
	err := p.ask(t, "/api/v1/query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// value is that of the one series of an expression; ok is false if there is none.
func (p *prometheus) value(t *testing.T, expr string) (value string, ok bool) {
	t.Helper()
	result, err := p.query(t, expr)
	if err != nil || len(result) > 1 {
		t.Fatalf("%s: %v, %v", expr, result, err)
	}
	if len(result) == 0 {
		return "", false
	}
	return fmt.Sprint(result[0].Value[1]), true
}

// quickRules are the rules of a file with short windows and without patience, for
// tests: what they wait for in earnest is the matter of their unit tests.
func quickRules(t *testing.T, path string) string {
	t.Helper()
	text := readText(t, path)
	text = regexp.MustCompile(`\[\d+m\]`).ReplaceAllString(text, "[15s]")
	return regexp.MustCompile(`(?m)^( +for:) \d+m$`).ReplaceAllString(text, "$1 2s")
}

// TestPrometheusScrapes with a client certificate, with a token, and not without.
func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	need(t, "prometheus")
	p, admins := newPKI(t), newPKI(t)
	id, admin, token := p.server(t), admins.client(t), filepath.Join(p.dir, "token")
	writeFile(t, token, []byte(firstToken+"\n"))
	startSecure := func(flags ...string) (listen, status string) {
		t.Helper()
		listen, status = reserve(t), reserve(t)
		server := startUnready(t, nil, append(append(id.flags(), "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
			"--cacert", p.root, "--allow-all", "--status", status), flags...)...)
		server.waitLine(t, "status port listening")
		return listen, status
	}
	withCA, byCertificate := startSecure("--status-client-ca", admins.root)
	withToken, byToken := startSecure("--status-token-file", token)
	const connections = 7
	for _, listen := range []string{withCA, withToken} {
		for range connections {
			if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
				t.Fatal(err)
			}
		}
	}
	job := func(name, target, rest string) string {
		return fmt.Sprintf("job_name: %s\nscheme: https\ntls_config: {ca_file: %s, server_name: localhost%s\nstatic_configs: [{targets: [%s]}]", name, p.root, rest, target)
	}
	certificate := fmt.Sprintf(", cert_file: %s, key_file: %s}", admin.cert, admin.key)
	prometheus := startPrometheus(t, []string{
		job("certificate", byCertificate, certificate),
		job("token", byToken, "}\nauthorization: {credentials_file: "+token+"}"),
		job("no-certificate", byCertificate, "}"),
		job("no-token", byToken, "}"),
	})
	for name, want := range map[string]string{"certificate": "1", "token": "1", "no-certificate": "0", "no-token": "0"} {
		eventually(t, "up of the job "+name, func() bool {
			got, ok := prometheus.value(t, fmt.Sprintf("up{job=%q}", name))
			return ok && got == want
		})
		got, ok := prometheus.value(t, fmt.Sprintf("sallyport_accepted_total{job=%q, tunnel=%q}", name, "server"))
		if ok != (want == "1") || ok && got != fmt.Sprint(connections) {
			t.Errorf("%s: sallyport_accepted_total is %s (%t)", name, got, ok)
		}
	}
	// What was scraped is of the types that rates and quantiles need. In
	// OpenMetrics, _total is not part of a counter's name.
	for metric, want := range map[string]string{
		"sallyport_accepted": "counter", "sallyport_connections_open": "gauge", "sallyport_handshake_duration_seconds": "histogram",
	} {
		var metadata map[string][]struct{ Type string }
		if err := prometheus.ask(t, "/api/v1/metadata", url.Values{"metric": {metric}}, &metadata); err != nil || len(metadata[metric]) == 0 || metadata[metric][0].Type != want {
			t.Errorf("%s is %v, want %s (%v)", metric, metadata, want, err)
		}
	}
}

// busy has a tunnel see connections of every kind until the test ends.
func busy(t *testing.T, address string, good, bad *tls.Config) {
	t.Helper()
	again(t, 50*time.Millisecond, func(ctx context.Context) {
		for _, config := range []*tls.Config{good, bad} {
			if conn, err := handshake(ctx, address, config); err == nil {
				_ = roundTrip(conn) // or is refused
				_ = conn.Close()
			}
		}
	})
}

// TestDashboardShowsWhatIsThere: each of its queries, and each of its variables,
// has an answer of a Prometheus that scrapes tunnels with traffic.
func TestDashboardShowsWhatIsThere(t *testing.T) {
	t.Parallel()
	need(t, "prometheus")
	p := newPKI(t)
	issuer := newCRLIssuer(t, p)
	issuer.publish()
	listen, deaf := reserve(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address,
		"--allow-cn", "client", "--crl", issuer.path, "--netstat", "--max-concurrent-conns", "100")
	noTarget := startServer(t, p, deaf, reserve(t), "--allow-all")
	sessions := p.clientConfig(p.client(t))
	sessions.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	stranger := p.clientConfig(p.server(t)) // another name
	busy(t, listen, sessions, stranger)
	busy(t, deaf, sessions, stranger)
	front := startFront(t, reserve(t))
	front.ask(t)
	prometheus := startPrometheus(t, []string{scrapeJob("sallyport", server, noTarget, front.process)}, quickRules(t, rulesFile))

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
		Templating  struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	text := readText(t, "../deploy/grafana/sallyport.json")
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "15s", "$job", ".*", "$instance", ".*", "$tunnel", ".*")
	asked := 0
	answers := func(what, expr string) {
		t.Helper()
		asked++
		expr = variables.Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s: a variable that nothing sets in %s", what, expr)
			return
		}
		eventually(t, what+" has an answer: "+expr, func() bool {
			server.status.get(t, "/healthz") // for sallyport_target_up
			result, err := prometheus.query(t, expr)
			if err != nil {
				t.Fatalf("%s: %s: %v", what, expr, err)
			}
			return len(result) > 0
		})
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			answers(panel.Title, target.Expr)
		}
	}
	for _, variable := range dashboard.Templating.List {
		if variable.Type != "query" {
			continue
		}
		of := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(variable.Definition)
		if of == nil {
			t.Errorf("variable %s: %s", variable.Name, variable.Definition)
			continue
		}
		answers("variable "+variable.Name, "group by ("+of[2]+") ("+of[1]+")")
	}
	for _, annotation := range dashboard.Annotations.List {
		if annotation.Expr == "" {
			continue
		}
		// There is none without a drain; without its condition it has to be there.
		answers("annotation "+annotation.Name, strings.TrimSuffix(annotation.Expr, " > 0"))
	}
	if want := strings.Count(text, `"expr": `) + strings.Count(text, `"definition": `); asked != want {
		t.Errorf("%d queries were asked, and the dashboard has %d", asked, want)
	}
}

// TestMetricsThatAreNamedExist in the guides, the rules and the dashboard.
func TestMetricsThatAreNamedExist(t *testing.T) {
	t.Parallel()
	known := documentedMetrics(t)
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	paths = append(paths, rulesFile, "../deploy/grafana/sallyport.json", "../README.md", "../CHANGELOG.md")
	suffix := regexp.MustCompile(`_(bucket|count|sum)$`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(?:[a-z]+:)?sallyport_\w*[a-z](?:\w*:\w+)?`).FindAllString(string(text), -1) {
			if strings.Contains(name, ":") {
				if !strings.Contains(readText(t, rulesFile), "- record: "+name+"\n") {
					t.Errorf("%s: nothing records %s", path, name)
				}
			} else if _, ok := known[suffix.ReplaceAllString(name, "")]; !ok {
				t.Errorf("%s: there is no %s", path, name)
			}
		}
	}
}

// TestDashboardIsWhole: its panels do not cover each other, and take their data
// from where the variable says.
func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	type source struct{ UID string }
	var dashboard struct {
		SchemaVersion int
		Panels        []struct {
			ID          int
			Type, Title string
			Datasource  source
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Datasource source }
		}
	}
	if err := json.Unmarshal([]byte(readText(t, "../deploy/grafana/sallyport.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.SchemaVersion < 39 {
		t.Errorf("schema version %d", dashboard.SchemaVersion)
	}
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		if other, taken := ids[p.ID]; taken {
			t.Errorf("%q and %q both are panel %d", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Fatalf("%q is over %q or the edge, at %d,%d", p.Title, other, x, y)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("%q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if p.Datasource.UID != "${datasource}" || target.Datasource != p.Datasource {
				t.Errorf("%q takes its data from %q and %q", p.Title, p.Datasource.UID, target.Datasource.UID)
			}
		}
	}
}
