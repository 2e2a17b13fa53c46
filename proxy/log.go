package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
)

// shown is, for log lines, as whom the peer of a failed handshake showed itself, if it got that far. Nobody vouches for that:
// it may have been refused because it is somebody else.
func (c *conn) shown(err error) []slog.Attr {
	failed, ok := errors.AsType[*handshakeError](err)
	if !ok || c.peer != nil {
		return nil
	}
	shown := c.server.describe(&failed.peer)
	shown.protocol, shown.version = "", "" // nothing was agreed on
	return shown.attrs()
}

// hint is, for log lines, what may help against an end that the connection has come to; the error is nil if it was forwarded.
func (c *conn) hint(stage, reason string, err error) []slog.Attr {
	serverName := ""
	if failed, ok := errors.AsType[*handshakeError](err); ok {
		serverName = failed.peer.ServerName
	}
	if c.peer != nil {
		serverName = c.peer.serverName
	}
	return c.server.hint(stage, reason, serverName)
}

// sampled reports whether the connection is one of those whose opening and closing is logged.
func (c *conn) sampled() bool {
	n := uint64(max(c.server.LogSample, 1))
	return (c.id-1)%n == 0
}

// log writes an event of the connection, unless its class or level is left out.
func (c *conn) log(class Quiet, level slog.Level, message string, more ...slog.Attr) {
	if c.logs(class, level) {
		c.server.Log.LogAttrs(context.Background(), level, message, append(c.attrs(), more...)...)
	}
}

// logs reports whether events of that kind are logged.
func (c *conn) logs(class Quiet, level slog.Level) bool {
	return c.server.Quiet&class == 0 && c.server.Log.Enabled(context.Background(), level)
}

// attrs describes the connection in log lines.
func (c *conn) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.Uint64("conn", c.id), slog.String("remote", addr(c.remote)))
	if c.target != nil {
		attrs = append(attrs, slog.String("target", addr(c.target.RemoteAddr())))
	}
	if c.route != nil {
		attrs = append(attrs, slog.String("route", c.route.Name))
	}
	return append(attrs, c.peer.attrs()...)
}

// addr names an address; the unnamed end of a UNIX socket is told by its network.
func addr(a net.Addr) string {
	if text := a.String(); text != "" && text != "@" {
		return text
	}
	return a.Network()
}
