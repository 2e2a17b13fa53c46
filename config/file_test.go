package config

import (
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
