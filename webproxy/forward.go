package webproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// forward has the target answer a request.
func (p *Proxy) forward(a *answer, e *exchange) {
	ctx, cancel := context.WithCancelCause(e.request.Context())
	defer cancel(nil)
	early := &early{answer: a}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:        e.sentTo,
		Got1xxResponse: early.send,
	})
	t := p.targets.Load()
	upgrade := ""
	if e.request.ProtoMajor == 1 && e.request.ContentLength == 0 {
		upgrade = upgradeOf(e.request.Header)
	}
	if e.body != nil && !isGRPC(e.request) {
		e.body.stall.start(p.ResponseTimeout, func() bool {
			cancel(errStalled)
			return true
		})
	}
	out := p.outbound(ctx, e, t.scheme, upgrade)
	transport := t.requests
	if upgrade != "" {
		transport = t.upgrades
	}
	response, err := transport.RoundTrip(out) //nolint:bodyclose // it is, as answered
	early.end()
	if e.body != nil {
		e.body.stall.end() // an answer may come before all was read
	}
	if err != nil {
		e.fail(a, p.failure(ctx, e, err))
		return
	}
	answered := response.Body
	defer func() {
		cancel(nil) // else it would wait for a client that is still sending
		_ = answered.Close()
	}()
	if e.isReset() {
		e.fail(a, p.failure(ctx, e, errReset))
		return
	}
	if response.Close { // else Go's HTTP client will want the body, whatever the answer is
		defer e.body.watch(func() { cancel(errGone) })()
	}
	switch code := response.StatusCode; {
	case code == http.StatusSwitchingProtocols:
		p.upgrade(a, e, response, upgrade)
	case code < http.StatusOK: // those that come before the one that counts are not here
		e.fail(a, badAnswer(fmt.Errorf("the target answered with the status %d", code)))
	default:
		p.reply(ctx, a, e, response)
	}
}

// sentTo takes note of the connection to the target.
func (e *exchange) sentTo(got httptrace.GotConnInfo) {
	e.Target = got.Conn.RemoteAddr()
	e.link, _ = got.Conn.(*link)
}

// outbound makes the request to the target of that of the client, whose header it takes over.
func (p *Proxy) outbound(ctx context.Context, e *exchange, scheme, upgrade string) *http.Request {
	in, h := e.request, e.request.Header
	trailers := httpguts.HeaderValuesContainsToken(h["Te"], "trailers")
	removeHopByHop(h)
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	p.tellOrigin(h, e)
	if _, told := h["User-Agent"]; !told {
		h["User-Agent"] = []string{""} // else it would be ours
	}
	out := (&http.Request{
		Method: in.Method,
		URL: &url.URL{
			Scheme: scheme, Host: localhost,
			Path: in.URL.Path, RawPath: in.URL.RawPath, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery,
		},
		Proto: in.Proto, ProtoMajor: in.ProtoMajor, ProtoMinor: in.ProtoMinor,
		Host:    in.Host,
		Header:  h,
		Trailer: in.Trailer, // filled when the body has ended
	}).WithContext(ctx)
	if e.body != nil {
		out.Body, out.ContentLength = e.body, in.ContentLength
		if len(in.Trailer) > 0 {
			out.ContentLength = -1 // HTTP/1.1 has trailers behind chunks alone
		}
	}
	return out
}

// early passes on answers that come before the one that counts, such as 103 Early Hints.
type early struct {
	answer *answer

	mu    sync.Mutex
	ended bool
}

// send is called by the goroutine that reads what the target sends.
func (s *early) send(code int, header textproto.MIMEHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended, !s.answer.exchange.request.ProtoAtLeast(1, 1):
		return nil
	case code == http.StatusContinue: // the client is told to when its body is read
		return nil
	case code == http.StatusSwitchingProtocols: // which HTTP/2 does not know (RFC 9113, section 8.6), and would be the last one
		return nil
	}
	h := s.answer.Header()
	removeHopByHop(http.Header(header))
	maps.Copy(h, header)
	s.answer.WriteHeader(code)
	if s.answer.exchange.isReset() {
		return errReset
	}
	clear(h)
	return nil
}

