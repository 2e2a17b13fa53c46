package sidecar

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
)

const (
	facilityDaemon = 3 // RFC 5424, section 6.2.1

	// A syslogd that does not read may hold up a line for so long, and then none for a while: connections wait for the lines
	// that tell of them.
	syslogPatience = 20 * time.Millisecond
	syslogRest     = time.Second
)

// syslogPlaces are where a syslogd listens, on Linux, macOS and the BSDs.
func syslogPlaces() []string { return []string{"/dev/log", "/var/run/syslog", "/var/run/log"} }

// syslog writes lines to the log of the system, in the format of RFC 5424, by UNIX sockets. It comes back to a syslogd that was
// restarted; lines that cannot be written meanwhile are lost, and counted.
type syslog struct {
	places   []string
	hostname string
	pid      string

	mu     sync.Mutex
	conn   net.Conn // nil while there is no syslogd
	stream bool     // lines have to be told apart in it
	closed bool
	rests  time.Time // no line is written before
	lost   int       // lines since the last one that was written
}

// openSyslog connects to the first of the places where somebody listens.
func openSyslog(places []string) (*syslog, error) {
	hostname, _ := os.Hostname() // a host without a name is left out
	s := &syslog{places: places, hostname: hostname, pid: strconv.Itoa(os.Getpid())}
	if err := s.dial(); err != nil {
		return nil, fmt.Errorf("--syslog: %w; leave it out to log to standard output", err)
	}
	return s, nil
}

// writer is for lines of one severity.
func (s *syslog) writer(level severity) io.Writer {
	return writerFunc(func(line []byte) (int, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost > 0 && s.write(severityWarning, fmt.Sprintf("level=WARN msg=\"log lines are lost that syslog did not take\" lines=%d", s.lost)) == nil {
			s.lost = 0
		}
		if err := s.write(level, strings.TrimSuffix(string(line), "\n")); err != nil {
			s.lost++
			return 0, err
		}
		return len(line), nil
	})
}

// errNoSyslog is the error of lines that are not even tried to be written.
var errNoSyslog = errors.New("syslog takes no lines")

// write sends one message, to whoever listens now if the one from before has gone.
func (s *syslog) write(level severity, text string) error {
	if s.closed || time.Now().Before(s.rests) {
		return errNoSyslog
	}
	message, err := s.message(level, text)
	if err != nil {
		return err
	}
	for range 2 {
		if s.conn == nil {
			if err := s.dial(); err != nil {
				return err
			}
		}
		if err = s.send(message); err == nil {
			return nil
		}
		late := errors.Is(err, os.ErrDeadlineExceeded)
		if late {
			s.rests = time.Now().Add(syslogRest)
		}
		if late && !s.stream { // of a datagram, nothing has been sent
			return err
		}
		_ = s.conn.Close()
		s.conn = nil
		if late {
			return err
		}
	}
	return err
}

func (s *syslog) send(message string) error {
	if s.stream {
		message += "\n"
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogPatience)); err != nil {
		return err
	}
	_, err := io.WriteString(s.conn, message)
	return err
}

// message is a line as RFC 5424 has it. Its parameters are in its text, as everywhere in the log.
func (s *syslog) message(level severity, text string) (string, error) {
	var m rfc5424.SyslogMessage
	m.SetPriority(facilityDaemon<<3 | uint8(level)).
		SetVersion(1).
		SetTimestamp(time.Now().Format(rfc5424.RFC3339MICRO)).
		SetHostname(s.hostname).
		SetAppname("sallyport").
		SetProcID(s.pid).
		SetMessage(text)
	return m.String()
}

// dial connects, by datagrams or, to a syslogd that takes none, by a stream.
func (s *syslog) dial() error {
	var errs []error
	for _, place := range s.places {
		for _, network := range []string{"unixgram", "unix"} {
			conn, err := net.Dial(network, place)
			if err == nil {
				s.conn, s.stream = conn, network == "unix"
				return nil
			}
			errs = append(errs, err)
		}
	}
	if errors.Is(errs[0], os.ErrNotExist) {
		return fmt.Errorf("there is no %s on this system", s.places[0])
	}
	return errs[0]
}

// close lets go of the system's log. What is logged from then on is lost.
func (s *syslog) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}
