package keystore

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/scrypt"
	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

// newTestIdentity makes an identity with an intermediate.
func newTestIdentity(t testing.TB, kind devpki.KeyKind) *devpki.Identity {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := sub.Issue(devpki.Request{CommonName: "server", Key: kind})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// isIdentity reports whether loaded is id, chain and key.
func isIdentity(loaded *tls.Certificate, id *devpki.Identity) bool {
	want := id.TLSCertificate()
	key, ok := loaded.PrivateKey.(interface{ Equal(crypto.PrivateKey) bool })
	return ok && key.Equal(id.Key) && sameChain(loaded, &want) && loaded.Leaf.Equal(id.Leaf)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func random(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out) // never fails
	return out
}

func pkcs8(t testing.TB, id *devpki.Identity) []byte {
	t.Helper()
	return must[[]byte](t)(x509.MarshalPKCS8PrivateKey(id.Key))
}

// marshal is asn1.Marshal of what cannot fail.
func marshal(t testing.TB, value any) []byte {
	t.Helper()
	return must[[]byte](t)(asn1.Marshal(value))
}

func algorithm(t testing.TB, oid asn1.ObjectIdentifier, params any) pkix.AlgorithmIdentifier {
	t.Helper()
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: marshal(t, params)}}
}

func encryptCBC(block cipher.Block, iv, plain []byte) []byte {
	n := block.BlockSize() - len(plain)%block.BlockSize()
	padded := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return padded
}

// encryptPKCS8 encrypts as OpenSSL 3 does, in AES-256.
func encryptPKCS8(t testing.TB, plain []byte, password string, kdf pkix.AlgorithmIdentifier, secret []byte) []byte {
	t.Helper()
	iv := random(aes.BlockSize)
	block := must[cipher.Block](t)(aes.NewCipher(secret))
	aes256 := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	return marshal(t, encryptedKey{
		Algorithm: algorithm(t, oidPBES2, pbes2Params{KDF: kdf, Cipher: algorithm(t, aes256, iv)}),
		Data:      encryptCBC(block, iv, plain),
	})
}

func withPBKDF2(t testing.TB, plain []byte, password string, iterations int) []byte {
	t.Helper()
	salt := random(16)
	prf := algorithm(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, asn1.NullRawValue)
	secret := must[[]byte](t)(pbkdf2.Key(sha256.New, password, salt, max(1, min(iterations, 10)), 32))
	kdf := algorithm(t, oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: iterations, PRF: prf})
	return encryptPKCS8(t, plain, password, kdf, secret)
}

func withScrypt(t testing.TB, plain []byte, password string, n, r, p int) []byte {
	t.Helper()
	salt := random(16)
	secret := random(32)
	if n == 16 && r == 1 && p == 1 {
		secret = must[[]byte](t)(scrypt.Key([]byte(password), salt, n, r, p, 32))
	}
	return encryptPKCS8(t, plain, password, algorithm(t, oidScrypt, scryptParams{Salt: salt, N: n, R: r, P: p}), secret)
}

// withJKS encrypts a key as JKS does.
func withJKS(t testing.TB, plain []byte, password string) []byte {
	t.Helper()
	var secret []byte
	for _, unit := range utf16.Encode([]rune(password)) {
		secret = binary.BigEndian.AppendUint16(secret, unit)
	}
	data := random(sha1.Size)
	stream := data
	text := make([]byte, len(plain))
	for i := 0; i < len(plain); i += sha1.Size {
		sum := sha1.Sum(append(bytes.Clone(secret), stream...))
		stream = sum[:]
		subtle.XORBytes(text[i:], plain[i:], stream)
	}
	sum := sha1.Sum(append(secret, plain...))
	return marshal(t, encryptedKey{
		Algorithm: algorithm(t, oidJKS, asn1.NullRawValue),
		Data:      slices.Concat(data, text, sum[:]),
	})
}

