package keystore

import (
	"bytes"
	"crypto/cipher"
	"crypto/des"
	"crypto/sha1"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"sallyport/devpki"
)

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
	bare := javaKeyEntry(2, "k", marshal(t, encryptedKey{Algorithm: algorithm(t, oidJCEKS, asn1.NullRawValue), Data: make([]byte, 16)}), id.Leaf)
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
		"with a key without its salt":            {data: one(bare), password: "pw", want: "the encryption of the private key: "},
		"with an encrypted key and more":         {data: one(javaKeyEntry(2, "k", append(withJKS(t, plain, "pw"), 0), id.Leaf)), password: "pw", want: "data after the end"},
		"with an encrypted key that is no ASN.1": {data: one(javaKeyEntry(2, "k", []byte("garbage"), id.Leaf)), password: "pw", want: "the encrypted private key: "},
		"with a key that is none":                {data: one(javaKeyEntry(2, "k", withJKS(t, []byte("garbage"), "pw"), id.Leaf)), password: "pw", want: "not a private key"},
		"with a certificate that is none":        {data: one(broken), password: "pw", want: "certificate 1: "},
		"with a certificate of another kind":     {data: one(kind), password: "pw", want: `entry "k" cannot be read`},
		"with an entry of unknown kind":          {data: one(javaEntry{tag: 9}), password: "pw", want: "entry 1 is of unknown kind 9"},
		"of an unknown version":                  {data: javaStore(jksMagic, 3, "pw"), password: "pw", want: "unknown version 3"},
		"that counts more entries than it has":   {data: raw(cert(2), func(b []byte) { b[8] = 0xff }), password: "pw", want: "ends within entry 2 of 4278190081"},
		"that counts fewer entries":              {data: raw(cert(2), func(b []byte) { b[11] = 0 }), password: "pw", want: "bytes after the last entry"},
		"cut in its structure":                   {data: one(key(2, "k", "pw"))[:300], password: "pw", want: "truncated or damaged"},
		"cut in its head":                        {data: one(cert(2))[:31], password: "pw", want: "truncated or damaged Java keystore: it ends too soon"},
		"cut at its beginning":                   {data: one(cert(2))[:19], password: "pw", want: "truncated Java keystore"},
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
