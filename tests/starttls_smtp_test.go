package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startPostfix starts a Postfix with more lines for its main.cf, and returns the
// file that its mail is delivered to.
func startPostfix(t *testing.T, p *pki, lines string) (address, inbox string) {
	t.Helper()
	if !full() {
		t.Skip("takes a Postfix; make test-full runs it")
	}
	if os.Geteuid() != 0 {
		skip(t, "Postfix starts as root alone")
	}
	h, identity := newHome(t, "postfix"), p.server(t)
	// The master runs as root and keeps a file of its own in the queue's directory.
	queue, mail, data := filepath.Join(h.dir, "queue"), h.mkdir(t, "mail"), h.mkdir(t, "data")
	for _, dir := range []string{"", "conf", "queue", "queue/pid"} {
		path := filepath.Join(h.dir, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address = reserve(t)
	h.write(t, "conf/main.cf", fmt.Appendf(nil, `
compatibility_level = 3.6
queue_directory = %s
data_directory = %s
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = /dev/stdout
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = example.com
virtual_mailbox_base = %s
virtual_mailbox_maps = static:inbox
virtual_uid_maps = static:%d
virtual_gid_maps = static:%d
smtpd_tls_CAfile = %s
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
%s
`, queue, data, mail, h.user.Uid, h.user.Gid, h.write(t, "ca.pem", p.PEM()), h.write(t, "cert.pem", identity.CertPEM()), h.write(t, "key.pem", identity.KeyPEM()), lines))
	var services strings.Builder
	fmt.Fprintf(&services, "%s inet n - n - - smtpd\n", address)
	for _, service := range []string{
		"pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "tlsmgr unix - - n 1000? 1 tlsmgr",
		"rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce",
		"verify unix - - n - 1 verify", "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap", "smtp unix - - n - - smtp",
		"error unix - - n - - error", "virtual unix - n n - - virtual", "anvil unix - - n - 1 anvil", "postlog unix-dgram n - n - 1 postlogd", //nolint:dupword // columns of master.cf
	} {
		services.WriteString(service + "\n")
	}
	h.write(t, "conf/master.cf", []byte(services.String()))
	for _, name := range []string{"main.cf", "master.cf"} {
		if err := os.Chown(filepath.Join(h.dir, "conf", name), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(h.dir, "conf")
	if out, err := exec.CommandContext(t.Context(), need(t, "postfix"), "-c", conf, "check").CombinedOutput(); err != nil {
		t.Fatalf("postfix check: %v\n%s", err, out)
	}
	cmd := exec.Command(need(t, "/usr/lib/postfix/sbin/master"), "-c", conf, "-s")
	cmd.WaitDelay = time.Second // its logger outlives it by some seconds, holding its output
	master := launch(t, cmd)
	t.Cleanup(func() { // which takes its services along
		master.signal(t, syscall.SIGTERM)
		<-master.done
	})
	accepting(t, "tcp", address)
	return address, filepath.Join(mail, "inbox")
}

// sendMail has curl send a mail with a subject, with more flags.
func sendMail(t *testing.T, address, subject string, flags ...string) (string, error) {
	t.Helper()
	args := append([]string{
		"--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--url", "smtp://localhost:" + port(t, address) + "/client.example.com",
		"--mail-from", "alice@example.com", "--mail-rcpt", "bob@example.com", "--upload-file", "-",
	}, flags...)
	cmd := exec.CommandContext(t.Context(), need(t, "curl"), args...)
	cmd.Stdin = strings.NewReader("Subject: " + subject + "\r\n\r\n" + strings.Repeat("sallyport\r\n", 20_000))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// delivered waits for a mail with the subject.
func delivered(t *testing.T, inbox, subject string) {
	t.Helper()
	eventually(t, "the mail "+subject, func() bool {
		mail, err := os.ReadFile(inbox)
		return err == nil && strings.Contains(string(mail), "\nSubject: "+subject+"\n")
	})
}

func TestCurlReachesPostfixBehindServerMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, inbox := startPostfix(t, p, "")
	listen := reserve(t)
	server := startServer(t, p, listen, backend, "--starttls", "smtp", "--allow-cn", "client")
	alice := p.client(t)
	encrypted := []string{"--ssl-reqd", "--cacert", p.root}
	known := append([]string{"--cert", alice.cert, "--key", alice.key}, encrypted...)

	if out, err := sendMail(t, listen, "known", known...); err != nil {
		t.Errorf("curl: %v, %s", err, out)
	}
	delivered(t, inbox, "known")
	if out, err := sendMail(t, listen, "unknown", encrypted...); err == nil {
		t.Errorf("curl without a certificate sent mail: %s", out)
	}
	server.waitLine(t, "no_certificate")
	if out, err := sendMail(t, listen, "plain"); err == nil {
		t.Errorf("curl without TLS sent mail: %s", out)
	}
	server.waitLine(t, "starttls_required")

	out := peerOutput(t, "QUIT\r\n", "openssl", "s_client", "-quiet", "-starttls", "smtp", "-name", "client.example.com", "-connect", listen,
		"-CAfile", p.root, "-verify_return_error", "-verify_hostname", "localhost", "-cert", alice.cert, "-key", alice.key)
	if out != "221 2.0.0 Bye\r\n" {
		t.Errorf("openssl s_client -starttls smtp: %q", out)
	}
	if code, body := server.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}
	server.stop(t)
}

func TestCurlReachesTLSPostfixThroughClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, inbox := startPostfix(t, p, "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes")
	if out, err := sendMail(t, backend, "direct"); err == nil {
		t.Errorf("Postfix takes plaintext: %s", out)
	}
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "smtp")
	if out, err := sendMail(t, listen, "through"); err != nil {
		t.Errorf("curl: %v, %s", err, out)
	}
	delivered(t, inbox, "through")
	if code, body := client.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}
	client.stop(t)
}

func TestPostfixWithoutTLSIsRefusedByClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, _ := startPostfix(t, p, "smtpd_tls_security_level = none")
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "smtp")
	if out, err := sendMail(t, listen, "refused"); err == nil {
		t.Errorf("curl sent mail: %s", out)
	}
	client.waitLine(t, "starttls_refused")
	client.stop(t)
}
