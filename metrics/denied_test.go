package metrics

import (
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDenialsAreThereFromTheStartAndCounted(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	m.AddTunnel(Tunnel{Name: "web", Denials: []string{"expired", "not_allowed"}})
	m.AddTunnel(Tunnel{Name: "db", Denials: []string{"expired", "not_allowed"}})
	want := map[string]string{
		`{reason="expired",tunnel="db"}`:      "0",
		`{reason="expired",tunnel="web"}`:     "0",
		`{reason="not_allowed",tunnel="db"}`:  "0",
		`{reason="not_allowed",tunnel="web"}`: "0",
	}
	check := func() {
		t.Helper()
		_, body := get(t, m.Prometheus(), "GET", "/metrics")
		values, types := prometheusLines(t, body)
		const name = "sallyport_authorization_denied_total"
		if types[name] != "counter" {
			t.Errorf("%s is a %q", name, types[name])
		}
		got := maps.Collect(func(yield func(string, string) bool) {
			for sample, value := range values {
				if labels, ok := strings.CutPrefix(sample, name); ok && !yield(labels, value) {
					return
				}
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	check()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { m.Denied("web", "not_allowed") })
	}
	all.Wait()
	m.Denied("db", "expired")
	want[`{reason="not_allowed",tunnel="web"}`] = "3"
	want[`{reason="expired",tunnel="db"}`] = "1"
	check()
}
