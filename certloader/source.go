package certloader

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is what [Source.Reload] returns once the Source has been closed.
var ErrClosed = errors.New("certificate source closed")

// Source keeps the latest identity and trust that its [Provider] brought. It is
// safe for concurrent use.
type Source struct {
	provider Provider
	current  atomic.Pointer[snapshot]

	turn    chan struct{}   // holds one token while somebody loads
	closing context.Context // ends when Close begins
	close   func() error    // idempotent
}

// snapshot is the state between two reloads. It never changes, but for what it
// remembers.
type snapshot struct {
	Material
	shows      []identity // Identity and further ones
	showcase   *showcase  // to choose from these; nil where there is nothing to choose
	generation uint64     // grows when the trust or the CRLs change

	// verified is of the peers that Roots vouches for. It is nil where the system
	// does: what that trusts is not known to stay the same.
	verified *verified
}

// New loads for the first time, and closes the provider if that fails. An
// identity that has expired is taken: it may be all there is, and its peers will
// say what they think of it.
func New(ctx context.Context, provider Provider) (*Source, error) {
	closing, cancel := context.WithCancel(context.Background())
	s := &Source{provider: provider, turn: make(chan struct{}, 1), closing: closing}
	s.close = sync.OnceValue(func() error {
		cancel()
		s.turn <- struct{}{} // waits for a Reload in progress, and lets in no other
		return provider.Close()
	})
	first, err := s.load(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.current.Store(first)
	return s, nil
}

// load makes a snapshot of what the provider has now.
func (s *Source) load(ctx context.Context) (*snapshot, error) {
	material, err := s.provider.Load(ctx)
	if err != nil {
		return nil, err
	}
	return newSnapshot(material)
}

// Changed receives when a [Source.Reload] would bring something new. It is nil
// where only somebody outside can know.
func (s *Source) Changed() <-chan struct{} { return s.provider.Changed() }

// Reload loads anew and, if all of it is good, swaps it in for the handshakes
// that begin from now on; otherwise everything stays as it was. A new identity
// that is not valid now is an error (a [*VerifyError]), since the one in use
// can be no worse; so is new trust of which no CA is valid now.
//
// Calls wait for each other. Reload returns when ctx ends, with its cause, and
// with [ErrClosed] when the Source is closed; a provider that does not notice,
// such as one that reads from a disk that does not answer, keeps later calls
// waiting until it comes back.
func (s *Source) Reload(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()

	select {
	case s.turn <- struct{}{}:
	case <-s.closing.Done():
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go s.reload(ctx, done)
	select {
	case err := <-done:
		if s.closing.Err() != nil {
			return ErrClosed
		}
		return err
	case <-ctx.Done():
	}
	if s.closing.Err() != nil {
		return ErrClosed
	}
	return context.Cause(ctx)
}

// reload does the work of Reload in its turn, which it ends. What was loaded
// when nobody waits for it any more is dropped.
func (s *Source) reload(ctx context.Context, done chan<- error) {
	defer func() { <-s.turn }()
	previous := s.current.Load()
	next, err := s.load(ctx)
	if err == nil {
		err = next.checkAfter(previous, time.Now())
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		s.current.Store(next)
	}
	done <- err
}

// checkAfter refuses to go on from previous to s where that can only be worse,
// and otherwise gives s its generation.
func (s *snapshot) checkAfter(previous *snapshot, now time.Time) error {
	for _, one := range s.shows {
		if err := one.checkAfter(previous.chainOf(one.Leaf), now); err != nil {
			return err
		}
	}
	if !s.sameTrust(previous) {
		if err := s.checkTrust(now); err != nil {
			return err
		}
	}
	if err := s.crls.checkAfter(previous.crls, now); err != nil {
		return err
	}
	s.generation = previous.generation
	if !s.sameTrust(previous) || !s.crls.equal(previous.crls) {
		s.generation++
	}
	return nil
}

// Close ends a Reload in progress, waits for it, makes later ones return
// [ErrClosed], and closes the provider, whose error it returns. The configs made
// by the Source go on with what it held last, so that connections can drain.
// Close may be called again and again.
func (s *Source) Close() error { return s.close() }

// Certificate roles, in [Certificate].
const (
	RoleIdentity     = "identity"
	RoleIntermediate = "intermediate"
	RoleCA           = "ca"
)

// Certificate describes one certificate in use, for reports.
type Certificate struct {
	Role     string // RoleIdentity, RoleIntermediate or RoleCA
	Subject  string // distinguished name, as RFC 2253 writes it
	Serial   string // hexadecimal
	NotAfter time.Time

	X509 *x509.Certificate // the certificate itself
}

// Certificates describes what is in use now: each identity with its
// intermediates, then the trusted CAs. Those of the system's trust are left out.
func (s *Source) Certificates() []Certificate {
	current := s.current.Load()
	var all []Certificate
	add := func(role string, certs ...*x509.Certificate) {
		for _, cert := range certs {
			all = append(all, Certificate{
				Role:     role,
				Subject:  cert.Subject.String(),
				Serial:   cert.SerialNumber.Text(16),
				NotAfter: cert.NotAfter,
				X509:     cert,
			})
		}
	}
	for _, one := range current.shows {
		add(RoleIdentity, one.Leaf)
		add(RoleIntermediate, one.intermediates...)
	}
	add(RoleCA, current.CAs...)
	return all
}

func newSnapshot(material *Material) (*snapshot, error) {
	s := &snapshot{Material: *material}
	if s.Roots != nil {
		s.verified = newVerified(maxVerified)
	}
	for _, one := range s.identities() {
		one, err := one.complete()
		if err != nil {
			return nil, err
		}
		s.shows = append(s.shows, one)
	}
	if len(s.shows) > 1 {
		s.showcase = newShowcase(s.shows)
	}
	return s, nil
}

// chainOf returns the certificates of the identity that has this leaf, in order; nil
// if there is none.
func (s *snapshot) chainOf(leaf *x509.Certificate) []*x509.Certificate {
	i := slices.IndexFunc(s.shows, func(one identity) bool { return one.Leaf.Equal(leaf) })
	if i < 0 {
		return nil
	}
	return append([]*x509.Certificate{leaf}, s.shows[i].intermediates...)
}

// checkAfter refuses an identity that peers would refuse at this time: for its
// own dates, or for those of an intermediate that it needs. What is in use with it
// already is no reason to refuse what came beside.
func (i identity) checkAfter(inUse []*x509.Certificate, now time.Time) error {
	issued := i.Leaf
	for n, cert := range append([]*x509.Certificate{i.Leaf}, i.intermediates...) {
		isRoot := bytes.Equal(cert.RawSubject, cert.RawIssuer)
		if n > 0 && (isRoot || !bytes.Equal(cert.RawSubject, issued.RawIssuer)) {
			break // peers have roots of their own, and the rest is not on the way to one
		}
		issued = cert
		if slices.ContainsFunc(inUse, cert.Equal) {
			continue
		}
		if err := checkDates(cert, now); err != nil {
			return fmt.Errorf("%s: %w", i.origin, err)
		}
	}
	return nil
}

// sameTrust reports whether both trust the same CAs in the same way.
func (s *snapshot) sameTrust(other *snapshot) bool {
	return s.Roots.Equal(other.Roots) && s.domains.equal(other.domains)
}

// checkTrust refuses trust that nobody can meet at this time. One CA that is
// valid is enough: bundles have those that have run out in them for years.
func (s *snapshot) checkTrust(now time.Time) error {
	var first error
	for _, ca := range s.CAs {
		err := checkDates(ca, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = fmt.Errorf("%s: no CA in it is valid now: %w", s.TrustOrigin, err)
		}
	}
	return first
}
