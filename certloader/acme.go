package certloader

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/net/idna"
)

// ACMEOptions says what [ACME] is to get a certificate for, and from whom.
type ACMEOptions struct {
	// Domain is the one DNS name that the certificate is for. No wildcards: the
	// validation of a name cannot speak for others (RFC 8737, 3).
	Domain string

	// Email is the contact of the account. It is required, as is Agreed: that
	// the operator agrees to the CA's terms of service.
	Email  string
	Agreed bool

	// CA is the URL of the CA's directory; empty is Let's Encrypt's. The CA's own
	// certificate must be one that the system trusts.
	CA string

	// Host and Port are where connections to Domain's port 443 end up on this
	// machine: where the tunnel listens. The CA's validations are answered there
	// for as long as the tunnel does not listen yet. No Host is every address of
	// the machine, no Port is 443.
	Host string
	Port int

	// RenewCheckInterval is how often to look whether the certificate is to be
	// renewed; 0 is every ten minutes.
	RenewCheckInterval time.Duration

	// Storage is the directory that keeps account, certificate and key. Empty is
	// certmagic in $XDG_DATA_HOME, or else in ~/.local/share; that there is neither
	// is an error.
	Storage string

	// Stored has the certificate taken from Storage alone, for a look at what is
	// there: the CA is not asked, and nothing is renewed.
	Stored bool

	// CABundle is a file with the trusted CAs, as in FileOptions: they have
	// nothing to do with the one that issues the certificate.
	CABundle string

	// Log is told of certificates that are asked for, and of what fails in the
	// background. Nil is silence.
	Log *slog.Logger
}

// ErrNoneStored is what [ACME] returns where a stored certificate is all that is
// wanted and there is none.
var ErrNoneStored = errors.New("no certificate yet; the first start gets one from the CA")

// ACME returns a Provider of a certificate that an ACME CA (RFC 8555) issues,
// validated by TLS-ALPN-01 (RFC 8737) alone, and of the trust in a file. A
// certificate that an earlier run has left in Storage is taken if it has not
// expired. Otherwise ACME asks the CA for one, five times if need be, with
// pauses that grow; it gives up when ctx ends.
//
// From the first Load to Close the certificate is renewed in the background
// when two thirds of its life are over, or when the CA says so (RFC 9773);
// Changed tells of that, and of a certificate that another process has put into
// the same Storage. What fails there is logged and tried again.
//
// OCSP responses are not stapled: a staple has to be renewed much more often
// than what it is for, and CAs have given them up.
func ACME(ctx context.Context, opts ACMEOptions) (Provider, error) {
	a, err := newACME(opts)
	if err != nil {
		return nil, err
	}
	if err := a.begin(ctx); err != nil {
		return nil, errors.Join(a.inFlag(err), a.Close())
	}
	return a, nil
}

type acme struct {
	ACMEOptions
	cache   *certmagic.Cache
	config  *certmagic.Config // gets and renews the certificate
	answers *certmagic.Config // answers the CA's validations
	changed chan struct{}
	loaded  atomic.Pointer[x509.Certificate] // the latest that Load has returned
	closing atomic.Bool
}

func newACME(opts ACMEOptions) (*acme, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	a := &acme{ACMEOptions: opts, changed: make(chan struct{}, 1)}
	interval := opts.RenewCheckInterval
	if opts.Stored {
		interval = math.MaxInt64 // never
	}
	log := zap.New(failures{a.report})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		RenewCheckInterval: interval,
		GetConfigForCert:   a.inspect,
		Logger:             log,
	})
	settings := certmagic.Config{
		OCSP:    certmagic.OCSPConfig{DisableStapling: true},
		OnEvent: a.heed,
		Logger:  log,
	}
	if opts.Storage != "" {
		settings.Storage = &certmagic.FileStorage{Path: opts.Storage}
	}
	a.config = certmagic.New(a.cache, settings)
	a.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA:                   opts.CA,
		Email:                opts.Email,
		Agreed:               opts.Agreed,
		DisableHTTPChallenge: true,
		ListenHost:           opts.Host,
		AltTLSALPNPort:       opts.Port,
		Logger:               zap.NewNop(), // its errors come back to the Config
	})}
	// Anybody may ask for a validation that nobody waits for: that is told by
	// whoever serves the connection, and once is enough.
	a.answers = certmagic.New(a.cache, certmagic.Config{
		Storage: a.config.Storage,
		Issuers: a.config.Issuers,
		Logger:  zap.NewNop(),
	})
	return a, nil
}

// check refuses what nothing can be got for, or kept, and writes Domain as it is in
// certificates.
func (o *ACMEOptions) check() error {
	domain, err := idna.Lookup.ToASCII(strings.TrimSuffix(o.Domain, "."))
	switch _, notIP := netip.ParseAddr(domain); {
	case err != nil || domain == "" || notIP == nil:
		return fmt.Errorf("--auto-acme-cert %q: not a DNS name that a certificate can be issued for (wildcards and IP addresses cannot be validated here)", o.Domain)
	case o.Email == "":
		return fmt.Errorf("--auto-acme-cert %s: needs --auto-acme-email too", domain)
	case !o.Agreed:
		return fmt.Errorf("--auto-acme-cert %s: needs --auto-acme-agree-to-tos too", domain)
	case o.Storage == "" && !hasDataHome():
		return fmt.Errorf("--auto-acme-cert %s: no directory to keep the certificate in: neither XDG_DATA_HOME nor HOME is set; set XDG_DATA_HOME to one that lasts", domain)
	}
	o.Domain = domain
	return nil
}

