package config

import (
	"io/fs"
	"log/slog"
	"net/url"
	"time"

	"sallyport/socket"
)

// Mode says which side of a tunnel speaks TLS.
type Mode string

// The modes of a tunnel.
const (
	Server Mode = "server" // TLS listener, plain target
	Client Mode = "client" // plain listener, TLS target
)

// Protocol says what a tunnel makes of the bytes that it forwards.
type Protocol string

// The protocols of a tunnel.
const (
	TCP  Protocol = "tcp"  // nothing: they are copied
	HTTP Protocol = "http" // requests and answers
)

// Tunnel is one listener with its targets.
type Tunnel struct {
	Origin   *Origin // where in a configuration file it stands; nil: on a command line
	Name     string  // for logs and metrics; on a command line, the mode's name
	Mode     Mode
	Protocol Protocol
	Requests Requests // with HTTP
	Listen   socket.Address

	Upstream Upstream // where connections go

	ListenMode  fs.FileMode   // permissions of the socket's file at Listen, which is UNIX then; 0: by the umask
	ListenOwner string        // USER, USER:GROUP or :GROUP of that file; "": the process. ListenMode is set with it
	KeepAlive   time.Duration // silence after which TCP connections, to and from, are probed; 0: never

	Identity     Identity   // never zero in server mode, but with Routes; zero in client mode: no certificate is sent
	Identities   []Identity // further ones in files, in server mode: each client is shown one that fits it
	CACert       string     // file of the trusted CAs; "": the system's. The Workload API's trust goes before
	CRLs         []string   // files of revocation lists
	CloseRevoked bool       // close the open connections of peers that a reload finds revoked
	// DisableAuthentication: in server mode no client certificate is asked
	// for, in client mode none is sent, even where the Workload API, which is
	// there for its trust then, has one.
	DisableAuthentication bool
	// Access says which verified peers are let in. Its zero value means none
	// is needed in server mode (DisableAuthentication is set then), and that
	// the ServerName of a target decides alone in client mode.
	Access Access
	TLS    TLS
	// DisableTLS accepts plaintext in server mode. DisableAuthentication is set
	// with it, Identity and Access are zero, and Protocol is HTTP.
	DisableTLS bool
	StartTLS   string // the protocol that goes over to TLS: postgres, mysql, ldap, smtp; "": TLS from the first byte

	// Routes are for those clients, in server mode, that ask for certain names. With
	// them Upstream may have no target, and Identity and Access may be zero: all
	// other clients are refused then.
	Routes []Route

	// Announce says what the target is told of clients, by a PROXY header; server
	// mode. "": it is sent none.
	Announce Announcement
	// HeaderPeers are those whose connections begin with a PROXY header.
	HeaderPeers HeaderPeers

	Proxy UpstreamProxy // client mode: what targets, which are TCP addresses with hosts then, are reached through and looked up by

	TargetStatus *url.URL // server mode: what a check of a target GETs, over a connection to it; nil: it only dials
	SkipResolve  bool     // do not resolve targets, or Proxy's host, at start

	ConnectTimeout  time.Duration // bounds a handshake, and a dial; more than 0
	CloseTimeout    time.Duration // bounds the rest of a half-closed connection; 0: none
	IdleTimeout     time.Duration // closes a connection without traffic; 0: never
	MaxConnLifetime time.Duration // closes a connection by its age; 0: never
	MaxConns        int           // connections at a time; 0: no limit
	MaxHandshakes   int           // connections at a time that are not established yet; 0: no limit
	MaxConnsPerIP   int           // connections at a time from one IP address; 0: no limit
}

// SendsNoCertificate tells whether the tunnel has no certificate to show to
// anybody: a client that is to send none, a server that speaks no TLS, or one
// whose Routes have all that there are.
func (t *Tunnel) SendsNoCertificate() bool {
	return t.DisableTLS || t.Mode == Client && t.DisableAuthentication || len(t.Routes) > 0 && t.Identity.IsZero()
}

// LogValue is the tunnel for the log: all of it but its secrets.
func (t *Tunnel) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("mode", string(t.Mode)),
		slog.String("protocol", string(t.Protocol)),
		slog.Any("http", t.Requests),
		slog.String("listen", t.Listen.String()),
		slog.Any("upstream", &t.Upstream),
		slog.String("listen_mode", octal(t.ListenMode)),
		slog.String("listen_owner", t.ListenOwner),
		slog.Duration("keepalive", t.KeepAlive),
		slog.Any("identity", t.Identity),
		slog.String("cacert", t.CACert),
		slog.Any("crl", t.CRLs),
		slog.Bool("crl_close_revoked", t.CloseRevoked),
		slog.Bool("disable_tls", t.DisableTLS),
		slog.Bool("disable_authentication", t.DisableAuthentication),
		slog.Any("access", t.Access),
		slog.Any("tls", t.TLS),
		slog.String("proxy_protocol", string(t.Announce)),
		slog.Any("proxy_protocol_in", t.HeaderPeers.Strings()),
		slog.Any("proxy", t.Proxy),
		slog.String("starttls", t.StartTLS),
		slog.Bool("skip_resolve", t.SkipResolve),
		slog.Duration("connect_timeout", t.ConnectTimeout),
		slog.Duration("close_timeout", t.CloseTimeout),
		slog.Duration("idle_timeout", t.IdleTimeout),
		slog.Duration("max_conn_lifetime", t.MaxConnLifetime),
		slog.Int("max_concurrent_conns", t.MaxConns),
		slog.Int("max_handshakes", t.MaxHandshakes),
		slog.Int("max_conns_per_ip", t.MaxConnsPerIP),
	}
	if t.TargetStatus != nil {
		// A query may hold a token, so no more than the place is told.
		place := url.URL{Scheme: t.TargetStatus.Scheme, Host: t.TargetStatus.Host, Path: t.TargetStatus.Path}
		attrs = append(attrs, slog.String("target_status", place.String()))
	}
	for _, further := range t.Identities {
		attrs = append(attrs, slog.Any("further_identity", further))
	}
	for i := range t.Routes {
		attrs = append(attrs, slog.Any("route."+t.Routes[i].Name, &t.Routes[i]))
	}
	return slog.GroupValue(attrs...)
}
