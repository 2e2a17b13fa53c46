package sidecar

import (
	"io"
	"strconv"
	"sync"
)

// journal writes lines to systemd's journal, by a stream: the number before each tells its severity (sd-daemon(3)).
type journal struct {
	mu  sync.Mutex
	out io.Writer
	buf []byte
}

// writer is for lines of one severity.
func (j *journal) writer(level severity) io.Writer {
	prefix := "<" + strconv.Itoa(int(level)) + ">"
	return writerFunc(func(line []byte) (int, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.buf = append(append(j.buf[:0], prefix...), line...) // one write is one line, whoever else writes to the stream
		if _, err := j.out.Write(j.buf); err != nil {
			return 0, err
		}
		return len(line), nil
	})
}
