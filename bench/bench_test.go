package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/devpki"
)

func TestMain(m *testing.M) {
	// The contestants that are parts of this program are this test, run once more.
	if played, err := play(context.Background(), os.Stdin, os.Stdout); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// needLinux skips where nothing can be measured.
func needLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("it measures on Linux alone")
	}
}

// Rows of every kind of work and every mode have figures that can be true: none is missing, and nothing was lost on the way.
func TestRowsAreMeasured(t *testing.T) {
	needLinux(t)
	binary := filepath.Join(t.TempDir(), "sallyport")
	if said, err := exec.Command("go", "build", "-o", binary, "sallyport").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, test := range []struct{ row, contestants string }{
		{"bulk-up", "copyloop,relay"},
		{"resume", "copyloop"},
		{"client-connect", "copyloop"},
		{"pair-down", "sallyport,copyloop"},
		{"pingpong-64", "copyloop"},
		{"idle-64", "copyloop"},
		{"storm", "copyloop"},
	} {
		wantFigures(t, test.row, strings.Split(test.contestants, ","), "copyloop", "-sallyport", binary)
	}
}

// The files that others are given have to be what they take, in either mode.
func TestOthersAreMeasured(t *testing.T) {
	needLinux(t)
	var names []string
	for _, c := range []*contestant{haproxy("haproxy", 0), nginx("nginx", 0), stunnel(), hitch()} {
		if _, err := find(c.program); err == nil {
			names = append(names, c.name)
		} else if c.name == "haproxy" || c.name == "nginx" { // which other tests need, too
			reason := c.name + " is missing: tests/peers.sh installs it"
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s (with CI=true nothing is skipped)", reason)
			}
			t.Skip(reason)
		}
	}
	wantFigures(t, "connect", names, names[0])
	names = slices.DeleteFunc(names, func(name string) bool { return name == "hitch" }) // it has no client mode
	wantFigures(t, "client-connect", names, names[0])
}

// What comes to nothing is told of, in one line, and is no figure.
func TestTooShortAStormIsAFault(t *testing.T) {
	needLinux(t)
	var out bytes.Buffer
	args := []string{"-contestants", "copyloop", "-rows", "storm", "-rounds", "1", "-time", "1ms"}
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| — [1] |\n", "copyloop, p99 of 8 live connections while 64 others open and close: nothing was done\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// wantFigures has contestants do a kind of work, for a quick look, and wants a figure of each.
func wantFigures(t *testing.T, rowName string, names []string, reference string, args ...string) {
	t.Helper()
	var out, progress bytes.Buffer
	args = append(args, "-contestants", strings.Join(names, ","), "-ratio-to", reference, "-rows", rowName, "-quick")
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("%s: %v\n%s", rowName, err, &progress)
	}
	r := rows[slices.IndexFunc(rows, func(r row) bool { return r.name == rowName })]
	_, line, _ := strings.Cut(out.String(), "| "+r.what+" | "+r.unit+" | ")
	line, _, _ = strings.Cut(line, " |\n")
	cells := strings.Split(line, " | ")
	if len(cells) != len(names) {
		t.Fatalf("%s:\n%s", rowName, &out)
	}
	// A number, a ratio to the reference but for itself, and a note that is no fault.
	cell := regexp.MustCompile(`^([0-9.]+)( \([0-9.]+\))?(, (never resumes|[0-9]+ opened/s))?$`)
	for i, name := range names {
		found := cell.FindStringSubmatch(cells[i])
		if found == nil || (found[2] == "") != (name == reference) {
			t.Errorf("%s of %s: %q\n%s", rowName, name, cells[i], &out)
			continue
		}
		if value, err := strconv.ParseFloat(found[1], 64); err != nil || value <= 0 {
			t.Errorf("%s of %s: %q", rowName, name, cells[i])
		}
	}
}

