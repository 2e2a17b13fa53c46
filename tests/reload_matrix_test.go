package tests

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

// The files that a reload reads, by the flag that names each.
const (
	fileCert     = "cert"
	fileKey      = "key"
	fileKeystore = "keystore"
	fileCA       = "cacert"
	fileCRL      = "crl"
)

// faults is what can be wrong with each file, in the words of the matrix. A key
// cannot expire, and trust fits anything.
var faults = map[string][]string{
	fileCert:     {"garbage", "truncated", "empty", "missing", "unreadable", "mismatched", "expired"},
	fileKey:      {"garbage", "truncated", "empty", "missing", "unreadable", "mismatched"},
	fileKeystore: {"garbage", "truncated", "empty", "missing", "unreadable", "mismatched", "expired"},
	fileCA:       {"garbage", "truncated", "empty", "missing", "unreadable", "expired"},
	fileCRL:      {"garbage", "truncated", "empty", "missing", "unreadable", "mismatched", "expired"},
}

// TestReloadMatrix has every file fail in every way: what was loaded before
// serves on, the log has one line about it, status and metrics tell, and the
// next good file heals.
func TestReloadMatrix(t *testing.T) {
	t.Parallel()
	t.Run("SIGHUP", func(t *testing.T) {
		t.Parallel()
		eachFile(t, func(p *process) { p.signal(t, syscall.SIGHUP) }, "--no-watch-files")
	})
	t.Run("timer", func(t *testing.T) {
		t.Parallel()
		eachFile(t, func(*process) {}, "--no-watch-files", "--timed-reload", "50ms")
	})
	t.Run("watch", func(t *testing.T) {
		t.Parallel()
		// A file that is seen to be bad may be half of a pair, and is given ten
		// seconds; so all cells wait at the same time.
		var cells []*reloading
		for file, kinds := range faults {
			for _, fault := range kinds {
				r := startReloading(t, file)
				r.spoil(t, fault)
				cells = append(cells, r)
			}
		}
		for _, r := range cells {
			r.wantFailure(t)
		}
		for _, r := range cells {
			r.heal(t)
		}
		for _, r := range cells {
			r.wantHealed(t)
		}
	})
}

// eachFile has each file of a process of its own fail in one way after another.
func eachFile(t *testing.T, trigger func(*process), flags ...string) {
	for file, kinds := range faults {
		r := startReloading(t, file, flags...)
		for _, fault := range kinds {
			r.spoil(t, fault)
			trigger(r.server)
			r.wantFailure(t)
			r.heal(t)
			trigger(r.server)
			r.wantHealed(t)
		}
	}
}

// reloading is a server of which one file goes bad and gets well again.
type reloading struct {
	pki    *pki
	server *process
	listen string
	client *devpki.Identity
	id     *devpki.Identity

	file, path string // which file it is
	fault      string // what was last wrong with it
	failures   int    // how often it was

	wanted reloadState // what healing is to bring
	served reloadState // what is in use
}

// reloadState is what tells one good file from the next.
type reloadState struct {
	serial     string // of the identity
	cas        int    // trusted
	nextUpdate int64  // of the revocation list
}

// startReloading starts a server whose file of that kind is to be changed.
func startReloading(t *testing.T, file string, flags ...string) *reloading {
	t.Helper()
	p := newPKI(t)
	id := p.server(t)
	r := &reloading{pki: p, listen: reserve(t), client: p.client(t).Identity, id: id.Identity, file: file}
	crl := filepath.Join(p.dir, "crl.pem")
	next := time.Now().Add(time.Hour).Truncate(time.Second)
	writeFile(t, crl, newCRL(t, p.CA, next))
	r.served = reloadState{serial: id.Leaf.SerialNumber.Text(16), cas: 1, nextUpdate: next.Unix()}
	r.path = map[string]string{fileCert: id.cert, fileKey: id.key, fileKeystore: id.combined, fileCA: p.root, fileCRL: crl}[file]

	service := serve(t, "tcp", echo)
	args := []string{
		"server", "--listen", r.listen, "--target", service.address, "--allow-cn", "client",
		"--cacert", p.root, "--crl", crl, "--status", "http://" + reserve(t),
	}
	if file == fileKeystore {
		args = append(args, "--keystore", id.combined)
	} else {
		args = append(args, id.flags()...)
	}
	r.server = start(t, append(args, flags...)...)
	r.wantServing(t)
	return r
}

