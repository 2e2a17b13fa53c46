package certloader

import (
	"errors"
	"fmt"

	"sallyport/certloader/keystore"
)

// advice is what to do about errors of keystore, which knows of no flags. It
// reads on from their texts.
var advice = []struct {
	of   error
	text string
}{
	{keystore.ErrPassword, "; give the right one by --storepass or --storepass-file"},
	{keystore.ErrPasswordOrDamage, "; give the right one by --storepass or --storepass-file"},
	{keystore.ErrNoPassword, "; give it by --storepass-file or --storepass"},
	{keystore.ErrEncrypted, "; give its password by --storepass or --storepass-file"},
	{keystore.ErrBinary, ", which its name must tell: .der, .p7b or, for --keystore, .p12"},
	{keystore.ErrWholeIdentity, ": a key with its chain goes with --keystore, and keytool or openssl pkcs12 makes PEM of certificates alone"},
	{keystore.ErrHalfIdentity, "; give two files by --cert and --key"},
}

// advised adds to err what to do about it, where there is something to do.
func advised(err error) error {
	for _, a := range advice {
		if errors.Is(err, a.of) {
			return fmt.Errorf("%w%s", err, a.text)
		}
	}
	return err
}
