package inspect

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// traffic is how many bytes the process has forwarded: in toward targets, out
// toward clients.
type traffic struct{ in, out float64 }

// traffic asks the metrics, which alone count what connections that are gone have
// moved. It is nil where they are not told.
func (c *Client) traffic(ctx context.Context) *traffic {
	body, err := c.get(ctx, "/metrics", http.StatusOK)
	if err != nil {
		return nil
	}
	return parseTraffic(string(body))
}

// parseTraffic sums sallyport_bytes_total over all tunnels, from metrics in the
// Prometheus text format. It is nil if there is no such family.
func parseTraffic(text string) *traffic {
	var sum *traffic
	for line := range strings.Lines(text) {
		labels, ok := strings.CutPrefix(line, "sallyport_bytes_total{")
		end := strings.LastIndex(labels, "} ")
		if !ok || end < 0 {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(labels[end+2:]), 64)
		if err != nil || !(value >= 0) || math.IsInf(value, 1) {
			continue
		}
		if sum == nil {
			sum = new(traffic)
		}
		switch labels = labels[:end]; {
		case strings.Contains(labels, `direction="in"`):
			sum.in += value
		case strings.Contains(labels, `direction="out"`):
			sum.out += value
		}
	}
	return sum
}
