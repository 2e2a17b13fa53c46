package config

import (
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"sallyport/auth"
	"sallyport/socket"
)

// settings is the table of all that an operator can set, in the order in which
// help shows it within a group.
var settings = []setting{
	// Addresses
	{
		name: "listen", commands: inTunnel, group: groupAddresses, value: "ADDR",
		help: "where to accept: HOST:PORT, [IPv6]:PORT, unix:PATH, systemd:NAME or launchd:NAME",
		set:  one(func(d *draft) *socket.Address { return &d.tunnel.Listen }, socket.ParseListenAddress),
	},
	{
		name: "listen-mode", commands: inTunnel, group: groupAddresses, value: "MODE",
		help: "permissions of a UNIX socket to listen on, such as 0660; without it, by the umask",
		set:  one(func(d *draft) *fs.FileMode { return &d.tunnel.ListenMode }, parseMode),
	},
	{
		name: "listen-owner", commands: inTunnel, group: groupAddresses, value: "USER[:GROUP]",
		help: "who that socket belongs to; without --listen-mode USER alone may connect, and GROUP if it is named",
		set:  one(func(d *draft) *string { return &d.tunnel.ListenOwner }, parseOwner),
	},
	{
		name: "listen", commands: inNetstat, group: groupAddresses, value: "ADDR", initial: "9690", env: []string{"LISTEN"},
		help: "where to serve /metrics, over plain HTTP: PORT, HOST:PORT, [IPv6]:PORT, unix:PATH or a systemd:NAME socket",
		set:  one(func(d *draft) *socket.Address { return &d.netstat.Listen }, parsePortOrAddress),
	},
	{
		name: "target", commands: inTunnel | inRoute, group: groupAddresses, value: "ADDR", repeats: true,
		help: "where to forward: HOST:PORT, [IPv6]:PORT or unix:PATH; of several, each may have ;weight=N behind it",
		set:  each(func(d *draft) *[]Target { return &d.tunnel.Upstream.Targets }, parseTarget),
	},
	{
		name: "protocol", commands: inTunnel, group: groupAddresses, value: "PROTOCOL", initial: "tcp", choices: []string{"tcp", "http"},
		help: "what is forwarded: tcp, any bytes; http, requests",
		set:  one(func(d *draft) *Protocol { return &d.tunnel.Protocol }, parseProtocol),
	},
	{
		name: "unsafe-target", commands: inServer | inRoute, group: groupAddresses,
		help: "let --target be on another machine, in plaintext",
		set:  one(func(d *draft) *bool { return &d.unsafeTarget }, parseSwitch),
	},
	{
		name: "unsafe-listen", commands: inTunnel, group: groupAddresses,
		help: "let --listen accept from other machines, in plaintext",
		set:  one(func(d *draft) *bool { return &d.unsafeListen }, parseSwitch),
	},
	{
		name: "proxy-protocol", commands: inServer, group: groupAddresses,
		help: "tell --target the client's address, by a PROXY v2 header; the same as --proxy-protocol-mode conn",
		set:  one(func(d *draft) *bool { return &d.proxyProtocol }, parseSwitch),
	},
	{
		name: "proxy-protocol-mode", commands: inServer, group: groupAddresses, value: "MODE", choices: []string{"conn", "tls", "tls-full"},
		help: "tell --target, by a PROXY v2 header, the client's address: conn; and of its TLS session: tls; and its certificate: tls-full",
		set:  one(func(d *draft) *Announcement { return &d.tunnel.Announce }, parseAnnouncement),
	},
	{
		name: "proxy-protocol-in", commands: inTunnel, group: groupAddresses, value: "CIDR", repeats: true,
		help: "connections from here begin with a PROXY header, v1 or v2, that tells the client's address: an address, a network, or unix for peers over a UNIX socket",
		set:  setHeaderPeer,
	},
	{
		name: "proxy", aliases: []string{"connect-proxy"}, commands: inClient, group: groupAddresses, value: "URL", secret: true,
		help: "reach --target through a proxy, which looks it up: http://HOST:PORT, https://… (HTTP CONNECT) or socks5://…",
		set:  setProxy,
	},
	{
		name: "proxy-auth-file", commands: inClient, group: groupAddresses, value: "PATH",
		help: "file with USER:PASSWORD for the proxy, which its URL may hold too",
		set:  one(func(d *draft) *string { return &d.tunnel.Proxy.AuthFile }, parsePath),
	},
	{
		name: "proxy-cert", commands: inClient, group: groupAddresses, value: "PATH",
		help: "file with the certificate chain to show to an https proxy; needs --proxy-key",
		set:  one(func(d *draft) *string { return &d.tunnel.Proxy.Cert }, parsePath),
	},
	{
		name: "proxy-key", commands: inClient, group: groupAddresses, value: "PATH",
		help: "file with its private key",
		set:  one(func(d *draft) *string { return &d.tunnel.Proxy.Key }, parsePath),
	},
	{
		name: "proxy-cacert", commands: inClient, group: groupAddresses, value: "PATH",
		help: "file with the CA certificates that an https proxy must chain to; without it, the system's",
		set:  one(func(d *draft) *string { return &d.tunnel.Proxy.CACert }, parsePath),
	},
	{
		name: "skip-resolve", commands: inTunnel, group: groupAddresses,
		help: "do not resolve --target, or the host of --proxy, at start",
		set:  one(func(d *draft) *bool { return &d.tunnel.SkipResolve }, parseSwitch),
	},
	{
		name: "keepalive", commands: inTunnel, group: groupAddresses, value: "DURATION", initial: "15s",
		help: "silence after which TCP connections are probed, and time between probes; 0 is never",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.KeepAlive }, parseKeepAlive),
	},

	// Targets
	{
		name: "balance", commands: inTunnel | inRoute, group: groupTargets, value: "HOW", choices: []string{"round-robin", "least-conn", "first", "source"},
		help: "which --target gets a connection: each by turns (round-robin, without this flag), that with the fewest (least-conn), the first that is up (first), or by the client's address (source)",
		set:  one(func(d *draft) *Balance { return &d.tunnel.Upstream.Balance }, parseBalance),
	},
	{
		name: "health-interval", commands: inTunnel | inRoute, group: groupTargets, value: "DURATION", initial: "0",
		help: "check this often whether each --target is up: by --target-status if that is given, else by connecting, in client mode over TLS; 0 is never",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Upstream.HealthInterval }, parseHealthInterval),
	},
	{
		name: "health-timeout", commands: inTunnel | inRoute, group: groupTargets, value: "DURATION", initial: "5s",
		help: "longest time for such a check",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Upstream.HealthTimeout }, parsePositiveDuration),
	},
	{
		name: "resolve-interval", commands: inTunnel | inRoute, group: groupTargets, value: "DURATION", initial: "30s",
		help: "look up the names of targets this often; of several targets each address counts for itself; 1s or more",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Upstream.ResolveInterval }, parseResolveInterval),
	},
	{
		name: "slow-start", commands: inTunnel | inRoute, group: groupTargets, value: "DURATION", initial: "0",
		help: "give a target that comes back less than its share for this long; 0 gives it all at once",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Upstream.SlowStart }, parseDuration),
	},

	// Identity and trust
	{
		name: "keystore", commands: inTunnel | inRoute | inIdentity, group: groupIdentity, value: "PATH", env: []string{"KEYSTORE_PATH"},
		help: "file with certificate chain and key: PEM, PKCS#12, JKS or JCEKS",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.Keystore }, parsePath),
	},
	{
		name: "storepass-file", commands: inTunnel | inRoute | inIdentity, group: groupIdentity, value: "PATH",
		help: "file with the password of a keystore or an encrypted key",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.PasswordFile }, parsePath),
	},
	{
		name: "storepass", commands: inTunnel | inRoute | inIdentity, group: groupIdentity, value: "PASS", env: []string{"KEYSTORE_PASS"}, secret: true,
		help: "password of a keystore or an encrypted key; others may see it, so prefer its variable",
		set:  one(func(d *draft) *Secret { return d.password }, parseSecret),
	},
	{
		name: "storepass", commands: inCerts, group: groupCertificates, value: "PASS", env: []string{"KEYSTORE_PASS"}, secret: true,
		help: "password for the PKCS#12 files that are made, empty without it; others may see it, so prefer its variable",
		set:  one(func(d *draft) *Secret { return d.password }, parseSecret),
	},
	{
		name: "cert", commands: inTunnel | inRoute | inIdentity, group: groupIdentity, value: "PATH", env: []string{"CERT_PATH"},
		help: "file with the certificate chain; needs --key or --pkcs11-module",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.Cert }, parsePath),
	},
	{
		name: "key", commands: inTunnel | inRoute | inIdentity, group: groupIdentity, value: "PATH", env: []string{"KEY_PATH"},
		help: "file with the private key; needs --cert",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.Key }, parsePath),
	},
	{
		name: "pkcs11-module", commands: inTunnel, group: groupIdentity, value: "PATH", env: []string{"PKCS11_MODULE"},
		help: "PKCS#11 library of the HSM that holds the private key; needs --cert",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.PKCS11.Module }, parsePath),
	},
	{
		name: "pkcs11-token-label", commands: inTunnel, group: groupIdentity, value: "LABEL", env: []string{"PKCS11_TOKEN_LABEL"},
		help: "label of the token in it",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.PKCS11.TokenLabel }, parseName),
	},
	{
		name: "pkcs11-pin", commands: inTunnel, group: groupIdentity, value: "PIN", env: []string{"PKCS11_PIN"}, secret: true,
		help: "PIN of the token; others may see it, so prefer its variable",
		set:  one(func(d *draft) *Secret { return &d.tunnel.Identity.PKCS11.PIN }, parseSecret),
	},
	{
		name: "use-workload-api", commands: inTunnel, group: groupIdentity,
		help: "take identity and trust from the SPIFFE Workload API",
		set:  one(func(d *draft) *bool { return &d.tunnel.Identity.WorkloadAPI.Use }, parseSwitch),
	},
	{
		name: "use-workload-api-addr", commands: inTunnel, group: groupIdentity, value: "ADDR", env: []string{workloadAPIVariable},
		help: "where that is: unix:///PATH or tcp://IP:PORT; implies --use-workload-api",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.WorkloadAPI.Address }, parseWorkloadAPIAddress),
	},
	{
		name: "use-workload-api-timeout", commands: inTunnel, group: groupIdentity, value: "DURATION", initial: "10m",
		help: "how long to wait for it at start; 0 is for ever",
		set:  one(func(d *draft) *time.Duration { return &d.workloadAPITimeout }, parseDuration),
	},
	{
		name: "auto-acme-cert", commands: inServer, group: groupIdentity, value: "FQDN",
		help: "get a certificate for this name from an ACME CA, by TLS-ALPN-01 on --listen",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.ACME.Name }, parseDNSName),
	},
	{
		name: "auto-acme-email", commands: inServer, group: groupIdentity, value: "EMAIL",
		help: "where the ACME CA can reach you; required with --auto-acme-cert",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.ACME.Email }, parseEmail),
	},
	{
		name: "auto-acme-agree-to-tos", commands: inServer, group: groupIdentity,
		help: "agree to the ACME CA's terms of service; required with --auto-acme-cert",
		set:  one(func(d *draft) *bool { return &d.acmeAgreed }, parseSwitch),
	},
	{
		name: "auto-acme-ca", commands: inServer, group: groupIdentity, value: "URL",
		help: "directory of the ACME CA; without it, Let's Encrypt's",
		set:  one(func(d *draft) *string { return &d.tunnel.Identity.ACME.CA }, parseACMEDirectory),
	},
	{
		name: "auto-acme-testca", commands: inServer, group: groupIdentity, value: "URL",
		help: "directory of the ACME CA's test environment, used in place of --auto-acme-ca",
		set:  one(func(d *draft) *string { return &d.acmeTestCA }, parseACMEDirectory),
	},
	{
		name: "auto-acme-renew-check-interval", commands: inServer, group: groupIdentity, value: "DURATION", hidden: true,
		help: "how often to look whether the ACME certificate is to be renewed",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Identity.ACME.RenewCheckInterval }, parsePositiveDuration),
	},
	{
		name: "auto-acme-alt-tls-alpn-port", commands: inServer, group: groupIdentity, value: "PORT", hidden: true,
		help: "port of this machine that the ACME CA's connections to port 443 end up at",
		set:  one(func(d *draft) *int { return &d.tunnel.Identity.ACME.ALPNPort }, parsePort),
	},
	{
		name: "auto-tls", commands: inServer, group: groupIdentity,
		help: "make a CA and an identity at start, for trying out; the log tells the CA's pin",
		set:  one(func(d *draft) *bool { return &d.tunnel.Identity.AutoTLS.Use }, parseSwitch),
	},
	{
		name: "auto-tls-san", commands: inServer, group: groupIdentity, value: "NAME", repeats: true,
		help: "DNS name or IP address for --auto-tls, beside localhost, 127.0.0.1 and ::1",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Identity.AutoTLS.Names }, parseServerName),
	},
	{
		name: "cacert", commands: inTunnel | inRoute, group: groupIdentity, value: "PATH", env: []string{"CACERT_PATH"},
		help: "file with the CA certificates that peers must chain to; without it, the system's",
		set:  one(func(d *draft) *string { return &d.tunnel.CACert }, parsePath),
	},
	{
		name: "crl", commands: inTunnel | inRoute, group: groupIdentity, value: "PATH", repeats: true,
		help: "file with a revocation list; peers with a revoked certificate in their chain are refused",
		set:  each(func(d *draft) *[]string { return &d.tunnel.CRLs }, parsePath),
	},
	{
		name: "crl-close-revoked", commands: inTunnel, group: groupIdentity,
		help: "close the open connections of peers that a reload finds revoked",
		set:  one(func(d *draft) *bool { return &d.tunnel.CloseRevoked }, parseSwitch),
	},
	{
		name: "watch-files", commands: inProcess, group: groupIdentity, initial: "true",
		help: "reload when a file changes that a tunnel or the status port takes something from",
		set:  one(func(d *draft) *bool { return &d.sidecar.WatchFiles }, parseSwitch),
	},
	{
		name: "timed-reload", commands: inProcess, group: groupIdentity, value: "DURATION",
		help: "also reload this often, beside on SIGHUP and SIGUSR1",
		set:  one(func(d *draft) *time.Duration { return &d.sidecar.TimedReload }, parseDuration),
	},

	{
		name: "cert", commands: inQuery, group: groupIdentity, value: "PATH",
		help: "file with the certificate chain to show, where the status port asks for one; needs --key",
		set:  one(func(d *draft) *string { return &d.query.Cert }, parsePath),
	},
	{
		name: "key", commands: inQuery, group: groupIdentity, value: "PATH",
		help: "file with the private key; needs --cert",
		set:  one(func(d *draft) *string { return &d.query.Key }, parsePath),
	},
	{
		name: "cacert", commands: inQuery, group: groupIdentity, value: "PATH", env: []string{"SALLYPORT_CACERT", "CACERT_PATH"},
		help: "file with the CA certificates that the status port's must chain to; without it, the system's",
		set:  one(func(d *draft) *string { return &d.query.CACert }, parsePath),
	},
	{
		name: "server-name", commands: inQuery, group: groupIdentity, value: "NAME",
		help: "host name to verify instead of that of ADDR",
		set:  one(func(d *draft) *string { return &d.query.ServerName }, parseServerName),
	},

	{
		name: "server-name", commands: inRoute, group: groupAddresses, value: "NAME", repeats: true,
		help: "a name that clients of the route ask for when they begin TLS: a DNS name, or a wildcard such as *.example.com",
		set:  each(func(d *draft) *[]string { return &d.serverNames }, parseNamePattern),
	},

	// Access
	{
		name: "allow-all", commands: inServer | inRoute, group: groupAccess,
		help: "let in every client with a certificate of a trusted CA",
		set:  one(func(d *draft) *bool { return &d.tunnel.Access.All }, parseSwitch),
	},
	{
		name: "allow-cn", commands: inServer | inRoute, group: groupAccess, value: "CN", repeats: true,
		help: "let in clients with this common name",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Access.CommonNames }, parseName),
	},
	{
		name: "allow-ou", commands: inServer | inRoute, group: groupAccess, value: "OU", repeats: true,
		help: "let in clients with this organizational unit",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Access.OrganizationalUnits }, parseName),
	},
	{
		name: "allow-dns", aliases: []string{"allow-dns-san"}, commands: inServer | inRoute, group: groupAccess, value: "NAME", repeats: true,
		help: "let in clients with this DNS name",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Access.DNSNames }, parseName),
	},
	{
		name: "allow-uri", aliases: []string{"allow-uri-san"}, commands: inServer | inRoute, group: groupAccess, value: "PATTERN", repeats: true,
		help: "let in clients with a URI like this: * is one segment, ** the rest",
		set:  each(func(d *draft) *[]auth.URIPattern { return &d.tunnel.Access.URIs }, auth.ParseURIPattern),
	},
	{
		name: "allow-ip", aliases: []string{"allow-ip-san"}, commands: inServer | inRoute, group: groupAccess, value: "IP", repeats: true, hidden: true,
		help: "let in clients with this IP address in their certificate",
		set:  each(func(d *draft) *[]netip.Addr { return &d.tunnel.Access.IPs }, parseIP),
	},
	{
		name: "allow-spki-pin", commands: inServer | inRoute, group: groupAccess, value: "PIN", repeats: true,
		help: "let in clients with this public key, whatever else their certificate says: sha256:BASE64, sha384:… or sha512:… of its SubjectPublicKeyInfo",
		set:  each(func(d *draft) *[]auth.Pin { return &d.tunnel.Access.Pins }, auth.ParsePin),
	},
	{
		name: "allow-policy", commands: inServer | inRoute, group: groupAccess, value: "BUNDLE",
		help: "let in clients whom a policy in Rego lets in: an OPA bundle or a .rego file; needs --allow-query",
		set:  one(func(d *draft) *string { return &d.tunnel.Access.Policy.Path }, parsePath),
	},
	{
		name: "allow-query", commands: inServer | inRoute, group: groupAccess, value: "QUERY",
		help: "what to ask that policy, such as data.access.allow",
		set:  one(func(d *draft) *string { return &d.tunnel.Access.Policy.Query }, parseQuery),
	},
	{
		name: "verify-cn", commands: inClient, group: groupAccess, value: "CN", repeats: true,
		help: "the target must have this common name, beside its host name",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Access.CommonNames }, parseName),
	},
	{
		name: "verify-ou", commands: inClient, group: groupAccess, value: "OU", repeats: true,
		help: "the target must have this organizational unit",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Access.OrganizationalUnits }, parseName),
	},
	{
		name: "verify-dns", aliases: []string{"verify-dns-san"}, commands: inClient, group: groupAccess, value: "NAME", repeats: true,
		help: "the target must have this DNS name",
		set:  each(func(d *draft) *[]string { return &d.tunnel.Access.DNSNames }, parseName),
	},
	{
		name: "verify-uri", aliases: []string{"verify-uri-san"}, commands: inClient, group: groupAccess, value: "PATTERN", repeats: true,
		help: "the target must have a URI like this: * is one segment, ** the rest",
		set:  each(func(d *draft) *[]auth.URIPattern { return &d.tunnel.Access.URIs }, auth.ParseURIPattern),
	},
	{
		name: "verify-ip", aliases: []string{"verify-ip-san"}, commands: inClient, group: groupAccess, value: "IP", repeats: true, hidden: true,
		help: "the target must have this IP address in its certificate",
		set:  each(func(d *draft) *[]netip.Addr { return &d.tunnel.Access.IPs }, parseIP),
	},
	{
		name: "verify-spki-pin", commands: inClient, group: groupAccess, value: "PIN", repeats: true,
		help: "the target must have this public key, whatever else its certificate says: sha256:BASE64, sha384:… or sha512:… of its SubjectPublicKeyInfo",
		set:  each(func(d *draft) *[]auth.Pin { return &d.tunnel.Access.Pins }, auth.ParsePin),
	},
	{
		name: "verify-policy", commands: inClient, group: groupAccess, value: "BUNDLE",
		help: "a policy in Rego must accept the target: an OPA bundle or a .rego file; needs --verify-query",
		set:  one(func(d *draft) *string { return &d.tunnel.Access.Policy.Path }, parsePath),
	},
	{
		name: "verify-query", commands: inClient, group: groupAccess, value: "QUERY",
		help: "what to ask that policy, such as data.access.allow",
		set:  one(func(d *draft) *string { return &d.tunnel.Access.Policy.Query }, parseQuery),
	},
	{
		name: "override-server-name", commands: inClient, group: groupAccess, value: "NAME",
		help: "host name to send and to verify instead of that of --target",
		set:  one(func(d *draft) *string { return &d.overrideServerName }, parseServerName),
	},
	{
		name: "disable-authentication", commands: inServer | inRoute, group: groupAccess,
		help: "ask for no client certificate and let everybody in",
		set:  one(func(d *draft) *bool { return &d.tunnel.DisableAuthentication }, parseSwitch),
	},
	{
		name: "disable-authentication", commands: inClient, group: groupAccess,
		help: "send no client certificate",
		set:  one(func(d *draft) *bool { return &d.tunnel.DisableAuthentication }, parseSwitch),
	},

	// Timeouts and limits
	{
		name: "connect-timeout", commands: inTunnel, group: groupLimits, value: "DURATION", initial: "10s",
		help: "longest time for a TLS handshake, and for reaching the target",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.ConnectTimeout }, parsePositiveDuration),
	},
	{
		name: "close-timeout", commands: inTunnel, group: groupLimits, value: "DURATION", initial: "60s",
		help: "how long one direction may go on after the other has ended; 0 closes at once",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.CloseTimeout }, parseDuration),
	},
	{
		name: "idle-timeout", commands: inTunnel, group: groupLimits, value: "DURATION", initial: "0",
		help: "close a connection without traffic either way for this long; 0 is never",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.IdleTimeout }, parseDuration),
	},
	{
		name: "max-conn-lifetime", commands: inTunnel, group: groupLimits, value: "DURATION", initial: "0",
		help: "close a connection this long after its handshake; 0 is never",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.MaxConnLifetime }, parseDuration),
	},
	{
		name: "max-concurrent-conns", commands: inTunnel, group: groupLimits, value: "N", initial: "0",
		help: "connections at once, the rest wait to be accepted; 0 is no limit",
		set:  one(func(d *draft) *int { return &d.tunnel.MaxConns }, parseCount),
	},
	{
		name: "max-handshakes", commands: inTunnel, group: groupLimits, value: "N", initial: "2048",
		help: "handshakes at once, the rest wait to be accepted; 0 is no limit",
		set:  one(func(d *draft) *int { return &d.tunnel.MaxHandshakes }, parseCount),
	},
	{
		name: "max-conns-per-ip", commands: inTunnel, group: groupLimits, value: "N", initial: "0",
		help: "connections at once from one address, more are closed; 0 is no limit",
		set:  one(func(d *draft) *int { return &d.tunnel.MaxConnsPerIP }, parseCount),
	},
	{
		name: "shutdown-timeout", commands: inProcess, group: groupLimits, value: "DURATION", initial: "5m",
		help: "how long connections may go on after a shutdown signal",
		set:  one(func(d *draft) *time.Duration { return &d.sidecar.ShutdownTimeout }, parseDuration),
	},
	{
		name: "shutdown-delay", commands: inProcess, group: groupLimits, value: "DURATION", initial: "0s",
		help: "how long connections are still accepted after a shutdown signal, while /readyz says no already; 0 is not at all",
		set:  one(func(d *draft) *time.Duration { return &d.sidecar.ShutdownDelay }, parseDuration),
	},

	// HTTP
	{
		name: "http-target-h2c", commands: inTunnel, group: groupHTTP,
		help: "speak HTTP/2 to a --target without TLS, as gRPC services want",
		set:  one(func(d *draft) *bool { return &d.tunnel.Requests.TargetH2C }, parseSwitch),
	},
	{
		name: "http-forwarded", commands: inTunnel, group: groupHTTP,
		help: "tell --target where a request comes from by the header Forwarded too",
		set:  one(func(d *draft) *bool { return &d.tunnel.Requests.Forwarded }, parseSwitch),
	},
	{
		name: "http-max-header-bytes", commands: inTunnel, group: groupHTTP, value: "BYTES", initial: "65536",
		help: "largest header of a request, roughly; beyond, the answer is 431",
		set:  one(func(d *draft) *int { return &d.tunnel.Requests.MaxHeaderBytes }, parseHeaderBytes),
	},
	{
		name: "http-max-body-bytes", commands: inTunnel, group: groupHTTP, value: "BYTES", initial: "0",
		help: "largest body of a request; beyond, the answer is 413; 0 is no limit",
		set:  one(func(d *draft) *int64 { return &d.tunnel.Requests.MaxBodyBytes }, parseBytes),
	},
	{
		name: "http-max-requests", commands: inTunnel, group: groupHTTP, value: "N", initial: "0",
		help: "requests in hand at once; beyond, the answer is 503; 0 is no limit",
		set:  one(func(d *draft) *int { return &d.tunnel.Requests.MaxRequests }, parseCount),
	},
	{
		name: "http-header-timeout", commands: inTunnel, group: groupHTTP, value: "DURATION", initial: "10s",
		help: "longest time for the header of a request to come; 0 is for ever",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Requests.HeaderTimeout }, parseDuration),
	},
	{
		name: "http-read-timeout", commands: inTunnel, group: groupHTTP, value: "DURATION", initial: "60s",
		help: "longest wait for a client to send or take more of a body, but for gRPC; 0 is for ever",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Requests.ReadTimeout }, parseDuration),
	},
	{
		name: "http-idle-timeout", commands: inTunnel, group: groupHTTP, value: "DURATION", initial: "2m",
		help: "close a client's connection without a request for this long; 0 is never",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Requests.IdleTimeout }, parseDuration),
	},
	{
		name: "http-response-timeout", commands: inTunnel, group: groupHTTP, value: "DURATION", initial: "60s",
		help: "longest wait for --target to begin an answer; beyond, it is 504; 0 is for ever",
		set:  one(func(d *draft) *time.Duration { return &d.tunnel.Requests.ResponseTimeout }, parseDuration),
	},

	// TLS
	{
		name: "disable-tls", commands: inServer, group: groupTLS,
		help: "accept plain HTTP, with --protocol http; on this machine alone, or with --unsafe-listen",
		set:  one(func(d *draft) *bool { return &d.tunnel.DisableTLS }, parseSwitch),
	},
	{
		name: "alpn", commands: inTunnel, group: groupTLS, value: "PROTO", repeats: true,
		help: "offer this application protocol in the handshake (ALPN), such as postgresql or h2",
		set:  each(func(d *draft) *[]string { return &d.tunnel.TLS.Protocols }, parseALPN),
	},
	{
		name: "starttls", commands: inTunnel, group: groupTLS, value: "PROTOCOL", choices: []string{"postgres", "mysql", "ldap", "smtp"},
		help: "go over to TLS as this protocol does: postgres, mysql, ldap, smtp",
		set:  one(func(d *draft) *string { return &d.tunnel.StartTLS }, parseStartTLS),
	},
	{
		name: "resumption", commands: inTunnel, group: groupTLS, initial: "true",
		help: "resume TLS sessions, which spares signatures; --no-resumption makes every handshake a full one",
		set:  one(func(d *draft) *bool { return &d.tunnel.TLS.Resumption }, parseSwitch),
	},
	{
		name: "session-ticket-keys", commands: inServer, group: groupTLS, value: "PATH",
		help: "file with the keys of session tickets, 32 bytes a line in hexadecimal or base64, the first for new ones; replicas that share it resume each other's sessions",
		set:  one(func(d *draft) *string { return &d.tunnel.TLS.TicketKeys }, parsePath),
	},
	{
		name: "cipher-suites", commands: inTunnel, group: groupTLS, value: "LIST", initial: "AES,CHACHA", hidden: true,
		help: "families of TLS 1.2 cipher suites, by comma: AES, CHACHA, UNSAFE-AZURE",
		set:  one(func(d *draft) *[]uint16 { return &d.tunnel.TLS.CipherSuites }, parseCipherSuites),
	},
	{
		name: "allow-unsafe-cipher-suites", commands: inTunnel, group: groupTLS, hidden: true,
		help: "let --cipher-suites name an UNSAFE one",
		set:  one(func(d *draft) *bool { return &d.unsafeCipherSuites }, parseSwitch),
	},
	{
		name: "max-tls-version", commands: inTunnel, group: groupTLS, value: "VERSION", choices: []string{"TLS1.2", "TLS1.3"}, hidden: true,
		help: "newest TLS version to speak",
		set:  one(func(d *draft) *uint16 { return &d.tunnel.TLS.MaxVersion }, parseTLSVersion),
	},

	// Status and metrics
	{
		name: "status", commands: inProcess, group: groupStatus, value: "ADDR",
		help: "serve status and metrics here: [http://|https://]HOST:PORT, unix:PATH, systemd:NAME or launchd:NAME; HTTPS unless http:// or a UNIX socket",
		set:  one(func(d *draft) *statusAddress { return &d.status }, parseStatusAddress),
	},
	{
		name: "target-status", commands: inServer, group: groupStatus, value: "URL", secret: true, // it may hold a token
		help: "what the status port GETs from the target to see whether it is up; 200 is up",
		set:  one(func(d *draft) **url.URL { return &d.tunnel.TargetStatus }, parseStatusURL),
	},
	{
		name: "status-token-file", commands: inProcess, group: groupStatus, value: "PATH",
		help: "file with the token that the status port asks for, but for /, /livez and /readyz",
		set:  one(func(d *draft) *string { return &d.sidecar.Status.TokenFile }, parsePath),
	},
	{
		name: "status-client-ca", commands: inProcess, group: groupStatus, value: "PATH",
		help: "file with the CA certificates that clients of the status port must chain to; needs HTTPS",
		set:  one(func(d *draft) *string { return &d.sidecar.Status.ClientCA }, parsePath),
	},
	{
		name: "enable-pprof", commands: inProcess, group: groupStatus,
		help: "serve profiles at /debug/pprof/ of the status port",
		set:  one(func(d *draft) *bool { return &d.sidecar.Status.Pprof }, parseSwitch),
	},
	{
		name: "enable-shutdown", commands: inProcess, group: groupStatus,
		help: "let a POST to /_shutdown of the status port end the process",
		set:  one(func(d *draft) *bool { return &d.sidecar.Status.Shutdown }, parseSwitch),
	},
	{
		name: "metrics-prefix", commands: inProcess, group: groupStatus, value: "NAME", initial: "ghostunnel",
		help: "first part of the names that Ghostunnel has for its metrics",
		set:  one(func(d *draft) *string { return &d.sidecar.Metrics.Prefix }, parseName),
	},
	{
		name: "metrics-graphite", commands: inProcess, group: groupStatus, value: "HOST:PORT",
		help: "send metrics under Ghostunnel's names to this carbon, over TCP",
		set:  one(func(d *draft) *socket.Address { return &d.sidecar.Metrics.Graphite }, parseGraphite),
	},
	{
		name: "metrics-url", commands: inProcess, group: groupStatus, value: "URL", secret: true, // it may hold a password
		help: "POST metrics as JSON to this http or https URL, verified against --cacert",
		set:  one(func(d *draft) **url.URL { return &d.sidecar.Metrics.URL }, parseMetricsURL),
	},
	{
		name: "metrics-interval", commands: inProcess, group: groupStatus, value: "DURATION", initial: "30s",
		help: "time from one sending of metrics to the next",
		set:  one(func(d *draft) *time.Duration { return &d.sidecar.Metrics.Interval }, parsePositiveDuration),
	},
	{
		name: "metrics-max-identities", commands: inProcess, group: groupStatus, value: "N", initial: "100",
		help: "identities of peers that metrics tell apart, the rest is other",
		set:  one(func(d *draft) *int { return &d.sidecar.Metrics.MaxIdentities }, parseCount),
	},
	{
		name: "metrics-compat", commands: inProcess, group: groupStatus, value: "NAME", choices: []string{PrometheusTunnel},
		help: "count HTTP requests under the names of prometheus-tunnel too",
		set:  one(func(d *draft) *string { return &d.sidecar.Metrics.Compat }, parseCompat),
	},
	{
		name: "netstat", commands: inProcess, group: groupStatus,
		help: "serve the metric of sallyport netstat too, with its defaults",
		set:  one(func(d *draft) *bool { return &d.sidecar.Netstat }, parseSwitch),
	},

	// Connections
	{
		name: "duration", commands: inNetstat, group: groupConnections, value: "DURATION", initial: "6s", env: []string{"DURATION"},
		help: "age from which on a connection is counted; a number alone is seconds",
		set:  one(func(d *draft) *time.Duration { return &d.netstat.MinAge }, parseAge),
	},
	{
		name: "port", commands: inNetstat, group: groupConnections, value: "PORT", initial: "-1", env: []string{"PORT"}, negative: true,
		help: "count only connections with this local port; -1 is all but its own",
		set:  one(func(d *draft) *int { return &d.netstat.Port }, parsePortOrAll),
	},
	{
		name: "tcpv6", commands: inNetstat, group: groupConnections, initial: "true", env: []string{"TCPV6"},
		help: "count those of IPv6 sockets too, which IPv4 clients may have come in by",
		set:  one(func(d *draft) *bool { return &d.netstat.TCP6 }, parseSwitch),
	},
	{
		name: "simple", commands: inNetstat, group: groupConnections, env: []string{"SIMPLE"},
		help: "one number, without labels for port and TCP version",
		set:  one(func(d *draft) *bool { return &d.netstat.Simple }, parseSwitch),
	},

	{
		name: "status", commands: inQuery, group: groupStatus, value: "ADDR", hidden: true,
		help: "the status port, where it does not stand alone",
		set:  one(func(d *draft) *statusAddress { return &d.status }, parseStatusAddress),
	},
	{
		name: "token-file", commands: inQuery, group: groupStatus, value: "PATH",
		help: "file with the token that the status port asks for",
		set:  one(func(d *draft) *string { return &d.query.TokenFile }, parsePath),
	},
	{
		name: "token", commands: inQuery, group: groupStatus, value: "TOKEN", secret: true,
		help: "that token itself; others may see it, so prefer its variable",
		set:  one(func(d *draft) *Secret { return &d.query.Token }, parseToken),
	},
	{
		name: "timeout", commands: inQuery, group: groupStatus, value: "DURATION", initial: "15s",
		help: "longest time for the answer; it may have to wait for the backend's --connect-timeout",
		set:  one(func(d *draft) *time.Duration { return &d.query.Timeout }, parsePositiveDuration),
	},

	// What to show
	{
		name: "tunnel", commands: inStatus, group: groupShown, value: "NAME",
		help: "this tunnel alone",
		set:  one(func(d *draft) *string { return &d.query.Tunnel }, parseName),
	},
	{
		name: "connections", commands: inStatus, group: groupShown,
		help: "the open connections too",
		set:  one(func(d *draft) *bool { return &d.query.Connections }, parseSwitch),
	},
	{
		name: "watch", commands: inStatus, group: groupShown,
		help: "look again and again until Ctrl-C, and show rates",
		set:  one(func(d *draft) *bool { return &d.query.Watch }, parseSwitch),
	},
	{
		name: "interval", commands: inStatus, group: groupShown, value: "DURATION", initial: "1s",
		help: "time from one look of --watch to the next",
		set:  one(func(d *draft) *time.Duration { return &d.query.Interval }, parsePositiveDuration),
	},
	{
		name: "json", commands: inStatus, group: groupShown,
		help: "the status port's documents themselves, each on a line",
		set:  one(func(d *draft) *bool { return &d.query.JSON }, parseSwitch),
	},

	// Process
	{
		name: "config", commands: inRun, group: groupFile, value: "FILE", flagOnly: true,
		help: "file with the tunnels, in YAML; read again by a reload, and when it changes",
		set:  one(func(d *draft) *string { return &d.configFile }, parsePath),
	},
	{
		name: "conf", commands: inNetstat, group: groupFile, value: "FILE",
		help: "file with a flag's name, without dashes, and its value on each line; flags and variables win",
		set:  one(func(d *draft) *string { return &d.keyFile }, parsePath),
	},
	{
		name: "disable-landlock", commands: inProcess | inNetstat, group: groupProcess,
		help: "run without the sandbox of files and ports that Linux's Landlock is for",
		set:  one(func(d *draft) *bool { return &d.sidecar.DisableLandlock }, parseSwitch),
	},
	{
		name: "landlock-allow", commands: inProcess, group: groupProcess, value: "PORTS|DIR", repeats: true,
		help: "what the sandbox allows beside, for tunnels that a reload may bring: TCP ports, as PORT or FIRST-LAST, or files and sockets below a directory",
		set:  setAllowance,
	},
	{
		name: "use-landlock", commands: inProcess, group: groupProcess, hidden: true, flagOnly: true,
		help: "does nothing: the sandbox is on without it",
		set:  func(_ *draft, text string) error { _, err := parseSwitch(text); return err },
	},

	// Logging
	{
		name: "quiet", commands: inProcess, group: groupLogging, value: "WHAT", repeats: true,
		choices: []string{"all", "conns", "conn-errs", "handshake-errs"},
		help:    "leave out log lines: all, conns, conn-errs, handshake-errs",
		set:     setQuiet,
	},
	{
		name: "log-format", commands: inProcess | inNetstat, group: groupLogging, value: "FORMAT", initial: "text", choices: []string{"text", "json"},
		help: "text or json",
		set:  one(func(d *draft) *LogFormat { return &d.sidecar.Log.Format }, parseLogFormat),
	},
	{
		name: "log-level", commands: inProcess | inNetstat, group: groupLogging, value: "LEVEL", initial: "info", choices: []string{"debug", "info", "warn", "error"},
		help: "least level to log: debug, info, warn, error",
		set:  one(func(d *draft) *slog.Level { return &d.sidecar.Log.Level }, parseLogLevel),
	},
	{
		name: "syslog", commands: inProcess, group: groupLogging,
		help: "log to the system's log, at /dev/log, rather than to standard output",
		set:  one(func(d *draft) *bool { return &d.sidecar.Log.Syslog }, parseSyslog),
	},
	{
		name: "log-sample", commands: inProcess, group: groupLogging, value: "N", initial: "1",
		help: "log the opening and closing of one in N connections; failures always",
		set:  one(func(d *draft) *int { return &d.sidecar.Log.Sample }, parsePositiveCount),
	},

	// Certificates
	{
		name: "ou", commands: inCerts, group: groupCertificates, value: "OU", repeats: true,
		help: "an organizational unit of the identities",
		set:  each(func(d *draft) *[]string { return &d.certs.OrganizationalUnits }, parseName),
	},
	{
		name: "dns-name", commands: inCerts, group: groupCertificates, value: "NAME", repeats: true,
		help: "one more DNS name",
		set:  each(func(d *draft) *[]string { return &d.certs.DNSNames }, parseIssuedName),
	},
	{
		name: "ip", commands: inCerts, group: groupCertificates, value: "IP", repeats: true,
		help: "one more IP address",
		set:  each(func(d *draft) *[]netip.Addr { return &d.certs.IPs }, parseIP),
	},
	{
		name: "uri", commands: inCerts, group: groupCertificates, value: "URI", repeats: true,
		help: "a URI, such as a SPIFFE ID",
		set:  each(func(d *draft) *[]string { return &d.certs.URIs }, parseURI),
	},
	{
		name: "days", commands: inCerts, group: groupCertificates, value: "N",
		help: "how long the certificates last; without it a year, or as long as the CA if that is less",
		set:  one(func(d *draft) *time.Duration { return &d.certs.Lifetime }, parseDays),
	},
	{
		name: "force", commands: inCerts, group: groupCertificates,
		help: "replace files that are there",
		set:  one(func(d *draft) *bool { return &d.certs.Force }, parseSwitch),
	},
}

// one makes the set of a row that has a single value: it parses the text into
// the field.
func one[T any](field func(*draft) *T, parse func(string) (T, error)) func(*draft, string) error {
	return func(d *draft, text string) error {
		value, err := parse(text)
		if err != nil {
			return err
		}
		*field(d) = value
		return nil
	}
}

// each makes the set of a row that repeats: it parses the text onto the end of
// the field.
func each[T any](field func(*draft) *[]T, parse func(string) (T, error)) func(*draft, string) error {
	return func(d *draft, text string) error {
		value, err := parse(text)
		if err != nil {
			return err
		}
		values := field(d)
		*values = append(*values, value)
		return nil
	}
}
