package tests

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A family is a metric, as it is in a scrape and in a row of docs/monitoring.md.
type family struct {
	kind   string
	labels []string // beside tunnel, if it has that
	tunnel bool
	alerts []string
}

// inBackticks are the names that a cell of a table has.
func inBackticks(cell string) []string {
	var names []string
	for _, match := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(cell, -1) {
		names = append(names, match[1])
	}
	return names
}

// documentedMetrics are the rows of the guides' tables of metrics, by name.
func documentedMetrics(t *testing.T) map[string]family {
	t.Helper()
	rows := map[string]family{}
	for line := range strings.Lines(readText(t, "../docs/monitoring.md") + readText(t, "../docs/exporter-front.md")) {
		cells := strings.Split(strings.Trim(line, "| \n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) == 5 {
			cells = append(cells, "") // of alerts
		}
		if len(cells) != 6 || !regexp.MustCompile("^\\| `(sallyport|netstat|http|proxy)_").MatchString(line) {
			continue
		}
		labels, alone := strings.CutPrefix(cells[3], "no `tunnel`")
		row := family{kind: cells[1], labels: inBackticks(labels), tunnel: !alone}
		for _, match := range regexp.MustCompile(`\[(\w+)\]\(runbooks`).FindAllStringSubmatch(cells[5], -1) {
			row.alerts = append(row.alerts, match[1])
		}
		slices.Sort(row.labels)
		slices.Sort(row.alerts)
		rows[inBackticks(cells[0])[0]] = row
	}
	return rows
}

// scrapedFamilies are the type and the labels of each family of a scrape.
func scrapedFamilies(t *testing.T, text string) map[string]family {
	t.Helper()
	families := map[string]family{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			var kind string
			name, kind, _ = strings.Cut(rest, " ")
			families[name] = family{kind: kind}
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := families[name]
		_, labels, _ := strings.Cut(line, "{")
		for _, match := range regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`).FindAllStringSubmatch(labels, -1) {
			switch label := match[1]; {
			case label == "tunnel":
				f.tunnel = true
			case label != "le" && !slices.Contains(f.labels, label):
				f.labels = append(f.labels, label)
			}
		}
		slices.Sort(f.labels)
		families[name] = f
	}
	return families
}

// TestEveryMetricIsDocumented with its type and its labels, and no other is.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	issuer := newCRLIssuer(t, p)
	issuer.publish()
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all", "--crl", issuer.path, "--netstat")
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Fatal(err)
	}
	server.status.get(t, "/healthz") // for sallyport_target_up
	server.waitLine(t, "closed pipe")
	_, text := server.status.get(t, "/metrics")

	front := start(t, "server", "--protocol", "http", "--disable-tls", "--listen", reserve(t), "--target", serve(t, "tcp", echo).address,
		"--metrics-compat", "prometheus-tunnel", "--status", "http://"+reserve(t))
	fetch(t, "http://"+front.cmd.Args[slices.Index(front.cmd.Args, "--listen")+1])

	shared := reserve(t)
	several := startServer(t, p, shared, serve(t, "tcp", echo).address, "--target", reserve(t), "--allow-all")
	for range 2 { // one for each of them
		if err := attempt(t, shared, p.clientConfig(p.client(t))); err != nil {
			t.Fatal(err)
		}
	}

	want, got := documentedMetrics(t), scrapedFamilies(t, text)
	for _, other := range []*process{front, several, newCrossroads(t, "").process} {
		_, more := other.status.get(t, "/metrics")
		maps.Copy(got, scrapedFamilies(t, more))
	}
	guide := readText(t, "../docs/monitoring.md")
	timer := regexp.MustCompile(`_(count|sum|min|max|mean|std_dev|variance|rate1|rate5|rate15|rate_mean|timer)$`)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		scraped := got[name]
		switch {
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"):
			continue
		case strings.HasPrefix(name, "ghostunnel_"):
			old := strings.ReplaceAll(timer.ReplaceAllString(strings.TrimPrefix(name, "ghostunnel_"), ""), "_", ".")
			if !strings.Contains(guide, "\n| `"+old+"` |") {
				t.Errorf("%s is not documented as %s", name, old)
			}
			continue
		}
		row, ok := want[name]
		switch {
		case !ok:
			t.Errorf("%s is not documented", name)
		case row.kind != scraped.kind || row.tunnel != scraped.tunnel || !slices.Equal(row.labels, scraped.labels):
			t.Errorf("%s is documented as %+v, and it is %+v", name, row, scraped)
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is documented, and not there", name)
		}
	}
}

// TestEveryMetricNamesItsAlerts in the guide: those that the rules use it for.
func TestEveryMetricNamesItsAlerts(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`(?m)^ *#.*\n`).ReplaceAllString(readText(t, rulesFile), "")
	name := regexp.MustCompile(`[\w:]*\bsallyport_\w+[\w:]*`)
	recorded := map[string][]string{}
	for _, rule := range strings.Split(text, "- record: ")[1:] {
		record, expr, _ := strings.Cut(rule, "\n")
		expr, _, _ = strings.Cut(expr, "- name: ")
		recorded[record] = name.FindAllString(expr, -1)
	}
	want := map[string][]string{}
	for _, rule := range strings.Split(text, "- alert: ")[1:] {
		alert, rest, _ := strings.Cut(rule, "\n")
		expr, _, _ := strings.Cut(rest, "annotations:")
		var uses []string
		for _, used := range name.FindAllString(expr, -1) {
			if through, ok := recorded[used]; ok {
				uses = append(uses, through...)
			} else {
				uses = append(uses, used)
			}
		}
		for _, used := range uses {
			used = regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(used, "")
			if !slices.Contains(want[used], alert) {
				want[used] = append(want[used], alert)
			}
		}
	}
	rows := documentedMetrics(t)
	for metric, alerts := range want {
		slices.Sort(alerts)
		if row, ok := rows[metric]; !ok || !slices.Equal(row.alerts, alerts) {
			t.Errorf("%s is used by %q, and documented with %q", metric, alerts, row.alerts)
		}
	}
	for metric, row := range rows {
		if len(row.alerts) > 0 && want[metric] == nil {
			t.Errorf("%s is documented with %q, which do not use it", metric, row.alerts)
		}
	}
}
