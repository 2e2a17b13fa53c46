package config

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/socket"
)

func TestStatusQuery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		env  []string
		want StatusQuery
	}{
		{
			line: "localhost:6060",
			want: StatusQuery{Port: address(t, "localhost:6060"), TLS: true},
		},
		{
			line: "http://localhost:6060 --json --connections --tunnel web",
			want: StatusQuery{Port: address(t, "localhost:6060"), JSON: true, Connections: true, Tunnel: "web"},
		},
		{
			line: "unix:/run/sallyport.sock --watch --interval 5s --timeout 2s",
			want: StatusQuery{Port: address(t, "unix:/run/sallyport.sock"), Watch: true, Interval: 5 * time.Second, Timeout: 2 * time.Second},
		},
		{
			line: "--cacert ca.pem --cert me.pem --key me-key.pem --server-name web.example.com https://[::1]:6060/ --token-file token",
			want: StatusQuery{
				Port: address(t, "[::1]:6060"), TLS: true, CACert: "ca.pem", Cert: "me.pem", Key: "me-key.pem",
				ServerName: "web.example.com", TokenFile: "token",
			},
		},
		{
			// The environment of a process that is looked at from beside it.
			env: []string{
				"SALLYPORT_STATUS=http://:6060", "SALLYPORT_STATUS_TOKEN_FILE=token", "CACERT_PATH=ca.pem",
				"SALLYPORT_LISTEN=:8443", "SALLYPORT_CERT=server.pem", "CERT_PATH=server.pem", "SALLYPORT_TOKEN=no",
			},
			want: StatusQuery{Port: address(t, ":6060"), CACert: "ca.pem", TokenFile: "token"},
		},
		{
			line: "localhost:1",
			env:  []string{"SALLYPORT_STATUS=http://localhost:6060", "SALLYPORT_STATUS_TOKEN=word", "SALLYPORT_STATUS_CERT=c", "SALLYPORT_STATUS_KEY=k"},
			want: StatusQuery{Port: address(t, "localhost:1"), TLS: true, Token: "word", Cert: "c", Key: "k"},
		},
	} {
		if c.want.Timeout == 0 {
			c.want.Timeout, c.want.Interval = 15*time.Second, time.Second
		}
		got, err := Parse(append([]string{"status"}, strings.Fields(c.line)...), environment(c.env...), io.Discard, "v1")
		if err != nil {
			t.Errorf("%s %q: %v", c.line, c.env, err)
			continue
		}
		if diff := cmp.Diff(&c.want, got, cmp.AllowUnexported(socket.Address{})); diff != "" {
			t.Errorf("%s %q: -want +got:\n%s", c.line, c.env, diff)
		}
	}
}

func TestStatusQueryRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, env, want string }{
		{"", "", "ADDR: missing"},
		{"localhost", "", `ADDR "localhost": `},
		{"ftp://localhost:1", "", "http://HOST:PORT or https://HOST:PORT"},
		{"https://unix:/x", "", "a scheme goes with HOST:PORT alone"},
		{"localhost:1 localhost:2", "", "unexpected argument"},
		{"localhost:1 --cert a", "", "--cert: needs --key"},
		{"localhost:1 --key a", "", "--key: needs --cert"},
		{"localhost:1 --interval 0s", "", "--interval"},
		{"localhost:1 --timeout 0", "", "--timeout"},
		{"localhost:1 --token-file a --token b", "", "give one or the other"},
		{"localhost:1 --listen :1", "", "not a flag of sallyport status"},
		{"", "SALLYPORT_STATUS=systemd:status", "SALLYPORT_STATUS systemd:status: says who opens the status port and not where it is"},
		{"", "SALLYPORT_STATUS=nothing", `SALLYPORT_STATUS "nothing"`},
		{"localhost:1", "SALLYPORT_STATUS_TOKEN=two words", "SALLYPORT_STATUS_TOKEN: not a token"},
	} {
		_, err := Parse(append([]string{"status"}, strings.Fields(c.line)...), environment(c.env), io.Discard, "v1")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.line, c.env, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "words") {
			t.Errorf("%s %s: the token shows: %v", c.line, c.env, err)
		}
	}
}

// TestStopReachesThePortAsStatusDoes, and takes no flag about what is shown.
func TestStopReachesThePortAsStatusDoes(t *testing.T) {
	t.Parallel()
	env := environment("SALLYPORT_STATUS=:6060", "SALLYPORT_STATUS_SERVER_NAME=web.example.com", "SALLYPORT_STATUS_TOKEN_FILE=token", "SALLYPORT_CACERT=ca.pem")
	got, err := Parse([]string{"stop", "--timeout", "2s"}, env, io.Discard, "v1")
	if err != nil {
		t.Fatal(err)
	}
	want := &StatusQuery{
		Stop: true, Port: address(t, ":6060"), TLS: true, CACert: "ca.pem", ServerName: "web.example.com",
		TokenFile: "token", Timeout: 2 * time.Second,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(socket.Address{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, flag := range []string{"--json", "--watch", "--connections"} {
		if _, err := Parse([]string{"stop", flag}, env, io.Discard, "v1"); err == nil {
			t.Errorf("stop %s: no error", flag)
		}
	}
}
