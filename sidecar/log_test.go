package sidecar

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/config"
)

// levels logs a line of each level, and one in between.
func levels(log *slog.Logger) {
	log = log.With("tunnel", "server").WithGroup("peer")
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelInfo + 2, slog.LevelWarn, slog.LevelError, slog.LevelError + 4} {
		log.Log(nil, level, "a message", "name", "a\nb") //nolint:staticcheck // no handler here looks at the context
	}
}

func TestJournalIsToldSeveritiesAndNoTime(t *testing.T) {
	t.Parallel()
	j := &journal{out: &syncBuffer{}}
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	levels(slog.New(newBySeverity(true, func(level severity) slog.Handler { return slog.NewTextHandler(j.writer(level), options) })))
	const rest = ` msg="a message" tunnel=server peer.name="a\nb"` + "\n"
	want := "<6>level=INFO" + rest + "<6>level=INFO+2" + rest + "<4>level=WARN" + rest + "<3>level=ERROR" + rest + "<3>level=ERROR+4" + rest
	if got := j.out.(*syncBuffer).String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestOnlyTheJournalItselfGetsWhatIsForIt(t *testing.T) {
	t.Parallel()
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, stream := range []string{"", "1:2", "nonsense"} {
		if isJournal(file, stream) {
			t.Errorf("a file is taken for the journal, which is %q", stream)
		}
	}
	if isJournal(&syncBuffer{}, "0:0") {
		t.Error("a buffer is taken for the journal")
	}
}

// syslogd is a receiver of datagrams, or of a stream.
type syslogd struct {
	net.PacketConn
	net.Listener
	lines   chan string
	reading sync.WaitGroup
}

func newSyslogd(t *testing.T, network, path string) *syslogd {
	t.Helper()
	d := &syslogd{lines: make(chan string, 1024)}
	var err error
	if network == "unixgram" {
		d.PacketConn, err = new(net.ListenConfig).ListenPacket(t.Context(), network, path)
		if err == nil {
			d.reading.Go(func() { d.datagrams() })
		}
	} else {
		d.Listener, err = new(net.ListenConfig).Listen(t.Context(), network, path)
		if err == nil {
			d.reading.Go(func() { d.stream() })
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

func (d *syslogd) datagrams() {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := d.ReadFrom(buf)
		if err != nil {
			return
		}
		d.lines <- string(buf[:n])
	}
}

func (d *syslogd) stream() {
	for {
		c, err := d.Accept()
		if err != nil {
			return
		}
		d.reading.Go(func() {
			text, _ := io.ReadAll(c)
			_ = c.Close()
			for line := range strings.Lines(string(text)) {
				d.lines <- strings.TrimSuffix(line, "\n")
			}
		})
	}
}

// stop ends the receiver; its socket is gone then, as that of a syslogd that ends.
func (d *syslogd) stop() {
	if d.PacketConn != nil {
		_ = os.Remove(d.LocalAddr().String())
		_ = d.PacketConn.Close()
	} else {
		_ = d.Listener.Close()
	}
	d.reading.Wait()
}

// next waits for n lines.
func (d *syslogd) next(t *testing.T, n int) []string {
	t.Helper()
	var got []string
	for range n {
		select {
		case line := <-d.lines:
			got = append(got, line)
		case <-time.After(patience):
			t.Fatalf("got %d lines, want %d: %q", len(got), n, got)
		}
	}
	return got
}

// syslogLog logs text to a syslogd.
func syslogLog(s *syslog) *slog.Logger {
	return slog.New(newBySeverity(true, func(level severity) slog.Handler {
		return slog.NewTextHandler(s.writer(level), &slog.HandlerOptions{Level: slog.LevelDebug})
	}))
}

// rfc5424Line is a message as RFC 5424, section 6, has it: priority, version, time, host, program, process, no kind of
// message, no structured data, text.
var rfc5424Line = regexp.MustCompile(`^<([0-9]+)>1 [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9:]{5}) [!-~]+ sallyport [0-9]+ - - (level=.*)$`)

func TestSyslogGetsRFC5424(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"unixgram", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			d := newSyslogd(t, network, path)
			s, err := openSyslog([]string{filepath.Join(t.TempDir(), "none"), path})
			if err != nil {
				t.Fatal(err)
			}
			levels(syslogLog(s))
			if err := s.close(); err != nil {
				t.Error(err)
			}
			syslogLog(s).Info("after the end")
			var priorities []string
			for _, line := range d.next(t, 6) {
				parts := rfc5424Line.FindStringSubmatch(line)
				if parts == nil || !strings.HasSuffix(parts[2], ` msg="a message" tunnel=server peer.name="a\nb"`) {
					t.Errorf("got %q", line)
					continue
				}
				priorities = append(priorities, parts[1])
			}
			if want := []string{"31", "30", "30", "28", "27", "27"}; !slices.Equal(priorities, want) {
				t.Errorf("priorities %q, want %q: of daemon, by level", priorities, want)
			}
			d.stop()
			if len(d.lines) > 0 {
				t.Errorf("more lines: %q", <-d.lines)
			}
		})
	}
}

func TestSyslogComesBackAndCountsWhatWasLost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	d := newSyslogd(t, "unixgram", path)
	s, err := openSyslog([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	log := syslogLog(s)
	log.Info("one")
	d.next(t, 1)
	d.stop()
	d = newSyslogd(t, "unixgram", path)
	log.Info("two") // a restart in between is not noticed
	if line := d.next(t, 1)[0]; !strings.HasSuffix(line, "level=INFO msg=two") {
		t.Errorf("got %q", line)
	}
	d.stop()
	log.Info("lost")
	log.Error("lost, too")
	d = newSyslogd(t, "unixgram", path)
	log.Info("three")
	lines := d.next(t, 2)
	if !strings.HasPrefix(lines[0], "<28>1 ") || !strings.HasSuffix(lines[0], `level=WARN msg="log lines are lost that syslog did not take" lines=2`) || !strings.HasSuffix(lines[1], "msg=three") {
		t.Errorf("got %q", lines)
	}
}

// TestSyslogThatDoesNotReadHoldsUpNothing: not for longer than it takes to find out, and then not at all for a while.
func TestSyslogThatDoesNotReadHoldsUpNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	full, err := new(net.ListenConfig).ListenPacket(t.Context(), "unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	s, err := openSyslog([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	log, began := syslogLog(s), time.Now()
	const lines = 20000 // each of which would be held up
	for range lines {
		log.Info("a line")
	}
	if took := time.Since(began); took > lines*syslogPatience/20 {
		t.Errorf("%d lines took %v", lines, took)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == 0 {
		t.Error("none was lost: the queue is longer than the test")
	}
}

func TestMissingSyslogIsAnError(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "log")
	_, err := openSyslog([]string{none})
	if want := "--syslog: there is no " + none + " on this system; leave it out to log to standard output"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSyslog([]string{none}); err == nil || !strings.HasPrefix(err.Error(), "--syslog: ") || !errors.As(err, new(*net.OpError)) {
		t.Errorf("a file: %v", err)
	}
}

func TestQuietAllNeedsNoSyslog(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	log, done, err := newLogger(config.Log{Syslog: true, Quiet: config.Quiet{All: true}}, &out)
	if err != nil {
		t.Fatal(err)
	}
	levels(log)
	if err := done(); err != nil || out.String() != "" {
		t.Errorf("wrote %q, %v", &out, err)
	}
}
