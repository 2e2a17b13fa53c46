package sidecar

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"sallyport/certloader"
	"sallyport/config"
)

// Check loads and verifies all that New would, and tells out what it found. It opens no listener, asks no ACME CA for a
// certificate, and connects to nothing but the sources of identities, which have ConnectTimeout to answer. The error tells
// everything that would keep New from succeeding, or would have peers refuse what was loaded; it is nil if there is nothing of
// the kind. What is merely about to go wrong, such as a certificate that expires soon, is in the report alone. Faults of the
// file that the configuration is from come first, and the tunnels that they are about have not been looked at.
func Check(ctx context.Context, cfg *config.Sidecar, out io.Writer) error {
	c := &checkup{now: time.Now()}
	c.file(cfg.File)
	for i := range cfg.Tunnels {
		c.tunnel(ctx, &cfg.Tunnels[i])
	}
	tunnels := c.listeners(cfg.Tunnels)
	if c.origin = nil; cfg.File != nil {
		c.origin = cfg.File.Origin
	}
	c.address(ctx, "status port", "--status", cfg.Status.Listen, false)
	c.listener("--status", cfg.Status.Listen, tunnels)
	if len(cfg.Tunnels) > 0 {
		c.door(ctx, *cfg)
	}
	c.log(cfg.Log)
	c.first()
	if _, err := io.WriteString(out, c.report.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if len(c.problems) > 0 {
		return config.Faults(c.problems)
	}
	return nil
}

// problems is all that is wrong, on one line.
type problems []error

func (p problems) Error() string {
	texts := make([]string, len(p))
	for i, err := range p {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// orNil is p as an error, of which there is none if it is empty.
func (p problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p problems) Unwrap() []error { return p }

// file reports on the file of the configuration, if it has one.
func (c *checkup) file(f *config.File) {
	if f == nil {
		return
	}
	for _, err := range f.Faults {
		c.problem(err)
	}
}

// checkup is a Check in progress.
type checkup struct {
	now      time.Time
	report   strings.Builder
	problems problems
	origin   *config.Origin // of what is looked at
	ends     []ending
}

// ending is when something runs out.
type ending struct {
	what string
	at   time.Time
}

// first tells what will run out first of what has not yet.
func (c *checkup) first() {
	ends := slices.DeleteFunc(c.ends, func(e ending) bool { return !e.at.After(c.now) })
	if len(ends) == 0 {
		return
	}
	soonest := slices.MinFunc(ends, func(a, b ending) int { return a.at.Compare(b.at) })
	c.line("first to run out: %s, at %s (%s)", soonest.what, date(soonest.at), left(soonest.at, c.now))
}

// line adds a line to the report, in the words of the file that the configuration is from, if it is from one.
func (c *checkup) line(format string, args ...any) {
	// A certificate's subject can hold anything, even what looks like more lines.
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, c.origin.Worded(fmt.Sprintf(format, args...)))
	c.report.WriteString(strings.TrimRight(text, " ") + "\n")
}

// problem adds a line to the report, and makes the Check fail.
func (c *checkup) problem(err error) {
	err = c.origin.Locate(err)
	c.line("  PROBLEM      %v", err)
	c.problems = append(c.problems, err)
}

func (c *checkup) tunnel(ctx context.Context, t *config.Tunnel) {
	c.origin = t.Origin
	c.line("tunnel %s (%s mode)", t.Name, t.Mode)
	c.address(ctx, "listen", "--listen", t.Listen, false)
	if _, err := lookUpOwner(t); err != nil {
		c.problem(err)
	}
	c.upstream(ctx, t)
	c.proxy(ctx, t)

	c.proxyProtocol(t)
	c.served(ctx, t)
	c.routes(ctx, t)
}

// served reports on how the tunnel's clients are served, or its targets are: on identity, trust and access.
func (c *checkup) served(ctx context.Context, t *config.Tunnel) {
	c.policy(ctx, t)
	source, err := c.source(ctx, t)
	if err != nil {
		c.problem(err)
		return
	}
	cas, chains := authorities(source), chains(source)
	c.identities(t, chains, cas)
	c.trust(t, cas)
	c.revocation(source.CRLs())
	c.missingLists(t, slices.Concat(chains...), cas, source.CRLs())
	c.ticketKeys(t, source)
	if err := namesOfOneDomain(t, source); err != nil {
		c.problem(err)
	}
	if err := source.Close(); err != nil {
		c.problem(err)
	}
}

// chains are the certificates of each identity of a source, leaf first.
func chains(source *certloader.Source) [][]*x509.Certificate {
	var all [][]*x509.Certificate
	for _, cert := range source.Certificates() {
		switch cert.Role {
		case certloader.RoleIdentity:
			all = append(all, []*x509.Certificate{cert.X509})
		case certloader.RoleIntermediate:
			all[len(all)-1] = append(all[len(all)-1], cert.X509)
		}
	}
	return all
}

// ticketKeys reports on the keys that session tickets are sealed with, if they are shared.
func (c *checkup) ticketKeys(t *config.Tunnel, source *certloader.Source) {
	path := t.TLS.TicketKeys
	if path == "" {
		return
	}
	c.line("  %-12s --session-ticket-keys %s: %s, of which the first seals", "tickets", path, count(source.TicketKeys(), "key"))
	if open := openTicketKeys(path); open != "" {
		c.line("    %-10s %s", "WARNING", open)
	}
}

// log finds out whether there is a system's log, if lines are to go there.
func (c *checkup) log(l config.Log) {
	_, done, err := newLogger(l, io.Discard)
	if err == nil {
		err = done()
	}
	if err != nil {
		c.problem(err)
	}
}

// door reports on what the status port asks for.
func (c *checkup) door(ctx context.Context, cfg config.Sidecar) {
	d, err := newDoor(ctx, &cfg, nil)
	if err != nil {
		c.problem(err)
		return
	}
	if d == nil {
		return
	}
	if d.token != nil {
		c.line("  %-12s --status-token-file %s, but for /, /livez and /readyz", "asks for", cfg.Status.TokenFile)
	}
	if d.certs {
		c.bundle("clients of", "--status-client-ca "+cfg.Status.ClientCA, authorities(d.clients))
	}
	if err := d.close(); err != nil {
		c.problem(err)
	}
}

// authorities are the CAs that a source trusts.
func authorities(source *certloader.Source) []*x509.Certificate {
	var cas []*x509.Certificate
	for _, cert := range source.Certificates() {
		if cert.Role == certloader.RoleCA {
			cas = append(cas, cert.X509)
		}
	}
	return cas
}

// policy reports on the tunnel's policy, if it has one.
func (c *checkup) policy(ctx context.Context, t *config.Tunnel) {
	switch p, err := loadPolicy(ctx, t); {
	case err != nil:
		c.problem(err)
	case p != nil:
		c.line("  %-12s %s, asked for %s", "policy", t.Access.Policy.Path, t.Access.Policy.Query)
	}
}

// source loads what the tunnel would start with.
func (c *checkup) source(ctx context.Context, t *config.Tunnel) (*certloader.Source, error) {
	silence := slog.New(slog.DiscardHandler)
	var provider certloader.Provider
	var err error
	if t.Identity.ACME.Name != "" {
		options := acmeOptions(t, silence)
		options.Stored = true
		if provider, err = certloader.ACME(ctx, options); errors.Is(err, certloader.ErrNoneStored) {
			c.line("  identity     %s: %v", identityFlag(t), certloader.ErrNoneStored)
			provider, err = certloader.Files(certloader.FileOptions{CABundle: t.CACert}), nil
		}
	} else {
		soon, cancel := context.WithTimeoutCause(ctx, t.ConnectTimeout,
			fmt.Errorf("nothing of use within --connect-timeout %v, for which a check waits", t.ConnectTimeout))
		defer cancel()
		provider, err = newProvider(soon, t, silence)
	}
	if err != nil {
		return nil, err
	}
	return certloader.New(ctx, completed(provider, t))
}
