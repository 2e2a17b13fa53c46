package certloader_test

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// address is where a server is.
func address(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

var here, there = address("127.0.0.1:1"), address("127.0.0.1:2")

// visitor is client mode and a server that it comes to.
type visitor struct {
	ca     *devpki.CA
	source *certloader.Source
	files  *store
	server *tls.Config
	shown  []string // the common names of the clients that the server saw
}

func newVisitor(t testing.TB, version uint16) *visitor {
	t.Helper()
	v := &visitor{ca: newCA(t, devpki.Options{})}
	server, _ := newSource(t, material(issue(t, v.ca, devpki.Request{DNSNames: []string{"localhost"}}), v.ca))
	v.server = server.ServerConfig(certloader.ServerOptions{MaxVersion: version, Authorize: func(cs tls.ConnectionState) error {
		v.shown = append(v.shown, cs.PeerCertificates[0].Subject.CommonName)
		return nil
	}})
	v.source, v.files = newSource(t, material(v.identity(t, "alice"), v.ca))
	return v
}

func (v *visitor) identity(t testing.TB, name string) *devpki.Identity {
	return issue(t, v.ca, devpki.Request{CommonName: name, NotAfter: time.Now().Add(48 * time.Hour)})
}

func TestClientResumes(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		v := newVisitor(t, version)
		config := v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", Resume: true})
		wantVisit(t, config(here), v.server, false)
		for range 3 {
			wantVisit(t, config(here), v.server, true)
		}
		wantVisit(t, config(there), v.server, false)

		swap(t, v.source, v.files, v.files.Load()) // the same
		wantVisit(t, config(here), v.server, true)

		// A connection that was begun before the reload goes on with what was then.
		before := config(here)
		swap(t, v.source, v.files, material(v.identity(t, "bob"), v.ca))
		v.shown = nil
		wantVisit(t, config(here), v.server, false)
		wantVisit(t, before, v.server, true)
		wantVisit(t, config(here), v.server, true)
		if want := "[bob alice bob]"; len(v.shown) != 3 || v.shown[0] != "bob" || v.shown[1] != "alice" || v.shown[2] != "bob" {
			t.Errorf("the server has seen %v, want %s", v.shown, want)
		}
	})
}

func TestClientResumesNothingWhereItIsNotTo(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		v := newVisitor(t, version)
		for _, config := range []func(net.Addr) *tls.Config{
			v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost"}),
			v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", AuthorizeFrom: func(net.Addr) func(tls.ConnectionState) error { return allow }}),
		} {
			for range 3 {
				wantVisit(t, config(here), v.server, false)
			}
		}
	})
}

func TestClientJudgesServersOfResumedSessions(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		v := newVisitor(t, version)
		denied := errors.New("denied")
		var verdict error
		var asked []net.Addr
		config := v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", Resume: true,
			AuthorizeFrom: func(remote net.Addr) func(tls.ConnectionState) error {
				return func(cs tls.ConnectionState) error {
					asked = append(asked, remote)
					if len(cs.VerifiedChains) == 0 {
						t.Error("asked without verified chains")
					}
					return verdict
				}
			}})
		wantVisit(t, config(here), v.server, false)
		wantVisit(t, config(here), v.server, true)
		verdict = denied
		for range 2 {
			if got := shake(t, config(here), v.server); !errors.Is(got.clientError, denied) {
				t.Errorf("client %v", got.clientError)
			}
		}
		verdict = nil
		if got := shake(t, config(here), v.server); got.err() != nil {
			t.Error(got.err())
		}
		if len(asked) != 5 || asked[4] != here {
			t.Errorf("asked about %v", asked)
		}

		other := newCA(t, devpki.Options{CommonName: "other CA"})
		swap(t, v.source, v.files, material(v.identity(t, "alice"), other))
		if got := shake(t, config(here), v.server); reason(got.clientError) != "unknown_ca" {
			t.Errorf("by other trust: %v", got.clientError)
		}
		swap(t, v.source, v.files, material(v.identity(t, "alice"), v.ca))
		wantVisit(t, config(here), v.server, false)
	})
}

