package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/auth"
	"sallyport/devpki"
)

// write puts files into dir.
func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// newIdentity makes a CA, and an identity that an intermediate of it issued.
func newIdentity(t *testing.T, dir string, request devpki.Request) {
	t.Helper()
	root, err := devpki.NewCA(devpki.Options{CommonName: "root"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := sub.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string][]byte{"ca.pem": root.PEM(), "server.pem": id.CertPEM(), "server-key.pem": id.KeyPEM()})
}

const (
	checkServer = "server --listen unix:@/in --target unix:@/out --cert @/server.pem --key @/server-key.pem --cacert @/ca.pem --allow-all "
	checkClient = "client --listen unix:@/in --target unix:@/out --override-server-name localhost --cert @/server.pem --key @/server-key.pem --cacert @/ca.pem "
)

func TestCheckReportsWhatAStartWouldLoad(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	now := time.Now()
	newIdentity(t, dir, devpki.Request{CommonName: "web", DNSNames: []string{"web.example"}, NotAfter: now.Add(10*day + time.Hour)})
	var out strings.Builder
	if err := Check(t.Context(), parse(t, dir, checkServer+"--status unix:@/status"), &out); err != nil {
		t.Errorf("Check: %v", err)
	}
	for _, want := range []string{
		"tunnel server (server mode)", "unix:" + dir + "/in", "unix:" + dir + "/out", "unix:" + dir + "/status",
		"--cert " + dir + "/server.pem with --key " + dir + "/server-key.pem",
		"ECDSA P-256, fits the certificate", "names      web.example",
		"CN=web, until ", "(10 days left)", "CN=sub, until ", "issued by  CN=root, which is trusted here too",
		"--cacert " + dir + "/ca.pem, 1 CA", "CN=root, until ",
		"first to run out: certificate CN=web, at ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
	for _, socket := range []string{"in", "status"} {
		if _, err := os.Lstat(filepath.Join(dir, socket)); err == nil {
			t.Errorf("the %s socket was opened", socket)
		}
	}
}

func TestCheckReportsPins(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	newIdentity(t, dir, devpki.Request{CommonName: "web", DNSNames: []string{"web.example"}})
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	own := auth.PinOf(pair.Leaf).String()
	var out strings.Builder
	if err := Check(t.Context(), parse(t, dir, checkClient+"--verify-spki-pin "+own), &out); err != nil {
		t.Errorf("Check: %v", err)
	}
	for _, want := range []string{"pin        " + own, "trust        1 pinned key, whatever else a certificate says; no CA counts"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
}

func TestCheckFindsWhatWouldNotWork(t *testing.T) {
	t.Parallel()
	now := time.Now()
	past := func(r devpki.Request) devpki.Request {
		r.NotBefore, r.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
		return r
	}
	named := devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}}
	clients := named
	clients.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	servers := named
	servers.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, test := range []struct {
		name    string
		request devpki.Request
		spoil   func(t *testing.T, dir string)
		line    string
		want    []string // parts of the problem
	}{
		{name: "nothing", request: named, line: checkServer},
		{name: "an identity for servers in server mode", request: servers, line: checkServer},
		{name: "an identity for clients in client mode", request: clients, line: checkClient},
		{name: "no identity, as was wanted", request: named, line: strings.Replace(checkClient, "--cert @/server.pem --key @/server-key.pem", "--disable-authentication", 1)},
		{name: "a made identity", request: named, line: strings.Replace(checkServer, "--cert @/server.pem --key @/server-key.pem", "--auto-tls", 1)},
		{name: "an expired identity", request: past(named), line: checkServer, want: []string{"--cert ", "CN=web expired at "}},
		{name: "an identity for clients in server mode", request: clients, line: checkServer, want: []string{"--cert ", "clients will refuse", "key usage"}},
		{name: "an identity for servers in client mode", request: servers, line: checkClient, want: []string{"--cert ", "servers will refuse", "key usage"}},
		{name: "a server without names", request: devpki.Request{CommonName: "web"}, line: checkServer, want: []string{"--cert ", "no SAN"}},
		{
			name: "another's key", request: named, line: checkServer, want: []string{"--key ", "fits no certificate"},
			spoil: func(t *testing.T, dir string) {
				other, err := os.ReadFile(filepath.Join(dir, "client-key.pem"))
				if err != nil {
					t.Fatal(err)
				}
				write(t, dir, map[string][]byte{"server-key.pem": other})
			},
		},
		{
			name: "trust that has expired", request: named, line: checkServer, want: []string{"--cacert ", "no CA in it is valid now"},
			spoil: func(t *testing.T, dir string) {
				ca, err := devpki.NewCA(devpki.Options{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
				if err != nil {
					t.Fatal(err)
				}
				write(t, dir, map[string][]byte{"ca.pem": ca.PEM()})
			},
		},
		{
			name: "garbage for trust", request: named, line: checkServer, want: []string{"--cacert "},
			spoil: func(t *testing.T, dir string) { write(t, dir, map[string][]byte{"ca.pem": []byte("garbage")}) },
		},
		{name: "a target that does not resolve", request: named, line: strings.Replace(checkServer, "unix:@/out", "absent.invalid:80 --unsafe-target", 1), want: []string{"--target absent.invalid:80: "}},
		{name: "a listener that does not resolve", request: named, line: strings.Replace(checkServer, "unix:@/in", "absent.invalid:80", 1), want: []string{"--listen absent.invalid:80: "}},
		{name: "an owner that there is not", request: named, line: checkServer + "--listen-owner nosuchuser", want: []string{`--listen-owner nosuchuser: no user "nosuchuser" on this system`}},
		{name: "a listener that systemd will hand over", request: named, line: strings.Replace(checkServer, "unix:@/in", "systemd:web", 1)},
		{name: "a status port on the listener's", request: named, line: "server --listen localhost:4711 --target unix:@/out --keystore @/server-combined.pem --cacert @/ca.pem --allow-all --status 127.0.0.1:4711", want: []string{"--status 127.0.0.1:4711: is where --listen localhost:4711 listens already"}},
		{name: "a status port that does not resolve", request: named, line: checkServer + "--status absent.invalid:80", want: []string{"--status absent.invalid:80: "}},
		{name: "a target that need not resolve", request: named, line: strings.Replace(checkServer, "unix:@/out", "absent.invalid:80 --unsafe-target --skip-resolve", 1)},
		{name: "an agent that is not there", request: named, line: "server --listen unix:@/in --target unix:@/out --use-workload-api-addr unix://@/agent --connect-timeout 1s --allow-all", want: []string{"--use-workload-api-addr unix:///", "nothing of use within --connect-timeout 1s, for which a check waits: "}},
		{name: "two things", request: past(devpki.Request{CommonName: "web"}), line: checkServer, want: []string{"expired at ", "; --cert ", "no SAN"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			newIdentity(t, dir, test.request)
			if test.spoil != nil {
				test.spoil(t, dir)
			}
			var out strings.Builder
			err := Check(t.Context(), parse(t, dir, test.line), &out)
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("Check: %v\n%s", err, &out)
			}
			if strings.Contains(out.String(), "PROBLEM") != (err != nil) {
				t.Errorf("error %v, but the report is\n%s", err, &out)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q without %q", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %q", err)
			}
		})
	}
}

