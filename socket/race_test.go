package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A host is what a name stands for in these tests: its addresses, and what
// becomes of connecting to each.
type host struct {
	addresses []string
	after     map[string]time.Duration // what answers, and when; the rest swallows everything
	refuses   map[string]bool          // which of the answers are refusals

	mu     sync.Mutex
	tried  []string
	opened int // connections that are open
}

// dialer connects to the host by its name.
func (h *host) dialer() *byName {
	return &byName{host: "db.example.com", port: "5432", lookup: h.lookup, connect: h.connect}
}

func (h *host) lookup(context.Context, string, string) ([]netip.Addr, error) {
	var ips []netip.Addr
	for _, text := range h.addresses {
		ips = append(ips, netip.MustParseAddr(text))
	}
	return ips, nil
}

func (h *host) connect(ctx context.Context, _, address string) (net.Conn, error) {
	ip, port, err := net.SplitHostPort(address)
	if err != nil || port != "5432" {
		return nil, errors.New("not an address of the host: " + address)
	}
	h.mu.Lock()
	h.tried = append(h.tried, ip)
	h.mu.Unlock()
	var answer <-chan time.Time
	if after, ok := h.after[ip]; ok {
		answer = time.After(after)
	}
	select {
	case <-answer:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h.refuses[ip] {
		return nil, syscall.ECONNREFUSED
	}
	h.count(1)
	return &counted{ip: ip, host: h}, nil
}

func (h *host) count(change int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened += change
}

// counted is a connection to one of the host's addresses.
type counted struct {
	net.Conn

	ip   string
	host *host
}

func (c *counted) Close() error {
	c.host.count(-1)
	return nil
}

const (
	a4, b4, c4 = "192.0.2.1", "192.0.2.2", "192.0.2.3"
	a6, b6     = "2001:db8::1", "2001:db8::2"
)

func TestDialingANameWithSeveralAddresses(t *testing.T) {
	t.Parallel()
	never := map[string]time.Duration(nil)
	tests := []struct {
		name    string
		host    *host
		limit   time.Duration
		reached string // "": none
		took    time.Duration
		tried   []string
		err     error
	}{
		{
			"the first answers", &host{addresses: []string{a4, b4}, after: map[string]time.Duration{a4: 10 * time.Millisecond}},
			10 * time.Second, a4, 10 * time.Millisecond, []string{a4}, nil,
		},
		{
			"the first swallows everything", &host{addresses: []string{a4, b4}, after: map[string]time.Duration{b4: 10 * time.Millisecond}},
			10 * time.Second, b4, attemptDelay + 10*time.Millisecond, []string{a4, b4}, nil,
		},
		{
			"all but the last swallow everything, and there is little time",
			&host{addresses: []string{a4, b4, c4}, after: map[string]time.Duration{c4: 0}},
			400 * time.Millisecond, c4, 200 * time.Millisecond, []string{a4, b4, c4}, nil,
		},
		{
			"the first refuses", &host{addresses: []string{a4, b4}, after: map[string]time.Duration{a4: 0, b4: 0}, refuses: map[string]bool{a4: true}},
			10 * time.Second, b4, 0, []string{a4, b4}, nil,
		},
		{
			"the first is slow, the second slower", &host{addresses: []string{a4, b4}, after: map[string]time.Duration{a4: time.Second, b4: time.Second}},
			10 * time.Second, a4, time.Second, []string{a4, b4}, nil,
		},
		{
			"both answer at once", &host{addresses: []string{a4, b4}, after: map[string]time.Duration{a4: time.Second, b4: time.Second - attemptDelay}},
			10 * time.Second, "either", time.Second, []string{a4, b4}, nil,
		},
		{
			"the IP versions take turns", &host{addresses: []string{a6, b6, "::ffff:" + a4, b4}, after: map[string]time.Duration{b4: 0}},
			10 * time.Second, b4, 3 * attemptDelay, []string{a6, a4, b6, b4}, nil,
		},
		{
			"all swallow everything", &host{addresses: []string{a4, a6}, after: never},
			time.Second, "", time.Second, []string{a4, a6}, context.DeadlineExceeded,
		},
		{
			"all refuse", &host{addresses: []string{a4, a6}, after: map[string]time.Duration{a4: 0, a6: 0}, refuses: map[string]bool{a4: true, a6: true}},
			time.Second, "", 0, []string{a4, a6}, syscall.ECONNREFUSED,
		},
		{
			"one address alone", &host{addresses: []string{a4}, after: never},
			time.Second, "", time.Second, []string{a4}, context.DeadlineExceeded,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				began := time.Now()
				conn, err := tt.host.dialer().dial(ctx)
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if err == nil {
					if ip := conn.(*counted).ip; ip != tt.reached && tt.reached != "either" {
						t.Errorf("reached %s, want %s", ip, tt.reached)
					}
					conn.Close()
				} else if strings.Contains(err.Error(), "\n") {
					t.Errorf("the error has more than one line: %q", err)
				}
				synctest.Wait()
				if !slices.Equal(tt.host.tried, tt.tried) {
					t.Errorf("tried %v, want %v", tt.host.tried, tt.tried)
				}
				if tt.host.opened != 0 {
					t.Errorf("%d connections that lost are open", tt.host.opened)
				}
			})
		})
	}
}

// TestDialingANameLooksItUpEachTime: it may have moved.
func TestDialingANameLooksItUpEachTime(t *testing.T) {
	t.Parallel()
	h := &host{addresses: []string{a4}, after: map[string]time.Duration{a4: 0, b4: 0}}
	d := h.dialer()
	for _, ip := range []string{a4, b4} {
		h.addresses = []string{ip}
		conn, err := d.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.(*counted).ip; got != ip {
			t.Errorf("reached %s, want %s", got, ip)
		}
	}
}

func TestDialingANameThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	_, err := Dialer(parse(t, "nosuchhost.invalid:80"), 0)(t.Context())
	var dns *net.DNSError
	if !errors.As(err, &dns) || dns.Name != "nosuchhost.invalid" {
		t.Errorf("error %v, want a *net.DNSError with the name", err)
	}
}
