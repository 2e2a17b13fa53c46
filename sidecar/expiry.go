package sidecar

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour

	// expiryNotice is how long before its end a certificate is warned about.
	expiryNotice = 30 * day

	// expiryLook is how often to look.
	expiryLook = time.Hour
)

// expiry warns of what will run out soon, or has, and of lists that nothing will come of: each thing once a day.
type expiry struct {
	log     *slog.Logger
	tunnels func() []*tunnel
	changed chan struct{}        // the tunnels hold something else
	warned  map[string]time.Time // when something was last warned about
}

func newExpiry(log *slog.Logger, tunnels func() []*tunnel) *expiry {
	return &expiry{log: log, tunnels: tunnels, changed: make(chan struct{}, 1), warned: make(map[string]time.Time)}
}

// run looks at what the tunnels hold until the context ends.
func (e *expiry) run(ctx context.Context) {
	again := time.NewTicker(expiryLook)
	defer again.Stop()
	for {
		e.look(time.Now())
		select {
		case <-again.C:
		case <-e.changed:
		case <-ctx.Done():
			return
		}
	}
}

// again has run look without delay. It may be called while run is at it.
func (e *expiry) again() {
	select {
	case e.changed <- struct{}{}:
	default: // it will
	}
}

// look warns about what the tunnels hold.
func (e *expiry) look(now time.Time) {
	for _, t := range e.tunnels() {
		log := e.log.With("tunnel", t.config.Name)
		for _, c := range t.certificates() {
			life := c.NotAfter.Sub(c.X509.NotBefore)
			renewed := renewsItself(&t.config.Identity) && c.route == "" && !strings.HasPrefix(c.Role, proxyRole)
			if left := c.NotAfter.Sub(now); left > notice(life, renewed) {
				continue
			}
			sum := sha256.Sum256(c.X509.Raw)
			if e.due(t.config.Name+" "+c.Role+" "+string(sum[:]), now) {
				log := log
				if c.route != "" {
					log = log.With("route", c.route)
				}
				log.Warn(expiryMessage(c.NotAfter, now),
					"role", c.Role, "subject", title(c.X509), "serial", c.Serial, "not_after", c.NotAfter, "days_left", daysLeft(c.NotAfter, now))
			}
		}
		for _, crl := range t.crls() {
			key := t.config.Name + " crl " + crl.Path + " " + crl.Issuer
			switch {
			case crl.Unused:
				if e.due(key, now) {
					log.Warn("a revocation list counts for nobody: its issuer is above the trusted CAs; --cacert has to name it too",
						"crl", crl.Path, "issuer", crl.Issuer)
				}
			// Lists last for days at most times: there is no early sign that the next one will not come.
			case !crl.NextUpdate.After(now) && !crl.Superseded:
				if e.due(key, now) {
					log.Warn("a revocation list has run out; peers with certificates of its issuer are refused",
						"crl", crl.Path, "issuer", crl.Issuer, "next_update", crl.NextUpdate)
				}
			}
		}
	}
	for what, last := range e.warned {
		if now.Sub(last) > 2*day { // gone, or it would have been warned about since
			delete(e.warned, what)
		}
	}
}

// due tells whether something has not been warned about for a day, and takes note that it now is.
func (e *expiry) due(what string, now time.Time) bool {
	if last, ok := e.warned[what]; ok && now.Sub(last) < day {
		return false
	}
	e.warned[what] = now
	return true
}

// notice is how long before its end a certificate of that lifetime is warned about. One that a program renews is in order for
// most of its life, however short that is; in the last quarter its renewal is overdue.
func notice(life time.Duration, renewed bool) time.Duration {
	if renewed {
		return min(expiryNotice, life/4)
	}
	return expiryNotice
}

func expiryMessage(end, now time.Time) string {
	if end.After(now) {
		return "a certificate will expire soon"
	}
	return "a certificate has expired"
}

// daysLeft is how many whole days are left until a time; less than 0 after it.
func daysLeft(end, now time.Time) int {
	left := end.Sub(now)
	if left < 0 {
		left -= day - 1 // rounds down, not toward 0
	}
	return int(left / day)
}