// newCRL makes an empty revocation list that is good until then.
func newCRL(t *testing.T, ca *devpki.CA, nextUpdate time.Time) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number:     big.NewInt(nextUpdate.Unix()),
		ThisUpdate: nextUpdate.Add(-24 * time.Hour),
		NextUpdate: nextUpdate,
	}, ca.Certificate(), ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// reissue makes another certificate for the key that the server has.
func (r *reloading) reissue(t *testing.T, notBefore, notAfter time.Time) (certificate []byte, serial string) {
	t.Helper()
	template := *r.id.Leaf
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = notBefore, notAfter
	der, err := x509.CreateCertificate(rand.Reader, &template, r.pki.Certificate(), r.id.Leaf.PublicKey, r.pki.Key())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), template.SerialNumber.Text(16)
}

// spoil replaces the file by one that cannot be used.
func (r *reloading) spoil(t *testing.T, fault string) {
	t.Helper()
	r.fault = fault
	r.failures++
	good, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	switch fault {
	case "garbage":
		replaceFile(t, r.path, []byte("this is no file of any kind that is known\n"))
	case "truncated":
		replaceFile(t, r.path, good[:len(good)*2/3])
	case "empty":
		replaceFile(t, r.path, nil)
	case "missing":
		if err := os.Remove(r.path); err != nil {
			t.Fatal(err)
		}
	case "unreadable":
		// Even to root, who may read what has no permissions.
		loop := r.path + ".loop"
		if err := os.Symlink(r.path, loop); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(loop, r.path); err != nil {
			t.Fatal(err)
		}
	case "mismatched":
		replaceFile(t, r.path, r.mismatched(t))
	case "expired":
		replaceFile(t, r.path, r.expired(t, now.Add(-2*time.Hour), now.Add(-time.Hour)))
	}
}

