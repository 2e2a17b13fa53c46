package keystore

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // it is what JKS is made of
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"

	"sallyport/internal/peertext"
)

// A Java keystore is, in big-endian numbers, a magic number, a version and the
// number of entries, then the entries, then a SHA-1 hash over a password and all
// of that. Its certificates are open to read, while each private key has an
// encryption of its own. JKS and JCEKS differ in the magic number, in how keys
// are encrypted as a rule (see jceks.go), and in that JCEKS has secret keys.
const (
	jksMagic   = 0xfeedfeed
	jceksMagic = 0xcececece

	javaPrivateKey  = 1 // tags of entries
	javaCertificate = 2
	javaSecretKey   = 3
)

// errJavaSecretKey ends the reading of entries: a secret key is a serialized
// Java object, and says nowhere how long it is.
var errJavaSecretKey = errors.New("a secret key is in it; remove it with keytool -delete")

// javaKey is an entry with a private key. Its fields alias the file's data.
type javaKey struct {
	alias     string
	encrypted []byte   // EncryptedPrivateKeyInfo
	chain     [][]byte // X.509 certificates, leaf first
}

// isJavaKeystore reports whether data begins as a JKS or JCEKS keystore does.
func isJavaKeystore(data []byte) bool {
	if len(data) < 4 {
		return false
	}
	magic := binary.BigEndian.Uint32(data)
	return magic == jksMagic || magic == jceksMagic
}

// parseJavaKeystore reads a JKS or JCEKS keystore that holds one private key.
// Nothing is decrypted before the keystore's hash has proved that it is whole
// and the password right.
func parseJavaKeystore(data []byte, password string) (*tls.Certificate, error) {
	if !isJavaKeystore(data) {
		return nil, errors.New("not a Java keystore (JKS, JCEKS or PKCS#12)")
	}
	if len(data) < sha1.Size {
		return nil, errors.New("truncated Java keystore")
	}
	body, sum := data[:len(data)-sha1.Size], data[len(data)-sha1.Size:]
	keys, err := javaKeys(body)
	if !hmac.Equal(sum, javaSum(body, password)) {
		// Damage that shows in the structure is certain to be that.
		if err != nil && !errors.Is(err, errJavaSecretKey) {
			return nil, fmt.Errorf("truncated or damaged Java keystore: %w", err)
		}
		if password == "" {
			return nil, ErrNoPassword
		}
		return nil, ErrPasswordOrDamage
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("the Java keystore: %w", err)
	case len(keys) == 0:
		return nil, errors.New("no private key in it; it holds trusted certificates")
	case len(keys) > 1:
		var aliases []string
		for _, key := range keys {
			aliases = append(aliases, quoted(key.alias))
		}
		return nil, fmt.Errorf("%d private keys in it: %s; leave the one to use", len(keys), strings.Join(aliases, ", "))
	}
	return keys[0].open(password)
}

// javaSum is the hash at the end of a Java keystore.
func javaSum(body []byte, password string) []byte {
	hash := sha1.New() //nolint:gosec // the format's
	hash.Write(javaPassword(password))
	hash.Write([]byte("Mighty Aphrodite"))
	hash.Write(body)
	return hash.Sum(nil)
}

// javaPassword is a password as a Java program has it, in UTF-16.
func javaPassword(password string) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(password)) {
		out = binary.BigEndian.AppendUint16(out, unit)
	}
	return out
}

// javaKeys returns the entries with a private key in a keystore without its
// hash.
func javaKeys(body cryptobyte.String) ([]javaKey, error) {
	var magic, version, count uint32
	if !body.ReadUint32(&magic) || !body.ReadUint32(&version) || !body.ReadUint32(&count) {
		return nil, errors.New("it ends too soon")
	}
	if version != 1 && version != 2 {
		return nil, fmt.Errorf("unknown version %d", version)
	}
	var keys []javaKey
	for i := range count {
		var (
			tag   uint32
			alias cryptobyte.String
		)
		if !body.ReadUint32(&tag) || !body.ReadUint16LengthPrefixed(&alias) || !body.Skip(8) { // time of creation
			return nil, fmt.Errorf("it ends within entry %d of %d", i+1, count)
		}
		key := javaKey{alias: string(alias)}
		var ok bool
		switch tag {
		case javaPrivateKey:
			ok = key.read(&body, version)
			keys = append(keys, key)
		case javaCertificate:
			_, ok = readJavaCertificate(&body, version)
		case javaSecretKey:
			return nil, fmt.Errorf("entry %s: %w", quoted(key.alias), errJavaSecretKey)
		default:
			return nil, fmt.Errorf("entry %d is of unknown kind %d", i+1, tag)
		}
		if !ok {
			return nil, fmt.Errorf("entry %s cannot be read", quoted(key.alias))
		}
	}
	if !body.Empty() {
		return nil, fmt.Errorf("%d bytes after the last entry", len(body))
	}
	return keys, nil
}

