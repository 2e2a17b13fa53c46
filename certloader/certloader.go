// Package certloader holds a process's TLS identity and trust, and swaps them
// while connections go on. A [Provider] gets them from somewhere, a [Source]
// keeps the latest that loaded well, and the tls.Configs that the Source makes
// use that for each new handshake:
//
//	source, err := certloader.New(ctx, certloader.Files(certloader.FileOptions{
//		Cert:     "server.pem",
//		Key:      "server-key.pem",
//		CABundle: "ca.pem",
//	}))
//	…
//	config := source.ServerConfig(certloader.ServerOptions{
//		Authorize: auth.CommonName("alice"),
//	})
//	conn := tls.Server(raw, config)
//	…
//	err = source.Reload(ctx) // on a signal
//
// Peers are verified in tls.Config.VerifyConnection and nowhere else, because
// that is what crypto/tls calls for every handshake, resumed ones included, so
// that the trust of this moment decides. A refusal is a [*VerifyError] with a
// stable reason.
//
// A Source loads when it is told to. It does not decide which verified peer may
// talk (that is the Authorize function), and it never logs. What is in a file is
// for package keystore to tell.
package certloader

import (
	"context"
	"crypto/tls"
	"crypto/x509"
)

// Material is what a [Provider] brings: an identity, trust, or both. It must not
// change once it has been handed over.
type Material struct {
	// Identity is the certificate chain, leaf first, with a private key that
	// fits the leaf, and with Leaf set. Nil is no identity.
	Identity *tls.Certificate

	// Origin says where Identity came from, as errors are to put it:
	// "--cert server.pem".
	Origin string

	// Roots is what peers must chain to. Nil is the system's trust.
	Roots *x509.CertPool

	// CAs is the certificates that Roots was made of, for reports; empty where
	// Roots is nil.
	CAs []*x509.Certificate

	// TrustOrigin says where Roots came from, as errors are to put it:
	// "--cacert ca.pem".
	TrustOrigin string

	crls    *crls        // what WithCRLs adds
	domains trustDomains // Roots by trust domain, which is what counts for SPIFFE peers; else nil

	further []identity // what WithIdentities adds

	ticketKeys []ticketKey // what WithTicketKeys adds; none: of the server's own making

	// Challenge returns the certificate that answers an ACME CA's validation of
	// a name (RFC 8737), where Identity comes from such a CA; else it is nil.
	Challenge func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Provider gets Material from files or from elsewhere. A [Source] owns its
// Provider: it calls Load from one goroutine at a time, and Close once.
type Provider interface {
	// Load returns fresh Material, all of it, or an error that names the flag and
	// the file at fault.
	Load(context.Context) (*Material, error)

	// Changed receives when Load has something new to return. It is nil where
	// only somebody outside can know.
	Changed() <-chan struct{}

	// Close lets go of what the Provider holds. What it has returned stays good.
	Close() error
}
