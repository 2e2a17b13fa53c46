package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/status"
)

// door knows who may ask the status port: who has the token, who has a certificate, or who has both.
type door struct {
	token *status.Token // nil: none is asked for

	// clients is whom certificates have to come from, if certs is set. Without, it holds nothing and is there for its watch
	// over the token's file alone.
	clients *certloader.Source
	certs   bool
}

// newDoor loads what the status port asks for. It is nil where that is nothing.
func newDoor(ctx context.Context, c *config.Sidecar, watcher *certloader.Watcher) (*door, error) {
	if c.Status.TokenFile == "" && c.Status.ClientCA == "" {
		return nil, nil
	}
	d := &door{certs: c.Status.ClientCA != ""}
	var err error
	if c.Status.TokenFile != "" {
		if d.token, err = status.LoadToken(c.Status.TokenFile); err != nil {
			return nil, err
		}
	}
	provider := certloader.Files(certloader.FileOptions{}) // nothing
	if d.certs {
		provider = revocable(certloader.Bundle("--status-client-ca", c.Status.ClientCA), &c.Tunnels[0])
	}
	if d.clients, err = certloader.New(ctx, watcher.Watch(provider, doorFiles(&c.Status, &c.Tunnels[0]))); err != nil {
		return nil, err
	}
	return d, nil
}

// doorFiles are what a door is made of. The port shows the first tunnel's identity, and certificates that are shown to it are
// looked up in that one's revocation lists.
func doorFiles(c *config.Status, first *config.Tunnel) []string {
	var files []string
	if c.TokenFile != "" {
		files = append(files, c.TokenFile)
	}
	if c.ClientCA != "" {
		files = append(append(files, c.ClientCA), first.CRLs...)
	}
	return files
}

// telling has the log told of certificates that config refuses. Whoever shows none may be any probe of the port; those who
// show one that is not good enough mean this port.
func (d *door) telling(config *tls.Config, log *slog.Logger) *tls.Config {
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := choose(hello)
		if err != nil || !d.certs {
			return chosen, err
		}
		verify, remote := chosen.VerifyConnection, hello.Conn.RemoteAddr().String()
		chosen = chosen.Clone() // which is dear, but few come here
		chosen.VerifyConnection = func(cs tls.ConnectionState) error {
			err := verify(cs)
			if refusal, ok := errors.AsType[interface {
				error
				Reason() string
			}](err); ok {
				log.Warn("status port: certificate refused", "remote", remote, "reason", refusal.Reason(), "error", err)
			}
			return err
		}
		return chosen, nil
	}
	return config
}

// reload loads token and CAs anew; what fails keeps what it had.
func (d *door) reload(ctx context.Context) error {
	var err error
	if d.token != nil {
		err = d.token.Reload()
	}
	return errors.Join(err, d.clients.Reload(ctx))
}

// name is that of no tunnel.
func (d *door) name() string { return "" }

// news receives when a reload would bring something new.
func (d *door) news() <-chan struct{} { return d.clients.Changed() }

// close lets go of what the door holds.
func (d *door) close() error { return d.clients.Close() }
