package certloader

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileOptions names the files that [Files] reads. All may be empty, but not Cert
// or Key alone, and not Keystore beside them.
type FileOptions struct {
	// Cert is a PEM file with the certificate and its chain, Key one with the
	// private key: PKCS#8, PKCS#1 or SEC 1, not encrypted. They may be the same
	// file.
	Cert, Key string

	// Keystore is a file with certificate, chain and key, as PEM or PKCS#12. Its
	// extension says which (.pem .crt .p12 .pfx), or else its content; so does
	// content that plainly is of the other format than the extension says.
	Keystore string

	// Password opens a PKCS#12 keystore. PasswordFile, if set, is a file that
	// holds it instead; one line break at its end does not count.
	Password, PasswordFile string

	// CABundle is a PEM file with the trusted CAs; empty is the system's trust.
	CABundle string
}

// maxFileSize bounds what is read, far above any real bundle, so that a path
// to something endless is an error.
const maxFileSize = 16 << 20

// Files returns a Provider that reads the files anew each time. A PEM chain
// whose leaf is not first is put right.
func Files(opts FileOptions) Provider { return files{opts} }

type files struct{ FileOptions }

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

func (files) Changed() <-chan struct{} { return nil }

func (files) Close() error { return nil }

func (o FileOptions) loadIdentity(material *Material) (err error) {
	switch {
	case (o.Cert == "") != (o.Key == ""):
		return errors.New("--cert and --key: one without the other")
	case o.Cert != "" && o.Keystore != "":
		return errors.New("--keystore and --cert: two identities; give one")
	case o.Cert != "":
		material.Origin = "--cert " + o.Cert
		material.Identity, err = loadPair(o.Cert, o.Key)
	case o.Keystore != "":
		material.Origin = "--keystore " + o.Keystore
		material.Identity, err = o.loadKeystore()
	}
	return err
}

func (o FileOptions) loadTrust(material *Material) error {
	if o.CABundle == "" {
		return nil
	}
	contents, err := readPEM(o.CABundle)
	if err == nil {
		material.CAs, err = contents.certificates()
	}
	if err != nil {
		return inFile("--cacert", o.CABundle, err)
	}
	material.Roots = x509.NewCertPool()
	for _, cert := range material.CAs {
		material.Roots.AddCert(cert)
	}
	return nil
}

func loadPair(certPath, keyPath string) (*tls.Certificate, error) {
	contents, err := readPEM(certPath)
	if err != nil {
		return nil, inFile("--cert", certPath, err)
	}
	chain, err := contents.certificates()
	if err != nil {
		return nil, inFile("--cert", certPath, err)
	}
	if contents, err = readPEM(keyPath); err != nil {
		return nil, inFile("--key", keyPath, err)
	}
	key, err := contents.privateKey()
	if err != nil {
		return nil, inFile("--key", keyPath, err)
	}
	identity, err := newIdentity(chain, key)
	if errors.Is(err, errMismatch) {
		return nil, inFile("--key", keyPath, fmt.Errorf("%w in --cert %s", err, certPath))
	}
	if err != nil {
		return nil, inFile("--cert", certPath, err)
	}
	return identity, nil
}

func (o FileOptions) loadKeystore() (*tls.Certificate, error) {
	password, err := o.password()
	if err != nil {
		return nil, inFile("--storepass-file", o.PasswordFile, err)
	}
	data, err := readFile(o.Keystore)
	if err != nil {
		return nil, inFile("--keystore", o.Keystore, err)
	}
	identity, err := parseKeystore(data, filepath.Ext(o.Keystore), password)
	if err != nil {
		return nil, inFile("--keystore", o.Keystore, err)
	}
	return identity, nil
}

func (o FileOptions) password() (string, error) {
	if o.PasswordFile == "" {
		return o.Password, nil
	}
	data, err := readFile(o.PasswordFile)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

// parseKeystore reads a keystore in the format that data shows or, where that
// shows none or both, that extension names.
func parseKeystore(data []byte, extension, password string) (*tls.Certificate, error) {
	if isJavaKeystore(data) {
		return nil, errors.New("a Java keystore (JKS or JCEKS), which this version cannot read; make PKCS#12 of it with keytool -importkeystore -deststoretype PKCS12")
	}
	extension = strings.ToLower(extension)
	isPEM, isDER := bytes.Contains(data, []byte(pemBegin)), looksLikeDER(data)
	if isPEM == isDER {
		isPEM = slices.Contains([]string{".pem", ".crt", ".cer", ".key"}, extension)
		isDER = slices.Contains([]string{".p12", ".pfx", ".pkcs12"}, extension)
	}
	switch {
	case isPEM:
		return parsePEMKeystore(data)
	case isDER:
		return parsePKCS12(data, password)
	}
	return nil, errors.New("neither PEM nor PKCS#12")
}

// isJavaKeystore reports whether data begins as JKS and JCEKS do.
func isJavaKeystore(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed}) || bytes.HasPrefix(data, []byte{0xce, 0xce, 0xce, 0xce})
}

func parsePEMKeystore(data []byte) (*tls.Certificate, error) {
	contents, err := parsePEM(data)
	if err != nil {
		return nil, err
	}
	chain, err := contents.certificates()
	if err != nil {
		return nil, err
	}
	key, err := contents.privateKey()
	if err != nil {
		return nil, err
	}
	return newIdentity(chain, key)
}

func readPEM(path string) (*pemContents, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parsePEM(data)
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

// inFile says which flag's file err is about. An fs.PathError would repeat the
// path.
func inFile(flag, path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("%s %s: %w", flag, path, err)
}
