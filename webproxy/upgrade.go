package webproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// link is a connection to a target that may leave HTTP. Go's HTTP client reads it until then.
type link struct {
	net.Conn

	left atomic.Bool // what comes is for somebody else to read
}

// errLeft is what Go's HTTP client is told that reads on.
var errLeft = errors.New("the connection has left HTTP")

func (l *link) Read(p []byte) (int, error) {
	if l.left.Load() {
		return 0, errLeft
	}
	return l.Conn.Read(p)
}

// leave returns what Go's HTTP client has read beyond the answer, which that has as its body, and reads no more of the connection.
func (l *link) leave(body io.Reader) ([]byte, error) {
	l.left.Store(true)
	beyond, err := io.ReadAll(body)
	if errors.Is(err, errLeft) {
		err = nil
	}
	return beyond, err
}

// upgrade makes the client's connection a stream of bytes to the target and back, which has agreed to leave HTTP.
func (p *Proxy) upgrade(a *answer, e *exchange, response *http.Response, wanted string) {
	if got := upgradeOf(response.Header); e.link == nil || wanted == "" || !strings.EqualFold(got, wanted) {
		e.fail(a, &failure{
			refusal: refusal{http.StatusBadGateway, reasonUpgrade, "the target switched to a protocol that nobody asked for"},
			err:     fmt.Errorf("the target switched to %q, and %q was asked for", got, wanted),
		})
		return
	}
	beyond, err := e.link.leave(response.Body)
	if err != nil {
		e.fail(a, badAnswer(err))
		return
	}
	client, buffered, err := http.NewResponseController(a).Hijack()
	if err != nil {
		e.fail(a, &failure{refusal: refusal{http.StatusBadGateway, reasonUpgrade, "the connection cannot leave HTTP"}, err: err})
		return
	}
	defer func() { _ = client.Close() }()
	e.conn.boundWrites(0)
	e.Code = http.StatusSwitchingProtocols
	removeHopByHop(response.Header)
	response.Header["Connection"], response.Header["Upgrade"] = []string{"Upgrade"}, []string{wanted}
	response.Body = nil // which is the stream
	var head bytes.Buffer
	if err = response.Write(&head); err == nil {
		_, err = client.Write(head.Bytes())
	}
	if err != nil {
		e.Reason, e.Err = reasonClientGone, err
		return
	}
	early, _ := buffered.Peek(buffered.Reader.Buffered()) // what the client did not wait to send
	p.splice(e, client, early, beyond)
}

// cutOff is a stream that broke off.
type cutOff struct {
	of   net.Conn // whose doing it was; nil: it took too long
	gone bool     // who takes no more of what is sent; what it has sent itself may still be to come
	err  error    // nil: it has come to its end
}

// splice copies both ways until both have ended, or one breaks off. Something has come already from both.
//
// One who takes no more has gone away, and may have said why before: what it sent is passed on, up to its end. That it has gone
// is no reason for the other one to lose that.
func (p *Proxy) splice(e *exchange, client net.Conn, early, beyond []byte) {
	target := e.link.Conn
	ended := make(chan cutOff, 2)
	var reset atomic.Bool
	go func() {
		var off cutOff
		e.BytesIn, off = pump(target, client, early, &reset)
		ended <- off
	}()
	go func() {
		var off cutOff
		e.BytesOut, off = pump(client, target, beyond, &reset)
		ended <- off
	}()
	var late <-chan time.Time
	var gone cutOff
	for left := 2; left > 0; {
		off := cutOff{err: errHalfClosed}
		select {
		case off = <-ended:
			left--
		case <-late:
		}
		switch {
		case off.gone && left > 0:
			gone = off
			late = p.untilClosed()
		case gone.err != nil && e.Err == nil:
			_ = target.Close()
			e.part(client, gone, off)
		case off.gone && e.Err == nil: // who had said all before
			_ = target.Close()
			e.part(client, off, cutOff{})
		case off.err != nil && e.Err == nil:
			e.cut(client, off)
			_ = target.Close()
		case off.err == nil && left > 0:
			late = p.untilClosed()
		}
	}
}

// untilClosed receives when the one direction that is left has to end; never, if it need not.
func (p *Proxy) untilClosed() <-chan time.Time {
	if p.CloseTimeout < 0 {
		return nil
	}
	return time.After(p.CloseTimeout)
}

// partingTime is how long a client may go on sending to a target that has gone, and take what that has sent before.
const partingTime = 2 * time.Second

// part ends the client's side of a stream one of whose ends has gone, once the rest of what that had sent is over. A client that
// has all of it is not cut off, if the target has closed the connection; one that was reset must not look like that.
func (e *exchange) part(client net.Conn, gone, rest cutOff) {
	if rest.err != nil || gone.of == client || !errors.Is(gone.err, syscall.EPIPE) {
		e.cut(client, gone)
		return
	}
	e.Reason, e.Err = reasonBroken, gone.err
	_ = client.SetReadDeadline(time.Now().Add(partingTime)) // to close at once, with bytes of its own unread, would reset it
	_, _ = io.Copy(io.Discard, client)
}

// cut ends the client's side of a stream that broke off.
func (e *exchange) cut(client net.Conn, off cutOff) {
	e.Reason, e.Err = reasonBroken, off.err
	switch {
	case off.of == nil:
		e.conn.expire()
	case off.of == client && !isTunnels(off.err):
		e.Reason = reasonClientGone
		e.conn.drop()
	default:
		e.conn.abort()
	}
}

// isTunnels reports whether an error is that of a connection which the tunnel has cut.
func isTunnels(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) // of which there is none in a stream
}

// pump copies one way, after what has come first, and passes the end on; not that of one who was reset, which the pump the other
// way has met then: the system tells of that once.
func pump(to, from net.Conn, first []byte, reset *atomic.Bool) (moved int64, _ cutOff) {
	out := &receiver{to: to}
	moved, err := io.Copy(out, bytes.NewReader(first))
	if err == nil {
		var more int64
		more, err = io.Copy(out, from) // which has no buffer where the connection has a better way
		moved += more
	}
	switch {
	case out.failed:
		reset.Store(!errors.Is(err, syscall.EPIPE))
		return moved, cutOff{of: to, gone: true, err: err}
	case err != nil:
		return moved, cutOff{of: from, err: err}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok && !reset.Load() {
		_ = half.CloseWrite()
	}
	return moved, cutOff{}
}

// receiver is where a pump writes to. It takes note that this was what failed.
type receiver struct {
	to     io.Writer
	failed bool
}

func (r *receiver) Write(p []byte) (int, error) {
	n, err := r.to.Write(p)
	r.failed = err != nil
	return n, err
}
