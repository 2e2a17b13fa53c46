// Demo shows Sallyport at work. It starts a small HTTP service, a tunnel in
// server mode in front of it and one in client mode in front of that, sends
// requests through both, prints what happened and what to try by hand, and
// waits for Ctrl-C:
//
//	go run ./tests/demo bin/sallyport
//
// With DEMO_ONCE=1 in the environment it does not wait. It exits with 0 if
// everything went as it should, else with 1.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo SALLYPORT-BINARY")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	d := demo{
		binary: os.Args[1],
		once:   os.Getenv("DEMO_ONCE") == "1",
		out:    newConsole(os.Stdout),
	}
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
