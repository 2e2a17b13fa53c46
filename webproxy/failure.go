package webproxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
)

// Why an answer is not the target's, or broke off.
const (
	reasonBadRequest    = "bad_request"         // its host or its method cannot be one
	reasonMethod        = "method_not_allowed"  // CONNECT
	reasonMisdirected   = "misdirected_request" // Proxy.Misdirected
	reasonHeader        = "too_many_fields"     // the request's header has more than 100
	reasonBody          = "body_too_large"      // Proxy.MaxBodyBytes
	reasonBadBody       = "bad_request_body"    // the request's body is not what its header says
	reasonTooMany       = "too_many_requests"   // Proxy.MaxRequests
	reasonBodyTimeout   = "request_timeout"     // Proxy.ReadTimeout
	reasonClientGone    = "client_gone"         // the client did not wait for the answer, or broke its request off
	reasonClientStalled = "client_stalled"      // the client took nothing of the answer for Proxy.ReadTimeout
	reasonTimeout       = "timeout"             // the target was not reached in time
	reasonNoAnswer      = "response_timeout"    // Proxy.ResponseTimeout
	reasonStalled       = "request_stalled"     // the target took no more of the request for Proxy.ResponseTimeout
	reasonBadAnswer     = "bad_response"        // the target closed the connection instead, or what it said is no HTTP
	reasonBroken        = "response_incomplete" // the target's answer broke off
	reasonUpgrade       = "bad_upgrade"         // the target switched protocols in a way that nobody asked for
)

// Reasons returns what Exchange.Reason can be, sorted. An error of Proxy.Dial with a method Reason can add others.
func Reasons() []string {
	all := []string{
		reasonBadRequest, reasonMethod, reasonMisdirected, reasonHeader, reasonBody, reasonBadBody, reasonTooMany, reasonBodyTimeout, reasonClientGone,
		reasonClientStalled, reasonTimeout,
		reasonNoAnswer, reasonStalled, reasonBadAnswer, reasonBroken, reasonUpgrade,
	}
	slices.Sort(all)
	return all
}

// errHalfClosed is an upgraded connection of which one direction went on for too long after the other had ended.
var errHalfClosed = errors.New("one direction went on for too long after the other had ended")

// errReset is a stream of HTTP/2 that its client has reset.
var errReset = errors.New("the client has reset the stream")

// errUntaken is a client that takes nothing of its answer.
var errUntaken = errors.New("the client takes nothing of the answer")

// errGone is a client of HTTP/1 that went away.
var errGone = errors.New("the client went away")

// reasoned is an error that brings the word for it.
type reasoned interface {
	error
	Reason() string
}

// failure is a request that the target has not answered.
type failure struct {
	refusal

	err error
}

// fail answers in the target's place.
func (e *exchange) fail(a *answer, f *failure) {
	e.Err = f.err
	e.refuse(a, &f.refusal)
}

// failure finds out whose doing it was that the target gave no answer. The text that a client gets names no address.
func (p *Proxy) failure(ctx context.Context, e *exchange, err error) *failure {
	f := func(code int, reason, text string) *failure { return &failure{refusal{code, reason, text}, err} }
	switch body := e.body.failure(); {
	case errors.Is(body, errTooLarge):
		return &failure{*p.tooLarge(), err}
	case errors.Is(body, os.ErrDeadlineExceeded):
		return f(http.StatusRequestTimeout, reasonBodyTimeout, "the request's body did not come in time")
	case errors.Is(context.Cause(ctx), errStalled):
		return f(http.StatusGatewayTimeout, reasonStalled, errStalled.Error())
	case e.request.Context().Err() != nil:
		return f(statusClientGone, reasonClientGone, "the client went away")
	case body != nil:
		return f(http.StatusBadRequest, reasonBadBody, "the body is not what the header says")
	}
	timeout, ok := errors.AsType[net.Error](err)
	late := ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	if named, ok := errors.AsType[reasoned](err); ok { // of the dial
		if named.Reason() == reasonTimeout {
			return f(http.StatusGatewayTimeout, reasonTimeout, "the target cannot be reached in time")
		}
		return f(http.StatusBadGateway, named.Reason(), "the target cannot be reached")
	}
	if late {
		return f(http.StatusGatewayTimeout, reasonNoAnswer, "the target did not answer in time")
	}
	return badAnswer(err)
}

func badAnswer(err error) *failure {
	return &failure{refusal{http.StatusBadGateway, reasonBadAnswer, "the target gave no proper answer"}, err}
}
