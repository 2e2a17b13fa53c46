package config

import (
	"errors"
	"strconv"
	"time"

	"sallyport/socket"
)

// Netstat is the work of `sallyport netstat`: to measure how many TCP
// connections of this host have been there for long.
type Netstat struct {
	Listen          socket.Address // where it serves /metrics
	MinAge          time.Duration  // age from which on a connection counts; more than 0
	Port            int            // local port of those that count; 0: any but its own
	TCP6            bool           // count those of IPv6 sockets too
	Simple          bool           // one number, without labels
	Log             Log
	DisableLandlock bool // run without the sandbox
}

// parsePortOrAddress reads an address, or a port of every interface.
func parsePortOrAddress(text string) (socket.Address, error) {
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		text = ":" + text
	}
	return socket.ParseListenAddress(text)
}

// parsePortOrAll reads a port; -1 is all of them, and 0 in Netstat.
func parsePortOrAll(text string) (int, error) {
	if text == "-1" {
		return 0, nil
	}
	port, err := parsePort(text)
	if err != nil {
		return 0, errors.New("not a port; use 1 to 65535, or -1 for all")
	}
	return port, nil
}

// parseAge reads a duration, or a number of seconds.
func parseAge(text string) (time.Duration, error) {
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		text += "s"
	}
	return parsePositiveDuration(text)
}
