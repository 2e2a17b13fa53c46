// Package devpki is a throwaway certificate authority. It makes the
// certificates that somebody needs to try Sallyport out (the certs command),
// and those that the tests of every package are run with:
//
//	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
//	…
//	id, err := ca.Issue(devpki.Request{
//		CommonName: "server",
//		DNSNames:   []string{"localhost"},
//	})
//	…
//	config := &tls.Config{Certificates: []tls.Certificate{id.TLSCertificate()}}
//	roots := ca.Pool()
//
// [Init] and [IssueInto] do the same with files in a directory.
//
// What it makes conforms to RFC 5280: random 128-bit serial numbers, subject
// and authority key identifiers, critical basic constraints and key usages.
//
// It is not a CA to run a service with: keys lie unencrypted beside what they
// sign, nothing is recorded, and nothing can be revoked.
package devpki
