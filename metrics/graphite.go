package metrics

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	gometrics "github.com/rcrowley/go-metrics"
)

// Graphite is a carbon that takes lines over TCP.
type Graphite struct {
	Dial  func(context.Context) (net.Conn, error)
	Every time.Duration // from one reading to the next
	Log   *slog.Logger  // is told when readings begin and cease to arrive
}

// Graphite sends readings of Ghostunnel's metrics until the context ends, and
// then a last one, over a connection of its own each. The lines are those of
// go-metrics-graphite, whose own loop would wait for a carbon that does not
// read for ever, does not notice what got lost, and does not end.
func (m *Metrics) Graphite(ctx context.Context, to Graphite) {
	r := report{every: to.Every, log: to.Log, send: func(ctx context.Context) error {
		conn, err := to.Dial(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if deadline, ok := ctx.Deadline(); ok {
			_ = conn.SetDeadline(deadline) // a connection without deadlines is as good, just slower to give up
		}
		_, err = conn.Write(m.graphiteLines(time.Now(), to.Every))
		return err
	}}
	r.run(ctx)
}

// graphiteLines is one reading in carbon's plaintext protocol: name, value and
// time in a line each. A counter also has its average over the interval, and a
// timer, in nanoseconds, its percentiles and rates.
func (m *Metrics) graphiteLines(now time.Time, every time.Duration) []byte {
	m.settle()
	var out bytes.Buffer
	m.ghostunnel.registry.Each(func(name string, metric any) {
		name = graphiteName(m.name(name))
		line := func(part, value string) { fmt.Fprintf(&out, "%s.%s %s %d\n", name, part, value, now.Unix()) }
		whole := func(part string, value int64) { line(part, strconv.FormatInt(value, 10)) }
		decimal := func(part string, value float64) { line(part, strconv.FormatFloat(value, 'f', 2, 64)) }
		count := func(n int64) {
			whole("count", n)
			decimal("count_ps", float64(n)/every.Seconds())
		}
		switch metric := metric.(type) {
		case gometrics.Counter:
			count(metric.Count())
		case gometrics.Timer:
			timer := metric.Snapshot()
			count(timer.Count())
			whole("min", timer.Min())
			whole("max", timer.Max())
			decimal("mean", timer.Mean())
			decimal("std-dev", timer.StdDev())
			parts := []string{"50", "75", "95", "99", "999"}
			for i, value := range timer.Percentiles([]float64{.50, .75, .95, .99, .999}) {
				decimal(parts[i]+"-percentile", value)
			}
			decimal("one-minute", timer.Rate1())
			decimal("five-minute", timer.Rate5())
			decimal("fifteen-minute", timer.Rate15())
			decimal("mean-rate", timer.RateMean())
		}
	})
	return out.Bytes()
}

// graphiteName keeps a name in one word: a space would end it, and a line break the line.
func graphiteName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, name)
}
