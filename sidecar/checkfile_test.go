package sidecar

import (
	"strings"
	"testing"
)

// TestCheckOfAFileSpeaksOfItsKeys, and of what was a flag beside it as a flag.
func TestCheckOfAFileSpeaksOfItsKeys(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	write(t, dir, map[string][]byte{"token": []byte("secret")})
	path := writeConfig(t, dir, `
status: unix:@/status
defaults: {cacert: @/ca.pem, target: "unix:@/out"}
tunnels:
- {name: web, mode: server, listen: "unix:@/in", cert: @/server.pem, key: @/server-key.pem, allow-all: true}
- {name: try, mode: server, listen: "unix:@/try", auto-tls: true, allow-all: true}
`)
	tests := []struct {
		name, flags string
		want        string
	}{
		{"all in the file", "", ""},
		{"a flag beside it", " --status-token-file @/token", "asks for     --status-token-file " + dir + "/token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := Check(t.Context(), parse(t, dir, "run --config "+path+test.flags), &out); err != nil {
				t.Error(err)
			}
			report := out.String()
			for _, want := range []string{
				"  identity     cert " + dir + "/server.pem with key " + dir + "/server-key.pem\n",
				"  trust        cacert " + dir + "/ca.pem, 1 CA\n",
				"  identity     auto-tls: true\n",
				test.want,
			} {
				if !strings.Contains(report, want) {
					t.Errorf("no %q in\n%s", want, report)
				}
			}
			if flags := strings.Count(report, " --"); flags != strings.Count(test.want, " --") {
				t.Errorf("%d flags in\n%s", flags, report)
			}
		})
	}
}
