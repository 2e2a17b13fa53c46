package socket

import (
	"net"
	"time"
)

// keepAliveConfig has a connection probed after so much silence, again and again
// after as much of it, and given up after nine probes without an answer, which
// is package net's number. 0 is off.
func keepAliveConfig(silence time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: silence > 0, Idle: silence, Interval: silence}
}

// idleTime is what has package net leave keep-alive off that is not configured.
func idleTime(silence time.Duration) time.Duration {
	if silence > 0 {
		return 0
	}
	return -1
}

// keptAlive configures the connections of a listener that package net did not
// open, and for which it has no setting.
type keptAlive struct {
	*net.TCPListener
	config net.KeepAliveConfig
}

// Accept returns connections of package net's own type, so that they can do all
// that theirs can.
func (l *keptAlive) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	// Package net does not tell either where a system has not all of it.
	_ = conn.SetKeepAliveConfig(l.config)
	return conn, nil
}

// KeptAlive returns a listener of [Listen] as it would be with another silence
// after which connections are probed. What it has accepted stays as it is; one that
// is not TCP is returned unchanged.
func KeptAlive(ln net.Listener, silence time.Duration) net.Listener {
	switch l := ln.(type) {
	case *net.TCPListener:
		return &keptAlive{l, keepAliveConfig(silence)}
	case *keptAlive:
		return &keptAlive{l.TCPListener, keepAliveConfig(silence)}
	}
	return ln
}
