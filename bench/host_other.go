//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

var errNotLinux = fmt.Errorf("measuring on %s: %w; it takes Linux", runtime.GOOS, errors.ErrUnsupported)

func processors() ([]int, error)               { return nil, errNotLinux }
func moveTo(int) error                         { return errNotLinux }
func startOn(int, *exec.Cmd) error             { return errNotLinux }
func killGroup(p *os.Process) error            { return p.Kill() }
func yieldProcessor() error                    { return errNotLinux }
func family(int) ([]int, error)                { return nil, errNotLinux }
func processorTime(int) (time.Duration, error) { return 0, errNotLinux }
func memoryOf(int) (int64, error)              { return 0, errNotLinux }
func machine() string                          { return runtime.GOOS }
