package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// rewrite replaces parts of a file, as an operator would, and reads it again.
func rewrite(t *testing.T, s *Sidecar, pairs ...string) (*Sidecar, error) {
	t.Helper()
	text, err := os.ReadFile(s.File.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.File.Path, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.File.Read()
}

func TestFileIsReadAgain(t *testing.T) {
	t.Parallel()
	before, err := fileOf(t, leastFile, "--log-sample", "5")
	if err != nil {
		t.Fatal(err)
	}
	after, err := rewrite(t, before, "alice, bob", "alice", "# a comment", "", "defaults:", "\n# moves all down\ndefaults:")
	if err != nil {
		t.Fatal(err)
	}
	if after.Log.Sample != 5 {
		t.Error("a flag of the command line is forgotten")
	}
	if got := after.File.Changed(before.File); len(got) != 0 {
		t.Errorf("%q have changed", got)
	}
	if before.Tunnels[0].Equal(&after.Tunnels[0]) {
		t.Error("a tunnel with other clients is taken for the same")
	}
	if !before.Tunnels[1].Equal(&after.Tunnels[1]) {
		t.Error("a tunnel that stands elsewhere is taken for another")
	}

	if _, err := rewrite(t, after, "mode: client", "mode: clinet"); err == nil || !strings.HasSuffix(err.Error(), `mode "clinet": no such mode; write server or client`) {
		t.Errorf("%v", err)
	}
	if again, err := rewrite(t, after, "mode: clinet", "mode: client"); err != nil || !again.Tunnels[1].Equal(&after.Tunnels[1]) {
		t.Errorf("%v: what was mended is another", err)
	}
	if err := os.Remove(after.File.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := after.File.Read(); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("%v", err)
	}
}

func TestWhatOfTheProcessHasChanged(t *testing.T) {
	t.Parallel()
	base := "status: localhost:6060\nquiet: [conns, conn-errs]\nlog-level: info\n" + server("allow-all: true")
	for name, tt := range map[string]struct {
		pairs []string
		want  []string
	}{
		"nothing":             {nil, nil},
		"a default, said":     {[]string{"tunnels:", "shutdown-timeout: 5m\nenable-pprof: false\ntunnels:"}, nil},
		"a default, unsaid":   {[]string{"log-level: info\n", ""}, nil},
		"a value":             {[]string{"6060", "6061"}, []string{"status"}},
		"one of a list":       {[]string{", conn-errs", ""}, []string{"quiet"}},
		"the order of a list": {[]string{"conns, conn-errs", "conn-errs, conns"}, []string{"quiet"}},
		"what is new":         {[]string{"tunnels:", "netstat: true\ntimed-reload: 1m\ntunnels:"}, []string{"timed-reload", "netstat"}},
		"a flag's":            {[]string{"tunnels:", "log-format: json\ntunnels:"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, err := fileOf(t, base, "--log-format", "text")
			if err != nil {
				t.Fatal(err)
			}
			after, err := rewrite(t, before, tt.pairs...)
			if err != nil {
				t.Fatal(err)
			}
			if got := after.File.Changed(before.File); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrorsAreLocated(t *testing.T) {
	t.Parallel()
	s, err := fileOf(t, "status: localhost:6060\ndefaults: {cacert: ca.pem}\n"+server("allow-all: true"))
	if err != nil {
		t.Fatal(err)
	}
	tunnel, process := s.Tunnels[0].Origin, s.File.Origin
	for _, tt := range []struct {
		origin     *Origin
		text, want string
	}{
		{tunnel, "--keystore id.pem: no such file", "8:3: keystore id.pem: no such file"},
		{tunnel, "--listen :8443: in use; use --no-resumption, --skip-resolve or --frobnicate", "6:3: listen :8443: in use; use resumption: false, skip-resolve: true or --frobnicate"},
		{tunnel, "--cacert ca.pem: no such file", "4:3: tunnel web: cacert ca.pem: no such file"},
		{tunnel, "something else", "4:3: tunnel web: something else"},
		{process, "--status localhost:6060: in use", "1:1: status localhost:6060: in use"},
	} {
		err := tt.origin.Locate(fmt.Errorf("%s: %w", tt.text, os.ErrNotExist))
		want := s.File.Path + ":" + tt.want + ": " + os.ErrNotExist.Error()
		if err.Error() != want || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := process.Locate(os.ErrExist); err != os.ErrExist { //nolint:errorlint // it is to be the same
		t.Errorf("what is in no line is at %v", err)
	}
	var none *Origin
	if err := none.Locate(os.ErrExist); err != os.ErrExist { //nolint:errorlint // it is to be the same
		t.Errorf("without a file: %v", err)
	}
	joined := tunnel.Locate(errors.Join(errors.New("--listen: a"), errors.New("--target: b")))
	if want := s.File.Path + ":6:3: listen: a\n" + s.File.Path + ":7:3: target: b"; joined.Error() != want {
		t.Errorf("%q, want %q", joined, want)
	}
	if err := tunnel.Locate(nil); err != nil {
		t.Error(err)
	}
}