func TestTheReportTellsWhichListsCount(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	now := time.Now()
	root, err := devpki.NewCA(devpki.Options{CommonName: "root"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := sub.Issue(devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	trust := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sub.Certificate().Raw})
	write(t, dir, map[string][]byte{"ca.pem": trust, "server.pem": id.CertPEM(), "server-key.pem": id.KeyPEM()})
	writeCRL(t, filepath.Join(dir, "above"), root, now.Add(-time.Hour))
	writeCRL(t, filepath.Join(dir, "expired"), sub, now.Add(-time.Hour))
	writeCRL(t, filepath.Join(dir, "fresh"), sub, now.Add(day))

	var out strings.Builder
	if err := Check(t.Context(), parse(t, dir, checkServer+"--crl @/above --crl @/expired --crl @/fresh"), &out); err != nil {
		t.Errorf("Check: %v", err)
	}
	for _, want := range []string{"WARNING    it counts for nobody", "another list of that issuer lasts longer", "first to run out: --crl " + dir + "/fresh"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
	if err := Check(t.Context(), parse(t, dir, checkServer+"--crl @/expired"), &out); err == nil || !strings.Contains(err.Error(), "/expired: expired at ") {
		t.Errorf("Check with an expired list alone: %v", err)
	}
}

func TestCheckReportsOnTicketKeys(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	newIdentity(t, dir, devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}})
	keys := filepath.Join(dir, "tickets")
	check := func(text string, mode os.FileMode) (report string, err error) {
		write(t, dir, map[string][]byte{"tickets": []byte(text)})
		if err := os.Chmod(keys, mode); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = Check(t.Context(), parse(t, dir, checkServer+"--session-ticket-keys @/tickets"), &out)
		return out.String(), err
	}
	const secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const warning = "every user of this machine may read the keys"
	report, err := check(secret+"\n"+strings.ToUpper(secret[1:])+"0\n", 0o600)
	if err != nil || !strings.Contains(report, "--session-ticket-keys "+keys+": 2 keys, of which the first seals") || strings.Contains(report, warning) {
		t.Errorf("%v:\n%s", err, report)
	}
	if report, err = check(secret, 0o644); err != nil || !strings.Contains(report, warning) {
		t.Errorf("of a file that all may read: %v:\n%s", err, report)
	}
	report, err = check(secret[1:], 0o600)
	if err == nil || !strings.Contains(err.Error(), "--session-ticket-keys "+keys+": line 1: not a key") || strings.Contains(report+err.Error(), secret[1:]) {
		t.Errorf("of half a key: %v:\n%s", err, report)
	}
}

func TestAReportHasNoLinesThatACertificateMadeUp(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	newIdentity(t, dir, devpki.Request{CommonName: "web\nfirst to run out: never\x1b[2J", DNSNames: []string{"localhost"}})
	var out strings.Builder
	if err := Check(t.Context(), parse(t, dir, checkServer), &out); err != nil {
		t.Error(err)
	}
	if strings.Contains(out.String(), "\nfirst to run out: never") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q", out.String())
	}
}

func TestTimeLeftInWords(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, test := range []struct {
		left time.Duration
		want string
	}{
		{-time.Second, "EXPIRED"},
		{time.Minute, "1 minute left"},
		{119 * time.Minute, "119 minutes left"},
		{2 * time.Hour, "2 hours left"},
		{47 * time.Hour, "47 hours left"},
		{2 * day, "2 days left"},
		{400 * day, "400 days left"},
	} {
		if got := left(now.Add(test.left), now); got != test.want {
			t.Errorf("%v: %q, want %q", test.left, got, test.want)
		}
	}
}