// quoted quotes an alias, which whoever made the keystore chose.
func quoted(alias string) string { return strconv.Quote(peertext.Printable(alias)) }

// read reads what follows the head of an entry with a private key.
func (k *javaKey) read(from *cryptobyte.String, version uint32) bool {
	var certs uint32
	if !readJavaBytes(from, &k.encrypted) || !from.ReadUint32(&certs) {
		return false
	}
	for range certs {
		cert, ok := readJavaCertificate(from, version)
		if !ok {
			return false
		}
		k.chain = append(k.chain, cert)
	}
	return true
}

// readJavaCertificate reads an X.509 certificate; there is no other kind.
func readJavaCertificate(from *cryptobyte.String, version uint32) (der []byte, ok bool) {
	if version > 1 {
		var kind cryptobyte.String
		if !from.ReadUint16LengthPrefixed(&kind) || string(kind) != "X.509" {
			return nil, false
		}
	}
	return der, readJavaBytes(from, &der)
}

func readJavaBytes(from *cryptobyte.String, out *[]byte) bool {
	var length uint32
	return from.ReadUint32(&length) && uint64(length) <= uint64(len(*from)) && from.ReadBytes(out, int(length))
}

// open decrypts the key and makes an identity of the entry.
func (k *javaKey) open(password string) (*tls.Certificate, error) {
	var certs []*x509.Certificate
	for i, der := range k.chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		certs = append(certs, cert)
	}
	key, err := k.decrypt(password)
	if err != nil {
		return nil, err
	}
	return Pair(certs, key)
}

// The object identifiers of Sun's two algorithms for private keys.
var (
	oidJKS   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 42, 2, 17, 1, 1}
	oidJCEKS = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 42, 2, 19, 1}
)

func (k *javaKey) decrypt(password string) (crypto.Signer, error) {
	var key encryptedKey
	if err := unmarshal(k.encrypted, &key); err != nil {
		return nil, fmt.Errorf("the encrypted private key: %w", err)
	}
	var (
		plain []byte
		err   error
	)
	// Java reads either in either kind of keystore.
	switch algorithm := key.Algorithm.Algorithm; {
	case algorithm.Equal(oidJKS):
		plain, err = decryptJKS(key.Data, password)
	case algorithm.Equal(oidJCEKS):
		plain, err = decryptJCEKS(key, password)
	default:
		return nil, fmt.Errorf("the private key is encrypted by an unknown algorithm, %v", algorithm)
	}
	// The keystore's hash has proved the password to be the keystore's.
	if errors.Is(err, ErrPasswordOrDamage) {
		return nil, errors.New("the private key has another password than the keystore; make it the same with keytool -keypasswd")
	}
	if err != nil {
		return nil, err
	}
	return parsePlainKey(plain)
}

// decryptJKS undoes the encryption that JKS has of its own: a random salt of a
// hash's length, the key with a stream of SHA-1 hashes over it, each of the
// password and the one before it, first the salt, and in the end a hash of
// password and key.
func decryptJKS(data []byte, password string) ([]byte, error) {
	const size = sha1.Size
	if len(data) < 2*size {
		return nil, errors.New("the encrypted private key is too short")
	}
	secret := javaPassword(password)
	hashOf := func(text []byte) []byte {
		hash := sha1.New() //nolint:gosec // the format's
		hash.Write(secret)
		hash.Write(text)
		return hash.Sum(nil)
	}
	stream, text, sum := data[:size], data[size:len(data)-size], data[len(data)-size:]
	plain := make([]byte, len(text))
	for i := 0; i < len(text); i += size {
		stream = hashOf(stream)
		subtle.XORBytes(plain[i:], text[i:], stream)
	}
	if !hmac.Equal(sum, hashOf(plain)) {
		return nil, ErrPasswordOrDamage
	}
	return plain, nil
}
