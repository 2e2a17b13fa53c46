package tests

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

// A victim is a process that is attacked: in server mode by a client, in client
// mode by its target.
type victim struct {
	*pki

	mode string   // "server" or "client"
	good files    // what the victim would let through
	args []string // the flags with which it judges its peers
}

// hostile is one who should not get through.
type hostile struct {
	shows  tls.Certificate
	reason string   // which the victim's log must give
	texts  []string // what else must be in that line

	// reason13 is the reason in TLS 1.3, where that is another and needs no texts.
	reason13 string

	// tamper, if it is set, comes between the session and the network.
	tamper func(net.Conn) net.Conn

	// adapt, if it is set, changes what the session offers or takes.
	adapt func(*tls.Config)
}

// notTheKey is what the log has when who shows a certificate does not hold its key.
var notTheKey = []string{"invalid signature"}

// attacks is what every victim is tried with, in TLS 1.2 and 1.3.
var attacks = []struct {
	name string
	plan func(*testing.T, *victim) hostile
}{
	{"no certificate", func(_ *testing.T, v *victim) hostile {
		none := tls.Certificate{PrivateKey: v.good.Key}
		if v.mode == "client" { // a server without one breaks the protocol (RFC 8446, 4.4.2.4)
			return hostile{shows: none, reason: "no_certificate", texts: []string{"tls: received "}}
		}
		return hostile{shows: none, reason: "no_certificate"}
	}},
	{"wrong CA", func(t *testing.T, v *victim) hostile {
		return hostile{shows: newPKI(t).issue(t, "wrong", v.request()).TLSCertificate(), reason: "unknown_ca"}
	}},
	{"wrong CA with the name of the right one", func(t *testing.T, v *victim) hostile {
		double, err := devpki.NewCA(devpki.Options{CommonName: v.Certificate().Subject.CommonName})
		if err != nil {
			t.Fatal(err)
		}
		return hostile{shows: issued(t, double, v.request()), reason: "unknown_ca"}
	}},
	{"expired", func(t *testing.T, v *victim) hostile {
		request := v.request()
		request.NotBefore, request.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
		return hostile{shows: issued(t, v.CA, request), reason: "expired"}
	}},
	{"not yet valid", func(t *testing.T, v *victim) hostile {
		request := v.request()
		request.NotBefore, request.NotAfter = time.Now().Add(time.Hour), time.Now().Add(48*time.Hour)
		return hostile{shows: issued(t, v.CA, request), reason: "not_yet_valid"}
	}},
	{"wrong extended key usage", func(t *testing.T, v *victim) hostile {
		request := v.request()
		request.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if v.mode == "client" {
			request.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}
		return hostile{shows: issued(t, v.CA, request), reason: "bad_certificate"}
	}},
	{"wrong host name", func(t *testing.T, v *victim) hostile {
		request, reason := devpki.Request{CommonName: "localhost", DNSNames: []string{"elsewhere.test"}}, "name_mismatch"
		if v.mode == "server" { // a client has no host name to be at, but may have to have one
			v.args, reason = []string{"--allow-dns", "localhost"}, "not_allowed"
		}
		return hostile{shows: issued(t, v.CA, request), reason: reason}
	}},
	{"name outside the constraints of its CA", func(t *testing.T, v *victim) hostile {
		return hostile{shows: constrained(t, v), reason: "bad_certificate"}
	}},
	{"signed by itself, with the right names", func(t *testing.T, v *victim) hostile {
		return hostile{shows: selfSigned(t, v), reason: "unknown_ca"}
	}},
	{"issued by a certificate that is no CA's", func(t *testing.T, v *victim) hostile {
		return hostile{shows: issuedByLeaf(t, v), reason: "unknown_ca"}
	}},
	{"intermediate missing", func(t *testing.T, v *victim) hostile {
		shows := issued(t, intermediate(t, v), v.request())
		shows.Certificate = shows.Certificate[:1]
		return hostile{shows: shows, reason: "unknown_ca"}
	}},
	{"revoked", func(t *testing.T, v *victim) hostile {
		revoked, crl := v.issue(t, "revoked", v.request()), newCRLIssuer(t, v.pki)
		crl.revoke(revoked.cert)
		crl.publish()
		v.args = append(v.args, "--crl", crl.path)
		return hostile{shows: revoked.TLSCertificate(), reason: "revoked"}
	}},
	{"pinned key, another certificate", func(t *testing.T, v *victim) hostile {
		v.pin()
		return hostile{shows: issued(t, v.CA, v.request()), reason: "pin_mismatch"}
	}},
	{"pinned certificate, another key", func(t *testing.T, v *victim) hostile {
		v.pin()
		shows := issued(t, v.CA, v.request())
		shows.Certificate = v.good.TLSCertificate().Certificate
		return hostile{shows: shows, reason: "bad_signature", texts: notTheKey}
	}},
	{"right certificate, another key", func(t *testing.T, v *victim) hostile {
		shows := issued(t, v.CA, v.request())
		shows.Certificate = v.good.TLSCertificate().Certificate
		return hostile{shows: shows, reason: "bad_signature", texts: notTheKey}
	}},
	{"certificate swapped in flight", func(t *testing.T, v *victim) hostile {
		mallory := newPKI(t).issue(t, "mallory", devpki.Request{CommonName: "mallory"})
		swap := rewriting(func(_ int, record []byte) []byte { return swapCertificate(record, v.good.Leaf.Raw) })
		return hostile{shows: mallory.TLSCertificate(), reason: "bad_signature", texts: notTheKey, reason13: "bad_tls_message", tamper: swap}
	}},
	{"nothing newer than TLS 1.1", func(_ *testing.T, v *victim) hostile {
		h := hostile{shows: v.good.TLSCertificate(), reason: "protocol_version"}
		if v.mode == "client" { // whose hello offers nothing older, which does not keep the target from choosing it
			h.tamper = rewriting(chooseTLS11)
			return h
		}
		h.adapt = func(config *tls.Config) { config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
		return h
	}},
	{"hello cut short", func(_ *testing.T, v *victim) hostile {
		return hostile{shows: v.good.TLSCertificate(), reason: "connection_lost", tamper: func(conn net.Conn) net.Conn {
			return &cutShort{Conn: conn}
		}}
	}},
	{"certificate cut short", func(_ *testing.T, v *victim) hostile {
		whole := 0 // a server's certificate goes with its hello
		if v.mode == "server" {
			whole = 1
		}
		return hostile{shows: v.good.TLSCertificate(), reason: "connection_lost", tamper: func(conn net.Conn) net.Conn {
			return &cutShort{Conn: conn, whole: whole}
		}}
	}},
	{"record too long", func(_ *testing.T, v *victim) hostile {
		return hostile{shows: v.good.TLSCertificate(), reason: "oversized_record", tamper: rewriting(lengthen)}
	}},
}

// TestAttacks has everyone who should not get through come twice, the second time
// with what it was given the first time, in each version of TLS. The right peer
// gets through before and after.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, attack := range attacks {
		t.Run(attack.name+", server mode", func(t *testing.T) {
			t.Parallel()
			v := newVictim(t, "server")
			hostile := attack.plan(t, v)
			listen := reserve(t)
			service := serve(t, "tcp", echo)
			process := startServer(t, v.pki, listen, service.address, v.args...)
			honest := v.clientConfig(v.good)
			if err := attempt(t, listen, honest); err != nil {
				t.Fatalf("the right client: %v", err)
			}
			attacked := 0
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config := v.hostileConfig(hostile, version)
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for range 2 {
					if hostile.asClient(t, listen, config) {
						t.Errorf("%s: an answer came back", tls.VersionName(version))
					}
					attacked++
					hostile.checkLine(t, version, process.waitLines(t, attacked, "error on TLS handshake")[attacked-1])
				}
			}
			if n := service.connections(); n != 1 {
				t.Errorf("the target has seen %d connections, want the right client's alone", n)
			}
			if err := attempt(t, listen, honest); err != nil {
				t.Errorf("the right client, afterwards: %v", err)
			}
			process.stop(t)
		})
		t.Run(attack.name+", client mode", func(t *testing.T) {
			t.Parallel()
			v := newVictim(t, "client")
			hostile := attack.plan(t, v)
			var now atomic.Pointer[func(net.Conn)]
			service := serve(t, "tcp", func(conn net.Conn) { (*now.Load())(conn) })
			honest := overTLS(v.targetConfig(v.good), echo)
			now.Store(&honest)
			listen := reserve(t)
			process := startClient(t, v.pki, listen, service.address, v.args...)
			if err := through(t, listen); err != nil {
				t.Fatalf("to the right target: %v", err)
			}
			attacked := 0
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				handle, received := hostile.asServer(v.hostileConfig(hostile, version))
				now.Store(&handle)
				for range 2 {
					if n := heard(t, listen); n != 0 {
						t.Errorf("%s: the local application was sent %d bytes", tls.VersionName(version), n)
					}
					if got := receive(t, "the end of a hostile target", received); len(got) != 0 {
						t.Errorf("%s: the target has seen %q", tls.VersionName(version), got)
					}
					attacked++
					hostile.checkLine(t, version, process.waitLines(t, attacked, "error on TLS handshake")[attacked-1])
				}
			}
			now.Store(&honest)
			if err := through(t, listen); err != nil {
				t.Errorf("to the right target, afterwards: %v", err)
			}
			process.stop(t)
		})
	}
}

