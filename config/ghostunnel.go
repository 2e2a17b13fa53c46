package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// withoutGhostunnel takes Ghostunnel's name out of sallyport check ghostunnel server …,
// so that what a unit file or a manifest starts it with can stand there as it is. It
// tells whether the name was there. Where the program is and what its file is called
// beyond that do not matter.
func withoutGhostunnel(args []string) ([]string, bool) {
	if len(args) < 2 || args[0] != "check" || !strings.HasPrefix(filepath.Base(args[1]), "ghostunnel") {
		return args, false
	}
	return append([]string{"check"}, args[2:]...), true
}

// foreignFlags are the flags of Ghostunnel that are not here, and what to do instead.
var foreignFlags = []struct{ name, instead string }{
	{"keychain-identity", "export certificate and key as PKCS#12, for --keystore"},
	{"keychain-issuer", "export certificate and key as PKCS#12, for --keystore"},
	{"keychain-serial", "export certificate and key as PKCS#12, for --keystore"},
	{"keychain-require-token", "a key in a token goes with --pkcs11-module"},
}

// foreign is what to do instead of a flag of Ghostunnel that is not here, or "".
func foreign(name string) string {
	for _, f := range foreignFlags {
		if f.name == name {
			return f.instead
		}
	}
	return ""
}

// foreignFlag tells what to do instead of such a flag. It is nil for any other.
func foreignFlag(text string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(text, "-"), "=")
	instead := foreign(name)
	if instead == "" {
		return nil
	}
	return fmt.Errorf("--%s: Ghostunnel has it, for the keychains of macOS and Windows, and Sallyport has not; %s", name, instead)
}
