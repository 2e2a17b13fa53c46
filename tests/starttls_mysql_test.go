package tests

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// startMariaDB starts a MariaDB with the given flags that speaks plaintext, and
// TLS to whoever asks for it. It has a user for each plugin, with the password
// "secret": native, ed25519 and, for TLS alone, secure.
func startMariaDB(t *testing.T, p *pki, flags ...string) (address, socket string, server *process) {
	t.Helper()
	if !full() {
		t.Skip("takes a MariaDB; make test-full runs it")
	}
	h, identity := newHome(t, "mysql"), p.server(t)
	data := filepath.Join(h.dir, "data")
	h.run(t, "mariadb-install-db", "--no-defaults", "--user="+h.name, "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M")
	socket, address = filepath.Join(h.dir, "socket"), reserve(t)
	args := []string{
		"--no-defaults", "--datadir=" + data, "--socket=" + socket, "--bind-address=127.0.0.1", "--port=" + port(t, address),
		"--skip-log-bin", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--plugin-load-add=auth_ed25519",
		"--ssl-ca=" + h.write(t, "ca.pem", p.PEM()),
		"--ssl-cert=" + h.write(t, "cert.pem", identity.CertPEM()),
		"--ssl-key=" + h.write(t, "key.pem", identity.KeyPEM()),
	}
	server = launch(t, h.command(t, "mariadbd", append(args, flags...)...))
	accepting(t, "unix", socket)
	peerOutput(t, `
		create user native identified via mysql_native_password using password('secret');
		create user ed25519 identified via ed25519 using password('secret');
		create user secure identified by 'secret' require x509;
		grant process on *.* to native, ed25519, secure;
	`, "mariadb", "--no-defaults", "--socket="+socket, "--user=root")
	return address, socket, server
}

