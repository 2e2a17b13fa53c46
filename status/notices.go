package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	statusPause    = time.Second      // least time from one STATUS= to the next, unless the process starts, reloads or stops
	noticePatience = time.Second      // how long a manager that does not read may hold up a notice
	maxNotices     = 64               // that wait for it
	maxStatusBytes = 1024             // systemd drops a notice of more than 4096 bytes
	extendPause    = 5 * time.Second  // time from one EXTEND_TIMEOUT_USEC= to the next
	extension      = 15 * time.Second // how long the manager is to wait for the next
	extendBeyond   = 5 * time.Second  // what the end of the process may take once a drain is cut short
)

// Notices tells a service manager how the process is doing, as sd_notify(3) has it. Of its State it tells
//
//	listening  READY=1
//	reloading  RELOADING=1, with MONOTONIC_USEC
//	listening  READY=1, however the reload ended
//	stopping   STOPPING=1, and from then on EXTEND_TIMEOUT_USEC, until a drain has to be over
//
// each with a STATUS= for people, which is sent anew when it changes; and WATCHDOG=1, where that is wanted. It keeps one socket
// for all of that: a watchdog must be told even when the process is out of descriptors. A manager that is not there, or
// does not read, misses what it is told.
//
// Make it with [NewNotices]; [Notices.Run] is what sends.
type Notices struct {
	NoticeOptions

	dial    func() (net.Conn, error)
	conn    net.Conn    // nil while there is nobody
	changes chan change // of the State
	alive   chan struct{}
	last    string // the latest STATUS
	extend  time.Time
}

// NoticeOptions is what a manager is told of, and where.
type NoticeOptions struct {
	// Socket is where the manager listens, as $NOTIFY_SOCKET says it: a path, or a name of the abstract namespace with an @
	// before it.
	Socket string

	// State is the life of the process. Required.
	State *State

	// Open counts the connections that are open. Required.
	Open func() int64

	// Watchdog is how long it takes for the manager to believe that the process hangs. Twice in that time it is told that
	// all is well, if Alive has returned nil. Zero: it is not told.
	Watchdog time.Duration

	// Alive finds out whether the process does its work, and returns why not once its context has ended. Required with
	// Watchdog.
	Alive func(context.Context) error

	// Log is told of a manager that is not there, and of a process that is not alive. Required.
	Log *slog.Logger
}

// change is what the manager is to be told of the State as it is at one time.
type change struct {
	what string
	now  moment
}

// NewNotices connects to the manager, and follows the State from then on.
func NewNotices(o NoticeOptions) *Notices {
	n := &Notices{
		NoticeOptions: o,
		dial:          func() (net.Conn, error) { return net.Dial("unixgram", o.Socket) },
		changes:       make(chan change, maxNotices),
		alive:         make(chan struct{}, 1),
	}
	if err := n.connect(); err != nil {
		n.Log.Warn("the service manager cannot be told of this process", "notify_socket", o.Socket, "error", err)
	}
	o.State.follow(n.changed)
	return n
}

// changed is called by the State.
func (n *Notices) changed(now moment) {
	var what string
	switch now.message {
	case listening:
		what = "READY=1"
	case reloading:
		what = fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic())
	case stopping:
		what = "STOPPING=1"
	default:
		return
	}
	select {
	case n.changes <- change{what, now}:
	default: // nobody has read the many that were before
	}
}

// Run sends notices until the context ends, and then those that are waiting.
func (n *Notices) Run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	if n.Watchdog > 0 {
		watching.Go(func() { n.watch(ctx) })
	}
	again := time.NewTicker(statusPause)
	defer again.Stop()
	for {
		select {
		case c := <-n.changes:
			n.tell(c.what, c.now)
		case <-n.alive:
			n.send("WATCHDOG=1")
		case <-again.C:
			n.tell("", n.State.read())
		case <-ctx.Done():
			for {
				select {
				case c := <-n.changes:
					n.tell(c.what, c.now)
				default:
					return
				}
			}
		}
	}
}

// Close lets go of the manager. Run has returned by then.
func (n *Notices) Close() error {
	if n.conn == nil {
		return nil
	}
	err := n.conn.Close()
	n.conn = nil
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tell sends what has happened, if anything has, and beside it all that is to be told by now.
func (n *Notices) tell(what string, now moment) {
	var lines []string
	if what != "" {
		lines = append(lines, what)
	}
	if now.message == stopping && !time.Now().Before(n.extend) {
		if by := min(extension, time.Until(now.deadline)+extendBeyond); by > 0 {
			lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", by.Microseconds()))
			n.extend = time.Now().Add(extendPause)
		}
	}
	if text := statusLine(now, n.Open()); text != n.last {
		n.last = text
		lines = append(lines, "STATUS="+text)
	}
	if len(lines) > 0 {
		n.send(strings.Join(lines, "\n"))
	}
}

// statusLine says in one line how the process is doing.
func statusLine(now moment, open int64) string {
	text := fmt.Sprintf("%s: %d connections open", now.message, open)
	if open == 1 {
		text = now.message + ": 1 connection open"
	}
	at := now.lastReload.UTC().Format(time.RFC3339)
	switch {
	case now.message == stopping && now.deadline.IsZero():
	case now.message == stopping:
		text += ", until " + now.deadline.UTC().Format(time.RFC3339) + " at the latest"
	case now.message == reloading, now.lastReload.IsZero():
	case now.lastError != "":
		text += "; the reload at " + at + " failed: " + now.lastError
	default:
		text += "; reloaded at " + at
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' ' // a line break would begin another assignment
		}
		return r
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), maxStatusBytes)], "")
}

// send sends one notice, to whoever is there now if the one from before has gone.
func (n *Notices) send(notice string) {
	for range 2 {
		if n.conn == nil && n.connect() != nil {
			return
		}
		_ = n.conn.SetWriteDeadline(time.Now().Add(noticePatience))
		_, err := n.conn.Write([]byte(notice))
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		_ = n.conn.Close()
		n.conn = nil
	}
}

func (n *Notices) connect() (err error) {
	n.conn, err = n.dial()
	if err != nil {
		n.conn = nil
	}
	return err
}

// watch has the manager told that the process is alive, for as long as it is.
func (n *Notices) watch(ctx context.Context) {
	pause := n.Watchdog / 2
	again := time.NewTicker(pause)
	defer again.Stop()
	var before error
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		err := n.ask(ctx, pause)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			select {
			case n.alive <- struct{}{}:
			default: // the one before is still to be told
			}
			if before != nil {
				n.Log.Info("the process answers again; the service manager's watchdog is told")
			}
		case before == nil:
			n.Log.Error("the process does not answer; the service manager's watchdog is not told", "error", err)
		}
		before = err
	}
}

// errNoAnswer is why the watchdog is not told.
var errNoAnswer = errors.New("no answer in half of the time that the watchdog gives")

// ask finds out whether the process is alive, before it is to be asked again.
func (n *Notices) ask(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	return n.Alive(ctx)
}