func newVictim(t *testing.T, mode string) *victim {
	t.Helper()
	v := &victim{pki: newPKI(t), mode: mode}
	v.good = v.issue(t, "good", v.request())
	v.args = []string{"--allow-cn", "good"}
	if mode == "client" {
		v.args = []string{"--verify-cn", "good"}
	}
	return v
}

// request is for a certificate that the victim lets through, if it is of the
// right CA.
func (v *victim) request() devpki.Request {
	return devpki.Request{CommonName: "good", DNSNames: []string{"localhost"}, IPs: loopback}
}

// pin has the victim judge by the right peer's key alone.
func (v *victim) pin() {
	v.args = []string{"--allow-spki-pin", longPin(v.good)}
	if v.mode == "client" {
		v.args = []string{"--verify-spki-pin", longPin(v.good)}
	}
}

// hostileConfig is for a session of one version with the victim.
func (v *victim) hostileConfig(h hostile, version uint16) *tls.Config {
	config := &tls.Config{
		InsecureSkipVerify: true,
		MinVersion:         version,
		MaxVersion:         version,
		// Even when the hints of a server say that it will be refused.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &h.shows, nil },
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &h.shows, nil },
		ClientAuth:           tls.RequestClientCert,
	}
	if h.adapt != nil {
		h.adapt(config)
	}
	return config
}

