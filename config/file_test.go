package config

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// leastFile is a file of two tunnels.
const leastFile = `status: http://localhost:6060
log-level: warn
defaults:
  cert: ${CERTS}/id.pem
  key: ${CERTS}/id-key.pem
  idle-timeout: 5m
  allow-ou: ops
tunnels:
  - name: web
    mode: server
    listen: :8443
    target: localhost:8080
    allow-cn: [alice, bob]
    max-concurrent-conns: 100
    skip-resolve: true
  - name: db
    mode: client
    listen: localhost:5432
    target: db.example.com:5433
    idle-timeout: 0
`

// fileOf parses a file, with flags beside it.
func fileOf(t *testing.T, text string, flags ...string) (*Sidecar, error) {
	t.Helper()
	args := append([]string{"run", "--config", writeFile(t, text)}, flags...)
	command, err := Parse(args, environment("CERTS=/certs", "CERT_PATH=/no"), &strings.Builder{}, "v1.2.3")
	if err != nil {
		return nil, err
	}
	return command.(*Sidecar), nil
}

func TestFileIsWhatFlagsWouldBe(t *testing.T) {
	t.Parallel()
	got, err := fileOf(t, leastFile, "--log-level", "error", "--shutdown-timeout=1m")
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"server --listen :8443 --target localhost:8080 --allow-cn alice --allow-cn bob --allow-ou ops --max-concurrent-conns 100 --skip-resolve --idle-timeout 5m",
		"client --listen localhost:5432 --target db.example.com:5433 --idle-timeout 0",
	}
	for i, name := range []string{"web", "db"} {
		args := strings.Fields(lines[i] + " --cert /certs/id.pem --key /certs/id-key.pem --status http://localhost:6060 --log-level error --shutdown-timeout 1m")
		command, err := Parse(args, environment(), &strings.Builder{}, "v1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		want := command.(*Sidecar)
		want.Tunnels[0].Name, want.Tunnels[0].Origin = name, got.Tunnels[i].Origin
		alone := *got
		alone.Tunnels, alone.File = got.Tunnels[i:i+1], nil
		if diff := cmp.Diff(want, &alone, byValue, bySecret, cmp.AllowUnexported(Origin{}, place{})); diff != "" {
			t.Errorf("tunnel %s: %s", name, diff)
		}
	}
	if got.Tunnels[0].IdleTimeout != 5*time.Minute {
		t.Errorf("idle timeout %v", got.Tunnels[0].IdleTimeout)
	}
}

// TestFileWinsOverNothing has flags win over variables, those over a file, and a
// file over defaults, but for tunnels, whom no variable is for.
func TestFileWinsOverNothing(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "log-level: debug\nlog-format: json\nlog-sample: 7\n"+server("allow-all: true"))
	env := environment("SALLYPORT_CONFIG="+path, "SALLYPORT_LOG_FORMAT=text", "SALLYPORT_LOG_SAMPLE=8",
		"SALLYPORT_IDLE_TIMEOUT=5m", "CERT_PATH=a", "KEY_PATH=b", "SPIFFE_ENDPOINT_SOCKET=unix:///agent")
	command, err := Parse([]string{"run", "--log-sample=9"}, env, &strings.Builder{}, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	s := command.(*Sidecar)
	if s.Log.Level != slog.LevelDebug || s.Log.Format != LogText || s.Log.Sample != 9 || s.Metrics.Prefix != "ghostunnel" {
		t.Errorf("%+v", s.Log)
	}
	if u := s.Tunnels[0]; u.IdleTimeout != 0 || u.Identity.Cert != "" || u.Identity.WorkloadAPI.Use {
		t.Errorf("a tunnel has what variables say: %+v", u)
	}
}

// TestWorkloadAPIOfAFile has a tunnel that wants the Workload API look for it where
// its specification says.
func TestWorkloadAPIOfAFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, strings.Replace(server("allow-all: true"), "keystore: id.pem", "use-workload-api: true", 1))
	command, err := Parse([]string{"run", "--config", path}, environment("SPIFFE_ENDPOINT_SOCKET=unix:///agent"), &strings.Builder{}, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if api := command.(*Sidecar).Tunnels[0].Identity.WorkloadAPI; api.Address != "unix:///agent" {
		t.Errorf("%+v", api)
	}
	if got := faultsOf(t, strings.Replace(server("allow-all: true"), "keystore: id.pem", "use-workload-api: true", 1)); len(got) != 1 ||
		got[0] != "6:3: use-workload-api: needs an address: use-workload-api-addr, or SPIFFE_ENDPOINT_SOCKET in the environment" {
		t.Errorf("%q", got)
	}
	if _, err := Parse([]string{"run", "--config", path}, environment("SPIFFE_ENDPOINT_SOCKET=agent"), &strings.Builder{}, "v1.2.3"); err == nil ||
		!strings.Contains(err.Error(), `:2:3: tunnel web: SPIFFE_ENDPOINT_SOCKET "agent": `) {
		t.Errorf("%v", err)
	}
}

// TestSecretsOfAFileAreNotShown has what a file holds, and what it takes from the
// environment, in no error and in no log.
func TestSecretsOfAFileAreNotShown(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	env := environment("SECRET=" + secret)
	good := "metrics-url: https://u:" + secret + "@m.example/?t=" + secret + "\nstatus: localhost:1\n" +
		strings.NewReplacer("id.pem", "id.p12\n  storepass: "+secret, "target: db", "proxy: http://u:${SECRET}@p.example\n  target: db").Replace(client())
	command, err := Parse([]string{"run", "--config", writeFile(t, good)}, env, &strings.Builder{}, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if log := logged(command.(*Sidecar)); strings.Contains(log, secret) {
		t.Error(log)
	}
	for _, key := range []string{
		"storepass: [" + secret + "]", "storepass: {a: " + secret + "}", "storepass: !!binary " + secret, "storepass: !!int " + secret, "storepass: !" + secret + " a", "storepass: ${" + secret + " ", "storepass: a${" + secret, "storepass: '${" + secret + "-x}'",
		"storepass: true", "storepass: " + secret + "\n  storepass: " + secret, "storepass: *" + secret, "storepass: '" + secret, "pkcs11-pin: @" + secret,
		"proxy: ftp://u:" + secret + "@p", "proxy: http://u:${SECRET}@p/path", "connect-timeout: ${SECRET}", "close-timeout: 5${SECRET}", "max-handshakes: ${SECRET}",
	} {
		text := strings.Replace(client(), "keystore: id.pem", "keystore: id.p12\n  "+key, 1)
		_, err := Parse([]string{"run", "--config", writeFile(t, text)}, env, &strings.Builder{}, "v1.2.3")
		if err == nil {
			if key != "storepass: true" {
				t.Errorf("%s: nothing is wrong", key)
			}
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
