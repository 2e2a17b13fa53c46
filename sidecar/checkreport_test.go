package sidecar

import (
	"strings"
	"testing"

	"sallyport/devpki"
)

// TestTheReportSaysWhatAStartWouldDo, line by line.
func TestTheReportSaysWhatAStartWouldDo(t *testing.T) {
	t.Parallel()
	const allowed = "package access\nallow { true }\n"
	for _, test := range []struct {
		name, line string
		key        devpki.KeyKind
		want       []string
	}{
		{
			"a client that shows nothing", "client --listen unix:@/in --target localhost:1 --disable-authentication", devpki.ECDSAP256,
			[]string{"  identity     none: no certificate is sent", "  trust        the system's CAs"},
		},
		{
			"a server that asks for nothing", strings.Replace(checkServer, "--allow-all", "--disable-authentication", 1), devpki.ECDSAP256,
			[]string{"  trust        nobody is asked for a certificate"},
		},
		{
			"a server without TLS", "server --protocol http --disable-tls --listen unix:@/in --target unix:@/out", devpki.ECDSAP256,
			[]string{"  identity     none: the listener speaks no TLS"},
		},
		{"an RSA key", checkServer, devpki.RSA2048, []string{"    key        RSA 2048, fits the certificate"}},
		{"an Ed25519 key", checkServer, devpki.Ed25519, []string{"    key        Ed25519, fits the certificate"}},
		{"a keystore", "server --listen unix:@/in --target unix:@/out --keystore @/server-combined.pem --allow-all", devpki.ECDSAP256, []string{"  identity     --keystore @/server-combined.pem"}},
		{
			"several targets", checkServer + "--target unix:@/other;weight=3", devpki.ECDSAP256,
			[]string{"  target       unix:@/out", "  target       unix:@/other;weight=3", "    balance    round-robin, no health checks"},
		},
		{
			"targets that are looked after", checkServer + "--balance first --health-interval 5s", devpki.ECDSAP256,
			[]string{"    balance    first, health checks every 5s"},
		},
		{
			"PROXY headers", checkServer + "--proxy-protocol-in unix --proxy-protocol-mode tls", devpki.ECDSAP256,
			[]string{"  PROXY header required from unix, refused from others", "  PROXY header sent to the target: v2, tls"},
		},
		{
			"a policy", strings.Replace(checkServer, "--allow-all", "--allow-policy @/access.rego --allow-query data.access.allow", 1), devpki.ECDSAP256,
			[]string{"  policy       @/access.rego, asked for data.access.allow"},
		},
		{
			"a status port that asks who it is", checkServer + "--status unix:@/status --status-token-file @/token", devpki.ECDSAP256,
			[]string{"  status port  unix:@/status", "  asks for     --status-token-file @/token, but for /, /livez and /readyz"},
		},
		{
			"a target that is not looked up", strings.Replace(checkServer, "unix:@/out", "absent.invalid:80 --unsafe-target --skip-resolve", 1), devpki.ECDSAP256,
			[]string{"  target       absent.invalid:80, not looked up"},
		},
		{
			"a proxy that wants to know who asks", strings.Replace(checkClient, "unix:@/out", "db.example:5432 --proxy http://localhost:3128 --proxy-auth-file @/auth", 1), devpki.ECDSAP256,
			[]string{"  target       db.example:5432, not looked up", "  proxy        http://localhost:3128", "    user       me"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			newIdentity(t, dir, devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}, Key: test.key})
			write(t, dir, map[string][]byte{"access.rego": []byte(allowed), "token": []byte("hunter2"), "auth": []byte("me:hunter2")})
			var out strings.Builder
			if err := Check(t.Context(), parse(t, dir, test.line), &out); err != nil {
				t.Error(err)
			}
			report := "\n" + out.String()
			for _, want := range test.want {
				if !strings.Contains(report, "\n"+strings.ReplaceAll(want, "@", dir)+"\n") {
					t.Errorf("no line %q in%s", want, report)
				}
			}
			if strings.Contains(report, "hunter2") {
				t.Errorf("a secret is in%s", report)
			}
		})
	}
}