// checkLine checks the line of the log that tells of the attack.
func (h hostile) checkLine(t *testing.T, version uint16, line string) {
	t.Helper()
	want := append([]string{"reason=" + h.reason + " "}, h.texts...)
	if version == tls.VersionTLS13 && h.reason13 != "" {
		want = []string{"reason=" + h.reason13 + " "}
	}
	if !containsAll(line, want) {
		t.Errorf("%s: the log does not say %q: %s", tls.VersionName(version), want, line)
	}
}

func (h hostile) wrap(conn net.Conn) net.Conn {
	if h.tamper == nil {
		return conn
	}
	return h.tamper(conn)
}

// asClient attacks a server, and reports whether a byte came back through it.
func (h hostile) asClient(t *testing.T, address string, config *tls.Config) bool {
	t.Helper()
	conn := dial(t, "tcp", address)
	defer conn.Close()
	session := tls.Client(h.wrap(conn), config)
	if session.Handshake() != nil {
		return false
	}
	if session.ConnectionState().DidResume {
		t.Error("a session was resumed that never was one")
	}
	if _, err := io.WriteString(session, "let me in"); err != nil {
		return false
	}
	n, _ := session.Read(make([]byte, 1)) // the refusal is no byte
	return n > 0
}

// asServer attacks whoever connects: with a greeting, right behind the
// handshake. It sends what it was sent in return.
func (h hostile) asServer(config *tls.Config) (handle func(net.Conn), received <-chan []byte) {
	all := make(chan []byte, 16)
	return func(conn net.Conn) {
		session := tls.Server(h.wrap(conn), config)
		var got []byte
		if session.Handshake() == nil {
			_, _ = io.WriteString(session, "trust me") // whether it arrives is for the other end to say
			got, _ = io.ReadAll(session)
		}
		all <- got
	}, all
}

// heard is how many bytes a local application gets that sends some itself.
func heard(t *testing.T, address string) int {
	t.Helper()
	conn := dial(t, "tcp", address)
	defer conn.Close()
	// The system reports a reset once: to the write or to the read, whichever comes first.
	_, werr := io.WriteString(conn, "a secret")
	if werr != nil && !errors.Is(werr, syscall.ECONNRESET) && !errors.Is(werr, syscall.EPIPE) {
		t.Error(werr)
	}
	got, rerr := io.ReadAll(conn)
	if werr == nil && rerr == nil {
		t.Error("the local application's connection ended as if nothing was wrong")
	}
	return len(got)
}

// issued is an identity as a session shows it.
func issued(t *testing.T, ca *devpki.CA, request devpki.Request) tls.Certificate {
	t.Helper()
	id, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	return id.TLSCertificate()
}