// mismatched is what belongs to somebody else.
func (r *reloading) mismatched(t *testing.T) []byte {
	t.Helper()
	other, err := r.pki.Issue(devpki.Request{CommonName: "other", DNSNames: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	switch r.file {
	case fileCert:
		return other.CertPEM()
	case fileKey:
		return other.KeyPEM()
	case fileKeystore:
		return append(other.CertPEM(), r.id.KeyPEM()...)
	}
	namesake, err := devpki.NewCA(devpki.Options{CommonName: r.pki.Certificate().Subject.CommonName})
	if err != nil {
		t.Fatal(err)
	}
	return newCRL(t, namesake, time.Now().Add(time.Hour))
}

// culprit is what an error names.
func (r *reloading) culprit() string {
	if r.file == fileCRL && r.fault == "mismatched" {
		return "no --crl has the CRL of " // the list is a good one, of somebody else
	}
	return "--" + r.file + " " + r.path
}

// expired is what was good once.
func (r *reloading) expired(t *testing.T, from, until time.Time) []byte {
	t.Helper()
	switch r.file {
	case fileCert, fileKeystore:
		certificate, _ := r.reissue(t, from, until)
		if r.file == fileKeystore {
			return append(certificate, r.id.KeyPEM()...)
		}
		return certificate
	case fileCA:
		ca, err := devpki.NewCA(devpki.Options{NotBefore: from, NotAfter: until})
		if err != nil {
			t.Fatal(err)
		}
		return ca.PEM()
	}
	return newCRL(t, r.pki.CA, until)
}

// heal replaces the file by a good one that has not been there before.
func (r *reloading) heal(t *testing.T) {
	t.Helper()
	r.wanted = r.served
	now := time.Now()
	switch r.file {
	case fileCert, fileKeystore:
		certificate, serial := r.reissue(t, now.Add(-time.Hour), now.Add(time.Hour))
		if r.file == fileKeystore {
			certificate = append(certificate, r.id.KeyPEM()...)
		}
		r.wanted.serial = serial
		replaceFile(t, r.path, certificate)
	case fileKey:
		replaceFile(t, r.path, r.id.KeyPEM())
	case fileCA:
		bundle := r.pki.PEM()
		for range r.served.cas {
			ca, err := devpki.NewCA(devpki.Options{})
			if err != nil {
				t.Fatal(err)
			}
			bundle = append(bundle, ca.PEM()...)
		}
		r.wanted.cas++
		replaceFile(t, r.path, bundle)
	case fileCRL:
		next := time.Unix(r.served.nextUpdate+1, 0)
		r.wanted.nextUpdate = next.Unix()
		replaceFile(t, r.path, newCRL(t, r.pki.CA, next))
	}
}

// replaceFile puts a file in the place of another in one step.
func replaceFile(t *testing.T, path string, data []byte) {
	t.Helper()
	next := path + ".next"
	writeFile(t, next, data)
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// wantFailure waits until the server tells of the fault, once, and serves on
// as before.
func (r *reloading) wantFailure(t *testing.T) {
	t.Helper()
	what := fmt.Sprintf("--%s %s, %s", r.file, r.path, r.fault)
	lines := r.server.waitLines(t, r.failures, "reload failed")
	if last := lines[len(lines)-1]; !strings.Contains(last, r.culprit()) {
		t.Errorf("%s: the log does not name it: %s", what, last)
	}
	var report reloadReport
	eventually(t, "the status tells of "+what, func() bool {
		report = r.report(t)
		return report.Message == "listening" && report.LastReloadError != ""
	})
	if !strings.Contains(report.LastReloadError, r.culprit()) {
		t.Errorf("%s: last_reload_error is %q", what, report.LastReloadError)
	}
	if !report.OK {
		t.Errorf("%s: the status is not ok", what)
	}
	if got := r.state(t); got != r.served {
		t.Errorf("%s: in use is %+v, before it was %+v", what, got, r.served)
	}
	if n := metricOf(t, r.server, `sallyport_reload_total{result="failure",tunnel="server"}`); n < float64(r.failures) {
		t.Errorf("%s: %v failures counted, want %d", what, n, r.failures)
	}
	r.wantServing(t)
}

// wantHealed waits until the new file is in use.
func (r *reloading) wantHealed(t *testing.T) {
	t.Helper()
	what := fmt.Sprintf("--%s %s after it was %s", r.file, r.path, r.fault)
	eventually(t, "a good "+what+" is in use", func() bool {
		report := r.report(t)
		return report.Message == "listening" && report.LastReloadError == "" && r.state(t) == r.wanted
	})
	report := r.report(t)
	if report.LastReloadSuccess.IsZero() || report.LastReloadSuccess.Before(report.Started) {
		t.Errorf("%s: last_reload_success is %v", what, report.LastReloadSuccess)
	}
	at := metricOf(t, r.server, `sallyport_reload_last_success_timestamp_seconds{tunnel="server"}`)
	if at < float64(report.LastReloadSuccess.Unix()-1) {
		t.Errorf("%s: the metric has %v for the last success, the status %v", what, at, report.LastReloadSuccess)
	}
	if lines := r.server.lines("reload failed"); len(lines) != r.failures {
		t.Errorf("%s: %d lines of failure for %d faults:\n%s", what, len(lines), r.failures, strings.Join(lines, "\n"))
	}
	r.served = r.wanted
	r.wantServing(t)
}

// wantServing sends something through the server, and wants the certificate
// that should be in use.
func (r *reloading) wantServing(t *testing.T) {
	t.Helper()
	raw := dial(t, "tcp", r.listen)
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{
		RootCAs: r.pki.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{r.client.TLSCertificate()},
	})
	if err := echoes(conn); err != nil {
		t.Fatalf("--%s %s: %v", r.file, r.fault, err)
	}
	if serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16); serial != r.served.serial {
		t.Errorf("--%s %s: served with %s, want %s", r.file, r.fault, serial, r.served.serial)
	}
}

// echoes sends a line, and wants it back.
func echoes(conn io.ReadWriter) error {
	const line = "is anybody there?\n"
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && got != line {
		return fmt.Errorf("got %q back", got)
	}
	return err
}

// reloadReport is what /_status says about reloads.
type reloadReport struct {
	OK                bool      `json:"ok"`
	Message           string    `json:"message"`
	Started           time.Time `json:"started"`
	LastReloadSuccess time.Time `json:"last_reload_success"`
	LastReloadError   string    `json:"last_reload_error"`
	Certificates      []struct{ Role, Serial string }
}

func (r *reloading) report(t *testing.T) (report reloadReport) {
	t.Helper()
	r.server.status.getJSON(t, "/_status", &report)
	return report
}

// state is what the server says is in use; status and metrics must agree.
func (r *reloading) state(t *testing.T) (s reloadState) {
	t.Helper()
	for _, c := range r.report(t).Certificates {
		switch c.Role {
		case "identity":
			s.serial = c.Serial
		case "ca":
			s.cas++
		}
	}
	next := samples(t, r.server, "sallyport_crl_next_update_timestamp_seconds")
	if len(next) != 1 {
		t.Fatalf("revocation lists: %v", next)
	}
	for _, value := range next {
		s.nextUpdate = int64(value)
	}
	return s
}

// samples returns what a process's /metrics have under a name, by the whole of
// each sample's name and labels.
func samples(t *testing.T, p *process, name string) map[string]float64 {
	t.Helper()
	_, body := p.status.get(t, "/metrics")
	found := map[string]float64{}
	for line := range strings.Lines(body) {
		sample, value, ok := cutLast(strings.TrimSpace(line), " ")
		if !ok || sample != name && !strings.HasPrefix(sample, name+"{") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		found[sample] = number
	}
	return found
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// metricOf is the value of one sample.
func metricOf(t *testing.T, p *process, sample string) float64 {
	t.Helper()
	name, _, _ := strings.Cut(sample, "{")
	all := samples(t, p, name)
	value, ok := all[sample]
	if !ok {
		t.Fatalf("no %s among %v", sample, all)
	}
	return value
}

// TestCertificatesAreTheSameInStatusAndMetrics compares the two with the files.
func TestCertificatesAreTheSameInStatusAndMetrics(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	sub, err := p.Intermediate(devpki.Options{CommonName: "sub", NotAfter: time.Now().Add(20 * 24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	id, err := sub.Issue(devpki.Request{CommonName: "server", DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(10 * 24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	keystore := filepath.Join(p.dir, "keystore.pem")
	writeFile(t, keystore, id.CombinedPEM())
	server := start(t, "server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all",
		"--keystore", keystore, "--cacert", p.root, "--status", "http://"+reserve(t))

	var report struct {
		Certificates []struct {
			Role, Subject, Serial string
			NotAfter              time.Time `json:"not_after"`
		}
	}
	server.status.getJSON(t, "/_status", &report)
	want := map[string]float64{}
	held := []*x509.Certificate{id.Leaf, sub.Certificate(), p.Certificate()}
	if len(report.Certificates) != len(held) {
		t.Fatalf("status has %+v", report.Certificates)
	}
	for i, c := range report.Certificates {
		role := []string{"identity", "intermediate", "ca"}[i]
		if c.Role != role || c.Subject != held[i].Subject.String() || c.Serial != held[i].SerialNumber.Text(16) || !c.NotAfter.Equal(held[i].NotAfter) {
			t.Errorf("status has %+v for %s", c, held[i].Subject)
		}
		want[fmt.Sprintf("sallyport_certificate_not_after_timestamp_seconds{role=%q,serial=%q,subject=%q,tunnel=\"server\"}", role, c.Serial, c.Subject)] = float64(c.NotAfter.Unix())
	}
	got := samples(t, server, "sallyport_certificate_not_after_timestamp_seconds")
	for sample, value := range want {
		if got[sample] != value {
			t.Errorf("metrics have %v for %s, want %v", got[sample], sample, value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("metrics have %v, want %v", got, want)
	}

	// Two of the three expire within 30 days: one line each, for today.
	lines := server.waitLines(t, 2, "level=WARN", "will expire soon")
	if len(lines) != 2 || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, id.Leaf.SerialNumber.Text(16)) }) {
		t.Errorf("warnings: %q", lines)
	}
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "msg=reloaded")
	server.stop(t)
	if again := server.lines("will expire soon"); len(again) != 2 {
		t.Errorf("a reload brought more warnings: %q", again)
	}
}