// mariadb asks a MariaDB at an address as a user.
func mariadb(t *testing.T, address, user, query string, flags ...string) (string, error) {
	t.Helper()
	args := append([]string{
		"--no-defaults", "--protocol=TCP", "--host=127.0.0.1", "--port=" + port(t, address), "--user=" + user, "--password=secret",
		"--skip-column-names", "--batch", "--connect-timeout=30", "--execute=" + query,
	}, flags...)
	out, err := exec.CommandContext(t.Context(), need(t, "mariadb"), args...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// whoAmI asks who is there, and whether the server sees TLS.
const whoAmI = "select concat(user(), ' ', variable_value <> '') from information_schema.session_status where variable_name = 'Ssl_cipher'"

func TestMariaDBClientReachesMariaDBBehindServerMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, socket, _ := startMariaDB(t, p)
	alice := p.client(t)
	encrypted := []string{"--ssl", "--ssl-ca=" + p.root, "--ssl-verify-server-cert", "--host=localhost"}
	known := append([]string{"--ssl-cert=" + alice.cert, "--ssl-key=" + alice.key}, encrypted...)

	for _, target := range []string{backend, "unix:" + socket} {
		listen := reserve(t)
		server := startServer(t, p, listen, target, "--starttls", "mysql", "--allow-cn", "client")

		connections := func() int {
			out := peerOutput(t, "select variable_value from information_schema.global_status where variable_name = 'Connections'",
				"mariadb", "--no-defaults", "--socket="+socket, "--user=root", "--skip-column-names", "--batch")
			n, err := strconv.Atoi(strings.TrimSpace(out))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := connections()
		if out, err := mariadb(t, listen, "native", whoAmI, encrypted...); err == nil {
			t.Errorf("mariadb without a certificate was answered: %s", out)
		}
		server.waitLine(t, "no_certificate")
		if out, err := mariadb(t, listen, "native", whoAmI, "--skip-ssl"); err == nil || !strings.Contains(out, "ERROR 3159") {
			t.Errorf("mariadb without TLS: %v, %s", err, out)
		}
		server.waitLine(t, "starttls_required")
		if after := connections(); after != before+1 { // the one that asks this
			t.Errorf("MariaDB has seen what was refused: %d connections, then %d", before, after)
		}

		for range 2 { // the second greeting is in the manner of the target's own
			for _, user := range []string{"native", "ed25519"} {
				out, err := mariadb(t, listen, user, whoAmI, known...)
				if err != nil || !strings.HasPrefix(out, user+"@localhost") || !strings.HasSuffix(out, " 0") {
					t.Errorf("mariadb as %s: %v, %s", user, err, out)
				}
			}
			for _, flags := range [][]string{{"--compress"}, {"--database=information_schema"}, {"--default-auth=ed25519"}} {
				if out, err := mariadb(t, listen, "native", whoAmI, append(known, flags...)...); err != nil {
					t.Errorf("mariadb %s: %v, %s", flags, err, out)
				}
			}
		}
		if out, err := mariadb(t, listen, "native", "select 1", append(known, "--password=wrong")...); err == nil || !strings.Contains(out, "ERROR 1045 (28000): Access denied") {
			t.Errorf("mariadb with a wrong password: %v, %s", err, out)
		}
		const rows = 100_000
		out, err := mariadb(t, listen, "native", "select concat('sallyport ', seq) from (with recursive n as (select 1 seq union all select seq + 1 from n where seq < 100000) select seq from n) x",
			append(known, "--init-command=set max_recursive_iterations=1000000")...)
		if n := strings.Count(out, "\n") + 1; err != nil || n != rows {
			t.Errorf("%d rows, want %d; %v", n, rows, err)
		}
		if code, body := server.status.get(t, "/_status"); code != 200 {
			t.Errorf("/_status: %d %s", code, body)
		}
		server.stop(t)
	}
}

func TestMariaDBClientReachesTLSMariaDBThroughClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, _, _ := startMariaDB(t, p)
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "mysql")
	for _, flags := range [][]string{nil, {"--compress"}, {"--database=information_schema"}} {
		if out, err := mariadb(t, listen, "secure", whoAmI, flags...); err != nil || out != "secure@localhost 1" {
			t.Errorf("mariadb %s: %v, %s", flags, err, out)
		}
	}
	if out, err := mariadb(t, listen, "ed25519", whoAmI); err != nil || out != "ed25519@localhost 1" {
		t.Errorf("mariadb as ed25519: %v, %s", err, out)
	}
	if out, err := mariadb(t, listen, "secure", whoAmI, "--ssl", "--ssl-verify-server-cert"); err == nil {
		t.Errorf("mariadb that insists on TLS of its own was answered: %s", out)
	}
	if code, body := client.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}

	// The client interrupts a statement by its connection's number, over a
	// connection of its own.
	sleeper := launch(t, exec.CommandContext(t.Context(), need(t, "mariadb"), "--no-defaults", "--protocol=TCP", "--host=127.0.0.1",
		"--port="+port(t, listen), "--user=secure", "--password=secret", "--execute=do sleep(600)"))
	eventually(t, "the statement runs", func() bool {
		out, err := mariadb(t, listen, "secure", "select count(*) from information_schema.processlist where info like 'do sleep%'")
		return err == nil && out == "1"
	})
	sleeper.signal(t, syscall.SIGINT)
	sleeper.exit(t)
	eventually(t, "the statement is gone", func() bool {
		out, err := mariadb(t, listen, "secure", "select count(*) from information_schema.processlist where info like 'do sleep%'")
		return err == nil && out == "0"
	})
	client.stop(t)
}

func TestMariaDBWithoutTLSIsRefusedByClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, _, _ := startMariaDB(t, p, "--skip-ssl")
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "mysql")
	if out, err := mariadb(t, listen, "native", whoAmI); err == nil || !strings.Contains(out, "does not offer TLS") {
		t.Errorf("mariadb: %v, %s", err, out)
	}
	client.waitLine(t, "starttls_refused")
	client.stop(t)
}
