package tests

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport/devpki"
	"sallyport/internal/spiffeagent"
)

// The IDs of these tests.
const (
	serverID = "spiffe://example.org/server"
	clientID = "spiffe://example.org/client"
)

// workload makes the answer of an agent to the workload with an ID.
func (p *pki) workload(t *testing.T, id string) spiffeagent.Answer {
	t.Helper()
	identity, err := p.Issue(devpki.Request{URIs: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	return spiffeagent.Answer{
		SVIDs:   []tls.Certificate{identity.TLSCertificate()},
		Bundles: map[string][]*x509.Certificate{"example.org": {p.Root()}},
	}
}

// startAgent starts an agent for the workload with an ID.
func startAgent(t *testing.T, p *pki, id string) *spiffeagent.Agent {
	t.Helper()
	agent := spiffeagent.Start(t)
	agent.Say(p.workload(t, id))
	return agent
}

// newWorkloads starts a tunnel to a target whose two ends have their identities
// from agents.
func newWorkloads(t *testing.T, server, client, target string, verify ...string) *tunnel {
	t.Helper()
	tun := &tunnel{network: "tcp", address: reserve(t), serverAddress: reserve(t)}
	tun.server = start(t, "server", "--listen", tun.serverAddress, "--target", target, "--status", "http://"+reserve(t),
		"--use-workload-api-addr", server, "--allow-uri", clientID)
	args := []string{
		"client", "--listen", tun.address, "--target", tun.serverAddress, "--status", "http://" + reserve(t),
		"--use-workload-api-addr", client,
	}
	tun.client = start(t, append(args, verify...)...)
	return tun
}

// identitySerial is the serial number of the certificate that a process shows.
func identitySerial(t *testing.T, p *process) string {
	t.Helper()
	var report struct {
		Certificates []struct{ Role, Serial string }
	}
	p.status.getJSON(t, "/_status", &report)
	for _, cert := range report.Certificates {
		if cert.Role == "identity" {
			return cert.Serial
		}
	}
	t.Fatalf("%s shows no identity: %v", p.name, report)
	return ""
}

// waitSerial waits until a process shows another certificate than before.
func waitSerial(t *testing.T, p *process, before string) string {
	t.Helper()
	now := before
	eventually(t, "another certificate than "+before, func() bool {
		now = identitySerial(t, p)
		return now != before
	})
	return now
}

// TestWorkloadsTalk has sidecars talk that have their identities from agents alone:
// while what they show is renewed, and while the agents are away.
func TestWorkloadsTalk(t *testing.T) {
	t.Parallel()
	t.Run("agents of the test", talkThroughAgents)
	if full() {
		t.Run("SPIRE", talkThroughSPIRE)
	}
}

func talkThroughAgents(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	serverAgent, clientAgent := startAgent(t, p, serverID), startAgent(t, p, clientID)
	service := serve(t, "tcp", echo)
	tun := newWorkloads(t, serverAgent.Address(), clientAgent.Address(), service.address, "--verify-uri", serverID)

	transfer := dial(t, "tcp", tun.address)
	enough, transferred := make(chan struct{}), make(chan error, 1)
	go func() { transferred <- exchangeUntil(transfer, enough) }()
	talk := func() {
		t.Helper()
		if err := exchange(dial(t, "tcp", tun.address), 2, 100_000, 4096); err != nil {
			t.Error(err)
		}
	}
	talk()

	serial := identitySerial(t, tun.server)
	for range 3 {
		serverAgent.Say(p.workload(t, serverID))
		clientAgent.Say(p.workload(t, clientID))
		serial = waitSerial(t, tun.server, serial)
		talk()
	}

	serverAgent.Stop()
	tun.server.waitLine(t, "level=WARN", "the Workload API is away; what it said last stays in use")
	talk()
	tun.server.signal(t, syscall.SIGHUP)
	tun.server.waitLine(t, "msg=reloading", "SIGHUP")
	talk()
	serverAgent.Say(p.workload(t, serverID))
	serverAgent.Restart(t)
	waitSerial(t, tun.server, serial)
	talk()

	close(enough)
	if err := receive(t, "the end of the transfer", transferred); err != nil {
		t.Error(err)
	}
	tun.stop(t)
}

func TestWorkloadsAreRefusedByTheirID(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	const otherID = "spiffe://example.org/other"
	for _, test := range []struct {
		name, server, client string
		refusing             func(*tunnel) *process
		denied               string
	}{
		{"client", serverID, otherID, func(tun *tunnel) *process { return tun.server }, otherID},
		{"server", otherID, clientID, func(tun *tunnel) *process { return tun.client }, otherID},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			service := serve(t, "tcp", echo)
			server, client := startAgent(t, p, test.server), startAgent(t, p, test.client)
			tun := newWorkloads(t, server.Address(), client.Address(), service.address, "--verify-uri", serverID)
			if err := exchange(dial(t, "tcp", tun.address), 1, 1000, 1000); err == nil {
				t.Error("the data came back")
			}
			test.refusing(tun).waitLine(t, "reason=not_allowed", test.denied)
			tun.stop(t)
			if n := service.connections(); n != 0 {
				t.Errorf("%d connections reached the target", n)
			}
		})
	}
}

