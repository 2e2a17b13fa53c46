package certloader

// PKCS11Options says where [PKCS11] finds the private key, and which chain goes
// with it.
type PKCS11Options struct {
	// Module is the PKCS#11 library that speaks to the token: a path, or a name
	// that the dynamic linker finds. It is loaded into the process, and stays.
	Module string

	// TokenLabel is the label of the token that holds the key. Empty is the only
	// token there is.
	TokenLabel string

	// PIN is that of the token's user. Empty is for tokens that need none.
	PIN string

	// Cert is a file with the certificate and its chain, as in [FileOptions]. Its
	// public key is what the key is found by: RSA, or ECDSA on P-256, P-384 or
	// P-521.
	Cert string

	// CABundle is a file with the trusted CAs, as in [FileOptions]; empty is the
	// system's trust.
	CABundle string
}
