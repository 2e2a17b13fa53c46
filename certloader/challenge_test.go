package certloader_test

import (
	"crypto/tls"
	"errors"
	"testing"

	"sallyport/certloader"
	"sallyport/devpki"
)

// answering returns material of a server identity and of a challenge whose
// answer is shown to those who come for it.
func answering(t *testing.T, ca *devpki.CA, answer *devpki.Identity) *certloader.Material {
	t.Helper()
	m := material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca)
	m.Challenge = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert := answer.TLSCertificate()
		return &cert, nil
	}
	return m
}

func TestChallengesAreAnsweredWithoutACertificate(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	answer := issue(t, ca, devpki.Request{CommonName: "answer", DNSNames: []string{"localhost"}})
	const protocol = certloader.ChallengeProtocol

	for _, test := range []struct {
		name       string
		protocols  []string // that the client offers
		serverName string   // "" sends none
		off        bool     // ServerOptions.Challenges
		noACME     bool
		exempt     bool
	}{
		{name: "the protocol alone", protocols: []string{protocol}, serverName: "localhost", exempt: true},
		{name: "beside h2", protocols: []string{protocol, "h2"}, serverName: "localhost"},
		{name: "after h2", protocols: []string{"h2", protocol}, serverName: "localhost"},
		{name: "beside nothing we speak", protocols: []string{protocol, "http/1.0"}, serverName: "localhost"},
		{name: "twice", protocols: []string{protocol, protocol}, serverName: "localhost"},
		{name: "in capitals", protocols: []string{"ACME-TLS/1"}, serverName: "localhost"},
		{name: "without a name", protocols: []string{protocol}},
		{name: "no protocol", serverName: "localhost"},
		{name: "challenges not to be answered", protocols: []string{protocol}, serverName: "localhost", off: true},
		{name: "identity not from ACME", protocols: []string{protocol}, serverName: "localhost", noACME: true},
	} {
		for version, number := range versions {
			for speaks, ours := range map[string][]string{"no ALPN": nil, "h2": {"h2"}, "the protocol itself": {"h2", protocol}} {
				t.Run(test.name+"/"+version+"/server speaks "+speaks, func(t *testing.T) {
					t.Parallel()
					m := answering(t, ca, answer)
					if test.noACME {
						m.Challenge = nil
					}
					source, _ := newSource(t, m)
					asked := false
					server := source.ServerConfig(certloader.ServerOptions{
						Challenges: !test.off,
						NextProtos: ours,
						Authorize: func(tls.ConnectionState) error {
							asked = true
							return nil
						},
					})
					got := shake(t, &tls.Config{
						MaxVersion:         number,
						NextProtos:         test.protocols,
						ServerName:         test.serverName,
						InsecureSkipVerify: true,
					}, server)
					if asked {
						t.Error("somebody without a certificate came as far as Authorize")
					}
					if !test.exempt {
						if got.serverError == nil {
							t.Errorf("let in without a certificate, with protocol %q", got.server.NegotiatedProtocol)
						}
						return
					}
					if err := got.err(); err != nil {
						t.Fatal(err)
					}
					if got.server.NegotiatedProtocol != protocol {
						t.Errorf("negotiated %q; the proxy would take it for a connection like others", got.server.NegotiatedProtocol)
					}
					if name := got.client.PeerCertificates[0].Subject.CommonName; name != "answer" {
						t.Errorf("was shown the certificate of %q", name)
					}
				})
			}
		}
	}
}

// A challenge that left a ticket behind, or took one, would be a way around the
// certificate that others have to show.
func TestChallengesResumeNothing(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	answer := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	alice := issue(t, ca, devpki.Request{CommonName: "alice"})
	for version, number := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			source, _ := newSource(t, answering(t, ca, answer))
			server := source.ServerConfig(certloader.ServerOptions{Authorize: allow, Challenges: true})
			sessions := tls.NewLRUClientSessionCache(4)
			client := func(protocols []string, certs ...tls.Certificate) outcome {
				t.Helper()
				return shake(t, &tls.Config{
					MaxVersion:         number,
					NextProtos:         protocols,
					ServerName:         "localhost",
					RootCAs:            ca.Pool(),
					Certificates:       certs,
					ClientSessionCache: sessions,
				}, server)
			}
			challenge := []string{certloader.ChallengeProtocol}

			for range 2 {
				if got := client(challenge); got.err() != nil || got.server.DidResume {
					t.Errorf("challenge: %v, resumed %t", got.err(), got.server.DidResume)
				}
			}
			if got := client(nil); got.serverError == nil {
				t.Errorf("let in after a challenge, resumed %t", got.server.DidResume)
			}
			if got := client(nil, alice.TLSCertificate()); got.err() != nil {
				t.Fatal(got.err())
			}
			if got := client(challenge); got.err() != nil || got.server.DidResume || len(got.server.PeerCertificates) > 0 {
				t.Errorf("challenge with a ticket: %v, resumed %t", got.err(), got.server.DidResume)
			}
		})
	}
}

func TestChallengesHoldAfterAReload(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	first := issue(t, ca, devpki.Request{CommonName: "first", DNSNames: []string{"localhost"}})
	second := issue(t, ca, devpki.Request{CommonName: "second", DNSNames: []string{"localhost"}})
	source, files := newSource(t, answering(t, ca, first))
	server := source.ServerConfig(certloader.ServerOptions{Authorize: allow, Challenges: true})
	client := &tls.Config{NextProtos: []string{certloader.ChallengeProtocol}, ServerName: "localhost", RootCAs: ca.Pool()}
	for _, answer := range []*devpki.Identity{first, second} {
		swap(t, source, files, answering(t, ca, answer))
		got := shake(t, client, server)
		if got.err() != nil {
			t.Fatal(got.err())
		}
		if name := got.client.PeerCertificates[0].Subject.CommonName; name != answer.Leaf.Subject.CommonName {
			t.Errorf("was shown the certificate of %q", name)
		}
	}

	broken := answering(t, ca, first)
	broken.Challenge = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no such challenge") }
	swap(t, source, files, broken)
	if got := shake(t, client, server); got.serverError == nil {
		t.Error("let in without an answer")
	}
}
