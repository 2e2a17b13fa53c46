package sidecar

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDrainWaitsForConnectionsAndEndsClean(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"SIGTERM", "SIGINT", "request"} {
		dir := newDir(t)
		echo(t, listen(t, dir+"/out"))
		r := start(t, dir, serverLine+"--allow-all --enable-shutdown")
		c, err := r.dialTLS(t, "client")
		if err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(c, "before"); err != nil {
			t.Fatal(err)
		}
		switch how {
		case "SIGTERM":
			r.signals <- syscall.SIGTERM
		case "SIGINT":
			r.signals <- os.Interrupt
		case "request":
			for range 3 {
				response, err := r.http().Post("http://status/_shutdown", "", nil)
				if err != nil || response.StatusCode != http.StatusOK {
					t.Fatal(response, err)
				}
				_ = response.Body.Close()
			}
		}
		eventually(t, func() bool { return r.status(t).Message == "stopping" }, func() string { return how + ": not stopping" })
		r.signals <- syscall.SIGHUP // is ignored
		eventually(t, func() bool {
			_, err := net.Dial("unix", dir+"/in")
			return err != nil
		}, func() string { return how + ": connections are still accepted" })
		if err := roundTrip(c, "during"); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		_ = c.Close()
		if err := r.wait(t); err != nil {
			t.Errorf("%s: Run: %v", how, err)
		}
		if strings.Contains(r.log.String(), "reloading") {
			t.Errorf("%s: it reloaded:\n%s", how, r.log)
		}
		for _, socket := range []string{"in", "status"} {
			if _, err := os.Stat(filepath.Join(dir, socket)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: the %s socket is left: %v", how, socket, err)
			}
		}
	}
}

func TestAForcedEndIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, want string }{
		{"--shutdown-timeout 50ms", "open connections were closed after --shutdown-timeout 50ms"},
		{"--shutdown-timeout 1h", "open connections were closed by a second signal, SIGTERM"},
	} {
		dir := newDir(t)
		echo(t, listen(t, dir+"/out"))
		r := start(t, dir, serverLine+"--allow-all "+c.flag)
		open, err := r.dialTLS(t, "client")
		if err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(open, "hello"); err != nil {
			t.Fatal(err)
		}
		r.signals <- syscall.SIGTERM
		if strings.Contains(c.flag, "1h") {
			r.waitLog(t, "shutting down", 1)
			r.signals <- syscall.SIGTERM
		}
		if err := r.wait(t); err == nil || err.Error() != c.want {
			t.Errorf("%s: Run: %v", c.flag, err)
		}
		r.waitLog(t, "reason=shutdown", 1)
	}
}

// hang puts a FIFO in the place of a file: reading it takes for ever, as from a disk that does not answer.
func hang(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Whoever hangs on it is let go in the end, for the sake of the leak check.
	t.Cleanup(func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		_ = f.Close()
	})
}

func TestAReloadThatHangsKeepsNoShutdownWaiting(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := start(t, dir, serverLine+"--allow-all --no-watch-files") // one reader to let go
	hang(t, dir+"/server-key.pem")
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "msg=reloading", 1)
	c, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(c, "meanwhile"); err != nil {
		t.Error(err)
	}
	r.signals <- syscall.SIGTERM
	eventually(t, func() bool { return r.status(t).Message == "stopping" }, func() string { return "not stopping" })
	_ = c.Close()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// stuck is a writer that blocks with the first line that has a text in it, like a pipe that nobody reads.
type stuck struct {
	from    string
	reached chan struct{} // receives then
	blocked chan struct{}
}

func newStuck(t *testing.T, from string) *stuck {
	t.Helper()
	w := &stuck{from, make(chan struct{}, 1), make(chan struct{})}
	t.Cleanup(func() { close(w.blocked) })
	return w
}

func (w *stuck) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.from) {
		select {
		case w.reached <- struct{}{}:
		default: // it is known
		}
		<-w.blocked
	}
	return len(p), nil
}

// interruptStuck runs a server with these flags until nobody reads its log any more, from the first line with the text in it, and
// interrupts it. There are no connections, so that it has to end, and cleanly.
func interruptStuck(t *testing.T, from, flags string) {
	t.Helper()
	out := newStuck(t, from)
	s, err := New(t.Context(), parse(t, newDir(t), serverLine+"--allow-all "+flags), Build{}, out)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(signals) }()
	<-out.reached
	signals <- os.Interrupt
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Error("Run did not return")
	}
}

// TestNoSignalWaitsForAReaderOfTheLog, and no end does: there are no connections, so that it is a clean one.
func TestNoSignalWaitsForAReaderOfTheLog(t *testing.T) {
	t.Parallel()
	interruptStuck(t, "msg=listening", "--shutdown-timeout 1h")
}

// TestNoEndWaitsUntilTheLogIsToldOfMetrics that do not arrive.
func TestNoEndWaitsUntilTheLogIsToldOfMetrics(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"--metrics-url http://127.0.0.1:1/", "--metrics-graphite 127.0.0.1:1"} {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			interruptStuck(t, "metrics do not arrive", "--metrics-interval 10ms "+to)
		})
	}
}

func TestAStartEndsWithItsContextThoughNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	out := newStuck(t, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(enough) })
	s, err := New(ctx, parse(t, dir, serverLine+"--allow-all --log-level debug"), Build{}, out)
	if s != nil || !errors.Is(err, enough) {
		t.Errorf("New: %v, want the context's cause", err)
	}
}

func TestAForcedEndWaitsForNoReaderOfTheLog(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	out := newStuck(t, "")
	s, err := New(t.Context(), parse(t, dir, serverLine+"--allow-all --log-level error --shutdown-timeout 10ms"), Build{}, out)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(signals) }()
	_ = s.fleet.tunnels()[0].listener.Close() // fails, and the failure cannot be logged
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Error("Run did not return")
	}
}

func TestAListenerThatFailsEndsTheProcess(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all")
	r.waitLog(t, "msg=listening", 1)
	_ = r.sidecar.fleet.tunnels()[0].listener.Close()
	if err := r.wait(t); err == nil || !strings.Contains(err.Error(), "--listen unix:"+dir+"/in") {
		t.Errorf("Run: %v", err)
	}
}