// hasDataHome reports whether the environment names a directory for what is to
// be kept. Without one certmagic would take the working directory, whatever that
// is.
func hasDataHome() bool {
	_, err := os.UserHomeDir()
	return err == nil || os.Getenv("XDG_DATA_HOME") != ""
}

// begin sees to it that there is a certificate in the Storage.
func (a *acme) begin(ctx context.Context) error {
	cert, err := a.config.CacheManagedCertificate(ctx, a.Domain)
	switch {
	case err == nil && (a.Stored || !cert.Expired()):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("loading what %v has: %w", a.config.Storage, err)
	case a.Stored:
		return fmt.Errorf("%v has %w", a.config.Storage, ErrNoneStored)
	}
	a.Log.Info("asking an ACME CA for a certificate", "domain", a.Domain, "ca", a.ca())
	return a.issue(ctx)
}

// How often issue asks, and how long it waits after the first time; later it
// waits twice as long each time.
const (
	acmeTries = 5
	acmePause = time.Second
)

// issue asks the CA for a certificate until it gets one. From the second try on
// Let's Encrypt's test CA has to be content first: that is certmagic's way to
// spare the limits of the real one.
func (a *acme) issue(ctx context.Context) error {
	pause := acmePause
	for failed := 0; ; pause *= 2 {
		try := context.WithValue(ctx, certmagic.AttemptsCtxKey, &failed)
		err := a.config.RenewCertSync(try, a.Domain, false) // gets the first one too
		failed++
		if err == nil || ctx.Err() != nil || failed == acmeTries || errors.As(err, new(certmagic.ErrNoRetry)) {
			return err
		}
		a.Log.Warn("got no certificate from the ACME CA; trying again", "domain", a.Domain, "in", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Load takes what the Storage has.
func (a *acme) Load(ctx context.Context) (*Material, error) {
	cert, err := a.config.CacheManagedCertificate(ctx, a.Domain)
	if err != nil {
		return nil, a.inFlag(fmt.Errorf("loading what %v has: %w", a.config.Storage, err))
	}
	material := &Material{
		Identity:  &cert.Certificate,
		Origin:    "--auto-acme-cert " + a.Domain,
		Challenge: a.answer,
	}
	if err := (FileOptions{CABundle: a.CABundle}).loadTrust(material); err != nil {
		return nil, err
	}
	a.loaded.Store(cert.Leaf)
	return material, nil
}

// Changed receives when a new certificate has come into the Storage.
func (a *acme) Changed() <-chan struct{} { return a.changed }

// Close ends the renewals. One that is in the middle of something gives up soon.
func (a *acme) Close() error {
	a.closing.Store(true)
	a.cache.Stop()
	return nil
}

// heed is told by certmagic what happens; a new certificate has come into the
// Storage by then.
func (a *acme) heed(_ context.Context, event string, _ map[string]any) error {
	if event == "cert_obtained" {
		a.notify()
	}
	return nil
}

// inspect is asked by certmagic, each time it looks for certificates that are to
// be renewed, about the ones it has. It may have found one in the Storage that
// another process has renewed, of which there is no event.
func (a *acme) inspect(cert certmagic.Certificate) (*certmagic.Config, error) {
	if loaded := a.loaded.Load(); loaded != nil && cert.Leaf.NotAfter.After(loaded.NotAfter) {
		a.notify()
	}
	return a.config, nil
}

func (a *acme) notify() {
	select {
	case a.changed <- struct{}{}:
	default: // it waits to be received
	}
}

// answer returns the certificate that answers the validation of a name.
func (a *acme) answer(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hello.ServerName
	// Another tunnel of this process may wait for it, and another process that
	// shares the Storage, where no name but our own is looked up.
	if _, waiting := certmagic.GetACMEChallenge(name); !waiting && name != a.Domain {
		return nil, &noChallengeError{name: name}
	}
	cert, err := a.answers.GetCertificate(hello)
	if err != nil {
		return nil, &noChallengeError{name: name, err: err}
	}
	return cert, nil
}

// report logs what failed in the background.
func (a *acme) report(step string, err error) {
	if !a.closing.Load() {
		a.Log.Warn("the ACME certificate could not be kept up to date; it will be tried again",
			"domain", a.Domain, "ca", a.ca(), "step", step, "error", err)
	}
}

// ca names the CA.
func (a *acme) ca() string { return a.config.Issuers[0].IssuerKey() }

// inFlag says which flag err is about.
func (a *acme) inFlag(err error) error { return fmt.Errorf("--auto-acme-cert %s: %w", a.Domain, err) }