// withJCEKS encrypts a key as JCEKS does. Its derivation is checked against
// Java's by TestJCEKSDerivesKeysAsJavaDoes.
func withJCEKS(t testing.TB, plain []byte, password string, iterations int) []byte {
	t.Helper()
	params := jceksParams{Salt: random(8), Iterations: iterations}
	secret, iv := deriveJCEKS(jceksParams{Salt: params.Salt, Iterations: max(1, min(iterations, 10))}, password)
	block := must[cipher.Block](t)(des.NewTripleDESCipher(secret))
	return marshal(t, encryptedKey{
		Algorithm: algorithm(t, oidJCEKS, params),
		Data:      encryptCBC(block, iv, plain),
	})
}

// javaEntry is an entry of a Java keystore in the making: what follows its time.
type javaEntry struct {
	tag   uint32
	alias string
	body  []byte
}

func javaCerts(version uint32, certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		if version > 1 {
			out = append(out, "\x00\x05X.509"...)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(cert.Raw)))
		out = append(out, cert.Raw...)
	}
	return out
}

func javaKeyEntry(version uint32, alias string, encrypted []byte, chain ...*x509.Certificate) javaEntry {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(encrypted)))
	body = append(body, encrypted...)
	body = binary.BigEndian.AppendUint32(body, uint32(len(chain)))
	return javaEntry{tag: javaPrivateKey, alias: alias, body: append(body, javaCerts(version, chain...)...)}
}

// javaStore writes a Java keystore.
func javaStore(magic, version uint32, password string, entries ...javaEntry) []byte {
	out := binary.BigEndian.AppendUint32(nil, magic)
	out = binary.BigEndian.AppendUint32(out, version)
	out = binary.BigEndian.AppendUint32(out, uint32(len(entries)))
	for _, entry := range entries {
		out = binary.BigEndian.AppendUint32(out, entry.tag)
		out = binary.BigEndian.AppendUint16(out, uint16(len(entry.alias)))
		out = append(out, entry.alias...)
		out = binary.BigEndian.AppendUint64(out, 1_700_000_000_000)
		out = append(out, entry.body...)
	}
	return append(out, javaSum(out, password)...)
}

// signedData writes PKCS#7 with the certificates in it.
func signedData(t testing.TB, certs ...*x509.Certificate) []byte {
	t.Helper()
	var b cryptobyte.Builder
	tag := cryptobyte_asn1.Tag(0).ContextSpecific().Constructed()
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(tag, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cryptobyte_asn1.SET, func(*cryptobyte.Builder) {})
				b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1})
				})
				b.AddASN1(tag, func(b *cryptobyte.Builder) {
					for _, cert := range certs {
						b.AddBytes(cert.Raw)
					}
				})
				b.AddASN1(cryptobyte_asn1.SET, func(*cryptobyte.Builder) {})
			})
		})
	})
	return must[[]byte](t)(b.Bytes())
}

// sample is a keystore under the password "changeit", or an encrypted key.
type sample struct {
	name string
	data []byte
	load func(data []byte, password string) (*tls.Certificate, error)
}

// samples makes one small one of each kind, all of the same identity.
func samples(t testing.TB, id *devpki.Identity) []sample {
	t.Helper()
	const password = "changeit"
	plain := pkcs8(t, id)
	certs := append([]*x509.Certificate{id.Leaf}, id.Chain...)
	store := func(magic uint32, encrypted []byte) []byte {
		return javaStore(magic, 2, password, javaKeyEntry(2, "server", encrypted, certs...))
	}
	bare := func(data []byte, password string) (*tls.Certificate, error) {
		key, err := parsePrivateKey(data, password)
		if err != nil {
			return nil, err
		}
		return Pair(certs, key)
	}
	encode := func(encoder *pkcs12.Encoder) []byte {
		return must[[]byte](t)(encoder.WithIterations(2).Encode(id.Key, id.Leaf, id.Chain, password))
	}
	return []sample{
		{"JKS", store(jksMagic, withJKS(t, plain, password)), parseJavaKeystore},
		{"JCEKS", store(jceksMagic, withJCEKS(t, plain, password, 2)), parseJavaKeystore},
		{"modern PKCS#12", encode(pkcs12.Modern2023), parsePKCS12},
		{"PKCS#12 with PBMAC1", encode(pkcs12.Modern2026), parsePKCS12},
		{"old PKCS#12", encode(pkcs12.LegacyRC2), parsePKCS12},
		{"PKCS#8 under PBKDF2", withPBKDF2(t, plain, password, 2), bare},
		{"PKCS#8 under scrypt", withScrypt(t, plain, password, 16, 1, 1), bare},
	}
}

func TestKeystoresOfEveryKindLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.RSA2048, devpki.Ed25519} {
		id := newTestIdentity(t, kind)
		for _, sample := range samples(t, id) {
			t.Run(sample.name+" of "+kind.String(), func(t *testing.T) {
				t.Parallel()
				identity, err := sample.load(sample.data, "changeit")
				if err != nil {
					t.Fatal(err)
				}
				if !isIdentity(identity, id) {
					t.Error("loaded as another identity")
				}
				for _, wrong := range []string{"", "Changeit", "changeit ", "pässword", "\U0001F511"} {
					if identity, err := sample.load(sample.data, wrong); err == nil {
						t.Errorf("opened by %q: %v", wrong, identity.Leaf.Subject)
					}
				}
			})
		}
	}
}

// A bit that flips must not go unnoticed: it is an error, or what loads is the
// same to the last byte, or, where nothing but the certificate proves a key, it
// is still the key that fits.
func TestAFlippedBitNeverLoadsAnotherIdentity(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	for _, sample := range samples(t, id) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			loaded := 0
			for i := range len(sample.data) * 8 {
				data := bytes.Clone(sample.data)
				data[i/8] ^= 1 << (i % 8)
				identity, err := sample.load(data, "changeit")
				if err != nil {
					continue
				}
				loaded++
				if !isIdentity(identity, id) {
					t.Errorf("with bit %d of byte %d flipped it loads as another identity", i%8, i/8)
				}
			}
			// JKS and JCEKS have a hash over every bit.
			if strings.HasPrefix(sample.name, "J") && loaded > 0 {
				t.Errorf("loaded with any of %d bits flipped", loaded)
			}
			t.Logf("loads as the same with any of %d of %d bits flipped", loaded, len(sample.data)*8)
		})
	}
}

func TestATruncatedKeystoreDoesNotLoad(t *testing.T) {
	t.Parallel()
	for _, sample := range samples(t, newTestIdentity(t, devpki.ECDSAP256)) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			for length := range sample.data {
				if _, err := sample.load(sample.data[:length], "changeit"); err == nil {
					t.Errorf("the first %d of %d bytes load", length, len(sample.data))
				}
			}
			if _, err := sample.load(append(bytes.Clone(sample.data), 0), "changeit"); err == nil {
				t.Error("it loads with a byte after its end")
			}
		})
	}
}

