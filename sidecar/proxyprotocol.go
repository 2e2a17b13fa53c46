package sidecar

import (
	"net"

	"sallyport/config"
	"sallyport/proxy"
)

// announcement makes what the target is told of clients; nil is nothing.
func announcement(a config.Announcement) proxy.Announcement {
	switch a {
	case config.AnnounceConn:
		return proxy.AnnounceConn
	case config.AnnounceTLS:
		return proxy.AnnounceTLS
	case config.AnnounceTLSFull:
		return proxy.AnnounceTLSFull
	}
	return nil
}

// headerFrom tells whose connections begin with a PROXY header; nil is nobody's.
func headerFrom(peers config.HeaderPeers) func(net.Addr) bool {
	if peers.IsZero() {
		return nil
	}
	return peers.Contain
}
