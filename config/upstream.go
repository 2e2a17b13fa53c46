package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/socket"
)

// Upstream is where connections go, and how they are spread if that is more than
// one place.
type Upstream struct {
	Targets []Target // at least one; each address once

	// Balance is how connections are spread. "": there is one target, which each
	// connection is dialled to as it is, and nothing below plays a part.
	Balance         Balance
	ResolveInterval time.Duration // from one lookup of a name to the next; more than 0
	HealthInterval  time.Duration // from one health check of a target to the next; 0: none
	HealthTimeout   time.Duration // of one; more than 0
	SlowStart       time.Duration // how long a target that came back gets less than its share; 0: not at all
}

// Target is one of several places that connections may go to.
type Target struct {
	Address socket.Address
	Weight  int // its share of connections, from 1 to maxWeight

	// ServerName is, in client mode, the name or IP address to send and to
	// verify; "" with the Workload API or pins alone.
	ServerName string
}

// maxWeight is the most that a target can weigh.
const maxWeight = 256

// Expands tells whether the target is as many places as its name has addresses.
// A name of this machine is one place, whatever its addresses: a service mostly
// listens on one of them.
func (t Target) Expands() bool {
	host := strings.ToLower(strings.TrimSuffix(t.Address.Host(), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return false
	}
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") // RFC 6761, 6.3
}

// String is the target as --target takes it.
func (t Target) String() string {
	text := t.Address.String()
	if t.Weight == 1 && !strings.Contains(text, weightOption) { // which a path may have in it
		return text
	}
	return text + weightOption + strconv.Itoa(t.Weight)
}

// String is the addresses of all targets, for people.
func (u *Upstream) String() string {
	texts := make([]string, len(u.Targets))
	for i, t := range u.Targets {
		texts[i] = t.Address.String()
	}
	return strings.Join(texts, ", ")
}

// IsZero tells whether there is no target, which is so for a tunnel that has
// routes alone.
func (u *Upstream) IsZero() bool { return len(u.Targets) == 0 }

// IsBalanced tells whether there is anything to choose, to look up or to check.
func (u *Upstream) IsBalanced() bool { return u.Balance != "" }

// LogValue is the upstream for the log.
func (u *Upstream) LogValue() slog.Value {
	var targets, names []string
	for _, t := range u.Targets {
		targets = append(targets, t.String())
		names = append(names, t.ServerName)
	}
	return slog.GroupValue(
		slog.Any("targets", targets),
		slog.Any("server_names", names),
		slog.String("balance", string(u.Balance)),
		slog.Duration("resolve_interval", u.ResolveInterval),
		slog.Duration("health_interval", u.HealthInterval),
		slog.Duration("health_timeout", u.HealthTimeout),
		slog.Duration("slow_start", u.SlowStart),
	)
}

// Balance is a way to spread connections over targets.
type Balance string

// The ways.
const (
	RoundRobin Balance = "round-robin" // by turns
	LeastConn  Balance = "least-conn"  // to whoever has the fewest
	First      Balance = "first"       // to the first that is up
	BySource   Balance = "source"      // by the client's address
)

func parseBalance(text string) (Balance, error) {
	switch b := Balance(text); b {
	case RoundRobin, LeastConn, First, BySource:
		return b, nil
	}
	return "", errors.New("no such balance; use round-robin, least-conn, first or source")
}

// weightOption is what goes between an address and its weight.
const weightOption = ";weight="

// sameAddress tells whether two addresses are one, by how they are written.
func sameAddress(a, b socket.Address) bool {
	return a == b || a.Network() == "tcp" && strings.EqualFold(a.String(), b.String())
}

// parseTarget reads an address that may have a weight behind it.
func parseTarget(text string) (Target, error) {
	t := Target{Weight: 1}
	place, option, hasOption := strings.Cut(text, ";")
	if strings.HasPrefix(text, "unix:") { // the path of which may have anything in it
		place, option, hasOption = text, "", false
		if at := strings.LastIndex(text, weightOption); at >= 0 {
			place, option, hasOption = text[:at], text[at+1:], true
		}
	}
	if hasOption {
		weight, ok := strings.CutPrefix(option, weightOption[1:])
		n, err := strconv.ParseUint(weight, 10, 16)
		switch {
		case !ok:
			return t, errors.New("an option that is none; write HOST:PORT;weight=N")
		case err != nil || n == 0 || n > maxWeight:
			return t, fmt.Errorf("not a weight; use 1 to %d", maxWeight)
		}
		t.Weight = int(n)
	}
	if strings.Contains(place, ",") && !strings.HasPrefix(place, "unix:") {
		return t, errors.New("several in one; give each by itself")
	}
	var err error
	t.Address, err = socket.ParseAddress(place)
	return t, err
}

// The shortest times between two lookups, and between two health checks: neither
// DNS nor a target is to be flooded.
const (
	minResolveInterval = time.Second
	minHealthInterval  = 100 * time.Millisecond
)

func parseResolveInterval(text string) (time.Duration, error) {
	value, err := parseDuration(text)
	if err == nil && value < minResolveInterval {
		err = fmt.Errorf("too often for DNS; use %v or more", minResolveInterval)
	}
	return value, err
}

func parseHealthInterval(text string) (time.Duration, error) {
	value, err := parseDuration(text)
	if err == nil && value != 0 && value < minHealthInterval {
		err = fmt.Errorf("too often; use %v or more, or 0 for no checks", minHealthInterval)
	}
	return value, err
}

// checkUpstream wants targets that differ, and settings that change something.
func (d *draft) checkUpstream() error {
	u := &d.tunnel.Upstream
	for i, t := range u.Targets {
		for _, before := range u.Targets[:i] {
			if sameAddress(t.Address, before.Address) {
				return fmt.Errorf("%s %s: given twice; for a larger share write %[2]s;weight=2", d.name("target"), t.Address)
			}
		}
	}
	_, follows := d.from["resolve-interval"]
	if _, given := d.from["health-timeout"]; given && u.HealthInterval == 0 {
		return fmt.Errorf("%s: needs --health-interval, which has targets checked", d.name("health-timeout"))
	}
	if _, given := d.from["balance"]; !given {
		u.Balance = "" // a route's may be that of its tunnel
	}
	switch balanced := len(u.Targets) > 1 || follows || u.HealthInterval > 0 || u.SlowStart > 0; {
	case u.Balance != "":
	case balanced:
		u.Balance = RoundRobin
	default:
		return nil
	}
	if u.Balance == BySource && d.tunnel.Protocol == HTTP {
		return fmt.Errorf("%s source and %s http: requests of many clients share a connection to a target; use least-conn", d.name("balance"), d.name("protocol"))
	}
	if u.SlowStart > 0 && (u.Balance == First || u.Balance == BySource) {
		return fmt.Errorf("%s and %s %s: who is chosen there has nothing to do with shares; leave out the first, or use round-robin or least-conn", d.name("slow-start"), d.name("balance"), u.Balance)
	}
	if follows && !d.tunnel.Proxy.IsZero() {
		return fmt.Errorf("%s and %s: the proxy looks up the target; leave out the first", d.name("resolve-interval"), d.name("proxy"))
	}
	return nil
}
