package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/sandbox"
)

// inside has the test binary be a process that enters a sandbox, and tries what it may do there.
const inside = "SALLYPORT_TEST_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := trial(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// An attempt is one thing to try in a sandbox.
type attempt struct{ Do, What string }

// try tries attempts in a process that is in a sandbox with these rules, one after the other. It returns what came of each:
// "" or the error. The kernel must have Landlock of version abi.
func try(t *testing.T, abi int, r sandbox.Rules, attempts ...attempt) []string {
	t.Helper()
	in, err := json.Marshal(struct {
		Rules    sandbox.Rules
		Attempts []attempt
	}{r, attempts})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), inside+"="+string(in))
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var got struct {
		ABI     int
		Results []string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if got.ABI < abi {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Landlock %d is too old, and with CI=true nothing is skipped", got.ABI)
		}
		t.Skipf("the kernel has Landlock %d, and this takes %d", got.ABI, abi)
	}
	return got.Results
}

// trial is what try starts. It has threads before it enters the sandbox, which is to hold them too.
func trial() error {
	var in struct {
		Rules    sandbox.Rules
		Attempts []attempt
	}
	if err := json.Unmarshal([]byte(os.Getenv(inside)), &in); err != nil {
		return err
	}
	begin, results := make(chan attempt), make(chan string)
	go func() {
		runtime.LockOSThread() // for good: this thread is not to be the one that enters
		results <- ""
		for a := range begin {
			results <- do(a)
		}
	}()
	<-results // the thread is there

	var out struct {
		ABI     int
		Results []string
	}
	var err error
	if out.ABI, err = sandbox.Enter(in.Rules); err != nil {
		return err
	}
	for _, a := range in.Attempts {
		result := do(a)
		begin <- a
		if other := <-results; (other == "") != (result == "") {
			return fmt.Errorf("%v: %q, but %q in a thread that was there before", a, result, other)
		}
		out.Results = append(out.Results, result)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func do(a attempt) string {
	var err error
	switch a.Do {
	case "read":
		_, err = os.ReadFile(a.What)
	case "list":
		_, err = os.ReadDir(a.What)
	case "write":
		if err = os.WriteFile(a.What, []byte("x"), 0o600); err == nil {
			err = os.Remove(a.What)
		}
	case "rename":
		if err = os.WriteFile(a.What+".new", nil, 0o600); err == nil {
			err = os.Rename(a.What+".new", a.What)
		}
	case "mkdir":
		if err = os.Mkdir(a.What, 0o700); err == nil {
			err = os.Remove(a.What)
		}
	case "execute":
		err = exec.Command(a.What).Run()
	case "tcp", "unix":
		var conn net.Conn
		if conn, err = net.DialTimeout(a.Do, a.What, time.Minute); err == nil {
			err = conn.Close()
		}
	case "listen unix":
		var ln net.Listener
		if ln, err = net.Listen("unix", a.What); err == nil {
			err = ln.Close() // removes the file
		}
	case "listen tcp":
		var ln net.Listener
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false) // which Landlock does not know
		if ln, err = lc.Listen(context.Background(), "tcp", a.What); err == nil {
			err = ln.Close()
		}
	case "listen on IPv6 too":
		var ln net.Listener
		if ln, err = net.Listen("tcp", a.What); err == nil {
			if ip := ln.Addr().(*net.TCPAddr).IP; ip.To4() != nil {
				err = fmt.Errorf("it is on %v alone", ip)
			}
			err = errors.Join(err, ln.Close())
		}
	case "look up":
		_, err = net.DefaultResolver.LookupHost(context.Background(), a.What)
	default:
		err = fmt.Errorf("%q is not known here", a.Do)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
