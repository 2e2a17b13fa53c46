package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Requests are what a tunnel of HTTP is bound by, and how it speaks to its target.
// It is zero where bytes are forwarded that nobody looks into.
type Requests struct {
	TargetH2C bool // the target, which has no TLS, is spoken to in HTTP/2
	Forwarded bool // the target is told by the header of RFC 7239 too where a request comes from

	MaxHeaderBytes int   // of a request; more than 0
	MaxBodyBytes   int64 // of a request; 0: no limit
	MaxRequests    int   // in hand at a time; 0: no limit

	HeaderTimeout   time.Duration // for the header of a request; 0: none
	ReadTimeout     time.Duration // for more of its body; 0: none
	IdleTimeout     time.Duration // closes a connection without a request; 0: never
	ResponseTimeout time.Duration // for an answer to begin; 0: none
}

// LogValue is the limits for the log.
func (r Requests) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Bool("target_h2c", r.TargetH2C),
		slog.Bool("forwarded", r.Forwarded),
		slog.Int("max_header_bytes", r.MaxHeaderBytes),
		slog.Int64("max_body_bytes", r.MaxBodyBytes),
		slog.Int("max_requests", r.MaxRequests),
		slog.Duration("header_timeout", r.HeaderTimeout),
		slog.Duration("read_timeout", r.ReadTimeout),
		slog.Duration("idle_timeout", r.IdleTimeout),
		slog.Duration("response_timeout", r.ResponseTimeout),
	)
}

// httpProtocols are what HTTP is called in ALPN, the best first.
var httpProtocols = []string{"h2", "http/1.1"}

// checkHTTP settles what goes with --protocol http alone, and what does not.
func (d *draft) checkHTTP() error {
	t := &d.tunnel
	if t.Protocol != HTTP {
		t.Requests = Requests{}
		return d.withoutHTTP()
	}
	switch {
	case t.StartTLS != "":
		return fmt.Errorf("%s and %s: what begins like that is not HTTP; give one or the other", d.name("protocol"), d.name("starttls"))
	case t.Announce != "":
		name := "proxy-protocol"
		if _, given := d.from["proxy-protocol-mode"]; given {
			name = "proxy-protocol-mode"
		}
		return fmt.Errorf("%s and %s: requests of many clients share a connection to the target, which X-Forwarded-For tells where each comes from; drop the second", d.name("protocol"), d.name(name))
	case t.Mode == Client && t.Requests.TargetH2C:
		return fmt.Errorf("%s: is for a target without TLS; with TLS, HTTP/2 is agreed on by itself", d.name("http-target-h2c"))
	}
	if t.DisableTLS {
		return nil
	}
	if len(t.TLS.Protocols) == 0 {
		t.TLS.Protocols = slices.Clone(httpProtocols)
	}
	for _, protocol := range t.TLS.Protocols {
		if !slices.Contains(httpProtocols, protocol) {
			return fmt.Errorf("%s %q: is not HTTP; with --protocol http, use %s", d.name("alpn"), protocol, either(httpProtocols))
		}
	}
	return nil
}

// withoutHTTP wants nothing said about requests where nobody looks for any.
func (d *draft) withoutHTTP() error {
	var given []string
	for i := range settings {
		if s := &settings[i]; s.group == groupHTTP {
			if source, ok := d.from[s.name]; ok {
				given = append(given, source)
			}
		}
	}
	if len(given) == 0 {
		return nil
	}
	return fmt.Errorf("%s: needs --protocol http, whose requests it is about", strings.Join(given, ", "))
}

// parseBytes reads an amount of memory or traffic.
func parseBytes(text string) (int64, error) {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 {
		return 0, errors.New("not a number of bytes; use a whole number")
	}
	return value, nil
}

// parseHeaderBytes reads how large the header of a request may be. Go's server
// reads some more, and counts it in an int.
func parseHeaderBytes(text string) (int, error) {
	const least, most = 1 << 10, 16 << 20
	value, err := parseBytes(text)
	if err == nil && (value < least || value > most) {
		err = fmt.Errorf("no size for a header; use %d to %d", least, most)
	}
	return int(value), err
}

func parseProtocol(text string) (Protocol, error) {
	switch p := Protocol(text); p {
	case TCP, HTTP:
		return p, nil
	}
	return "", errors.New("unknown protocol; use tcp or http")
}
