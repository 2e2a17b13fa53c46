package sidecar

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentialsForAProxyAreReadFromAFile(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	path := filepath.Join(t.TempDir(), "auth")
	for _, test := range []struct{ text, password, wrong string }{
		{"me:" + secret, secret, ""},
		{"me:" + secret + "\n", secret, ""},
		{"me:" + secret + "\r\n", secret, ""},
		{"me: " + secret + ":x", " " + secret + ":x", ""},
		{secret, "", "no colon in it"},
		{":" + secret, "", "no user"},
		{"me:" + secret + "\nyou:" + secret, "", "control character"},
		{"me:" + strings.Repeat(secret, 1000), "", "larger than 4096 bytes"},
	} {
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readCredentials(path)
		switch {
		case test.wrong != "":
			if err == nil || !strings.Contains(err.Error(), test.wrong) || strings.Contains(err.Error(), secret) {
				t.Errorf("%.30q: %v, want %q and no secret", test.text, err, test.wrong)
			}
		case err != nil || *got != credentials{"me", test.password}:
			t.Errorf("%q: %v, %v", test.text, got, err)
		}
	}
	if _, err := readCredentials(path + ".none"); !os.IsNotExist(err) || strings.Contains(err.Error(), path) {
		t.Errorf("of a file that is not there: %v", err)
	}
}
