package tests

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// postgresProgram finds a program of PostgreSQL's server, which Debian keeps by
// version.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		return need(t, name)
	}
	return found[len(found)-1]
}

// startPostgres starts a PostgreSQL with the given settings that speaks
// plaintext, and TLS to whoever asks for it. Of its users, plain may not come
// over TLS, and secure has to, with a certificate of p; both have the password
// "secret".
func startPostgres(t *testing.T, p *pki, settings ...string) (address string, server *process) {
	t.Helper()
	h, identity := newHome(t, "postgres"), p.server(t)
	data := filepath.Join(h.dir, "data")
	h.run(t, postgresProgram(t, "initdb"), "--no-sync", "--auth", "trust", "--username", "postgres", "--encoding", "UTF8", "--locale", "C", data)
	h.write(t, "data/pg_hba.conf", []byte(`
		local     all postgres trust
		hostnossl all plain  127.0.0.1/32 scram-sha-256
		hostssl   all secure 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
	`))
	for name, content := range map[string][]byte{"cert.pem": identity.CertPEM(), "key.pem": identity.KeyPEM(), "ca.pem": p.PEM()} {
		h.write(t, "data/"+name, content)
	}
	address = reserve(t)
	args := []string{"-D", data, "-p", port(t, address), "-k", h.dir}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "fsync=off", "log_connections=on", "max_connections=20", "shared_buffers=8MB",
		"ssl=on", "ssl_cert_file=cert.pem", "ssl_key_file=key.pem", "ssl_ca_file=ca.pem",
	}, settings...) {
		args = append(args, "-c", setting)
	}
	server = launch(t, h.command(t, postgresProgram(t, "postgres"), args...))
	accepting(t, "unix", filepath.Join(h.dir, ".s.PGSQL."+port(t, address)))
	for _, user := range []string{"plain", "secure"} {
		eventually(t, "a PostgreSQL with users", func() bool {
			out, _ := exec.CommandContext(t.Context(), need(t, "psql"), "-h", h.dir, "-p", port(t, address), "-U", "postgres",
				"-c", "create role "+user+" login password 'secret'").CombinedOutput()
			return bytes.Contains(out, []byte("CREATE ROLE")) || bytes.Contains(out, []byte("already exists"))
		})
	}
	return address, server
}

// psql asks a PostgreSQL at an address as a user.
func psql(t *testing.T, address, user, query string, parameters ...string) (string, error) {
	t.Helper()
	conninfo := append([]string{
		"host=localhost", "hostaddr=127.0.0.1", "port=" + port(t, address), "user=" + user, "password=secret", "dbname=postgres", "connect_timeout=30",
	}, parameters...)
	out, err := exec.CommandContext(t.Context(), need(t, "psql"), "--no-psqlrc", "-tA", "-c", query, strings.Join(conninfo, " ")).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// howConnected asks who is there, and whether the server sees TLS.
const howConnected = "select current_user || ' ' || ssl from pg_stat_ssl where pid = pg_backend_pid()"

func TestPsqlReachesPostgresBehindServerMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, postgres := startPostgres(t, p)
	before := len(postgres.stderr.String())

	listen := reserve(t)
	server := startServer(t, p, listen, backend, "--starttls", "postgres", "--allow-cn", "client")
	alice := p.client(t)
	trust := []string{"sslmode=verify-full", "sslrootcert=" + p.root}
	known := append([]string{"sslcert=" + alice.cert, "sslkey=" + alice.key}, trust...)

	if out, err := psql(t, listen, "plain", howConnected, append(known, "sslcert=none")...); err == nil {
		t.Errorf("psql without a certificate was answered: %s", out)
	}
	server.waitLine(t, "no_certificate")
	if out, err := psql(t, listen, "plain", howConnected, "sslmode=disable"); err == nil || !strings.Contains(out, "only encrypted connections are accepted here") {
		t.Errorf("psql without TLS: %v, %s", err, out)
	}
	server.waitLine(t, "starttls_required", "sslmode=disable")
	if seen := postgres.stderr.String()[before:]; strings.Contains(seen, "host=127.0.0.1") {
		t.Errorf("PostgreSQL has seen what was refused:\n%s", seen)
	}

	for _, mode := range []string{"sslmode=verify-full", "sslmode=require", "sslmode=prefer", "sslmode=allow"} {
		if out, err := psql(t, listen, "plain", howConnected, append(known, mode)...); err != nil || out != "plain false" {
			t.Errorf("psql with %s: %v, %s", mode, err, out)
		}
	}
	const rows = 200_000
	out, err := psql(t, listen, "plain", "select 'sallyport ' || n from generate_series(1, 200000) n", known...)
	if n := strings.Count(out, "\n") + 1; err != nil || n != rows || !strings.HasSuffix(out, "sallyport 200000") {
		t.Errorf("%d rows, want %d; %v", n, rows, err)
	}
	if code, body := server.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}
	server.stop(t)
}

func TestPsqlReachesTLSPostgresThroughClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, _ := startPostgres(t, p)
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "postgres")
	for _, mode := range []string{"sslmode=disable", "sslmode=prefer", "sslmode=allow"} {
		if out, err := psql(t, listen, "secure", howConnected, mode); err != nil || out != "secure true" {
			t.Errorf("psql with %s: %v, %s", mode, err, out)
		}
	}
	if out, err := psql(t, listen, "secure", howConnected, "sslmode=require"); err == nil || !strings.Contains(out, "server does not support SSL") {
		t.Errorf("psql that insists on TLS of its own: %v, %s", err, out)
	}
	if code, body := client.status.get(t, "/_status"); code != 200 {
		t.Errorf("/_status: %d %s", code, body)
	}

	// A statement is cancelled over a connection of its own.
	cmd := exec.CommandContext(t.Context(), need(t, "psql"), "--no-psqlrc", "-c", "do $$ begin raise warning 'here'; perform pg_sleep(600); end $$",
		"host=127.0.0.1 port="+port(t, listen)+" user=secure password=secret dbname=postgres sslmode=disable")
	sleeper := launch(t, cmd)
	eventually(t, "the statement runs", func() bool { return strings.Contains(sleeper.stderr.String(), "here") })
	sleeper.signal(t, syscall.SIGINT)
	if code := sleeper.exit(t); code != 1 || !strings.Contains(sleeper.stderr.String(), "canceling statement due to user request") {
		t.Errorf("psql that was interrupted: %d, %s", code, sleeper.stderr.String())
	}
	client.stop(t)
}

func TestPostgresWithoutTLSIsRefusedByClientMode(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes one more PostgreSQL; make test-full runs it")
	}
	p := newPKI(t)
	backend, _ := startPostgres(t, p, "ssl=off")
	listen := reserve(t)
	client := startClient(t, p, listen, backend, "--starttls", "postgres")
	if out, err := psql(t, listen, "plain", howConnected, "sslmode=disable"); err == nil {
		t.Errorf("psql was answered: %s", out)
	}
	client.waitLine(t, "starttls_refused", "answered N")
	if code, body := client.status.get(t, "/_status"); code != 503 || !strings.Contains(body, "does not offer TLS") {
		t.Errorf("/_status: %d %s", code, body)
	}
	client.stop(t)
}
