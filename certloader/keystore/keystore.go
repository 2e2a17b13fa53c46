// Package keystore makes of the bytes of a file what TLS needs: certificates, a
// private key, or an identity, which is a chain with its key. It reads PEM, DER,
// PKCS#7, PKCS#8, PKCS#12 and Java's JKS and JCEKS, and tells them apart:
//
//	data, err := os.ReadFile("server.p12")
//	…
//	identity, err := keystore.Identity(data, "server.p12", password)
//	if errors.Is(err, keystore.ErrPassword) {
//		…
//
// or, where chain and key come apart:
//
//	certs, err := keystore.Certificates(certData, "server.pem")
//	…
//	key, err := keystore.PrivateKey(keyData, "server-key.der", password)
//	…
//	identity, err := keystore.Pair(certs, key)
//
// A damaged file is an error, rather than less than it held, and what a file may
// ask for to derive a key from a password is bounded.
//
// It opens no file and knows no flag: its errors say what is wrong with the
// data, and the caller says where that came from and what to do about it. It
// verifies no certificate, and writes nothing.
package keystore

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Identity reads a certificate, its chain and its private key: PEM, PKCS#12, JKS
// or JCEKS. The name is that of the file, whose extension (.pem; .p12 .pfx; .jks
// .jceks) counts where the data does not tell the format. The password opens the
// keystore, or the key in PEM if that is encrypted. The chain is put in order,
// as [Pair] does.
//
// An error may be [ErrPassword], [ErrPasswordOrDamage], [ErrNoPassword],
// [ErrEncrypted], [ErrMismatch], [ErrBinary] or [ErrHalfIdentity].
func Identity(data []byte, name, password string) (*tls.Certificate, error) {
	switch formatOf(name, data) {
	case formatPEM:
		return parsePEMKeystore(data, password)
	case formatPKCS12:
		return parsePKCS12(data, password)
	case formatJava:
		return parseJavaKeystore(data, password)
	case formatDER, formatPKCS7:
		return nil, ErrHalfIdentity
	}
	return nil, errors.New("neither PEM, PKCS#12, JKS nor JCEKS")
}

// Certificates reads certificates, of which there is one at least: PEM, DER or
// PKCS#7. They are in the order of the data. The name is that of the file, whose
// extension (.pem; .der; .p7b .p7c) counts where the data does not tell the
// format.
//
// An error may be [ErrBinary] or [ErrWholeIdentity].
func Certificates(data []byte, name string) ([]*x509.Certificate, error) {
	switch formatOf(name, data) {
	case formatPEM:
		contents, err := ParsePEM(data)
		if err != nil {
			return nil, err
		}
		return contents.certificates()
	case formatDER:
		certs, err := x509.ParseCertificates(data)
		if err != nil {
			return nil, fmt.Errorf("not a certificate in DER: %w", err)
		}
		return certs, nil
	case formatPKCS7:
		return parsePKCS7(data)
	case formatPKCS12, formatJava:
		return nil, ErrWholeIdentity
	}
	return nil, errors.New("no certificate in PEM, DER or PKCS#7")
}

// PrivateKey reads the one private key in PEM or DER: PKCS#8, PKCS#1 or SEC 1.
// The name is that of the file, whose extension (.pem; .der) counts where the
// data does not tell the format. The password is not looked at unless the key is
// encrypted.
//
// An error may be [ErrPasswordOrDamage], [ErrEncrypted], [ErrBinary] or
// [ErrWholeIdentity].
func PrivateKey(data []byte, name, password string) (crypto.Signer, error) {
	switch formatOf(name, data) {
	case formatPEM:
		contents, err := ParsePEM(data)
		if err != nil {
			return nil, err
		}
		return contents.privateKey(password)
	case formatDER:
		return parsePrivateKey(data, password)
	case formatPKCS12, formatJava:
		return nil, ErrWholeIdentity
	}
	return nil, errors.New("no private key in PEM or DER")
}