// What a file says about the cost of its key derivation is bounded: each of
// these would take hours, or all memory.
func TestTheCostOfAKeyDerivationIsBounded(t *testing.T) {
	t.Parallel()
	const endless = 1<<31 - 1
	id := newTestIdentity(t, devpki.ECDSAP256)
	plain := pkcs8(t, id)
	bag := must[[]byte](t)(pkcs12.Modern2023.WithIterations(0x7ffe).Encode(id.Key, id.Leaf, id.Chain, "changeit"))
	key := func(data []byte) func() error {
		return func() error { _, err := parsePrivateKey(data, "changeit"); return err }
	}
	java := func(encrypted []byte) func() error {
		data := javaStore(jceksMagic, 2, "changeit", javaKeyEntry(2, "server", encrypted, id.Leaf))
		return func() error { _, err := parseJavaKeystore(data, "changeit"); return err }
	}
	for name, test := range map[string]struct {
		load func() error
		want string
	}{
		"PBKDF2":                {key(withPBKDF2(t, plain, "changeit", endless)), "2147483647 iterations"},
		"PBKDF2, none":          {key(withPBKDF2(t, plain, "changeit", 0)), "0 iterations"},
		"PBKDF2, below none":    {key(withPBKDF2(t, plain, "changeit", -1)), "-1 iterations"},
		"scrypt, N":             {key(withScrypt(t, plain, "changeit", 1<<30, 8, 1)), "N=1073741824"},
		"scrypt, r":             {key(withScrypt(t, plain, "changeit", 16, 1<<30, 1)), "r=1073741824"},
		"scrypt, p":             {key(withScrypt(t, plain, "changeit", 16, 1, 1<<20)), "p=1048576"},
		"scrypt, none":          {key(withScrypt(t, plain, "changeit", 16, 1, 0)), "p=0"},
		"scrypt, no power of 2": {key(withScrypt(t, plain, "changeit", 0x10001, 1, 1)), "power of 2"},
		"JCEKS":                 {java(withJCEKS(t, plain, "changeit", endless)), "2147483647 iterations"},
		"JCEKS, none":           {java(withJCEKS(t, plain, "changeit", 0)), "0 iterations"},
		"PKCS#12, MAC":          {func() error { return surveyPKCS12(pfxWithMAC(t, endless)) }, "2147483647 iterations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.load(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
	var survey pkcs12Survey
	survey.walk(bag, 0)
	if survey.most != 0x7ffe || survey.keys != 1 {
		t.Errorf("seen %d iterations and %d keys, want 32766 and 1", survey.most, survey.keys)
	}
}

// pfxWithMAC is a PKCS#12 with nothing in it but a MAC.
func pfxWithMAC(t testing.TB, iterations int) []byte {
	t.Helper()
	type digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	type macData struct {
		MAC        digestInfo
		Salt       []byte
		Iterations int
	}
	type contentInfo struct {
		Type asn1.ObjectIdentifier
	}
	return marshal(t, struct {
		Version int
		Content contentInfo
		MAC     macData
	}{
		Version: 3,
		Content: contentInfo{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
		MAC: macData{
			MAC:        digestInfo{algorithm(t, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.NullRawValue), random(20)},
			Salt:       random(8),
			Iterations: iterations,
		},
	})
}

// What Java's Cipher makes of "attack at dawn" under "changeit". In the second
// and third the halves of the salt are equal.
func TestJCEKSDerivesKeysAsJavaDoes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		salt       string
		iterations int
		want       string
	}{
		{"0102030405060708", 1, "76ce8a97700c210b070799f1cfc17398"},
		{"0102030405060708", 1000, "0515df0ab910e613e073a4f97395f501"},
		{"0102030401020304", 20, "a00ae0358f31435c30f5b62a0a2349cc"},
		{"aabbccddaabbccdd", 1000, "73f841dc004c49026dd1cf1471fb49cd"},
	} {
		salt := must[[]byte](t)(hex.DecodeString(test.salt))
		key := encryptedKey{
			Algorithm: algorithm(t, oidJCEKS, jceksParams{Salt: salt, Iterations: test.iterations}),
			Data:      must[[]byte](t)(hex.DecodeString(test.want)),
		}
		got, err := decryptJCEKS(key, "changeit")
		if err != nil || string(got) != "attack at dawn" {
			t.Errorf("salt %s, %d iterations: %q, %v", test.salt, test.iterations, got, err)
		}
	}
	// With room behind it, the salt must not be what the hashes are put into.
	salt := append(make([]byte, 0, 64), 1, 2, 3, 4, 5, 6, 7, 8)
	deriveJCEKS(jceksParams{Salt: salt, Iterations: 3}, "changeit")
	if !bytes.Equal(salt, []byte{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("the salt has been written over: %v", salt)
	}
}

func TestPKCS12LeavesOutWhatIsNotOfTheChain(t *testing.T) {
	t.Parallel()
	id, stranger := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	others := []*x509.Certificate{stranger.Leaf, id.Chain[0]}
	data := must[[]byte](t)(pkcs12.Modern.Encode(id.Key, id.Leaf, others, "changeit"))
	if identity := must[*tls.Certificate](t)(parsePKCS12(data, "changeit")); !isIdentity(identity, id) {
		t.Errorf("%d certificates, want the leaf and its issuer", len(identity.Certificate))
	}
}

func TestAPrivateKeyIsAllThatIsInDER(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	ec := must[[]byte](t)(x509.MarshalECPrivateKey(id.Key.(*ecdsa.PrivateKey)))
	for name, der := range map[string][]byte{"SEC 1": ec, "PKCS#8": pkcs8(t, id)} {
		if _, err := parsePrivateKey(der, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := parsePrivateKey(append(bytes.Clone(der), 0), ""); err == nil {
			t.Errorf("%s loads with a byte after its end", name)
		}
	}
}

func TestJavaKeystoresOfOtherShapes(t *testing.T) {
	t.Parallel()
	id, other := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	plain := pkcs8(t, id)
	key := func(version uint32, alias, password string) javaEntry {
		return javaKeyEntry(version, alias, withJKS(t, plain, password), id.Leaf, id.Chain[0])
	}
	cert := func(version uint32) javaEntry {
		return javaEntry{tag: javaCertificate, alias: "ca", body: javaCerts(version, other.Leaf)}
	}
	one := func(entry javaEntry) []byte { return javaStore(jksMagic, 2, "pw", entry) }
	raw := func(entry javaEntry, change func([]byte)) []byte {
		data := one(entry)
		body := data[:len(data)-sha1.Size]
		change(body)
		return append(body, javaSum(body, "pw")...)
	}
	unknown := javaKeyEntry(2, "k", marshal(t, encryptedKey{Algorithm: algorithm(t, oidPBES2, asn1.NullRawValue), Data: []byte("x")}), id.Leaf)
	short := javaKeyEntry(2, "k", marshal(t, encryptedKey{Algorithm: algorithm(t, oidJKS, asn1.NullRawValue), Data: []byte("short")}), id.Leaf)
	salt := javaKeyEntry(2, "k", marshal(t, encryptedKey{Algorithm: algorithm(t, oidJCEKS, jceksParams{[]byte("123456789"), 1}), Data: make([]byte, 16)}), id.Leaf)
	broken := javaKeyEntry(2, "k", withJKS(t, plain, "pw"), &x509.Certificate{Raw: []byte("garbage")})
	kind := javaKeyEntry(2, "k", withJKS(t, plain, "pw"), id.Leaf)
	kind.body = bytes.Replace(kind.body, []byte("X.509"), []byte("X.510"), 1)

	for name, test := range map[string]struct {
		data     []byte
		password string
		want     string // empty: it loads
	}{
		"of version 1":                           {data: javaStore(jksMagic, 1, "pw", cert(1), key(1, "k", "pw"), cert(1)), password: "pw"},
		"with trusted certificates too":          {data: javaStore(jksMagic, 2, "pw", cert(2), key(2, "k", "pw"), cert(2)), password: "pw"},
		"with an empty password":                 {data: javaStore(jksMagic, 2, "", key(2, "k", ""))},
		"with a password beyond ASCII":           {data: javaStore(jksMagic, 2, "pä\U0001F511", key(2, "k", "pä\U0001F511")), password: "pä\U0001F511"},
		"JCEKS with a key as JKS has it":         {data: javaStore(jceksMagic, 2, "pw", key(2, "k", "pw")), password: "pw"},
		"JCEKS under a password of no such key":  {data: javaStore(jceksMagic, 2, "pä", javaKeyEntry(2, "k", withJCEKS(t, plain, "x", 1), id.Leaf)), password: "pä", want: "another password than the keystore"},
		"with another password for the key":      {data: one(key(2, "k", "other")), password: "pw", want: "another password than the keystore"},
		"with two keys":                          {data: javaStore(jksMagic, 2, "pw", key(2, "a", "pw"), key(2, "b\n", "pw")), password: "pw", want: `2 private keys in it: "a", "b` + "\uFFFD" + `"`},
		"without a key":                          {data: javaStore(jksMagic, 2, "pw", cert(2)), password: "pw", want: "no private key in it"},
		"without anything":                       {data: javaStore(jksMagic, 2, "pw"), password: "pw", want: "no private key in it"},
		"with a secret key":                      {data: javaStore(jceksMagic, 2, "pw", key(2, "k", "pw"), javaEntry{tag: javaSecretKey, alias: "s", body: []byte("serialized")}), password: "pw", want: `entry "s": a secret key is in it`},
		"with a secret key, under another":       {data: javaStore(jceksMagic, 2, "pw", javaEntry{tag: javaSecretKey, alias: "s"}), password: "no", want: "wrong password"},
		"with the key of another":                {data: one(javaKeyEntry(2, "k", withJKS(t, pkcs8(t, other), "pw"), id.Leaf)), password: "pw", want: "fits no certificate"},
		"with a key and no certificate":          {data: one(javaKeyEntry(2, "k", withJKS(t, plain, "pw"))), password: "pw", want: "fits no certificate"},
		"with a key of unknown encryption":       {data: one(unknown), password: "pw", want: "unknown algorithm, 1.2.840.113549.1.5.13"},
		"with a key that is too short":           {data: one(short), password: "pw", want: "too short"},
		"with a key whose salt is too long":      {data: one(salt), password: "pw", want: "a salt of 9 bytes"},
		"with an encrypted key that is no ASN.1": {data: one(javaKeyEntry(2, "k", []byte("garbage"), id.Leaf)), password: "pw", want: "the encrypted private key: "},
		"with a key that is none":                {data: one(javaKeyEntry(2, "k", withJKS(t, []byte("garbage"), "pw"), id.Leaf)), password: "pw", want: "not a private key"},
		"with a certificate that is none":        {data: one(broken), password: "pw", want: "certificate 1: "},
		"with a certificate of another kind":     {data: one(kind), password: "pw", want: `entry "k" cannot be read`},
		"with an entry of unknown kind":          {data: one(javaEntry{tag: 9}), password: "pw", want: "entry 1 is of unknown kind 9"},
		"of an unknown version":                  {data: javaStore(jksMagic, 3, "pw"), password: "pw", want: "unknown version 3"},
		"that counts more entries than it has":   {data: raw(cert(2), func(b []byte) { b[8] = 0xff }), password: "pw", want: "ends within entry 2 of 4278190081"},
		"that counts fewer entries":              {data: raw(cert(2), func(b []byte) { b[11] = 0 }), password: "pw", want: "bytes after the last entry"},
		"cut in its structure":                   {data: one(key(2, "k", "pw"))[:300], password: "pw", want: "truncated or damaged"},
		"cut in its head":                        {data: one(cert(2))[:31], password: "pw", want: "truncated"},
		"that is none":                           {data: []byte("\xfe\xed\xfa\xce" + strings.Repeat("x", 100)), password: "pw", want: "not a Java keystore"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			identity, err := parseJavaKeystore(test.data, test.password)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && !isIdentity(identity, id):
				t.Error("loaded as another identity")
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestPKCS7IsAnUnorderedBagOfCertificates(t *testing.T) {
	t.Parallel()
	id, stranger := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	certs := must[[]*x509.Certificate](t)(parsePKCS7(signedData(t, id.Chain[0], id.Leaf)))
	if len(certs) != 2 || !certs[0].Equal(id.Chain[0]) || !certs[1].Equal(id.Leaf) {
		t.Errorf("%d certificates, or in another order", len(certs))
	}
	identity := must[*tls.Certificate](t)(Pair(certs, id.Key))
	if !isIdentity(identity, id) {
		t.Error("the identity is not in order")
	}
	der := signedData(t, stranger.Leaf)
	for length := range der {
		if _, err := parsePKCS7(der[:length]); err == nil {
			t.Errorf("the first %d of %d bytes load", length, len(der))
		}
	}
	enveloped := bytes.Replace(der, marshal(t, oidSignedData), marshal(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}), 1)
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"with a byte after its end":     {append(bytes.Clone(der), 0), "not PKCS#7"},
		"with more than its content":    {slices.Concat([]byte{0x30, 0x82}, binary.BigEndian.AppendUint16(nil, uint16(len(der)-4+2)), der[4:], []byte{5, 0}), "damaged PKCS#7"},
		"without certificates":          {signedData(t), "without a certificate"},
		"of another type":               {enveloped, "1.2.840.113549.1.7.3"},
		"in BER":                        {[]byte{0x30, 0x80, 6, 0, 0, 0}, "in BER"},
		"with garbage as a certificate": {signedData(t, id.Leaf, &x509.Certificate{Raw: []byte("garbage")}), "certificate 2"},
		"with an empty certificate":     {signedData(t, &x509.Certificate{Raw: []byte{0x30, 0}}), "certificate 1"},
	} {
		if _, err := parsePKCS7(test.der); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error = %v, want %q", name, err, test.want)
		}
	}
}

func TestChainsAreOrderedByIssuer(t *testing.T) {
	t.Parallel()
	root := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{CommonName: "root"}))
	one := must[*devpki.CA](t)(root.Intermediate(devpki.Options{CommonName: "one"}))
	two := must[*devpki.CA](t)(one.Intermediate(devpki.Options{CommonName: "two"}))
	namesake := must[*devpki.CA](t)(root.Intermediate(devpki.Options{CommonName: "two"})) // same name, another key
	id := must[*devpki.Identity](t)(two.Issue(devpki.Request{CommonName: "server"}))

	want := []*x509.Certificate{id.Leaf, two.Certificate(), one.Certificate(), root.Certificate()}
	bag := []*x509.Certificate{root.Certificate(), namesake.Certificate(), one.Certificate(), id.Leaf, two.Certificate(), one.Certificate()}
	same := func(a, b *x509.Certificate) bool { return a.Equal(b) }
	if got := chainOf(id.Leaf, bag); !slices.EqualFunc(got, want, same) {
		t.Errorf("chain of %d, want leaf, two, one, root", len(got))
	}
	identity := must[*tls.Certificate](t)(Pair(bag, id.Key))
	if last := identity.Certificate[len(identity.Certificate)-1]; len(identity.Certificate) != 5 || !bytes.Equal(last, namesake.Certificate().Raw) {
		t.Errorf("%d certificates; the one that is not of the chain should be last", len(identity.Certificate))
	}
}

func TestFormatsAreToldByExtensionOrElseByContent(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.Ed25519)
	bag := must[[]byte](t)(id.PKCS12(""))
	java := javaStore(jksMagic, 2, "")
	content := map[format][]byte{
		formatPEM:    id.CombinedPEM(),
		formatDER:    id.Leaf.Raw,
		formatPKCS7:  signedData(t, id.Leaf),
		formatPKCS12: bag,
		formatJava:   java,
	}
	for want, data := range content {
		for _, name := range []string{"x", "x.crt", "x.cer", "x.key", "x.keystore", "dir.pem/x"} {
			if got := formatOf(name, data); got != want {
				t.Errorf("%s with content of format %d: got %d", name, want, got)
			}
			if got := formatOf(name, data[:20]); want != formatPEM && got != want {
				t.Errorf("%s with a beginning of format %d: got %d", name, want, got)
			}
		}
		unmistakable := want == formatPEM || want == formatPKCS12 || want == formatJava
		for name, named := range map[string]format{"x.pem": formatPEM, "x.DER": formatDER, "x.p12": formatPKCS12, "x.Pfx": formatPKCS12} {
			if unmistakable {
				named = want
			}
			if got := formatOf(name, data); got != named {
				t.Errorf("%s with content of format %d: got %d, want %d", name, want, got, named)
			}
		}
	}
	for _, test := range []struct {
		name string
		data []byte
		want format
	}{
		{"x.jks", java, formatJava},
		{"x.jks", bag, formatPKCS12},
		{"x.jceks", bag, formatPKCS12},
		{"x.jks", []byte("garbage"), formatJava},
		{"x.p7b", id.CertPEM(), formatPEM},
		{"x.p7b", content[formatPKCS7], formatPKCS7},
		{"x.p7c", []byte("garbage"), formatPKCS7},
		{"x", pkcs8(t, id), formatDER},
		{"x", withPBKDF2(t, pkcs8(t, id), "pw", 1), formatDER},
		{"x", []byte("garbage that is long enough"), formatUnknown},
		{"x", []byte("0 is how this text begins"), formatUnknown}, // 0x30, as a sequence does
		{"x", []byte("0 before\n-----BEGIN CERTIFICATE-----\n"), formatPEM},
		{"x", append([]byte{0x30, 0xff}, make([]byte, 20)...), formatUnknown},
		{"x", []byte{0x30}, formatUnknown},
		{"x", []byte{0x30, 0x84}, formatDER},
	} {
		if got := formatOf(test.name, test.data); got != test.want {
			t.Errorf("%s with %.10q: got %d, want %d", test.name, test.data, got, test.want)
		}
	}
}