func TestClientWithoutIdentityVerifiesByTheWorkloadAPI(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	server, client := startAgent(t, p, serverID), spiffeagent.Start(t)
	client.Say(spiffeagent.Answer{Bundles: map[string][]*x509.Certificate{"example.org": {p.Root()}}})
	listen, address := reserve(t), reserve(t)
	service := serve(t, "tcp", echo)
	serving := start(t, "server", "--listen", listen, "--target", service.address, "--status", "http://"+reserve(t),
		"--use-workload-api-addr", server.Address(), "--disable-authentication")
	connecting := start(t, "client", "--listen", address, "--target", listen, "--status", "http://"+reserve(t),
		"--use-workload-api-addr", client.Address(), "--disable-authentication")
	connecting.waitLine(t, "level=WARN", "--verify-uri")
	if err := exchange(dial(t, "tcp", address), 1, 100_000, 4096); err != nil {
		t.Error(err)
	}

	// That trust is taken back counts for the next connection.
	client.Say(spiffeagent.Answer{Bundles: map[string][]*x509.Certificate{"example.org": {newPKI(t).Root()}}})
	connecting.waitLine(t, "msg=reloaded")
	if err := exchange(dial(t, "tcp", address), 1, 1000, 1000); err == nil {
		t.Error("the data came back from a server that is not trusted")
	}
	connecting.waitLine(t, "reason=unknown_ca", "spiffe://example.org/server")
	connecting.stop(t)
	serving.stop(t)
}

func TestWorkloadAPIAtStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	nobody := spiffeagent.Start(t)
	args := func(more ...string) []string {
		return slices.Concat([]string{"server", "--listen", reserve(t), "--target", serve(t, "tcp", echo).address, "--allow-all"}, more)
	}
	t.Run("the variable alone will do", func(t *testing.T) {
		t.Parallel()
		agent := startAgent(t, p, serverID)
		process := startUnready(t, []string{"SPIFFE_ENDPOINT_SOCKET=" + agent.Address()}, args()...)
		process.waitLine(t, "msg=listening")
		process.stop(t)
	})
	t.Run("no answer within the time", func(t *testing.T) {
		t.Parallel()
		code, _, stderr := run(t, args("--use-workload-api-addr", nobody.Address(), "--use-workload-api-timeout", "1s")...)
		for _, part := range []string{"--use-workload-api-addr " + nobody.Address(), "--use-workload-api-timeout 1s", "no identity issued"} {
			if !strings.Contains(stderr, part) {
				t.Errorf("standard error %q does not tell of %q", stderr, part)
			}
		}
		if code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
	})
	t.Run("it can be told to end while it waits", func(t *testing.T) {
		t.Parallel()
		process := startUnready(t, nil, args("--use-workload-api-addr", nobody.Address(), "--use-workload-api-timeout", "0")...)
		process.waitLine(t, "level=WARN", "waiting for the Workload API", "no identity issued")
		process.stop(t)
	})
	t.Run("it goes on when there is an answer", func(t *testing.T) {
		t.Parallel()
		agent := spiffeagent.Start(t)
		agent.Fail(status.Error(codes.Unavailable, "not ready"))
		process := startUnready(t, nil, args("--use-workload-api-addr", agent.Address())...)
		process.waitLine(t, "level=WARN", "waiting for the Workload API", "not ready")
		agent.Say(p.workload(t, serverID))
		process.waitLine(t, "the Workload API answers")
		process.waitLine(t, "msg=listening")
		process.stop(t)
	})
}
