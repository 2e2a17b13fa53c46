package metrics

import (
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"time"

	gometrics "github.com/rcrowley/go-metrics"
)

// sample is one number in the JSON list.
type sample struct {
	Timestamp int64   `json:"timestamp"` // seconds since 1970
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Hostname  string  `json:"hostname"`
}

// JSON returns a handler that answers with a list of {"timestamp", "metric",
// "value", "hostname"}, sorted by metric. A counter is one entry. A timer is
// eight: its name followed by .count, .min, .max, .mean and .50-, .75-, .95-
// and .99-percentile, where all but the count are nanoseconds over its latest
// thousand or so measurements.
func (m *Metrics) JSON() http.Handler {
	return readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// None of the statistics in use is ever NaN, so that all of it can be
		// encoded; and a reader that is gone needs no answer.
		_ = json.NewEncoder(w).Encode(m.samples(time.Now()))
	}))
}

// samples reads the registry once.
func (m *Metrics) samples(now time.Time) []sample {
	m.settle()
	// A host without a name is reported as such, by "".
	hostname, _ := os.Hostname()

	list := []sample{}
	add := func(name string, value float64) {
		list = append(list, sample{now.Unix(), m.name(name), value, hostname})
	}
	m.ghostunnel.registry.Each(func(name string, metric any) {
		switch metric := metric.(type) {
		case gometrics.Counter:
			add(name, float64(metric.Count()))
		case gometrics.Timer:
			timer := metric.Snapshot()
			add(name+".count", float64(timer.Count()))
			add(name+".min", float64(timer.Min()))
			add(name+".max", float64(timer.Max()))
			add(name+".mean", timer.Mean())
			percentiles := timer.Percentiles([]float64{0.50, 0.75, 0.95, 0.99})
			add(name+".50-percentile", percentiles[0])
			add(name+".75-percentile", percentiles[1])
			add(name+".95-percentile", percentiles[2])
			add(name+".99-percentile", percentiles[3])
		}
	})
	slices.SortFunc(list, func(a, b sample) int { return cmp.Compare(a.Metric, b.Metric) })
	return list
}

// name puts the prefix before a name, in the form that JSON shows.
func (m *Metrics) name(name string) string {
	if m.prefix == "" {
		return name
	}
	return m.prefix + "." + name
}
