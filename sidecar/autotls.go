package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/devpki"
)

const (
	// autoCALife is longer than any process tries something out: the CA is never renewed, so that its pin stays good.
	autoCALife = 10 * 365 * 24 * time.Hour

	// autoIdentityLife is short, so that renewal is what happens, and not what is said to.
	autoIdentityLife = 24 * time.Hour

	// autoRetry is when a renewal that did not get into use is tried again.
	autoRetry = time.Minute
)

// autoTLS is the Provider of --auto-tls: an identity of a CA that is made for this process and forgotten with it. Two thirds
// into the identity's life it tells that there is a new one. The trust comes from another Provider.
type autoTLS struct {
	ca      *devpki.CA
	request devpki.Request
	trust   certloader.Provider
	changed chan struct{}
	timer   *time.Timer // of the renewal
	current *devpki.Identity
}

// newAutoTLS makes the CA and the first identity, and tells the log what they can be known by: the CA by those who verify
// chains, the identity by --verify-spki-pin.
func newAutoTLS(names []string, trust certloader.Provider, log *slog.Logger) (*autoTLS, error) {
	ca, err := devpki.NewCA(devpki.Options{CommonName: "Sallyport --auto-tls CA", NotAfter: time.Now().Add(autoCALife)})
	if err != nil {
		return nil, fmt.Errorf("--auto-tls: %w", err)
	}
	a := &autoTLS{ca: ca, request: autoRequest(names), trust: trust, changed: make(chan struct{}, 1)}
	identity, err := a.identity(time.Now())
	if err != nil {
		return nil, fmt.Errorf("--auto-tls: %w", err)
	}
	a.timer = time.AfterFunc(autoIdentityLife, a.tell)
	log.Warn("made a CA and a key that last as long as this process; --auto-tls is for trying out",
		"ca_pin", auth.PinOf(ca.Certificate()), "pin", auth.PinOf(identity.Leaf))
	return a, nil
}

// autoRequest is the certificate for this machine, and for what else it is called.
func autoRequest(names []string) devpki.Request {
	request := devpki.Request{
		CommonName: "localhost",
		DNSNames:   []string{"localhost"},
		IPs:        []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()},
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			request.IPs = append(request.IPs, ip)
		} else {
			request.DNSNames = append(request.DNSNames, name)
		}
	}
	if len(names) > 0 && len(names[0]) <= 64 { // as much as a common name can hold
		request.CommonName = names[0]
	}
	return request
}

// Load returns the identity, a new one if it is time for that. The CA's certificate comes with its chain, so that a client
// that knows the pin finds what it is the pin of.
func (a *autoTLS) Load(ctx context.Context) (*certloader.Material, error) {
	material, err := a.trust.Load(ctx)
	if err != nil {
		a.timer.Reset(autoRetry)
		return nil, err
	}
	identity, err := a.identity(time.Now())
	if err != nil {
		a.timer.Reset(autoRetry)
		return nil, fmt.Errorf("--auto-tls: %w", err)
	}
	a.timer.Reset(time.Until(renewal(identity)))
	cert := identity.TLSCertificate()
	cert.Certificate = append(cert.Certificate, a.ca.Certificate().Raw)
	with := *material
	with.Identity, with.Origin = &cert, "--auto-tls"
	return &with, nil
}

// identity is the current one, or its successor, which has the same key, so that its pin stays good too.
func (a *autoTLS) identity(now time.Time) (*devpki.Identity, error) {
	if a.current != nil && now.Before(renewal(a.current)) {
		return a.current, nil
	}
	request := a.request
	request.NotAfter = now.Add(autoIdentityLife)
	if a.current != nil {
		request.Signer = a.current.Key
	}
	next, err := a.ca.Issue(request)
	if err != nil {
		return nil, err
	}
	a.current = next
	return next, nil
}

// renewal is when two thirds of an identity's life are over.
func renewal(id *devpki.Identity) time.Time {
	return id.Leaf.NotBefore.Add(id.Leaf.NotAfter.Sub(id.Leaf.NotBefore) * 2 / 3)
}

// tell asks for a Load.
func (a *autoTLS) tell() {
	select {
	case a.changed <- struct{}{}:
	default: // asked for already
	}
}

// Changed receives when the identity is to be renewed.
func (a *autoTLS) Changed() <-chan struct{} { return a.changed }

// Close ends the renewals.
func (a *autoTLS) Close() error {
	a.timer.Stop()
	return a.trust.Close()
}
