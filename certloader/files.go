package certloader

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"sallyport/certloader/keystore"
)

// FileOptions names the files that [Files] reads. All may be empty, but not Cert
// or Key alone, and not Keystore beside them.
type FileOptions struct {
	// Cert is a file with the certificate and its chain: PEM, DER or PKCS#7. Key
	// is one with the private key, in PEM or DER: PKCS#8, PKCS#1 or SEC 1. They
	// may be the same PEM file.
	Cert, Key string

	// Keystore is a file with certificate, chain and key: PEM, PKCS#12, JKS or
	// JCEKS.
	Keystore string

	// Password opens the keystore, or the private key in PEM or DER if that is
	// encrypted. PasswordFile, if set, is a file that holds it instead; one line
	// break at its end does not count.
	Password, PasswordFile string

	// CABundle is a file with the trusted CAs: PEM, DER or PKCS#7; empty is the
	// system's trust.
	CABundle string

	// FlagPrefix is what the flags begin with that named Cert, Key, Keystore and
	// CABundle, for errors: "proxy-" for --proxy-cert. Usually empty.
	FlagPrefix string
}

// flag is how errors call what a flag of that name set.
func (o FileOptions) flag(name string) string { return "--" + o.FlagPrefix + name }

// maxFileSize bounds what is read, far above any real bundle, so that a path
// to something endless is an error.
const maxFileSize = 16 << 20

// Files returns a Provider that reads the files anew each time. The extension
// of a file says how it is written (.pem; .der; .p7b .p7c; .p12 .pfx; .jks
// .jceks) or, if it has none of these, its content. A chain that is not in order
// is put right.
func Files(opts FileOptions) Provider { return files{opts} }

type files struct{ FileOptions }

// Load reads all files, or says which one is at fault.
func (f files) Load(ctx context.Context) (*Material, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	material := new(Material)
	if err := f.loadIdentity(material); err != nil {
		return nil, err
	}
	if err := f.loadTrust(material); err != nil {
		return nil, err
	}
	return material, nil
}

// Changed is nil: Watch knows when files change.
func (files) Changed() <-chan struct{} { return nil }

// Close does nothing: no file is kept open.
func (files) Close() error { return nil }

func (o FileOptions) loadIdentity(material *Material) (err error) {
	switch {
	case (o.Cert == "") != (o.Key == ""):
		return fmt.Errorf("%s and %s: one without the other", o.flag("cert"), o.flag("key"))
	case o.Cert != "" && o.Keystore != "":
		return fmt.Errorf("%s and %s: two identities; give one", o.flag("keystore"), o.flag("cert"))
	case o.Cert != "":
		material.Origin = o.flag("cert") + " " + o.Cert
		material.Identity, err = o.loadPair()
	case o.Keystore != "":
		material.Origin = o.flag("keystore") + " " + o.Keystore
		material.Identity, err = o.loadKeystore()
	}
	return err
}

func (o FileOptions) loadTrust(material *Material) error {
	if o.CABundle == "" {
		return nil
	}
	return bundle{o.flag("cacert"), o.CABundle}.loadTrust(material)
}

func (o FileOptions) loadPair() (*tls.Certificate, error) {
	certs, err := readCertificates(o.Cert)
	if err != nil {
		return nil, inFile(o.flag("cert"), o.Cert, err)
	}
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	key, err := readPrivateKey(o.Key, password)
	if err != nil {
		return nil, inFile(o.flag("key"), o.Key, err)
	}
	identity, err := keystore.Pair(certs, key)
	if errors.Is(err, keystore.ErrMismatch) {
		err = fmt.Errorf("%w in %s %s", err, o.flag("cert"), o.Cert)
	}
	if err != nil {
		return nil, inFile(o.flag("key"), o.Key, err)
	}
	return identity, nil
}

func (o FileOptions) loadKeystore() (*tls.Certificate, error) {
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	data, err := readFile(o.Keystore)
	if err != nil {
		return nil, inFile(o.flag("keystore"), o.Keystore, err)
	}
	identity, err := keystore.Identity(data, o.Keystore, password)
	if err != nil {
		return nil, inFile(o.flag("keystore"), o.Keystore, err)
	}
	return identity, nil
}

func (o FileOptions) password() (string, error) {
	if o.PasswordFile == "" {
		return o.Password, nil
	}
	data, err := readFile(o.PasswordFile)
	if err != nil {
		return "", inFile("--storepass-file", o.PasswordFile, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

// readCertificates reads a file of certificates. There is one at least.
func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return keystore.Certificates(data, path)
}

// readPrivateKey reads a file with one private key.
func readPrivateKey(path, password string) (crypto.Signer, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return keystore.PrivateKey(data, path, password)
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	return data, nil
}

// inFile says which flag's file err is about, and what to do. An fs.PathError
// would repeat the path.
func inFile(flag, path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("%s %s: %w", flag, path, advised(err))
}
