package metrics

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestATunnelThatIsReplacedGoesOnAndOneThatIsRemovedIsGone(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	stays := m.AddTunnel(Tunnel{Name: "stays", Target: "localhost:80"})
	told := Tunnel{
		Name: "web", Target: "localhost:80", Failures: map[string][]string{"dial": {"refused"}},
		Up: func() bool { return true }, Counts: func() (open, total int64) { return 1, 2 },
	}
	r := m.AddTunnel(told)
	for _, one := range []*Recorder{stays, r} {
		one.Accepted()
		one.Handshake(time.Second, nil)
		one.Failed("dial", "refused")
		one.Opened("alice")
		one.Closed(time.Second, "eof")
	}
	m.AddRequests("web").Answered("example.com", "GET", 200, time.Second)
	told.Target, told.Limit, told.Counts = "localhost:81", 7, func() (open, total int64) { return 3, 4 }
	if m.AddTunnel(told) != r {
		t.Error("what takes the place of a tunnel is recorded by another")
	}
	r.Failed("dial", "refused")
	r.Opened("alice")
	got := ownValues(t, m)
	for name, want := range map[string]string{
		`sallyport_connections_open{tunnel="web"}`:                                           "3",
		`sallyport_connections_limit{tunnel="web"}`:                                          "7",
		`sallyport_tunnel_up{tunnel="web"}`:                                                  "1",
		`sallyport_tunnel_up{tunnel="stays"}`:                                                "0",
		`sallyport_failures_total{reason="refused",stage="dial",tunnel="web"}`:               "2",
		`sallyport_dial_failures_total{reason="refused",target="localhost:81",tunnel="web"}`: "1",
		`sallyport_dial_failures_total{reason="refused",target="localhost:80",tunnel="web"}`: "",
		`sallyport_peer_connections_total{identity="alice",tunnel="web"}`:                    "2",
		`sallyport_closed_total{reason="eof",tunnel="web"}`:                                  "1",
		`sallyport_handshake_duration_seconds_count{tunnel="web"}`:                           "1",
		`sallyport_reload_total{result="success",tunnel="web"}`:                              "0",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}

	m.RemoveTunnel("web")
	if left := requestValues(t, m, "http_dataplane_"); len(left) > 0 {
		t.Errorf("requests are still told of: %v", left)
	}
	after := ownValues(t, m)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if strings.Contains(name, `tunnel="web"`) {
			t.Errorf("%s is still told", name)
		}
	}
	if name := `sallyport_failures_total{reason="refused",stage="dial",tunnel="stays"}`; after[name] != "1" {
		t.Errorf("%s is %q", name, after[name])
	}
	if total := jsonValues(t, m)["ghostunnel.accept.total"]; total != 2 {
		t.Errorf("over all tunnels %v connections were accepted, want 2", total)
	}
	if again := ownValues(t, m); m.AddTunnel(told) == r || again[`sallyport_closed_total{reason="eof",tunnel="web"}`] != "" {
		t.Error("one that comes again goes on")
	}
}

func TestATunnelThatCeasesToLookIntoHTTPKeepsItsConnections(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	m.AddTunnel(Tunnel{Name: "web"}).Closed(time.Second, "eof")
	m.AddRequests("web").Answered("example.com", "GET", 200, time.Second)
	m.AddRequests("other").Answered("example.com", "GET", 200, time.Second)
	m.RemoveRequests("web")
	m.RemoveRequests("none") // which has none
	for name := range requestValues(t, m, "http_dataplane_") {
		if !strings.Contains(name, `tunnel="other"`) {
			t.Errorf("%s is still told", name)
		}
	}
	if len(requestValues(t, m, "http_dataplane_requests_total")) != 1 {
		t.Error("nothing is told of another tunnel's requests")
	}
	if closed := ownValues(t, m)[`sallyport_closed_total{reason="eof",tunnel="web"}`]; closed != "1" {
		t.Errorf("%q connections ended", closed)
	}
}
