package config

// foreignFlags are flags of Ghostunnel that are not here, and what to do instead.
// All others of its flags are.
var foreignFlags = []struct{ name, instead string }{
	{"keychain-identity", "export certificate and key as PKCS#12 for --keystore"},
	{"keychain-issuer", "export certificate and key as PKCS#12 for --keystore"},
	{"keychain-serial", "export certificate and key as PKCS#12 for --keystore"},
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