// TestClientNoticesServersThatFailToResume, and takes no other failure for that.
func TestClientNoticesServersThatFailToResume(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		v := newVisitor(t, version)
		var denied error
		configs := v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", Resume: true, Authorize: func(tls.ConnectionState) error { return denied }})
		choose := v.server.GetConfigForClient
		failing := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			config, err := choose(hello)
			if err != nil {
				return nil, err
			}
			config = config.Clone()
			config.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
				if len(ticket) > 0 { // in TLS 1.2 it may come empty
					return nil, errors.New("no context")
				}
				return nil, nil
			}
			return config, nil
		}}
		wantVisit(t, configs(here), v.server, false)
		denied = errors.New("denied")
		config := configs(here)
		if got := shake(t, config, v.server); got.clientError == nil || certloader.FailedToResume(config) {
			t.Errorf("a server that is denied: %v", got.clientError)
		}
		denied = nil
		wantVisit(t, configs(here), v.server, false)
		config = configs(here)
		if got := shake(t, config, failing); got.clientError == nil || !certloader.FailedToResume(config) {
			t.Errorf("a server that fails to resume: %v", got.clientError)
		}
		for range 3 {
			wantVisit(t, configs(here), failing, false)
		}
		config = configs(here)
		if got := shake(t, config, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }}); got.clientError == nil || certloader.FailedToResume(config) {
			t.Errorf("a server that fails without a session: %v", got.clientError)
		}
		time.Sleep(time.Hour)
		wantVisit(t, configs(here), v.server, false)
		wantVisit(t, configs(here), v.server, true)
		if certloader.FailedToResume(v.source.ClientConfig(certloader.ClientOptions{})) {
			t.Error("without sessions none can fail")
		}
	})
}

// TestClientOffersPostQuantumKeysWhereTheyMayBeTaken: in full handshakes, once an
// hour, and always to those who take them.
func TestClientOffersPostQuantumKeysWhereTheyMayBeTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVisitor(t, tls.VersionTLS13)
		var offered bool
		choose := v.server.GetConfigForClient
		with := func(curves ...tls.CurveID) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				offered = slices.Contains(hello.SupportedCurves, tls.X25519MLKEM768)
				config, err := choose(hello)
				if err != nil {
					return nil, err
				}
				config = config.Clone()
				config.CurvePreferences = curves
				return config, nil
			}}
		}
		configs := v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", Resume: true})
		old, learned, strict := with(tls.X25519, tls.CurveP256), with(), with(tls.X25519MLKEM768)
		for i, visit := range []struct {
			server           *tls.Config
			after            time.Duration
			resumed, offered bool
		}{
			{old, 0, false, true},
			{old, 0, true, false},
			{old, 59 * time.Minute, true, false},
			{old, time.Minute, true, true},
			{old, 0, true, false},
			{learned, time.Minute, true, false},
			{learned, time.Hour, true, true},
			{learned, 0, true, true},
			{strict, 0, true, true},
			{old, 0, true, true},
			{old, 0, true, false},
		} {
			time.Sleep(visit.after)
			wantVisit(t, configs(here), visit.server, visit.resumed)
			if offered != visit.offered {
				t.Errorf("visit %d: offered is %t", i, offered)
			}
		}
		config := configs(here)
		if got := shake(t, config, strict); got.err() == nil || !certloader.FailedToResume(config) {
			t.Errorf("a server that has nothing else: %v", got.err())
		}
		wantVisit(t, configs(here), strict, false)
	})
}

func TestServerThatNobodyDecidesAboutIsRefused(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		v := newVisitor(t, version)
		config := v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", AuthorizeFrom: func(net.Addr) func(tls.ConnectionState) error { return nil }})
		if got := shake(t, config(here), v.server); got.clientError == nil {
			t.Error("let pass")
		}
	})
}

// TestClientComesBackToAServerThatRefusesItsSession: a ticket that does no good is
// not shown again. In TLS 1.3 that is up to the server: it judges a resumed session
// once it has given a ticket for the next.
func TestClientComesBackToAServerThatRefusesItsSession(t *testing.T) {
	t.Parallel()
	v := newVisitor(t, tls.VersionTLS12)
	config := v.source.ClientConfigs(certloader.ClientOptions{ServerName: "localhost", Resume: true})
	wantVisit(t, config(here), v.server, false)
	choose := v.server.GetConfigForClient
	refusing := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config, err := choose(hello)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.VerifyConnection = func(cs tls.ConnectionState) error {
			if cs.DidResume {
				return errors.New("no sessions of before")
			}
			return nil
		}
		return config, nil
	}}
	if got := shake(t, config(here), refusing); got.serverError == nil {
		t.Error("the session was not resumed")
	}
	wantVisit(t, config(here), refusing, false)
}
