package sidecar

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"slices"

	"sallyport/certloader"
	"sallyport/config"
)

// newProvider returns where the tunnel's identity and trust come from. The context bounds what has to be waited for at start.
func newProvider(ctx context.Context, c *config.Tunnel, log *slog.Logger) (certloader.Provider, error) {
	switch id := &c.Identity; {
	case id.PKCS11.Module != "":
		return certloader.PKCS11(certloader.PKCS11Options{
			Module:     id.PKCS11.Module,
			TokenLabel: id.PKCS11.TokenLabel,
			PIN:        string(id.PKCS11.PIN),
			Cert:       id.Cert,
			CABundle:   c.CACert,
		})
	case id.WorkloadAPI.Use:
		if c.CACert != "" {
			log.Warn("--cacert is not used: the Workload API says whom to trust", "cacert", c.CACert)
		}
		return certloader.WorkloadAPI(ctx, certloader.WorkloadAPIOptions{
			Address:   id.WorkloadAPI.Address,
			Timeout:   id.WorkloadAPI.Timeout,
			TrustOnly: c.SendsNoCertificate(),
			Log:       log,
		})
	case id.ACME.Name != "":
		return certloader.ACME(ctx, acmeOptions(c, log))
	case id.AutoTLS.Use:
		return newAutoTLS(id.AutoTLS.Names, certloader.Files(certloader.FileOptions{CABundle: c.CACert}), log)
	}
	files := identityFiles(c.Identity)
	files.CABundle = c.CACert
	return certloader.Files(files), nil
}

// identityFiles are the files that an identity is in.
func identityFiles(id config.Identity) certloader.FileOptions {
	return certloader.FileOptions{
		Cert:         id.Cert,
		Key:          id.Key,
		Keystore:     id.Keystore,
		Password:     string(id.Password),
		PasswordFile: id.PasswordFile,
	}
}

func acmeOptions(c *config.Tunnel, log *slog.Logger) certloader.ACMEOptions {
	acme := c.Identity.ACME
	options := certloader.ACMEOptions{
		Domain:             acme.Name,
		Email:              acme.Email,
		Agreed:             true, // without that, there is no configuration
		CA:                 acme.CA,
		Host:               c.Listen.Host(),
		Port:               acme.ALPNPort,
		RenewCheckInterval: acme.RenewCheckInterval,
		CABundle:           c.CACert,
		Log:                log,
	}
	if options.Port == 0 {
		options.Port = c.Listen.Port() // 0 on a UNIX socket: connections come through a port that others have
	}
	return options
}

// revocable adds the revocation lists to what a tunnel trusts.
func revocable(provider certloader.Provider, c *config.Tunnel) certloader.Provider {
	if len(c.CRLs) == 0 {
		return provider
	}
	return certloader.WithCRLs(provider, c.CRLs...)
}

// completed adds to an identity and its trust what a tunnel loads beside them.
func completed(provider certloader.Provider, c *config.Tunnel) certloader.Provider {
	var further []certloader.FileOptions
	for _, id := range c.Identities {
		further = append(further, identityFiles(id))
	}
	return certloader.WithTicketKeys(revocable(certloader.WithIdentities(provider, further...), c), c.TLS.TicketKeys)
}

// openTicketKeys says what there is to say about a file of ticket keys that everybody may read; "" where nobody may, or there
// is no file.
func openTicketKeys(path string) string {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o004 == 0 {
		return ""
	}
	return "every user of this machine may read the keys, and who has them can come as any client; chmod 600"
}

// loadedFiles are the files that the tunnel loads, now and at every reload, each once.
func loadedFiles(c *config.Tunnel) []string {
	var files []string
	for _, id := range append([]config.Identity{c.Identity}, c.Identities...) {
		files = append(files, id.Cert, id.Key, id.Keystore, id.PasswordFile)
	}
	files = append(files, c.Access.Policy.Path, c.TLS.TicketKeys)
	files = append(append(files, c.CRLs...), proxyFiles(c)...)
	if !c.Identity.WorkloadAPI.Use { // which says whom to trust
		files = append(files, c.CACert)
	}
	for i := range c.Routes {
		files = append(files, loadedFiles(&c.Routes[i].Tunnel)...)
	}
	seen := map[string]bool{"": true} // which is no file
	return slices.DeleteFunc(files, func(path string) bool {
		again := seen[path]
		seen[path] = true
		return again
	})
}

// renewsItself tells whether the identity is renewed by a program, and not by people.
func renewsItself(id *config.Identity) bool {
	return id.WorkloadAPI.Use || id.ACME.Name != "" || id.AutoTLS.Use
}
