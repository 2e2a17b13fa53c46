package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processors are those that this process may run on.
func processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("asking for the processors: %w", err)
	}
	var list []int
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}

// moveTo has this process run on one processor from now on. Threads that start meanwhile may be missed, so it looks until
// there are no more.
func moveTo(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	runtime.GOMAXPROCS(1)
	for moved := map[string]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("asking for the threads: %w", err)
		}
		before := len(moved)
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil || moved[thread.Name()] {
				continue
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("moving to processor %d: %w", cpu, err)
			}
			moved[thread.Name()] = true
		}
		if len(moved) == before {
			return nil
		}
	}
}

// startOn starts a command on one processor, in a process group of its own. The command ends with this process.
func startOn(cpu int, cmd *exec.Cmd) error {
	// A child begins where the thread that made it runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var here, there unix.CPUSet
	if err := unix.SchedGetaffinity(0, &here); err != nil {
		return fmt.Errorf("asking for the processors: %w", err)
	}
	there.Set(cpu)
	if err := unix.SchedSetaffinity(0, &there); err != nil {
		return fmt.Errorf("moving to processor %d: %w", cpu, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &here); err == nil && back != nil {
		err = fmt.Errorf("moving back: %w", back)
	}
	return err
}

// killGroup ends a process that startOn started, and those that it started.
func killGroup(process *os.Process) error {
	if err := syscall.Kill(-process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending process %d: %w", process.Pid, err)
	}
	return nil
}

// yieldProcessor has this process run where no other wants to.
func yieldProcessor() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 19) }

// family is a process and all that it and its children started.
func family(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The name, which may hold anything, is in parentheses; then come the state and the parent.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// processorTime is how long a process has computed so far, for itself and in the system, with threads that have ended.
func processorTime(pid int) (time.Duration, error) {
	// See clock_getcpuclockid(3): the complement of the process, and in the last bits that it is the scheduler's clock.
	const scheduler = 2
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &spent); err != nil {
		return 0, fmt.Errorf("reading the clock of process %d: %w", pid, err)
	}
	return time.Duration(spent.Nano()), nil
}

// memoryOf is how many bytes of memory a process has; what it shares with others counts in part (proportional set size).
func memoryOf(pid int) (int64, error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no Pss in it", path)
}

// machine says what the figures were measured on.
func machine() string {
	var name unix.Utsname
	_ = unix.Uname(&name) // cannot fail with a place to write to
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d processors, Linux %s", model, runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]))
}
