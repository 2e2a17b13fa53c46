package sidecar

import (
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/proxy"
	"sallyport/webproxy"
)

func TestWithoutAReaderNothingIsCollected(t *testing.T) {
	t.Parallel()
	s := &Sidecar{config: &config.Sidecar{}}
	if s.metrics = s.newMetrics(Build{}); s.metrics != nil {
		t.Fatal("there are metrics")
	}
	tun := &tunnel{config: &config.Tunnel{}, server: &proxy.Server{}}
	(&member{config: tun.config, ledger: new(ledger), tunnel: tun}).measure(s.metrics)
	if o := tun.server.Observer; o.Accepted != nil || o.Failed != nil || o.Handshake != nil || o.Dialled != nil || o.Opened != nil || o.Closed != nil {
		t.Errorf("the observer has functions: %+v", o)
	}
	for name, c := range map[string]*config.Sidecar{
		"a status port": {Status: config.Status{Listen: listenAddress(t, "localhost:6060")}},
		"a carbon":      {Metrics: config.Metrics{Graphite: listenAddress(t, "localhost:2003")}},
		"a receiver":    {Metrics: config.Metrics{URL: &url.URL{Scheme: "http", Host: "localhost"}}},
	} {
		m := (&Sidecar{config: c}).newMetrics(Build{})
		if m == nil {
			t.Errorf("%s has nothing to read", name)
			continue
		}
		m.Close()
	}
}

// Dashboards and alerts hold on to these.
func TestDenialsAreThoseOfEveryPackageThatHasASay(t *testing.T) {
	t.Parallel()
	const want = "bad_certificate crl_expired crl_invalid crl_missing expired name_mismatch no_certificate not_allowed " +
		"not_yet_valid pin_mismatch policy_denied policy_error revoked unknown_ca"
	if got := strings.Join(denials(), " "); got != want {
		t.Errorf("denials are\n%s, want\n%s", got, want)
	}
}

// docs/events.md is what operators know the reasons from.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	m := (&tunnel{config: &config.Tunnel{}, server: &proxy.Server{}}).measured(new(ledger))
	for _, reason := range union(append(slices.Collect(maps.Values(m.Failures)), m.Ends, webproxy.Reasons())...) {
		if !strings.Contains(string(page), "`"+reason+"`") {
			t.Errorf("docs/events.md does not say what %s means", reason)
		}
	}
	for stage := range m.Failures {
		if !strings.Contains(string(page), "`"+stage+"`") {
			t.Errorf("docs/events.md does not know the stage %s", stage)
		}
	}
}

func TestReasonsAreListedOnceAndWhereTheyBelong(t *testing.T) {
	t.Parallel()
	tun := &tunnel{config: &config.Tunnel{}, server: &proxy.Server{}}
	m := tun.measured(new(ledger))
	for _, stage := range slices.Sorted(maps.Keys(m.Failures)) {
		for _, reason := range m.Failures[stage] {
			if stage != "accept" && !slices.Contains(m.Ends, reason) {
				t.Errorf("%s fails for %s, and no connection ends for it", stage, reason)
			}
		}
	}
	for _, reason := range m.Denials {
		if !slices.Contains(m.Failures["handshake"], reason) {
			t.Errorf("a peer is denied for %s, and no handshake fails for it", reason)
		}
	}
	for _, list := range append(slices.Collect(maps.Values(m.Failures)), m.Ends, m.Denials) {
		if sorted := slices.Sorted(slices.Values(list)); len(slices.Compact(sorted)) != len(list) {
			t.Errorf("a reason is twice in %q", list)
		}
	}
}
