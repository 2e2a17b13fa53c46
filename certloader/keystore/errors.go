package keystore

import "errors"

// The errors that a caller can have advice on, which would name flags or files
// of its own. Their texts end where the advice may begin.
var (
	// ErrPassword is a password that is certain to be wrong.
	ErrPassword = errors.New("wrong password")

	// ErrPasswordOrDamage is ErrPassword where nothing tells the two apart.
	ErrPasswordOrDamage = errors.New("wrong password, or the file is damaged")

	// ErrNoPassword is a keystore that opens with a password alone, where there is
	// none.
	ErrNoPassword = errors.New("the keystore needs a password")

	// ErrEncrypted is a private key that needs a password, where there is none.
	ErrEncrypted = errors.New("the private key is encrypted")

	// ErrMismatch is a private key and certificates that are not its own.
	ErrMismatch = errors.New("the private key fits no certificate")

	// ErrBinary is what begins as DER does, in what is PEM by its name.
	ErrBinary = errors.New("not PEM but binary")

	// ErrWholeIdentity is PKCS#12, JKS or JCEKS where certificates or a key alone
	// are wanted.
	ErrWholeIdentity = errors.New("a keystore")

	// ErrHalfIdentity is DER or PKCS#7 where a chain with its key is wanted.
	ErrHalfIdentity = errors.New("DER or PKCS#7, which holds no chain with its key")
)
