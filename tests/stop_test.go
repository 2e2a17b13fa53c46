package tests

import (
	"strings"
	"syscall"
	"testing"
)

// TestStopBeginsADrain that a service manager's signal, which follows in any case,
// does not cut short. Another one does.
func TestStopBeginsADrain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		cut  bool
		code int
	}{
		{"to its end", false, 0},
		{"until a second signal", true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen, status := newPKI(t), reserve(t), "http://"+reserve(t)
			server := start(t, serverLine(t, p, listen, serve(t, "tcp", echo).address, "--allow-all", "--status", status, "--enable-shutdown")...)
			open := connect(t, listen, p.clientConfig(p.client(t)))
			if err := roundTrip(open); err != nil {
				t.Fatal(err)
			}
			for range 2 { // once more does no harm
				if code, stdout, stderr := run(t, "stop", status); code != 0 || stdout != "shutting down\n" || stderr != "" {
					t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
				}
			}
			server.waitLine(t, "shutting down")
			server.signal(t, syscall.SIGTERM)
			if err := roundTrip(open); err != nil {
				t.Fatal(err)
			}
			if test.cut {
				server.signal(t, syscall.SIGINT) // two of one kind that wait together are one
			} else if err := open.Close(); err != nil {
				t.Fatal(err)
			}
			if code := server.exit(t); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

func TestStopSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	p, status := newPKI(t), reserve(t)
	start(t, serverLine(t, p, reserve(t), serve(t, "tcp", echo).address, "--allow-all", "--status", "http://"+status)...)
	for _, test := range []struct{ address, want string }{
		{"http://" + status, "without --enable-shutdown"},
		{status, "write http://" + status},
		{"http://" + reserve(t), "connection refused"},
	} {
		if code, stdout, stderr := run(t, "stop", test.address); code != 3 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("stop %s: exit code %d, want 3 and %q\n%s\n%s", test.address, code, test.want, stdout, stderr)
		}
	}
	if code, _, stderr := run(t, "stop"); code != 2 || !strings.Contains(stderr, "SALLYPORT_STATUS") {
		t.Errorf("stop: exit code %d\n%s", code, stderr)
	}
}
