package certloader_test

import (
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// resumption is a client and a server that have shaken hands once, so that the
// client has a ticket for the next time.
type resumption struct {
	ca             *devpki.CA
	server, client *devpki.Identity

	serverSource, clientSource *certloader.Source
	serverFiles, clientFiles   *store
	serverConfig, clientConfig *tls.Config
}

// newResumption makes one for a TLS version. Authorize is the server's.
func newResumption(t *testing.T, version uint16, ca *devpki.CA, authorize func(tls.ConnectionState) error) *resumption {
	t.Helper()
	r := &resumption{
		ca:     ca,
		server: issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(48 * time.Hour)}),
		client: issue(t, ca, devpki.Request{CommonName: "alice", NotAfter: time.Now().Add(48 * time.Hour)}),
	}
	r.serverSource, r.serverFiles = newSource(t, material(r.server, ca))
	r.clientSource, r.clientFiles = newSource(t, material(r.client, ca))
	r.serverConfig = r.serverSource.ServerConfig(certloader.ServerOptions{Authorize: authorize, MaxVersion: version})
	r.clientConfig = r.clientSource.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
	r.clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	r.wantAccepted(t, false)
	return r
}

func (r *resumption) wantAccepted(t *testing.T, resumed bool) {
	t.Helper()
	got := shake(t, r.clientConfig, r.serverConfig)
	if err := got.err(); err != nil {
		t.Fatal(err)
	}
	if got.server.DidResume != resumed || got.client.DidResume != resumed {
		t.Fatalf("resumed = %t (server), %t (client), want %t", got.server.DidResume, got.client.DidResume, resumed)
	}
}

// eachVersion runs test in a time bubble of its own.
func eachVersion(t *testing.T, test func(t *testing.T, version uint16)) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, version) })
		})
	}
}

func TestSessionsResumeAcrossAReloadThatLeavesTheTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		r := newResumption(t, version, ca, allow)
		r.wantAccepted(t, true)
		renewed := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
		swap(t, r.serverSource, r.serverFiles, material(renewed, ca))
		r.wantAccepted(t, true)
	})
}

func TestNoTicketLetsAClientInThatHasLostItsTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, newCA(t, devpki.Options{}), allow)
		swap(t, r.serverSource, r.serverFiles, material(r.server, newCA(t, devpki.Options{CommonName: "other CA"})))
		got := shake(t, r.clientConfig, r.serverConfig)
		if got.clientError == nil || reason(got.serverError) != "unknown_ca" {
			t.Errorf("server %v, client %v", got.serverError, got.clientError)
		}
		// With the trust of before, but by a full handshake: generations do not
		// come back.
		swap(t, r.serverSource, r.serverFiles, material(r.server, r.ca))
		r.wantAccepted(t, false)
	})
}

func TestAnOldTicketDoesNotKeepOutAClientOfTheNewTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, newCA(t, devpki.Options{}), allow)
		next := newCA(t, devpki.Options{CommonName: "next CA"})
		swap(t, r.serverSource, r.serverFiles, material(r.server, next))
		swap(t, r.clientSource, r.clientFiles, material(issue(t, next, devpki.Request{CommonName: "alice"}), r.ca))
		r.wantAccepted(t, false)
		r.wantAccepted(t, true)
	})
}

func TestNoTicketLetsAClientInThatIsNoLongerAuthorized(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		denied := errors.New("denied")
		var verdict error
		r := newResumption(t, version, newCA(t, devpki.Options{}), func(cs tls.ConnectionState) error {
			if len(cs.VerifiedChains) == 0 {
				t.Error("Authorize was asked without verified chains")
			}
			return verdict
		})
		r.wantAccepted(t, true)
		verdict = denied
		got := shake(t, r.clientConfig, r.serverConfig)
		if got.clientError == nil || !errors.Is(got.serverError, denied) {
			t.Errorf("server %v, client %v", got.serverError, got.clientError)
		}
	})
}

func TestNoSessionOutlivesTheCAThatTheServerTrusts(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{NotAfter: time.Now().Add(time.Hour)}) // ends before its leaves
		r := newResumption(t, version, ca, allow)
		r.wantAccepted(t, true)
		time.Sleep(2 * time.Hour)
		r.clientConfig.VerifyConnection = nil // this client would go on
		if got := shake(t, r.clientConfig, r.serverConfig); reason(got.serverError) != "expired" {
			t.Errorf("server %v", got.serverError)
		}
	})
}

func TestNoSessionOutlivesTheCAThatTheClientTrusts(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{NotAfter: time.Now().Add(time.Hour)})
		r := newResumption(t, version, ca, nil) // this server would go on
		r.wantAccepted(t, true)
		time.Sleep(2 * time.Hour)
		if got := shake(t, r.clientConfig, r.serverConfig); reason(got.clientError) != "expired" {
			t.Errorf("client %v", got.clientError)
		}
	})
}

func TestClientDoesNotResumeWithAServerThatHasLostItsTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, newCA(t, devpki.Options{}), allow)
		r.wantAccepted(t, true)
		swap(t, r.clientSource, r.clientFiles, material(r.client, newCA(t, devpki.Options{CommonName: "other CA"})))
		if got := shake(t, r.clientConfig, r.serverConfig); reason(got.clientError) != "unknown_ca" {
			t.Errorf("client %v", got.clientError)
		}
		// crypto/tls forgets a session that failed, so this is a full handshake.
		swap(t, r.clientSource, r.clientFiles, material(r.client, r.ca))
		r.wantAccepted(t, false)
	})
}

func TestSessionsResumeWithoutClientCertificates(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, newCA(t, devpki.Options{}), nil)
		swap(t, r.serverSource, r.serverFiles, material(r.server, nil))
		r.wantAccepted(t, true)
	})
}
