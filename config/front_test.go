package config

import (
	"io"
	"log/slog"
	"strings"
	"testing"
)

// leastFront is the front of an exporter, but for where the exporter is.
const leastFront = "server --protocol http --disable-tls --listen localhost:9101"

func TestFrontTakesItsVariables(t *testing.T) {
	t.Parallel()
	type front struct {
		target, status string
		level          slog.Level
	}
	for _, test := range []struct {
		name, line string
		env        []string
		want       front
	}{
		{"all of them", leastFront, []string{"SERVER_IP=127.0.0.1", "SERVER_PORT=9100", "METRICS_PORT=9102", "DEBUG=true"},
			front{"127.0.0.1:9100", ":9102", slog.LevelDebug}},
		{"an IPv6 address", leastFront, []string{"SERVER_IP=::1", "SERVER_PORT=9100"}, front{target: "[::1]:9100"}},
		{"one as it is before a port", leastFront, []string{"SERVER_IP=[::1]", "SERVER_PORT=9100"}, front{target: "[::1]:9100"}},
		{"a port alone", leastFront, []string{"SERVER_PORT=9100"}, front{target: "localhost:9100"}},
		{"an exporter elsewhere", leastFront + " --unsafe-target", []string{"SERVER_IP=192.0.2.1", "SERVER_PORT=9100"}, front{target: "192.0.2.1:9100"}},
		{"no debugging", leastFront, []string{"SERVER_PORT=9100", "DEBUG=0"}, front{target: "localhost:9100"}},
		{"empty ones", leastFront + " --target localhost:1", []string{"SERVER_IP=", "SERVER_PORT=", "METRICS_PORT=", "DEBUG="}, front{target: "localhost:1"}},
		{"flags before them", leastFront + " --target localhost:1 --status http://localhost:2 --log-level warn",
			[]string{"SERVER_IP=x", "SERVER_PORT=9100", "METRICS_PORT=9102", "DEBUG=true"}, front{"localhost:1", "localhost:2", slog.LevelWarn}},
		{"an address without its port, and a target", leastFront + " --target localhost:1", []string{"SERVER_IP=192.0.2.1"}, front{target: "localhost:1"}},
		{"our own variables before them", leastFront, []string{"SALLYPORT_TARGET=localhost:1", "SERVER_PORT=9100", "SALLYPORT_STATUS=http://localhost:2", "METRICS_PORT=9102"},
			front{"localhost:1", "localhost:2", slog.LevelInfo}},
		{"Services of Kubernetes called server and metrics", leastFront + " --target localhost:1", []string{"SERVER_PORT=tcp://10.0.0.1:80", "METRICS_PORT=tcp://10.0.0.2:80"},
			front{target: "localhost:1"}},
		{"a front that speaks TLS", "server --protocol http --metrics-compat prometheus-tunnel --listen :9101 --keystore s --allow-all", []string{"SERVER_PORT=9100", "METRICS_PORT=9102"},
			front{"localhost:9100", ":9102", slog.LevelInfo}},
		// Of others they are none.
		{"HTTP that is no front", leastServer + " --protocol http", []string{"SERVER_IP=x", "SERVER_PORT=x", "METRICS_PORT=x", "DEBUG=*"}, front{target: "localhost:8080"}},
		{"a server", leastServer, []string{"SERVER_IP=x", "SERVER_PORT=x", "METRICS_PORT=x", "DEBUG=*"}, front{target: "localhost:8080"}},
		{"a client", leastClient + " --protocol http --metrics-compat prometheus-tunnel", []string{"SERVER_IP=x", "SERVER_PORT=x", "METRICS_PORT=x", "DEBUG=*"}, front{target: "web.example.com:8443"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sidecar, tunnel := mustParse(t, strings.Fields(test.line), test.env...)
			if got := (front{tunnel.Upstream.String(), sidecar.Status.Listen.String(), sidecar.Log.Level}); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if sidecar.Status.TLS && tunnel.DisableTLS {
				t.Error("a front without a certificate has a status port with one")
			}
		})
	}
}

func TestWrongVariablesOfAFront(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		env  []string
		want string
	}{
		{"nothing", nil, "--target: missing; say where to forward, as HOST:PORT or unix:PATH"},
		{"an address alone", []string{"SERVER_IP=127.0.0.1"}, "SERVER_IP: needs SERVER_PORT too, the port of the exporter"},
		{"no port", []string{"SERVER_IP=127.0.0.1", "SERVER_PORT=70000"}, `SERVER_IP with SERVER_PORT "127.0.0.1:70000": port 70000 is out of range; use 1 to 65535`},
		{"an exporter elsewhere", []string{"SERVER_IP=192.0.2.1", "SERVER_PORT=9100"},
			"SERVER_IP with SERVER_PORT 192.0.2.1:9100: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-target"},
		{"no metrics port", []string{"SERVER_PORT=9100", "METRICS_PORT=metrics"}, `METRICS_PORT "metrics": not a port; use 1 to 65535`},
		{"no switch", []string{"SERVER_PORT=9100", "DEBUG=*"}, `DEBUG "*": not a switch; write true or false`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(strings.Fields(leastFront), environment(test.env...), io.Discard, "v1.2.3")
			if err == nil || err.Error() != test.want {
				t.Errorf("error\n\t%v\nwant\n\t%s", err, test.want)
			}
		})
	}
}

func TestListenersWithoutTLS(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		leastFront + " --target localhost:9100",
		leastFront + " --target localhost:9100 --disable-authentication --no-allow-all --no-auto-tls --cacert ca.pem --no-watch-files --no-resumption",
		strings.Replace(leastFront, "localhost", "", 1) + " --target localhost:9100 --unsafe-listen",
	} {
		sidecar, tunnel := mustParse(t, strings.Fields(line), "SPIFFE_ENDPOINT_SOCKET=unix:///agent.sock")
		if !tunnel.DisableTLS || !tunnel.DisableAuthentication || !tunnel.Identity.IsZero() || !tunnel.Access.IsZero() || sidecar.Status.TLS {
			t.Errorf("%s: %+v", line, tunnel)
		}
	}
}
