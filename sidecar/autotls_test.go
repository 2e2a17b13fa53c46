package sidecar

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
)

// noTrust is a Provider of nothing, or of an error.
type noTrust struct{ err error }

func (p *noTrust) Load(context.Context) (*certloader.Material, error) {
	if p.err != nil {
		return nil, p.err
	}
	return new(certloader.Material), nil
}
func (*noTrust) Changed() <-chan struct{} { return nil }
func (*noTrust) Close() error             { return nil }

func load(t *testing.T, p certloader.Provider) *tls.Certificate {
	t.Helper()
	material, err := p.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return material.Identity
}

func TestAutoTLSIsValidForItsNamesUnderTheLoggedPin(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a, err := newAutoTLS([]string{"web.example", "192.0.2.1"}, new(noTrust), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	identity := load(t, a)
	if len(identity.Certificate) != 2 {
		t.Fatalf("%d certificates, want the leaf and the CA", len(identity.Certificate))
	}
	ca, err := x509.ParseCertificate(identity.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	leafDigest := sha256.Sum256(identity.Leaf.RawSubjectPublicKeyInfo)
	if want := " pin=" + "\"sha256:" + base64.StdEncoding.EncodeToString(leafDigest[:]) + "\""; !strings.Contains(log.String(), want) {
		t.Errorf("log without %s: %s", want, &log)
	}
	if want := "ca_pin=" + "\"sha256:" + base64.StdEncoding.EncodeToString(digest[:]) + "\""; !strings.Contains(log.String(), want) {
		t.Errorf("log without %s: %s", want, &log)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "web.example", "192.0.2.1"} {
		if _, err := identity.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if again := load(t, a); !again.Leaf.Equal(identity.Leaf) {
		t.Error("a reload before its time made a new certificate")
	}
}

func TestAutoTLSRenewsTwoThirdsIntoALife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		trust := new(noTrust)
		a, err := newAutoTLS(nil, trust, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			before := load(t, a)
			loaded := time.Now()
			<-a.Changed()
			if waited := time.Since(loaded); waited < autoIdentityLife*6/10 || waited > autoIdentityLife*2/3 {
				t.Errorf("asked for a reload after %v", waited)
			}
			// While the trust cannot be loaded, it asks again and again.
			trust.err = errors.New("no trust")
			for range 3 {
				if _, err := a.Load(t.Context()); !errors.Is(err, trust.err) {
					t.Fatal(err)
				}
				failed := time.Now()
				<-a.Changed()
				if waited := time.Since(failed); waited != autoRetry {
					t.Errorf("asked again after %v", waited)
				}
			}
			trust.err = nil
			after := load(t, a)
			if after.Leaf.Equal(before.Leaf) {
				t.Error("not renewed")
			}
			if !bytes.Equal(after.Leaf.RawSubjectPublicKeyInfo, before.Leaf.RawSubjectPublicKeyInfo) {
				t.Error("the renewed certificate has another pin")
			}
			if !bytes.Equal(after.Certificate[1], before.Certificate[1]) {
				t.Error("the CA has changed")
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * autoIdentityLife)
		select {
		case <-a.Changed():
			t.Error("asked for a reload after Close")
		default:
		}
	})
}
