// Package policy has a policy in Rego, the language of the Open Policy Agent,
// say who may talk:
//
//	p, err := policy.Load(ctx, "access.rego", "data.access.allow", 10*time.Second)
//	…
//	authorize := p.Authorizer(conn.RemoteAddr())
//	err = authorize(conn.ConnectionState())
//
// The query is asked about the peer of each connection, which the policy finds
// in its input:
//
//	input.certificate  the peer's own certificate: Go's x509.Certificate as JSON
//	input.tls          version ("TLS 1.3"), sni, alpn and cipher; "" where there is none
//	input.remote       where the peer is: "192.0.2.1:40312", or the path of a UNIX socket
//	input.remote_ip    the IP address of that; not there for a UNIX socket
//
// True lets the peer in. Everything else refuses it: false, an answer that is
// undefined or no boolean, an error in the policy or in a function that it
// calls, and an answer that takes too long.
//
// A policy is a bundle, as a directory or as the archive that "opa build" makes,
// or a single file of Rego. It is compiled when it is loaded, once.
//
// The package does not verify chains or names: whoever calls an authorizer has
// done so. It watches no files; Reload reads them again.
package policy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"
)

// Policy is a policy together with the query to ask it. It is safe for
// concurrent use.
type Policy struct {
	path, query string
	limit       time.Duration
	current     atomic.Pointer[rego.PreparedEvalQuery]
}

// Load reads and compiles the policy at path. Limit is how long an answer may
// take. A file whose name ends in .rego is read as Rego v0, everything else as a
// bundle, which says in its manifest what version it is in: v1, if nothing.
func Load(ctx context.Context, path, query string, limit time.Duration) (*Policy, error) {
	p := &Policy{path: path, query: query, limit: limit}
	if err := p.Reload(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Reload reads the policy again and, if all of it is good, has it decide from
// now on; otherwise everything stays as it was.
func (p *Policy) Reload(ctx context.Context) (err error) {
	defer func() {
		if fault := recover(); fault != nil { // none of it is to end the process
			err = fmt.Errorf("%s: compiling it made the policy engine panic: %v", p.path, fault)
		}
	}()
	next, err := compile(ctx, p.path, p.query)
	if err != nil {
		return err
	}
	p.current.Store(next)
	return nil
}

// Authorizer returns what decides about the peer at remote, for a handshake that
// begins now: the answer has to be there when the limit has passed. It asks the
// policy that is current when it is called. Its errors are of type [*Error].
//
// The peer's chain has to be verified, so that what the certificate says can be
// believed: a connection without VerifiedChains is refused.
func (p *Policy) Authorizer(remote net.Addr) func(tls.ConnectionState) error {
	deadline := time.Now().Add(p.limit)
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 || len(cs.VerifiedChains) == 0 {
			return p.denied("was not asked: the peer has no verified certificate")
		}
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		return p.ask(ctx, cs, remote)
	}
}