// A contestant that loses the end of what it was sent is told of.
func TestWhatIsLostIsSeen(t *testing.T) {
	t.Parallel()
	const keeps = 10 * chunk
	tests := []struct {
		name string
		// relay passes on what the client sends to the target.
		relay func(near, far *net.TCPConn)
		want  string
	}{
		{"nothing is lost", func(near, far *net.TCPConn) {
			both(near, far, func(to, from stream) error {
				_, err := io.Copy(to, from)
				return err
			})
		}, ""},
		{"the end is lost", func(near, far *net.TCPConn) {
			go func() { _, _ = io.Copy(near, far) }()
			_, _ = io.CopyN(far, near, keeps)
			_ = far.CloseWrite()
			_, _ = io.Copy(io.Discard, near)
			_ = near.CloseWrite()
		}, errShort.Error()},
		{"bytes change", func(near, far *net.TCPConn) {
			_, _ = io.CopyN(far, near, keeps)
			_, _ = far.Write([]byte("something else"))
			_ = far.CloseWrite()
			_, _ = io.Copy(io.Discard, near)
		}, errShort.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			target, err := newBackend(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer target.wait()
			defer cancel()
			near, far := pipe(ctx, t)
			onward, err := net.Dial("tcp", target.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			relayed := make(chan struct{})
			go func() {
				defer close(relayed)
				test.relay(far, onward.(*net.TCPConn))
				_, _ = far.Close(), onward.Close()
			}()
			moving := target.newTransfer()
			go func() {
				for moving.sent.Load() < 2*keeps && ctx.Err() == nil {
					runtime.Gosched()
				}
				close(moving.stop)
			}()
			err = upload(near, moving)
			if said := fmt.Sprint(err); (err == nil) != (test.want == "") || !strings.Contains(said, test.want) && err != nil {
				t.Errorf("error %v, want %q", err, test.want)
			}
			_ = near.Close()
			<-relayed
		})
	}
}

// pipe is two ends of a TCP connection.
func pipe(ctx context.Context, t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), other.(*net.TCPConn)
}

func TestNoiseIsRecognized(t *testing.T) {
	t.Parallel()
	sound := slices.Concat(noiseAt(0, chunk), noiseAt(chunk, chunk), noiseAt(2*chunk, 5))
	tests := []struct {
		name    string
		damage  func([]byte) []byte
		garbled bool
	}{
		{"as it was sent", func(b []byte) []byte { return b }, false},
		{"cut off", func(b []byte) []byte { return b[:chunk+1] }, false}, // whose sender knows how much it was
		{"a byte is missing", func(b []byte) []byte { return slices.Delete(b, 7, 8) }, true},
		{"a byte is new", func(b []byte) []byte { return slices.Insert(b, chunk, 0) }, true},
		{"records are swapped", func(b []byte) []byte {
			return slices.Concat(b[16<<10:32<<10], b[:16<<10], b[32<<10:])
		}, true},
		{"a record is doubled", func(b []byte) []byte { return slices.Insert(b, 16<<10, b[:16<<10]...) }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			damaged := test.damage(slices.Clone(sound))
			var received atomic.Int64
			err := receive(bytes.NewReader(damaged), &received)
			if garbled := errors.Is(err, errGarbled); garbled != test.garbled || err != nil && !garbled {
				t.Errorf("receive: %v", err)
			}
			if !test.garbled && received.Load() != int64(len(damaged)) {
				t.Errorf("received %d of %d", received.Load(), len(damaged))
			}
		})
	}
}

// The clock of a process goes on with what a thread of it computed that has ended.
func TestProcessorTime(t *testing.T) {
	needLinux(t)
	before, err := processorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	spun := make(chan struct{})
	go func() {
		defer close(spun)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
			_, _ = newCertificates(t.TempDir(), devpki.ECDSAP256)
		}
	}()
	<-spun
	after, err := processorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after <= before {
		t.Errorf("%v after %v", after, before)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"-rows bulk-up,connect -contestants copyloop -rounds 3", ""},
		{"-rows bulk-sideways", "-rows bulk-sideways: there is none"},
		{"-rounds 0", "at least one"},
		{"bulk-up", "there are flags alone"},
	} {
		_, err := parse(strings.Fields(test.args), io.Discard)
		if said := fmt.Sprint(err); (err == nil) != (test.want == "") || err != nil && !strings.Contains(said, test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
	all, err := contestants(&options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, want string }{
		{"copyloop", ""},
		{"ghostunnel", "needs -ghostunnel PATH"},
		{"nobody", "there is none"},
	} {
		chosen, err := choose(all, []string{test.name}, t.Logf)
		if said := fmt.Sprint(err); (err == nil) != (test.want == "") || err != nil && !strings.Contains(said, test.want) {
			t.Errorf("%s: %v, %v, want %q", test.name, chosen, err, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	one, two := &contestant{name: "one", what: "first"}, &contestant{name: "two", what: "second"}
	made, err := newTable(&options{reference: "two", rounds: 3}, []*contestant{one, two})
	if err != nil {
		t.Fatal(err)
	}
	l := made.add(&row{what: "work", unit: "s"})
	for round := range 3 { // the machine slows down, and both with it
		slower := float64(round + 1)
		l.add(one, sample{value: 0.1 * slower})
		l.add(two, sample{value: 0.2 * slower, note: "noted"})
	}
	l = made.add(&row{what: "more", unit: "KiB"})
	l.add(one, sample{fault: "fell over"})
	l.add(two, sample{value: 12345})
	var out strings.Builder
	if err := made.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| work | s | 0.200 ±50 % (0.50) | 0.400 ±50 %, noted |\n",
		"| more | KiB | — [1] | 12345 |\n",
		"- one: first\n", "- two: second\n", "- [1] one, more: fell over\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
