package sidecar

import (
	"io"
	"os"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/devpki"
)

// checkFile is what a check says of a file in which @ stands for the directory.
func checkFile(t *testing.T, dir, text string) (report string, _ error) {
	t.Helper()
	path := dir + "/sallyport.yaml"
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	command, err := config.Parse([]string{"check", "--config", path}, none, io.Discard, "test")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = Check(t.Context(), command.(*config.Check).Sidecar, &out)
	return out.String(), err
}

func TestCheckLooksAtRoutes(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for _, name := range []string{"a", "b"} {
		if err := devpki.IssueInto(dir, name, devpki.FileOptions{DNSNames: []string{name + ".test"}}); err != nil {
			t.Fatal(err)
		}
	}
	const text = `tunnels:
- name: web
  mode: server
  listen: unix:@/in
  cacert: @/ca.pem
  cert: @/server.pem
  key: @/server-key.pem
  identities: [{cert: @/b.pem, key: @/b-key.pem}]
  routes:
  - {name: a, server-name: a.test, target: 'unix:@/a', cert: @/a.pem, key: @/a-key.pem, allow-cn: client}
  - {name: b, server-name: b.test, target: 'unix:@/b', allow-all: true}
  - {name: c, server-name: localhost, target: 'unix:@/c', cacert: @/a.pem, allow-all: true}
`
	report, err := checkFile(t, dir, text)
	if err != nil {
		t.Errorf("what is in order is not: %v", err)
	}
	for _, want := range []string{
		"  identity     cert " + dir + "/server.pem with key", "  identity     cert " + dir + "/b.pem with key",
		"  route a for a.test\n  target       unix:" + dir + "/a\n  identity     cert " + dir + "/a.pem",
		"  route b for b.test\n  target       unix:" + dir + "/b\n  identity     that of the tunnel\n",
		"  route c for localhost\n", "  trust        cacert " + dir + "/a.pem, 1 CA\n",
		"  other names are refused\n",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the report has no %q:\n%s", want, report)
		}
	}

	wrong := strings.NewReplacer("server-name: a.test", "server-name: [a.test, x.test]", "a-key.pem", "b-key.pem", "server-name: b.test", "server-name: '*.b.test'",
		"cacert: @/a.pem", "cacert: @/none.pem").Replace(text)
	report, err = checkFile(t, dir, wrong)
	if err == nil {
		t.Fatalf("nothing is wrong:\n%s", report)
	}
	for _, want := range []string{
		"b-key.pem: the private key fits no certificate in cert",
		"server-name *.b.test: clients that ask for it will refuse the certificate",
		"none.pem: no such file",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error has no %q: %v", want, err)
		}
	}
}