func (s *early) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// reply sends the target's answer as it comes.
func (p *Proxy) reply(ctx context.Context, a *answer, e *exchange, response *http.Response) {
	h := a.Header()
	removeHopByHop(response.Header)
	maps.Copy(h, response.Header)
	if _, told := h["Content-Type"]; !told {
		h["Content-Type"] = nil // else it would be guessed
	}
	if _, told := h[requestID]; !told {
		h[requestID] = []string{e.ID}
	}
	announced := len(response.Trailer)
	if announced > 0 {
		h["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(response.Trailer)), ", ")}
	}
	a.WriteHeader(response.StatusCode)
	control := http.NewResponseController(a)
	if response.ContentLength < 0 {
		_ = control.Flush()
	}
	if err := p.copy(ctx, a, e, control, response); err != nil {
		e.breakOff()
	}
	if len(response.Trailer) == 0 {
		return
	}
	_ = control.Flush() // there must be no Content-Length
	prefix := http.TrailerPrefix
	if len(response.Trailer) == announced {
		prefix = ""
	}
	for name, values := range response.Trailer {
		if httpguts.ValidTrailerHeader(name) {
			h[prefix+name] = values
		}
	}
}

// copy sends the body of an answer.
func (p *Proxy) copy(ctx context.Context, a *answer, e *exchange, control *http.ResponseController, response *http.Response) error {
	buffer := p.buffers.take()
	defer p.buffers.give(buffer)
	e.boundStream(p.ReadTimeout, control)
	defer e.untaken.end()
	for {
		n, err := response.Body.Read(buffer[:])
		if n > 0 {
			e.untaken.resume()
			_, failed := a.Write(buffer[:n])
			if failed == nil && err == nil { // what is complete goes out by itself
				failed = control.Flush()
			}
			e.untaken.pause()
			if failed != nil {
				e.notTaken(failed)
				return failed
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if e.request.Context().Err() != nil || errors.Is(context.Cause(ctx), errGone) {
				e.notTaken(err)
			} else {
				e.Reason, e.Err = reasonBroken, err
			}
			return err
		}
	}
}

// moving is how many bytes have to go to the client of HTTP/2, within Proxy.ReadTimeout, for the connection to move: more than the
// answers to pings and the like.
const moving = 16 << 10

// boundStream has the stream of an answer reset when its client gives it no room for so long, with nothing else moving that it
// would have to wait for. That the connection itself is stuck is the tunnel's to find out, see conn.boundWrites, and so is all
// of HTTP/1. Streams of gRPC may wait for long. What is left in the store of Go's server when all is said, up to 4 KiB, may too:
// it has neither a target nor a slot any more, and to wait for it would cost each answer a frame of its own.
func (e *exchange) boundStream(limit time.Duration, control *http.ResponseController) {
	if e.request.ProtoMajor == 1 || isGRPC(e.request) {
		return
	}
	before := e.conn.sent.Load()
	e.untaken.start(limit, func() bool {
		now := e.conn.sent.Load()
		moved := now-before >= moving
		if before = now; moved {
			return false
		}
		e.stalled.Store(true)
		_ = control.SetWriteDeadline(time.Unix(1, 0))
		return true
	})
}

// notTaken notes that the client has not taken the whole of an answer.
func (e *exchange) notTaken(err error) {
	e.Reason, e.Err = reasonClientGone, err
	if e.stalled.Load() || e.conn.stalled.Load() {
		e.Reason, e.Err = reasonClientStalled, errUntaken
	}
}

// breakOff ends an answer that cannot be completed, so that the client does not take it for complete.
func (e *exchange) breakOff() {
	if e.request.ProtoMajor == 1 {
		if e.Reason == reasonBroken {
			e.conn.abort()
		} else {
			e.conn.drop()
		}
	}
	panic(http.ErrAbortHandler) // which Go's server is told by, and recovers from
}
