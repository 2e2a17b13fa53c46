package tests

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// startSlapd starts an OpenLDAP server, which has one entry and an administrator
// with the password "secret". It insists on TLS with a certificate of p, or, if p
// is nil, has no TLS.
func startSlapd(t *testing.T, p *pki) (address string) {
	t.Helper()
	h, tls := newHome(t, "openldap"), ""
	if p != nil {
		identity := p.server(t)
		tls = fmt.Sprintf(`
TLSCACertificateFile %s
TLSCertificateFile %s
TLSCertificateKeyFile %s
TLSVerifyClient demand
security tls=128
`, h.write(t, "ca.pem", p.PEM()), h.write(t, "cert.pem", identity.CertPEM()), h.write(t, "key.pem", identity.KeyPEM()))
	}
	address = reserve(t)
	config := h.write(t, "slapd.conf", fmt.Appendf(nil, `
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
%s
database mdb
suffix dc=example
rootdn cn=admin,dc=example
rootpw secret
directory %s
`, tls, h.mkdir(t, "data")))
	entry := h.write(t, "entry.ldif", []byte("dn: dc=example\nobjectClass: organization\nobjectClass: dcObject\ndc: example\no: Sallyport\n"))
	h.run(t, "slapadd", "-f", config, "-l", entry)
	launch(t, h.command(t, "slapd", "-f", config, "-h", "ldap://"+address, "-d", "0"))
	accepting(t, "tcp", address)
	return address
}

// ldapsearch asks for the one entry, with more flags, and with variables
// (NAME=value) for the client's library. As that one takes "localhost" for the
// name of this machine, it is given the IP address.
func ldapsearch(t *testing.T, address string, variables []string, flags ...string) (string, error) {
	t.Helper()
	args := append([]string{"-x", "-LLL", "-H", "ldap://" + address, "-D", "cn=admin,dc=example", "-w", "secret", "-b", "dc=example"}, flags...)
	cmd := exec.CommandContext(t.Context(), need(t, "ldapsearch"), append(args, "o")...)
	cmd.Env = append([]string{"HOME=" + t.TempDir()}, variables...) // where its library looks for settings
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const entryFound = "dn: dc=example\no: Sallyport\n\n"

func TestLdapsearchReachesSlapdBehindServerMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend := startSlapd(t, nil)
	listen := reserve(t)
	server := startServer(t, p, listen, backend, "--starttls", "ldap", "--allow-cn", "client")
	alice := p.client(t)
	encrypted := []string{"LDAPTLS_CACERT=" + p.root, "LDAPTLS_REQCERT=demand"}
	known := append([]string{"LDAPTLS_CERT=" + alice.cert, "LDAPTLS_KEY=" + alice.key}, encrypted...)

	if out, err := ldapsearch(t, listen, known, "-ZZ"); err != nil || out != entryFound {
		t.Errorf("ldapsearch -ZZ: %v, %s", err, out)
	}
	if out, err := ldapsearch(t, listen, encrypted, "-ZZ"); err == nil {
		t.Errorf("ldapsearch -ZZ without a certificate was answered: %s", out)
	}
	server.waitLine(t, "no_certificate")
	if out, err := ldapsearch(t, listen, nil); err == nil || !strings.Contains(out, "Confidentiality required (13)") {
		t.Errorf("ldapsearch without TLS: %v, %s", err, out)
	}
	server.waitLine(t, "starttls_required")
	if code, body := server.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}
	server.stop(t)
}

func TestLdapsearchReachesTLSSlapdThroughClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend := startSlapd(t, p)
	if out, err := ldapsearch(t, backend, nil); err == nil || !strings.Contains(out, "Confidentiality required (13)") {
		t.Errorf("slapd takes plaintext: %v, %s", err, out)
	}
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "ldap")
	if out, err := ldapsearch(t, listen, nil); err != nil || out != entryFound {
		t.Errorf("ldapsearch: %v, %s", err, out)
	}
	if code, body := client.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}
	client.stop(t)
}

func TestSlapdWithoutTLSIsRefusedByClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend := startSlapd(t, nil)
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "ldap")
	if out, err := ldapsearch(t, listen, nil); err == nil {
		t.Errorf("ldapsearch was answered: %s", out)
	}
	client.waitLine(t, "starttls_refused")
	client.stop(t)
}
