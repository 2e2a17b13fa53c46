package metrics

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ownLines returns the samples of Sallyport's own metrics, sorted, of which
// the names hold part.
func ownLines(t *testing.T, m *Metrics, part string) []string {
	t.Helper()
	response, body := get(t, m.Prometheus(), "GET", "/metrics")
	if response.StatusCode != 200 {
		t.Fatalf("%s: %s", response.Status, body)
	}
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "sallyport_") && strings.Contains(line, part) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestScrapesTellWhenEverythingInUseRunsOut(t *testing.T) {
	t.Parallel()
	at := time.Unix(1e9, 0)
	m := newMetrics(t, "ghostunnel")
	held := []Certificate{
		{Role: "identity", Subject: "CN=a", Serial: "1", NotBefore: at.Add(-time.Second), NotAfter: at},
		{Role: "ca", Subject: "CN=ca", Serial: "2", NotBefore: at, NotAfter: at.Add(2 * time.Second)},
		{Role: "ca", Subject: "CN=ca", Serial: "2", NotBefore: at, NotAfter: at.Add(time.Second)},
		{Role: "ca", Subject: "CN=\xff\"\n", Serial: "3", NotBefore: at, NotAfter: at},
	}
	m.AddTunnel(Tunnel{
		Name:         "one",
		Certificates: func() []Certificate { return held },
		CRLs:         func() []CRL { return []CRL{{Issuer: "CN=ca", NextUpdate: at}} },
	})
	m.AddTunnel(Tunnel{Name: "two", Certificates: func() []Certificate { return held[:1] }})
	m.AddTunnel(Tunnel{Name: "three"})

	want := []string{
		`sallyport_certificate_not_after_timestamp_seconds{role="ca",serial="2",subject="CN=ca",tunnel="one"} 1.000000001e+09`,
		"sallyport_certificate_not_after_timestamp_seconds{role=\"ca\",serial=\"3\",subject=\"CN=\ufffd\\\"\\n\",tunnel=\"one\"} 1e+09",
		`sallyport_certificate_not_after_timestamp_seconds{role="identity",serial="1",subject="CN=a",tunnel="one"} 1e+09`,
		`sallyport_certificate_not_after_timestamp_seconds{role="identity",serial="1",subject="CN=a",tunnel="two"} 1e+09`,
		`sallyport_certificate_not_before_timestamp_seconds{role="ca",serial="2",subject="CN=ca",tunnel="one"} 1e+09`,
		"sallyport_certificate_not_before_timestamp_seconds{role=\"ca\",serial=\"3\",subject=\"CN=\ufffd\\\"\\n\",tunnel=\"one\"} 1e+09",
		`sallyport_certificate_not_before_timestamp_seconds{role="identity",serial="1",subject="CN=a",tunnel="one"} 9.99999999e+08`,
		`sallyport_certificate_not_before_timestamp_seconds{role="identity",serial="1",subject="CN=a",tunnel="two"} 9.99999999e+08`,
		`sallyport_crl_next_update_timestamp_seconds{issuer="CN=ca",tunnel="one"} 1e+09`,
	}
	got := append(ownLines(t, m, "_certificate_"), ownLines(t, m, "_crl_")...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	held = held[:1]
	if got := ownLines(t, m, `role="ca"`); len(got) > 0 {
		t.Errorf("certificates that are gone are still told of: %q", got)
	}
}

func TestScrapesTellOfFilesThatAreNotInUse(t *testing.T) {
	t.Parallel()
	m, differ := newMetrics(t, "ghostunnel"), false
	m.AddTunnel(Tunnel{Name: "one", Pending: func() bool { return differ }})
	for _, want := range []string{`sallyport_reload_pending{tunnel="one"} 0`, `sallyport_reload_pending{tunnel="one"} 1`} {
		if diff := cmp.Diff([]string{want}, ownLines(t, m, "_reload_pending")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		differ = true
	}
}

func TestReloadsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{Prefix: "ghostunnel"})
		defer m.Close()
		m.AddTunnel(Tunnel{Name: "server"})
		start := time.Now()
		want := func(failures, successes int, last time.Time) {
			t.Helper()
			lines := []string{
				fmt.Sprintf(`sallyport_reload_last_success_timestamp_seconds{tunnel="server"} %v`, seconds(last)),
				fmt.Sprintf(`sallyport_reload_total{result="failure",tunnel="server"} %d`, failures),
				fmt.Sprintf(`sallyport_reload_total{result="success",tunnel="server"} %d`, successes),
			}
			if diff := cmp.Diff(lines, ownLines(t, m, "_reload_")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		want(0, 0, start)
		time.Sleep(time.Minute)
		m.Reloaded("server", errors.New("no"))
		want(1, 0, start)
		m.Reloaded("server", nil)
		want(1, 1, time.Now())
	})
}
