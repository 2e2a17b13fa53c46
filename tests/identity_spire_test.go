package tests

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// spire is a SPIRE server and an agent of it, for the trust domain example.org.
type spire struct {
	dir    string
	agent  *process
	admin  string // socket of the server's API
	socket string // socket of the Workload API
}

// startSPIRE starts a server and an agent, which joins it.
func startSPIRE(t *testing.T) *spire {
	t.Helper()
	need(t, "spire-server")
	need(t, "spire-agent")
	// t.TempDir has the test's name in it, and the path of a socket is short.
	dir, err := os.MkdirTemp("", "spire")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &spire{dir: dir, admin: filepath.Join(dir, "server.sock"), socket: filepath.Join(dir, "agent.sock")}
	listen := reserve(t)
	writeFile(t, s.path("server.conf"), fmt.Appendf(nil, `
		server {
			bind_address = "127.0.0.1"
			bind_port = "%s"
			socket_path = %q
			trust_domain = "example.org"
			data_dir = %q
			log_level = "INFO"
		}
		plugins {
			DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = %q } }
			KeyManager "memory" { plugin_data {} }
			NodeAttestor "join_token" { plugin_data {} }
		}
	`, port(t, listen), s.admin, s.path("server-data"), s.path("datastore.sqlite3")))
	writeFile(t, s.path("agent.conf"), fmt.Appendf(nil, `
		agent {
			server_address = "127.0.0.1"
			server_port = "%s"
			socket_path = %q
			trust_domain = "example.org"
			data_dir = %q
			insecure_bootstrap = true
			log_level = "INFO"
		}
		plugins {
			KeyManager "disk" { plugin_data { directory = %q } }
			NodeAttestor "join_token" { plugin_data {} }
			WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
		}
	`, port(t, listen), s.socket, s.path("agent-data"), s.path("agent-data")))
	for _, data := range []string{"server-data", "agent-data"} {
		if err := os.Mkdir(s.path(data), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	startPeer(t, "spire-server", "run", "-config", s.path("server.conf"))
	accepting(t, "unix", s.admin)
	var token struct{ Value string }
	if err := json.Unmarshal([]byte(s.server(t, "token", "generate", "-spiffeID", "spiffe://example.org/node", "-output", "json")), &token); err != nil {
		t.Fatal(err)
	}
	s.startAgent(t, "-joinToken", token.Value)
	return s
}

func (s *spire) path(name string) string { return filepath.Join(s.dir, name) }

// server has the server do something.
func (s *spire) server(t *testing.T, command, subcommand string, flags ...string) string {
	t.Helper()
	return peerOutput(t, "", "spire-server", append([]string{command, subcommand, "-socketPath", s.admin}, flags...)...)
}

// startAgent starts the agent, again perhaps.
func (s *spire) startAgent(t *testing.T, flags ...string) {
	t.Helper()
	s.agent = startPeer(t, "spire-agent", append([]string{"run", "-config", s.path("agent.conf")}, flags...)...)
	accepting(t, "unix", s.socket)
}

// register gives an ID to whatever runs from a copy of sallyport, which it
// makes, for so many seconds at a time.
func (s *spire) register(t *testing.T, name string, seconds int, flags ...string) (program string) {
	t.Helper()
	program = s.path(name)
	if err := os.Link(sallyport(t), program); err != nil {
		t.Fatal(err)
	}
	s.server(t, "entry", "create", append([]string{
		"-parentID", "spiffe://example.org/node", "-spiffeID", "spiffe://example.org/" + name,
		"-selector", "unix:path:" + program, "-x509SVIDTTL", fmt.Sprint(seconds),
	}, flags...)...)
	return program
}

// start starts a copy of sallyport, which gets its identity from the agent.
func (s *spire) start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	status := reserve(t)
	cmd := exec.Command(program, append(args, "--status", "http://"+status, "--use-workload-api")...)
	cmd.Env = []string{raceOptions, "SPIFFE_ENDPOINT_SOCKET=unix://" + s.socket}
	p := launch(t, cmd)
	p.status = newStatusPort("http://" + status)
	p.waitReady(t)
	return p
}

// talkThroughSPIRE is the long variant of talkThroughAgents: SPIRE takes minutes
// to build.
func talkThroughSPIRE(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t)
	other := newPKI(t)
	s.server(t, "bundle", "set", "-id", "spiffe://other.org", "-path", other.root)

	const seconds = 20 // renewed after half of it
	serverProgram := s.register(t, "server", seconds, "-federatesWith", "spiffe://other.org")
	clientProgram, strangerProgram := s.register(t, "client", seconds), s.register(t, "stranger", seconds)
	service := serve(t, "tcp", echo)
	listen, address, strangers := reserve(t), reserve(t), reserve(t)
	server := s.start(t, serverProgram,
		"server", "--listen", listen, "--target", service.address,
		"--allow-uri", "spiffe://example.org/client", "--allow-uri", "spiffe://other.org/*")
	client := s.start(t, clientProgram,
		"client", "--listen", address, "--target", listen, "--verify-uri", "spiffe://example.org/server")
	stranger := s.start(t, strangerProgram,
		"client", "--listen", strangers, "--target", listen, "--verify-uri", "spiffe://example.org/server")

	transfer := dial(t, "tcp", address)
	enough, transferred := make(chan struct{}), make(chan error, 1)
	go func() { transferred <- exchangeUntil(transfer, enough) }()
	talk := func() {
		t.Helper()
		if err := exchange(dial(t, "tcp", address), 2, 100_000, 4096); err != nil {
			t.Error(err)
		}
	}
	talk()

	if err := exchange(dial(t, "tcp", strangers), 3, 1000, 1000); err == nil {
		t.Error("an ID that is not allowed got its data back")
	}
	server.waitLine(t, "reason=not_allowed", "spiffe://example.org/stranger")
	federated := func(ca *devpki.CA, id string) error {
		identity, err := ca.Issue(devpki.Request{URIs: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(dial(t, "tcp", listen), &tls.Config{
			Certificates:       []tls.Certificate{identity.TLSCertificate()},
			InsecureSkipVerify: true, // the client is what is looked at
		})
		return exchange(conn, 4, 1000, 1000)
	}
	if err := federated(other.CA, "spiffe://other.org/peer"); err != nil {
		t.Errorf("a workload of a federated trust domain: %v", err)
	}
	if err := federated(other.CA, "spiffe://example.org/client"); err == nil {
		t.Error("the CA of a federated trust domain spoke for another one")
	}
	server.waitLine(t, "reason=unknown_ca", "spiffe://example.org/client")

	shown := map[*process]string{server: identitySerial(t, server), client: identitySerial(t, client)}
	rotate := func() {
		t.Helper()
		for p, serial := range shown {
			shown[p] = waitSerial(t, p, serial)
		}
		talk()
	}
	rotate()
	rotate()

	s.agent.signal(t, syscall.SIGTERM)
	s.agent.exit(t)
	for _, p := range []*process{server, client, stranger} {
		p.waitLine(t, "level=WARN", "the Workload API is away")
	}
	talk()
	s.startAgent(t)
	rotate()
	s.agent.signal(t, syscall.SIGKILL)
	s.agent.exit(t)
	talk()
	if err := os.Remove(s.socket); err != nil {
		t.Error(err)
	}
	s.startAgent(t)
	rotate()

	close(enough)
	if err := receive(t, "the end of the transfer", transferred); err != nil {
		t.Error(err)
	}
	for _, p := range []*process{stranger, client, server} {
		if failed := p.lines("reload failed"); len(failed) > 0 {
			t.Errorf("%s:\n%s", p.name, strings.Join(failed, "\n"))
		}
		p.stop(t)
	}
}
