package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// A console is where the demo and its tunnels print, a line at a time.
type console struct {
	mu  sync.Mutex
	out io.Writer
}

func newConsole(out io.Writer) *console { return &console{out: out} }

// say prints a line.
func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format+"\n", args...)
}

// command prints a command as one would type it.
func (c *console) command(words ...string) {
	c.say("  $ %s", strings.Join(words, " "))
}

// lines returns a writer that prints each line written to it after name. It is
// for one goroutine.
func (c *console) lines(name string) io.Writer { return &lineWriter{console: c, name: name} }

type lineWriter struct {
	console *console
	name    string
	rest    []byte // a line that has not ended yet
}

// Write implements io.Writer. It never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		w.console.say("  %s | %s", w.name, line)
		w.rest = rest
	}
}
