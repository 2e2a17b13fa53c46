package main

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestPrivatelyKeepsTheArgumentsAndHidesTheSecrets(t *testing.T) {
	t.Parallel()
	line := []string{"server", "--storepass=hunter2", "--listen", ":1", "--pkcs11-pin", "1234"}
	args := make([]string, len(line))
	for i, arg := range line {
		args[i] = string([]byte(arg)) // in memory that can be written, as the kernel gives it
	}
	if got := privately(args); !slices.Equal(got, line) {
		t.Errorf("%q, want what was given", got)
	}
	want := line
	if runtime.GOOS == "linux" {
		want = []string{"server", "--storepass=*******", "--listen", ":1", "--pkcs11-pin", "****"}
	}
	if !slices.Equal(args, want) {
		t.Errorf("left %q, want %q", args, want)
	}
}

func TestPrivatelyTakesWhatEndsEarly(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "--storepass", "server --storepass="} {
		args := strings.Fields(line)
		if got := privately(args); !slices.Equal(got, args) {
			t.Errorf("%q, want %q", got, args)
		}
	}
}
