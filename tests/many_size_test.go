package tests

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTwoHundredTunnels starts a process with one tunnel and one with 200 more, and reloads it with a tenth of them changed. How
// long that takes depends on what else the machine does; it is told with how much processor it took.
func TestTwoHundredTunnels(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	const more = 200
	target := serve(t, "tcp", echo).address
	addresses := make([]string, more+1)
	for i := range addresses {
		addresses[i] = reserve(t)
	}
	tunnels := func(n int, generation int) []string {
		var all []string
		for i, address := range addresses[:n] {
			idle := 1
			if i%10 == 0 {
				idle = generation
			}
			all = append(all, one(fmt.Sprint("tunnel-", i), address, target, fmt.Sprintf("idle-timeout: %dh", idle)))
		}
		return all
	}
	m.write(t, tunnels(1, 1)...)
	m.run(t, "--enable-pprof")
	bare := memoryOf(t, m.process)
	m.stop(t)

	m.write(t, tunnels(more+1, 1)...)
	began := time.Now()
	m.run(t, "--enable-pprof")
	t.Logf("%d tunnels: ready after %v, with %v of processor", more+1, time.Since(began), processorOf(t, m.process))
	per := (memoryOf(t, m.process) - bare) / more
	t.Logf("%d KiB for each tunnel", per>>10)
	if per > 150<<10 {
		t.Errorf("%d bytes for each tunnel", per)
	}
	if code, _, reported := tunnelsOf(t, m.process, ""); code != http.StatusOK || len(reported) != more+1 {
		t.Errorf("%d, %d tunnels are told", code, len(reported))
	}
	kept := attach(t, addresses[0], m.client(t))
	m.write(t, tunnels(more, 2)...)
	began, before := time.Now(), processorOf(t, m.process)
	m.reload(t)
	t.Logf("a reload: %v, with %v of processor", time.Since(began), processorOf(t, m.process)-before)
	for i, address := range addresses[:more:more] {
		if i%20 == 0 {
			m.visit(t, address)
		}
	}
	if err := echoes(kept); err != nil {
		t.Error(err)
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	m.stop(t)
}

var inUse = regexp.MustCompile(`(?m)^# (?:HeapInuse|Stack) = (\d+)`)

// memoryOf is what memory is in use in a process, which has --enable-pprof.
func memoryOf(t *testing.T, p *process) int {
	t.Helper()
	sum := 0
	for range 2 { // what finalizers let go is free after the second collection
		_, body := p.status.get(t, "/debug/pprof/heap?debug=1&gc=1")
		found := inUse.FindAllStringSubmatch(body, -1)
		if len(found) != 2 {
			t.Fatalf("/debug/pprof/heap has no %s", inUse)
		}
		sum = 0
		for _, line := range found {
			n, err := strconv.Atoi(line[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// processorOf is how much processor time a process has had.
func processorOf(t *testing.T, p *process) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var ticks time.Duration
	for _, field := range strings.Fields(rest)[11:13] { // utime and stime (proc_pid_stat(5))
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}
