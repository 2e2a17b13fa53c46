package config

import (
	"fmt"
	"log/slog"
	"strings"
)

// Identity is where certificate chain and private key come from: Keystore; Cert
// and Key; Cert and PKCS11; or one of the others. The zero value is no identity.
type Identity struct {
	Keystore     string // file with chain and key
	Password     Secret // of a keystore or an encrypted key; "" when there is none, or it is in PasswordFile
	PasswordFile string // file that holds the password; "": Password counts
	Cert         string // file with the chain
	Key          string // file with the key
	PKCS11       PKCS11
	WorkloadAPI  WorkloadAPI
	ACME         ACME
	AutoTLS      AutoTLS
}

// PKCS11 is a private key in an HSM, where Module is set.
type PKCS11 struct {
	Module     string // the PKCS#11 library
	TokenLabel string
	PIN        Secret
}

// AutoTLS is a CA and an identity of its own making.
type AutoTLS struct {
	Use   bool
	Names []string // DNS names and IP addresses, beside those of this machine
}

// IsZero tells whether there is no identity. A password opens nothing by
// itself, so it makes none.
func (i Identity) IsZero() bool { return len(i.sources()) == 0 }

// sources are the flags of the identities that i has, or has a part of.
func (i Identity) sources() [][]string {
	var flags [][]string
	if i.Keystore != "" {
		flags = append(flags, []string{"keystore"})
	}
	switch {
	case i.Cert != "" && i.Key != "":
		flags = append(flags, []string{"cert", "key"})
	case i.Cert != "" && i.PKCS11.Module != "":
		flags = append(flags, []string{"cert", "pkcs11-module"})
	case i.Cert != "":
		flags = append(flags, []string{"cert"})
	case i.Key != "":
		flags = append(flags, []string{"key"})
	}
	if i.PKCS11.Module != "" && (i.Cert == "" || i.Key != "") {
		flags = append(flags, []string{"pkcs11-module"})
	}
	if i.WorkloadAPI.Use {
		flags = append(flags, []string{"use-workload-api"})
	}
	if i.ACME.Name != "" {
		flags = append(flags, []string{"auto-acme-cert"})
	}
	if i.AutoTLS.Use {
		flags = append(flags, []string{"auto-tls"})
	}
	return flags
}

// LogValue is the identity for the log: where it comes from, and of its secrets
// only whether there are any.
func (i Identity) LogValue() slog.Value {
	var attrs []slog.Attr
	switch {
	case i.Keystore != "":
		attrs = append(attrs, slog.String("keystore", i.Keystore))
	case i.PKCS11.Module != "":
		attrs = append(attrs, slog.String("cert", i.Cert),
			slog.String("pkcs11_module", i.PKCS11.Module), slog.String("pkcs11_token_label", i.PKCS11.TokenLabel))
	case i.Cert != "":
		attrs = append(attrs, slog.String("cert", i.Cert), slog.String("key", i.Key))
	case i.WorkloadAPI.Use:
		attrs = append(attrs, slog.String("workload_api", i.WorkloadAPI.Address), slog.Duration("workload_api_timeout", i.WorkloadAPI.Timeout))
	case i.ACME.Name != "":
		attrs = append(attrs, slog.String("acme", i.ACME.Name), slog.String("acme_email", i.ACME.Email), slog.String("acme_ca", i.ACME.CA),
			slog.Duration("acme_renew_check_interval", i.ACME.RenewCheckInterval), slog.Int("acme_alpn_port", i.ACME.ALPNPort))
	case i.AutoTLS.Use:
		attrs = append(attrs, slog.Any("auto_tls", i.AutoTLS.Names))
	default:
		return slog.StringValue("none")
	}
	if i.Password != "" {
		attrs = append(attrs, slog.Any("storepass", i.Password))
	}
	if i.PasswordFile != "" {
		attrs = append(attrs, slog.String("storepass_file", i.PasswordFile))
	}
	return slog.GroupValue(attrs...)
}

// checkIdentity wants exactly one source of an identity, or, in client mode,
// that none is wanted.
func (d *draft) checkIdentity() error {
	d.settleWorkloadAPI()
	if d.tunnel.DisableTLS {
		return nil // checkPlain has judged
	}
	id := &d.tunnel.Identity
	sources := [][]string{{"keystore"}, {"cert", "key"}, {"cert", "pkcs11-module"}, {"use-workload-api"}}
	if d.tunnel.Mode == Server {
		sources = append(sources, []string{"auto-acme-cert"}, []string{"auto-tls"})
	}
	var offered, given []string
	for _, flags := range sources {
		offered = append(offered, "--"+strings.Join(flags, " with --"))
	}
	for _, flags := range id.sources() {
		for i, flag := range flags {
			flags[i] = d.name(flag)
		}
		given = append(given, strings.Join(flags, " with "))
	}
	if d.tunnel.Mode == Client {
		offered = append(offered, "--disable-authentication")
		// The Workload API may be wanted for its trust alone.
		if d.tunnel.DisableAuthentication && !(id.WorkloadAPI.Use && len(given) == 1) {
			given = append(given, d.name("disable-authentication"))
		}
	}
	// To complete one of several identities would not help.
	if len(given) > 1 {
		return fmt.Errorf("more than one identity: %s; give one of them", strings.Join(given, ", "))
	}
	if err := d.checkParts(); err != nil {
		return err
	}
	if len(given) == 0 && !d.servesRoutesAlone() {
		return fmt.Errorf("no identity: give %s", either(offered))
	}
	return nil
}

// checkParts wants that the flags of an identity come together.
func (d *draft) checkParts() error {
	id := &d.tunnel.Identity
	missing := func(flag, needs string) error { return fmt.Errorf("%s: needs %s", d.name(flag), needs) }
	switch {
	case id.Cert != "" && id.Key == "" && id.PKCS11.Module == "":
		return missing("cert", "--key too, or --pkcs11-module")
	case id.Key != "" && id.Cert == "":
		return missing("key", "--cert too")
	case id.PKCS11.Module != "" && id.Cert == "":
		return missing("pkcs11-module", "--cert too, for the chain")
	// A PIN or a --storepass that opens nothing is let pass, because Ghostunnel does.
	case id.PKCS11.TokenLabel != "" && id.PKCS11.Module == "":
		return missing("pkcs11-token-label", "--pkcs11-module, in which the token is")
	case id.PasswordFile != "" && d.from["storepass"] != "":
		return fmt.Errorf("%s and %s: two passwords for one keystore; give one", d.name("storepass"), d.name("storepass-file"))
	case id.PasswordFile != "" && id.Keystore == "" && id.Key == "" && d.tunnel.Proxy.Key == "":
		return missing("storepass-file", "--keystore or --key, which it opens")
	case len(id.AutoTLS.Names) > 0 && !id.AutoTLS.Use:
		return missing("auto-tls-san", "--auto-tls, whose certificate it is in")
	case id.WorkloadAPI.Use && id.WorkloadAPI.Address == "":
		return missing("use-workload-api", "an address: --use-workload-api-addr, or "+workloadAPIVariable+" in the environment")
	}
	return d.checkACME()
}
