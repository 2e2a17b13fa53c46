package tests

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/devpki"
)

// TestNothingWeakIsOffered has OpenSSL offer less than is taken and, in the long
// variant, testssl.sh look for everything that it knows.
func TestNothingWeakIsOffered(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	id := p.issue(t, "server", devpki.Request{CommonName: "server", DNSNames: []string{"localhost"}, IPs: loopback})
	// testssl.sh wants to be told where revocation can be looked up.
	template := *id.Leaf
	template.CRLDistributionPoints = []string{"http://localhost/ca.crl"}
	der, err := x509.CreateCertificate(rand.Reader, &template, p.Certificate(), id.Leaf.PublicKey, p.Key())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, id.cert, certPEM(leaf))
	start(t, append(id.flags(), "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
		"--cacert", p.root, "--allow-cn", "client", "--status", "http://"+reserve(t))...)

	t.Run("OpenSSL", func(t *testing.T) {
		t.Parallel()
		client := p.client(t)
		for _, test := range []struct {
			name  string
			flags []string
			taken bool
		}{
			{"TLS 1.3", []string{"-tls1_3"}, true},
			{"TLS 1.2", []string{"-tls1_2"}, true},
			{"TLS 1.1", []string{"-tls1_1"}, false},
			{"TLS 1.0", []string{"-tls1"}, false},
			{"no forward secrecy", []string{"-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"}, false},
			{"CBC", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"}, false},
			{"finite fields", []string{"-tls1_2", "-cipher", "kDHE:@SECLEVEL=0"}, false},
			{"nobody who signs", []string{"-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"}, false},
		} {
			args := append([]string{"s_client", "-connect", listen, "-CAfile", p.root, "-cert", client.cert, "-key", client.key}, test.flags...)
			if !slices.Contains(args, "-cipher") {
				args = append(args, "-cipher", "ALL:@SECLEVEL=0")
			}
			out, err := exec.CommandContext(t.Context(), need(t, "openssl"), args...).CombinedOutput()
			if (err == nil) != test.taken {
				t.Errorf("%s: %v, want taken %t\n%s", test.name, err, test.taken, out)
			}
			if !test.taken && !strings.Contains(string(out), "alert") {
				t.Errorf("%s: OpenSSL was not refused by an alert:\n%s", test.name, out)
			}
		}
	})
	if full() {
		t.Run("testssl.sh", func(t *testing.T) {
			t.Parallel()
			testssl(t, listen, p.root)
		})
	}
}

// testssl fails the test for each finding above LOW.
func testssl(t *testing.T, address, root string) {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), need(t, "testssl"), "--quiet", "--color", "0", "--warnings", "off", "--ip", "one",
		"--add-ca", root, "--jsonfile", report, "localhost:"+port(t, address))
	out, err := cmd.CombinedOutput()
	data, readErr := os.ReadFile(report)
	if readErr != nil {
		t.Fatalf("testssl.sh: %v, %v\n%s", err, readErr, out) // else its exit code counts what it found
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(data, &findings); err != nil {
		t.Fatal(err)
	}
	passed, ended := 0, false
	for _, finding := range findings {
		switch finding.Severity {
		case "OK":
			passed++
		case "INFO", "DEBUG", "LOW", "WARN": // WARN is about testssl.sh itself
		default:
			t.Errorf("%s: %s %s", finding.Severity, finding.ID, finding.Finding)
		}
		ended = ended || finding.ID == "scanTime"
	}
	// It reports about a hundred things; a scan that reached nothing, few.
	if passed < 30 || !ended {
		t.Errorf("%d findings are OK, and the scan ended is %t:\n%s", passed, ended, out)
	}
}
