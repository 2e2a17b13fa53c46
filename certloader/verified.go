package certloader

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// verified remembers which chains peers have been verified by, so that one who
// comes back costs no second check of its issuer's signature. It belongs to one
// snapshot: with the trust, what was found under it is forgotten.
//
// Only what does not change is remembered: that the signatures, constraints and
// usages of a chain are good. Its dates and the revocation lists are asked each
// time. A refusal is not remembered.
//
// Each certificate of a peer has one place, so that a peer who shows it with
// ever other certificates behind it pushes out nobody else. Nil remembers
// nothing.
type verified struct {
	mu       sync.Mutex
	half     int                         // how many proofs are in recent at most
	recent   map[[sha256.Size]byte]proof // by the digest of the leaf
	previous map[[sha256.Size]byte]proof // what was recent before; dropped once recent is full again
}

// maxVerified is how many peers a snapshot remembers. One takes about 4 KiB.
const maxVerified = 1024

// proof is what is remembered of a peer.
type proof struct {
	shown  [sha256.Size]byte // the digest of all that it showed
	chains [][]*x509.Certificate
}

func newVerified(limit int) *verified {
	return &verified{half: limit / 2, recent: make(map[[sha256.Size]byte]proof)}
}

// shown names what a peer shows, and what is to be found out about it.
type shown struct{ leaf, whole [sha256.Size]byte }

// newShown digests certificates as they are, each with its length before it: no
// two lists of them are the same string of bytes.
func newShown(certs []*x509.Certificate, usage x509.ExtKeyUsage) (s shown) {
	all := sha256.New()
	add := func(n int, data []byte) {
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], uint64(n)) //nolint:gosec // lengths and usages are not negative
		all.Write(number[:])
		all.Write(data)
	}
	add(int(usage), nil)
	for i, cert := range certs {
		add(len(cert.Raw), cert.Raw)
		if i == 0 {
			all.Sum(s.leaf[:0])
		}
	}
	all.Sum(s.whole[:0])
	return s
}

// recall returns those of the chains of what is shown that have been found good
// and whose dates are good now, if there are any.
func (v *verified) recall(s shown, now time.Time) [][]*x509.Certificate {
	if v == nil {
		return nil
	}
	v.mu.Lock()
	known, ok := v.recent[s.leaf]
	if !ok {
		if known, ok = v.previous[s.leaf]; ok {
			v.keep(s.leaf, known)
		}
	}
	v.mu.Unlock()
	if !ok || known.shown != s.whole {
		return nil
	}
	var hold [][]*x509.Certificate
	for _, chain := range known.chains {
		if validAt(chain, now) {
			hold = append(hold, chain)
		}
	}
	return hold
}

// remember keeps the chains by which what was shown has been let pass.
func (v *verified) remember(s shown, chains [][]*x509.Certificate) {
	if v == nil || len(chains) == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keep(s.leaf, proof{s.whole, chains})
}

// keep makes a proof a recent one.
func (v *verified) keep(leaf [sha256.Size]byte, p proof) {
	if _, known := v.recent[leaf]; !known && len(v.recent) >= v.half {
		v.previous, v.recent = v.recent, make(map[[sha256.Size]byte]proof)
	}
	v.recent[leaf] = p
}

// keepOnce puts the certificates of a chain in the place of those that a client
// has shown, where they are the same. A server's session parses what it is shown
// each time, and has it for as long as the connection lives: of a client with
// many connections, the certificate is in memory once. The slice is the session's
// own, which nobody else has during its handshake; that of a client's session is
// shared by all that resume it, and must stay as it is.
func keepOnce(shown []*x509.Certificate, chains [][]*x509.Certificate) {
	for i, cert := range shown {
		for _, chain := range chains {
			if same := slices.IndexFunc(chain, cert.Equal); same >= 0 {
				shown[i] = chain[same]
				break
			}
		}
	}
}

// validAt reports whether all certificates of a chain are valid now.
func validAt(chain []*x509.Certificate, now time.Time) bool {
	for _, cert := range chain {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return false
		}
	}
	return true
}
