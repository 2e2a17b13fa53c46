package sidecar

import (
	"strings"
	"testing"
)

// TestComparisonTellsWhatAppliesAlone: a row about something that these flags do not have would send its reader the wrong way.
func TestComparisonTellsWhatAppliesAlone(t *testing.T) {
	t.Parallel()
	const tunnel = "server --listen localhost:8443 --target localhost:8080 --allow-cn client --cert @/server.pem "
	tests := []struct {
		name, line string
		want, not  []string
	}{
		{
			name: "files", line: tunnel + "--key @/server-key.pem",
			want: []string{"reload", "sandbox", "handshakes"}, not: []string{"status", "metrics", "policy", "spiffe", "syslog"},
		},
		{
			name: "files that nobody watches, without a sandbox", line: tunnel + "--key @/server-key.pem --no-watch-files --disable-landlock",
			not: []string{"reload", "sandbox"},
		},
		{
			name: "a key in a token, for which there is no sandbox", line: tunnel + "--pkcs11-module softhsm.so --pkcs11-pin 1234",
			want: []string{"reload"}, not: []string{"sandbox"},
		},
		{
			name: "a status port and a policy", line: tunnel + "--key @/server-key.pem --status localhost:6060 --allow-policy @/p.rego --allow-query data.a.b",
			want: []string{"status", "metrics", "policy"},
		},
		{
			name: "the Workload API and syslog",
			line: "--syslog server --listen localhost:8443 --target localhost:8080 --use-workload-api-addr unix:///agent.sock --allow-cn client",
			want: []string{"spiffe", "syslog"}, not: []string{"reload"},
		},
		{
			name: "no bound on handshakes", line: tunnel + "--key @/server-key.pem --max-handshakes 0",
			not: []string{"handshakes"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := parse(t, t.TempDir(), tt.line)
			cfg.DisableLandlock = strings.Contains(tt.line, "--disable-landlock") // nothing runs here
			var out strings.Builder
			if err := CompareWithGhostunnel(cfg, &out); err != nil {
				t.Fatal(err)
			}
			for _, row := range tt.want {
				if !strings.Contains(out.String(), "\n  "+row+" ") {
					t.Errorf("no row %s in\n%s", row, out.String())
				}
			}
			for _, row := range tt.not {
				if strings.Contains(out.String(), "\n  "+row+" ") {
					t.Errorf("a row %s in\n%s", row, out.String())
				}
			}
		})
	}
}