func intermediate(t *testing.T, v *victim) *devpki.CA {
	t.Helper()
	sub, err := v.Intermediate(devpki.Options{CommonName: "intermediate"})
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// constrained is an identity of a CA that may certify names elsewhere alone.
func constrained(t *testing.T, v *victim) tls.Certificate {
	t.Helper()
	sub := intermediate(t, v)
	template := *sub.Certificate()
	template.PermittedDNSDomainsCritical = true
	template.PermittedDNSDomains = []string{"elsewhere.test"}
	der, err := x509.CreateCertificate(rand.Reader, &template, v.Certificate(), sub.Key().Public(), v.Key())
	if err != nil {
		t.Fatal(err)
	}
	shows := issued(t, sub, v.request())
	shows.Certificate[1] = der
	return shows
}

// selfSigned has all that the right certificate has but its issuer and its key.
func selfSigned(t *testing.T, v *victim) tls.Certificate {
	t.Helper()
	shows := issued(t, newPKI(t).CA, v.request())
	key := shows.PrivateKey.(crypto.Signer)
	template := *shows.Leaf
	template.AuthorityKeyId = nil
	template.Issuer = template.Subject
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), shows.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: shows.PrivateKey}
}

// issuedByLeaf is signed with the key of a certificate that is good, but not for
// signing others.
func issuedByLeaf(t *testing.T, v *victim) tls.Certificate {
	t.Helper()
	bob := v.issue(t, "bob", devpki.Request{CommonName: "bob"})
	shows := issued(t, v.CA, v.request())
	template := *shows.Leaf
	template.AuthorityKeyId = bob.Leaf.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, &template, bob.Leaf, template.PublicKey, bob.Key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, bob.Leaf.Raw}, PrivateKey: shows.PrivateKey}
}

// The types of records and handshake messages (RFC 8446, 5.1 and 4).
const (
	recordHandshake   = 22
	recordData        = 23
	messageCert       = 11
	recordHeaderBytes = 5
)

// rewriting sends each record of a session, counted from 0, as change makes it of
// its header and body.
func rewriting(change func(n int, record []byte) []byte) func(net.Conn) net.Conn {
	return func(conn net.Conn) net.Conn { return &rewriter{Conn: conn, change: change} }
}

type rewriter struct {
	net.Conn

	change func(int, []byte) []byte
	n      int
}

// Write takes whole records, as crypto/tls writes them.
func (r *rewriter) Write(p []byte) (int, error) {
	var out []byte
	for rest := p; len(rest) > 0; r.n++ {
		end := recordHeaderBytes + int(binary.BigEndian.Uint16(rest[3:]))
		out = append(out, r.change(r.n, rest[:end:end])...)
		rest = rest[end:]
	}
	if _, err := r.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// swapCertificate puts another certificate in a Certificate message that is in
// clear, as it is in TLS 1.2. Where it is not it can only be damaged.
func swapCertificate(record, der []byte) []byte {
	switch {
	case record[0] == recordData:
		damaged := append([]byte(nil), record...)
		damaged[len(damaged)-1] ^= 1
		return damaged
	case record[0] != recordHandshake || record[recordHeaderBytes] != messageCert:
		return record
	}
	list := append(uint24(len(der)), der...)
	body := append(uint24(len(list)), list...)
	message := append(append([]byte{messageCert}, uint24(len(body))...), body...)
	return append(binary.BigEndian.AppendUint16([]byte{recordHandshake, 3, 3}, uint16(len(message))), message...)
}

func uint24(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }

// chooseTLS11 has a ServerHello choose TLS 1.1 (RFC 8446, 4.1.3 and 4.2.1).
func chooseTLS11(n int, record []byte) []byte {
	if n > 0 {
		return record
	}
	hello := bytes.Replace(record, []byte{0, 43, 0, 2, 3, 4}, []byte{0, 43, 0, 2, 3, 2}, 1)
	const versionAt = recordHeaderBytes + 4
	copy(hello[versionAt:], []byte{3, 2})
	return hello
}

// lengthen makes the second record longer than any may be (RFC 8446, 5.2).
func lengthen(n int, record []byte) []byte {
	if n != 1 {
		return record
	}
	long := make([]byte, recordHeaderBytes+1<<16-1)
	copy(long, record)
	binary.BigEndian.PutUint16(long[3:], 1<<16-1)
	return long
}

// cutShort ends a session in the middle of a record, when it has made some writes
// whole.
type cutShort struct {
	net.Conn

	whole int
}

func (c *cutShort) Write(p []byte) (int, error) {
	if c.whole > 0 {
		c.whole--
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(p[:len(p)-len(p)/4]); err != nil {
		return 0, err
	}
	return 0, errors.Join(io.ErrClosedPipe, c.Conn.(halfCloser).CloseWrite())
}
