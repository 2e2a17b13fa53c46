package webproxy

import (
	"context"
	"net"
	"net/http"
	"time"
)

// What connections to targets are bound by.
const (
	targetIdle      = time.Minute // how long one is kept that nobody uses
	targetHeader    = 1 << 20     // bytes of a response's header
	targetsIdle     = 1 << 16     // how many are kept: as many as were needed
	continueTimeout = time.Second // how long a target may take to say that it wants a body
)

// localhost stands for the target where HTTP wants a host and the client has named none.
const localhost = "localhost"

// targets is what requests go to the target by.
type targets struct {
	scheme   string
	requests *http.Transport
	upgrades *http.Transport // HTTP/1.1 alone
}

func (p *Proxy) newTargets() *targets {
	t := &targets{scheme: "http"}
	var both, one http.Protocols
	one.SetHTTP1(true)
	switch {
	case p.TargetTLS:
		t.scheme = "https"
		both.SetHTTP1(true)
		both.SetHTTP2(true)
	case p.TargetH2C:
		both.SetUnencryptedHTTP2(true)
	default:
		both.SetHTTP1(true)
	}
	t.requests = p.transport(p.Dial, both)
	dial := p.DialUpgrade
	if dial == nil {
		dial = p.Dial
	}
	t.upgrades = p.transport(linked(dial), one)
	return t
}

// transport makes what connections to the target are kept in. Those of HTTP/2 are sent no pings, because servers of gRPC take
// offence at them; TCP finds out whether somebody is there.
func (p *Proxy) transport(dial func(context.Context) (net.Conn, error), protocols http.Protocols) *http.Transport {
	t := &http.Transport{
		Protocols:              &protocols,
		DisableCompression:     true, // it would be undone here
		MaxIdleConnsPerHost:    targetsIdle,
		IdleConnTimeout:        targetIdle,
		ResponseHeaderTimeout:  p.ResponseTimeout,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: targetHeader,
	}
	t.DialContext = p.whileOpen(dial)
	t.DialTLSContext = t.DialContext
	return t
}

// linked has connections be able to leave HTTP.
func linked(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &link{Conn: c}, nil
	}
}

// whileOpen makes a dial function that Close ends. To which address is decided already.
func (p *Proxy) whileOpen(dial func(context.Context) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := context.AfterFunc(p.ctx, cancel)
		defer stop()
		return dial(ctx)
	}
}

// retire closes the connections, those that carry a request when they have.
func (t *targets) retire() {
	t.requests.CloseIdleConnections()
	t.upgrades.CloseIdleConnections()
}
