package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"sallyport/certloader"
	"sallyport/proxy"
	"sallyport/status"
)

// backend returns how to find out whether a server mode target is up: by connecting, or by asking for --target-status. One that
// wants to be told who connects is told that nobody does. Leave, which may be nil, is said before the connection is closed.
func (t *tunnel) backend(dial func(context.Context) (net.Conn, error), leave func(net.Conn) error) func(context.Context) error {
	if t.config.Announce != "" {
		dial = proxy.LocalDialer(dial)
	}
	if leave != nil {
		dial = proxy.UpgradingDialer(dial, leave)
	}
	if at := t.config.TargetStatus; at != nil {
		trust := t.source.ClientConfig(certloader.ClientOptions{ServerName: at.Hostname()})
		return status.Get(at.String(), dial, trust)
	}
	return func(ctx context.Context) error {
		c, err := dial(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// How long a TLS target is given to refuse a connection that it seems to have accepted.
const (
	minVerdict = 50 * time.Millisecond
	maxVerdict = time.Second
)

// shaken returns how to find out whether a TLS target is up. In TLS 1.3 the client's part of the handshake is over before the
// server has looked at the client's certificate, so a target that refuses it would pass for one that is up. The refusal is an
// alert, one round trip later: it is waited for as long as the handshake took. With leave, which may be nil, that is said
// instead, and the target answers.
func shaken(dial func(context.Context) (net.Conn, error), config func(net.Addr) *tls.Config, leave func(net.Conn) error) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := dial(ctx)
		if err != nil {
			return err
		}
		session := tls.Client(c, config(c.RemoteAddr()))
		defer func() { _ = session.Close() }()
		started := time.Now()
		if err := session.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS handshake with the target: %w", err)
		}
		if leave != nil {
			stop := context.AfterFunc(ctx, func() { _ = session.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			return leave(session)
		}
		ctx, cancel := context.WithTimeout(ctx, min(max(time.Since(started), minVerdict), maxVerdict))
		defer cancel()
		return refusal(ctx, session)
	}
}

// refusal waits, until the context ends, for the peer to end a fresh connection. One that stays silent, or speaks first,
// takes it.
func refusal(ctx context.Context, session *tls.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = session.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := session.Read(make([]byte, 1))
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, io.EOF):
		return errors.New("the target closed the connection right after the TLS handshake")
	}
	return fmt.Errorf("the target refused the connection after the TLS handshake: %w", err)
}
