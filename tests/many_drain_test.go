package tests

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOneTunnelIsDrained asks for that while somebody is connected: the others go on, and so does who is there.
func TestOneTunnelIsDrained(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target := serve(t, "tcp", echo).address
	goes, stays := reserve(t), reserve(t)
	m.write(t, one("goes", goes, target), one("stays", stays, target))
	m.run(t)
	kept := attach(t, goes, m.client(t))
	for path, want := range map[string]int{"/_drain": 400, "/_drain?tunnel=none": 404, "/_drain?tunnel=goes": 200} {
		if code := m.status.post(t, path); code != want {
			t.Errorf("POST %s: %d, want %d", path, code, want)
		}
	}
	if code, _ := m.status.get(t, "/_drain?tunnel=goes"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /_drain: %d", code)
	}
	eventually(t, "nobody is let in any more", func() bool {
		conn, err := net.DialTimeout("tcp", goes, patience)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	m.visit(t, stays)
	if err := echoes(kept); err != nil {
		t.Errorf("who was connected: %v", err)
	}
	_, _, tunnels := tunnelsOf(t, m.process, "")
	if g := tunnels["goes"]; g.OK || g.Message != "stopping" || g.Connections.Open != 1 {
		t.Errorf("%+v", g)
	}
	for path, want := range map[string]int{"/readyz": 200, "/readyz?tunnel=goes": 503, "/readyz?tunnel=stays": 200, "/_status?tunnel=stays": 200} {
		if code, body := m.status.get(t, path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	m.reload(t) // which says nothing new of it
	if _, _, tunnels := tunnelsOf(t, m.process, ""); tunnels["goes"].Message != "stopping" {
		t.Errorf("after a reload: %+v", tunnels["goes"])
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	m.waitLine(t, "msg=drained", "tunnel=goes")
	m.write(t, one("goes", goes, target, "idle-timeout: 1h"), one("stays", stays, target))
	m.reload(t)
	m.visit(t, goes)
	m.stop(t)
}

// TestARemovedTunnelDrains has one leave the file while somebody is connected, and come again.
func TestARemovedTunnelDrains(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target := serve(t, "tcp", echo).address
	goes, stays := reserve(t), reserve(t)
	both := []string{one("goes", goes, target), one("stays", stays, target)}
	m.write(t, both...)
	m.run(t)
	kept := attach(t, goes, m.client(t))
	m.write(t, both[1])
	m.reload(t)
	code, whole, tunnels := tunnelsOf(t, m.process, "")
	if g := tunnels["goes"]; code != http.StatusOK || !whole.OK || whole.Connections.Open != 1 || g.Message != "stopping" || g.Connections.Open != 1 {
		t.Errorf("%d %+v %+v: one that is removed counts for nothing but its connections", code, whole, g)
	}
	if _, body := m.status.get(t, "/_connections?tunnel=goes"); !strings.Contains(body, `"total":1,`) || !strings.Contains(body, `"goes/1"`) {
		t.Errorf("connections: %s", body)
	}
	m.write(t, both...)
	m.reload(t)
	another := attach(t, goes, m.client(t))
	if _, body := m.status.get(t, "/_connections?tunnel=goes"); !strings.Contains(body, `"goes/1"`) || !strings.Contains(body, `"goes/2"`) {
		t.Errorf("connections: %s", body)
	}
	for _, conn := range []net.Conn{kept, another} {
		if err := echoes(conn); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	m.waitLine(t, "msg=drained", "tunnel=goes")
	if total := metricOf(t, m.process, `sallyport_accepted_total{tunnel="goes"}`); total != 2 {
		t.Errorf("%v connections are counted, want 2", total)
	}
	m.stop(t)
}

// TestConnectionsAreAcceptedForAWhileAfterShutdown is about load balancers, which take a moment to notice.
func TestConnectionsAreAcceptedForAWhileAfterShutdown(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"the delay", "a second signal"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			m := &many{pki: p}
			listen := reserve(t)
			delay := "4s"
			if end == "a second signal" {
				delay = "1h"
			}
			m.process = startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-cn", "client", "--shutdown-delay", delay)
			began := time.Now()
			m.signal(t, syscall.SIGTERM)
			eventually(t, "it is not ready any more", func() bool {
				code, _ := m.status.get(t, "/readyz")
				return code == http.StatusServiceUnavailable
			})
			m.visit(t, listen)
			m.waitLine(t, "connections are accepted for a while")
			if end == "a second signal" {
				m.signal(t, syscall.SIGTERM)
				m.exit(t)
				return
			}
			if code := m.exit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(began); took < 4*time.Second {
				t.Errorf("it ended after %v", took)
			}
		})
	}
}
