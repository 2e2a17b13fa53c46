package config

import (
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestManagerIsWhatTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has service managers that say anything")
	}
	own := strconv.Itoa(os.Getpid())
	const wrong = "not a time in microseconds; let systemd set it, by WatchdogSec=, or unset it"
	for _, test := range []struct {
		env  string
		want Manager
		err  string
	}{
		{env: ""},
		{env: "NOTIFY_SOCKET=/run/n", want: Manager{NotifySocket: "/run/n"}},
		{env: "NOTIFY_SOCKET=@n WATCHDOG_USEC=1500000", want: Manager{NotifySocket: "@n", Watchdog: 1500 * time.Millisecond}},
		{env: "NOTIFY_SOCKET=@n WATCHDOG_USEC=1500000 WATCHDOG_PID=" + own, want: Manager{NotifySocket: "@n", Watchdog: 1500 * time.Millisecond}},
		{env: "NOTIFY_SOCKET=@n WATCHDOG_USEC=1500000 WATCHDOG_PID=1", want: Manager{NotifySocket: "@n"}},
		{env: "WATCHDOG_USEC=1500000"},
		{env: "NOTIFY_SOCKET=@n WATCHDOG_USEC=1s", err: `WATCHDOG_USEC "1s": ` + wrong},
		{env: "NOTIFY_SOCKET=@n WATCHDOG_USEC=0", err: `WATCHDOG_USEC "0": ` + wrong},
		{env: "NOTIFY_SOCKET=@n WATCHDOG_USEC=99999999999999999999", err: `WATCHDOG_USEC "99999999999999999999": ` + wrong},
	} {
		env := func(name string) (string, bool) {
			for pair := range strings.FieldsSeq(test.env) {
				if value, ok := strings.CutPrefix(pair, name+"="); ok {
					return value, true
				}
			}
			return "", false
		}
		command, err := Parse(strings.Fields(leastServer), env, io.Discard, "test")
		switch {
		case test.err != "":
			if err == nil || err.Error() != test.err {
				t.Errorf("%s: error %v, want %s", test.env, err, test.err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.env, err)
		case command.(*Sidecar).Manager != test.want:
			t.Errorf("%s: %+v, want %+v", test.env, command.(*Sidecar).Manager, test.want)
		}
	}
}
