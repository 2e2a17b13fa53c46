package webproxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// upgrade makes the client's connection a stream of bytes to the target and back, which has agreed to leave HTTP.
func (p *Proxy) upgrade(a *answer, e *exchange, response *http.Response, wanted string) {
	target, ok := response.Body.(io.ReadWriteCloser)
	if got := upgradeOf(response.Header); !ok || wanted == "" || !strings.EqualFold(got, wanted) {
		e.fail(a, &failure{
			refusal: refusal{http.StatusBadGateway, reasonUpgrade, "the target switched to a protocol that nobody asked for"},
			err:     fmt.Errorf("the target switched to %q, and %q was asked for", got, wanted),
		})
		return
	}
	client, buffered, err := http.NewResponseController(a).Hijack()
	if err != nil {
		e.fail(a, &failure{refusal: refusal{http.StatusBadGateway, reasonUpgrade, "the connection cannot leave HTTP"}, err: err})
		return
	}
	defer func() { _ = client.Close() }()
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
	p.splice(e, client, early, target)
}

// splice copies both ways until both have ended, or one fails.
func (p *Proxy) splice(e *exchange, client net.Conn, early []byte, target io.ReadWriteCloser) {
	ended := make(chan error, 2)
	go func() {
		var err error
		e.BytesIn, err = pump(target, io.MultiReader(bytes.NewReader(early), client))
		ended <- err
	}()
	go func() {
		var err error
		e.BytesOut, err = pump(client, target)
		ended <- err
	}()
	cut := func(err error) {
		if e.Err == nil {
			e.Reason, e.Err = reasonBroken, err
			e.conn.abort()
			_ = target.Close()
		}
	}
	var late <-chan time.Time
	for left := 2; left > 0; {
		select {
		case err := <-ended:
			left--
			if err != nil {
				cut(err)
			} else if left > 0 && p.CloseTimeout >= 0 {
				late = time.After(p.CloseTimeout)
			}
		case <-late:
			cut(errHalfClosed)
		}
	}
}

// pump copies one way, and passes the end on.
func pump(to io.Writer, from io.Reader) (int64, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	var moved int64
	for {
		n, err := from.Read(*buffer)
		if n > 0 {
			written, failed := to.Write((*buffer)[:n])
			moved += int64(written)
			if failed != nil {
				return moved, failed
			}
		}
		if err == io.EOF {
			if half, ok := to.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			return moved, nil
		}
		if err != nil {
			return moved, err
		}
	}
}
