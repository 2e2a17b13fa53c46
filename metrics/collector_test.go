package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestScrapesTellOfCollectorsThatWereAdded(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	m.AddCollector(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_added", Help: "A test's."}, func() float64 { return 7 }))
	if diff := cmp.Diff([]string{"sallyport_added 7"}, ownLines(t, m, "_added")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
