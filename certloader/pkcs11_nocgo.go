//go:build !cgo

package certloader

import "errors"

// PKCS11 returns an error: a PKCS#11 module is a C library, and this build
// cannot load any.
func PKCS11(PKCS11Options) (Provider, error) {
	return nil, errors.New("--pkcs11-module: this build has no PKCS#11, which needs cgo; make build CGO_ENABLED=1 makes one that has")
}
