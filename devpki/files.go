package devpki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What an authority's directory holds, beside the identities.
const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
)

// FileOptions says what [Init] and [IssueInto] write. The zero value makes
// identities for localhost that last a year.
type FileOptions struct {
	// OrganizationalUnits are in the subject of every identity.
	OrganizationalUnits []string

	// DNSNames, IPs and URIs are subject alternative names beside localhost,
	// 127.0.0.1 and ::1, which every identity has.
	DNSNames []string
	IPs      []netip.Addr
	URIs     []string

	// Validity is how long certificates last from now, in whole seconds. Zero
	// is a year, or until the authority's end if that comes first.
	Validity time.Duration

	// Password encrypts the PKCS#12 files; it may be empty.
	Password string

	// Force replaces files that are there already.
	Force bool
}

// Init makes an authority in dir, and a server and a client identity of it:
//
//	ca.pem  ca-key.pem
//	server.pem  server-key.pem  server-combined.pem  server.p12
//	client.pem  client-key.pem  client-combined.pem  client.p12
//
// NAME.pem is the certificate with its chain, NAME-combined.pem that and the
// key. It makes dir if need be. Files that hold a key can be read by their
// owner alone. A file that exists is an error that wraps [fs.ErrExist], unless
// Force is set; nothing is written then.
func Init(dir string, opts FileOptions) error {
	notAfter, err := opts.notAfter()
	if err != nil {
		return err
	}
	ca, err := NewCA(Options{NotAfter: notAfter})
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return fmt.Errorf("encoding the CA key: %w", err)
	}
	files := []file{
		{caFile, ca.PEM(), 0o644},
		{caKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600},
	}
	for _, name := range []string{"server", "client"} {
		identity, err := opts.issue(ca, name, notAfter)
		if err != nil {
			return err
		}
		files = append(files, identity...)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	return writeFiles(dir, files, opts.Force)
}

// HasCA reports whether dir holds the certificate of an authority, good or not,
// where [Init] puts it.
func HasCA(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, caFile))
	return err == nil
}

// IssueInto makes one more identity of the authority in dir, with name as its
// common name and the first part of its four files' names, as [Init] does.
func IssueInto(dir, name string, opts FileOptions) error {
	if err := checkFileName(name); err != nil {
		return err
	}
	notAfter, err := opts.notAfter()
	if err != nil {
		return err
	}
	ca, err := LoadCA(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; make a CA there first (certs init)", err)
	}
	if err != nil {
		return err
	}
	end := ca.cert.NotAfter
	if end.Before(time.Now()) {
		return fmt.Errorf("the CA in %s ended at %s; make a new one (certs init)", dir, end.Format(time.RFC3339))
	}
	if notAfter.After(end) {
		return fmt.Errorf("identity %q would outlive its CA, which ends at %s; ask for less or make a new CA",
			name, end.Format(time.RFC3339))
	}
	files, err := opts.issue(ca, name, notAfter)
	if err != nil {
		return err
	}
	return writeFiles(dir, files, opts.Force)
}

// checkFileName refuses names that would leave the directory or stand for
// another identity's files.
func checkFileName(name string) error {
	switch {
	case name == "":
		return errors.New("the identity's name is empty")
	case name != filepath.Base(name) || strings.ContainsAny(name, `/\:`) || strings.HasPrefix(name, "."):
		return fmt.Errorf("name %q: it becomes a file's name, so it has no slash, backslash or colon and begins with no dot", name)
	case name == "ca" || strings.HasSuffix(name, "-key") || strings.HasSuffix(name, "-combined"):
		return fmt.Errorf("name %q: the files would be taken for another's; choose one other than ca, …-key and …-combined", name)
	}
	return nil
}

// notAfter is the end of the validity asked for, zero if none was. It is in
// whole seconds, as in a certificate, so that the two compare.
func (o FileOptions) notAfter() (time.Time, error) {
	switch {
	case o.Validity < 0:
		return time.Time{}, fmt.Errorf("validity %s: negative", o.Validity)
	case o.Validity == 0:
		return time.Time{}, nil
	}
	return time.Now().Add(o.Validity).Truncate(time.Second), nil
}

// issue makes an identity and the files that hold it.
func (o FileOptions) issue(ca *CA, name string, notAfter time.Time) ([]file, error) {
	id, err := ca.Issue(Request{
		CommonName:          name,
		OrganizationalUnits: o.OrganizationalUnits,
		DNSNames:            append([]string{"localhost"}, o.DNSNames...),
		IPs:                 append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, o.IPs...),
		URIs:                o.URIs,
		NotAfter:            notAfter,
	})
	if err != nil {
		return nil, fmt.Errorf("identity %q: %w", name, err)
	}
	keystore, err := id.PKCS12(o.Password)
	if err != nil {
		return nil, fmt.Errorf("identity %q: %w", name, err)
	}
	return []file{
		{name + ".pem", id.CertPEM(), 0o644},
		{name + "-key.pem", id.KeyPEM(), 0o600},
		{name + "-combined.pem", id.CombinedPEM(), 0o600},
		{name + ".p12", keystore, 0o600},
	}, nil
}

type file struct {
	name string
	data []byte
	mode fs.FileMode
}

// writeFiles writes all of files or, where it can tell beforehand that one is
// in the way, none.
func writeFiles(dir string, files []file, force bool) error {
	if !force {
		for _, f := range files {
			path := filepath.Join(dir, f.name)
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s: %w; --force replaces it", path, fs.ErrExist)
			}
		}
	}
	for _, f := range files {
		if err := f.write(dir); err != nil {
			return err
		}
	}
	return nil
}

// write replaces the file in one step, so that a process that reads it
// meanwhile sees the old content or the new, and no key is ever in a file that
// others may read.
func (f file) write(dir string) (err error) {
	temp, err := os.CreateTemp(dir, "."+f.name+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir, f.name), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", filepath.Join(dir, f.name), err), os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(f.data)
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := os.Chmod(temp.Name(), f.mode); err != nil {
		return err
	}
	return os.Rename(temp.Name(), filepath.Join(dir, f.name))
}
