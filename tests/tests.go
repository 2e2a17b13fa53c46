// Package tests holds the black-box tests: they build the sallyport binary
// once, run it as an operator would, and look at it from outside, through its
// sockets, signals, output and exit code.
//
//	go test -count=1 ./tests -run TestTransfer
//	SALLYPORT_FULL=1 go test -count=1 ./tests -run TestTransfer
//
// (Without -count=1, go test may answer from its cache: it does not know that
// the tests build the binary.)
//
// A test takes what it needs from the harness beside it: reserve hands out
// addresses, newPKI certificates, start a running process, echo and record
// targets. Nothing sleeps: a test waits for a line of output, for an exit, or
// with eventually for a condition, and fails when the wait is over.
//
// A test that needs a program which may be absent asks for it with need. It is
// then skipped, or fails where the environment has CI=true.
//
// SALLYPORT_FULL=1 makes the tests that have a long variant run it.
//
// The package imports no room but devpki, and what internal/ has for tests. What
// can be seen only from inside is tested beside the code.
package tests
