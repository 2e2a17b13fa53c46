package sandbox_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/sandbox"
)

func TestRulesKnowWhatIsBeyondThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, sub := range []string{"certs", "certs/old", "other", "run"} {
		if err := os.Mkdir(at(sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(at("other"), at("link")); err != nil {
		t.Fatal(err)
	}
	r := sandbox.Rules{
		Files: []string{at("certs/cert.pem")}, ListenSockets: []string{at("run/in")}, ConnectPorts: []uint16{80, 443}, Resolver: true,
	}
	for name, c := range map[string]struct {
		wanted sandbox.Rules
		want   []string
	}{
		"nothing":                      {sandbox.Rules{}, nil},
		"the same":                     {r, nil},
		"another file there":           {sandbox.Rules{Files: []string{at("certs/other.pem"), at("certs/old/cert.pem"), ""}}, nil},
		"a file elsewhere":             {sandbox.Rules{Files: []string{at("other/cert.pem"), at("other/key.pem")}}, []string{"to read in " + at("other")}},
		"a name that begins like it":   {sandbox.Rules{Files: []string{at("certs-2/cert.pem")}}, []string{"to read in " + dir}},
		"over a link":                  {sandbox.Rules{Files: []string{at("link/cert.pem")}}, []string{"to read in " + dir, "to read in " + at("other")}},
		"another port":                 {sandbox.Rules{ConnectPorts: []uint16{80, 81, 82, 81}}, []string{"to connect to port 81", "to connect to port 82"}},
		"another port to listen on":    {sandbox.Rules{BindPorts: []uint16{8443}}, nil},
		"a socket that is listened on": {sandbox.Rules{DialSockets: []string{at("run/in"), "@abstract"}}, nil},
		"sockets elsewhere": {
			sandbox.Rules{DialSockets: []string{at("other/a")}, ListenSockets: []string{at("other/b")}},
			[]string{"to listen in " + at("other"), "to connect to sockets in " + at("other")},
		},
		"names":         {sandbox.Rules{Resolver: true}, nil},
		"system trust":  {sandbox.Rules{SystemTrust: true}, []string{"to read the CAs that the system trusts"}},
		"files written": {sandbox.Rules{WriteDirs: []string{at("certs")}}, []string{"to write in " + at("certs")}},
	} {
		if got := r.Beyond(c.wanted); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
