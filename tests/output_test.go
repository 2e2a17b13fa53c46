package tests

import (
	"bytes"
	"strings"
	"sync"
)

// output collects what a process prints and wakes whoever waits for more of
// it. The zero value is ready for use.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed by the next Write; nil while nobody waits
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(p)
}

// String is everything so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// lines returns the complete lines so far that hold all of parts, and a channel
// that is closed when there is more.
func (o *output) lines(parts ...string) ([]string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	var found []string
	for line := range strings.Lines(o.buf.String()) {
		if strings.HasSuffix(line, "\n") && containsAll(line, parts) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found, o.changed
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}
