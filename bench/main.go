// Bench measures what a unit of work costs a proxy in processor time and memory, and compares Sallyport with others in one run:
//
//	go run ./bench -sallyport bin/sallyport
//	go run ./bench -sallyport bin/sallyport -rows bulk-up -contestants sallyport,haproxy -quick
//	go run ./bench -list
//
// What is measured is pinned to one processor; what loads it, clients and targets both, is this process, on another. Of a
// contestant all processes count, with threads that have ended, by the kernel's clock of each. In every round each contestant
// does the same work, so that what else the machine does meets all of them; the table on standard output is of the medians
// over the rounds, their spread, and the ratio to one contestant, taken in each round.
//
// All of it is TLS 1.3 with AES-128-GCM, and both sides have certificates. Every byte that arrives is compared with what was
// sent, and every byte sent has to arrive, also when one side ends its half of the connection at once afterwards: whoever
// loses some is marked in the table.
//
// It needs Linux and two processors. It says nothing about how fast a network is or how quick an answer, but for the row that
// is about nothing else.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
