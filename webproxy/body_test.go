package webproxy

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// fleeting is an http.ResponseWriter of a request that is over at some time, as those of HTTP/2 are.
type fleeting struct {
	http.ResponseWriter // nil; its methods are not called

	over bool
	late int // calls since then
}

func (f *fleeting) SetReadDeadline(time.Time) error {
	if f.over {
		f.late++
	}
	return nil
}

// slowEnd is what a client sends that lets its end wait.
type slowEnd struct{ awaited, come chan struct{} }

func (s slowEnd) Read([]byte) (int, error) {
	close(s.awaited)
	<-s.come
	return 0, io.EOF
}

// A body may be read for a moment longer than its request is in hand. What Go's server has for that must not be used then: in HTTP/2
// that ends the process.
func TestTheDeadlinesOfABodyEndWithItsRequest(t *testing.T) {
	t.Parallel()
	source := slowEnd{make(chan struct{}), make(chan struct{})}
	w := new(fleeting)
	b := &body{source: io.NopCloser(source), control: http.NewResponseController(w), patience: time.Minute}
	read := make(chan error)
	go func() {
		for range 2 {
			_, err := b.Read(make([]byte, 1))
			read <- err
		}
	}()
	<-source.awaited
	b.end()
	w.over = true
	close(source.come)
	if err := <-read; err != io.EOF {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Error(err)
	}
	if w.late > 0 {
		t.Errorf("%d deadlines were set behind the end", w.late)
	}
}
