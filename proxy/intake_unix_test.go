//go:build unix

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// tcpPair is a connection over the loopback interface.
func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAllOf(ln)
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAllOf(dialled, accepted) })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// wouldWait reports whether an intake finds nothing to read, which has it wait.
func wouldWait(t *testing.T, in *intake) bool {
	t.Helper()
	done := false
	if err := in.raw.Control(func(fd uintptr) { done = in.tryRead(fd) }); err != nil {
		t.Fatal(err)
	}
	return !done
}

// receiveAll receives until there is nothing left, and returns what came at once.
func receiveAll(t *testing.T, in *intake) (pieces [][]byte) {
	t.Helper()
	for {
		err := in.receive()
		if err == io.EOF {
			return pieces
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, bytes.Clone(in.unread()))
		in.take(len(in.unread()))
		if in.buffer != nil {
			t.Fatal("it keeps a buffer with nothing in it")
		}
	}
}

func TestConnectionThatWaitsHasNoBuffer(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	in := newIntake(near, new(buffers))
	if !wouldWait(t, in) || in.buffer != nil {
		t.Errorf("it waits with the buffer %v", in.buffer)
	}
	mustWrite(t, far, "hello")
	if err := in.receive(); err != nil || string(in.unread()) != "hello" {
		t.Fatalf("%q, %v", in.unread(), err)
	}
	in.take(3)
	if string(in.unread()) != "lo" {
		t.Errorf("%q is left", in.unread())
	}
	in.take(2)
	if in.buffer != nil || !wouldWait(t, in) || in.buffer != nil {
		t.Error("it has a buffer when all was taken")
	}
}

// The end of what was read at once is the beginning of a record nearly always, and that must not keep its buffer for good.
func TestBufferGrowsThoughSomethingIsUnread(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	in := newIntake(near, new(buffers))
	in.level = recordLevel
	sent := make([]byte, bufferSizes[recordLevel])
	for level := recordLevel; level < len(bufferSizes)-1; level++ {
		for in.level == level {
			mustWrite(t, far, string(sent))
			if err := in.receive(); err != nil {
				t.Fatal(err)
			}
			in.take(len(in.unread()) - 3)
		}
		if in.level != level+1 {
			t.Fatalf("after a full buffer of level %d the next is of level %d", level, in.level)
		}
		mustWrite(t, far, "more")
		if err := in.receive(); err != nil {
			t.Fatal(err)
		}
		if in.buffer.level != level+1 {
			t.Errorf("with something unread it keeps a buffer of level %d; want %d", in.buffer.level, level+1)
		}
		in.level = level + 1 // few bytes came, and have it shrink
		sent = make([]byte, bufferSizes[level+1])
		in.take(len(in.unread()) - 3)
	}
}

// Who is woken takes a place before it reads, and holds none while it waits: a peer that says half of something, and wakes
// the reader for nothing, would keep everybody else out.
func TestAPlaceIsHeldToReadAndNotToWait(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	gate := NewGate(1)
	ctx, cancel := context.WithCancel(t.Context())
	free := func() bool { return len(gate.places) == 1 }
	in := newIntake(near, new(buffers))
	in.pass = gate.pass(ctx)
	if !wouldWait(t, in) || !free() {
		t.Fatal("it holds a place with nothing to read")
	}
	for range 2 { // the poller wakes it for nothing
		if !wouldWait(t, in) || !free() || in.buffer != nil {
			t.Fatal("woken for nothing, it holds a place or a buffer")
		}
	}
	mustWrite(t, far, "hello")
	if wouldWait(t, in) || free() || in.n != 5 {
		t.Errorf("it has read %d bytes, and the place is free: %t", in.n, free())
	}
	in.w = in.n
	in.take(in.n)
	in.pass.leave()

	taken := <-gate.places
	cancel()
	mustWrite(t, far, "more")
	if wouldWait(t, in) || in.n != 0 || !errors.Is(in.err, context.Canceled) {
		t.Errorf("without a place it has read %d bytes, %v", in.n, in.err)
	}
	gate.places <- taken
	in.pass, in.waited = nil, false
	if err := in.receive(); err != nil || string(in.unread()) != "more" {
		t.Errorf("%q, %v; want what was not read", in.unread(), err)
	}
}

// What is left of a large read is kept in little.
func TestRestOfALargeReadIsKeptInASmallBuffer(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	store := new(buffers)
	in := newIntake(near, store)
	in.level = len(bufferSizes) - 1
	mustWrite(t, far, "some more")
	if err := in.receive(); err != nil {
		t.Fatal(err)
	}
	in.take(5)
	if !wouldWait(t, in) {
		t.Fatal("there is more to read")
	}
	if string(in.unread()) != "more" || in.buffer.level != recordLevel || store.large.Load() != 0 {
		t.Errorf("%q is left in a buffer of level %d, with %d bytes in large ones", in.unread(), in.buffer.level, store.large.Load())
	}
	mustWrite(t, far, " to come")
	if err := in.receive(); err != nil || string(in.unread()) != "more to come" {
		t.Errorf("%q, %v", in.unread(), err)
	}
}

func TestBuffersGrowWithWhatComesAtATime(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	if err := near.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	in := newIntake(near, new(buffers))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	go func() {
		_, _ = far.Write(sent)
		_ = far.CloseWrite()
	}()
	largest := 0
	var got []byte
	for _, piece := range receiveAll(t, in) {
		largest = max(largest, len(piece))
		got = append(got, piece...)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came of %d, or others", len(got), len(sent))
	}
	if largest <= bufferSizes[0] {
		t.Errorf("no more than %d bytes came at a time", largest)
	}

	in.level = 3
	for _, want := range []int{2, 1, 0, 0} {
		in.buffer = in.store.take(in.level)
		in.r, in.w, in.n = 0, 1, 1
		in.adapt()
		in.take(1)
		if in.level != want {
			t.Errorf("level %d after one byte, want %d", in.level, want)
		}
	}
}

// Errors read like those of net.Conn.Read, which decide about reasons.
func TestIntakeFailsAsTheConnectionDoes(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	in := newIntake(near, new(buffers))
	if err := in.receive(); reasonOf(err) != reasonReset || err.(*net.OpError).Op != "read" { //nolint:errorlint // the very type
		t.Errorf("a reset: %v", err)
	}
	if err := in.receive(); err != io.EOF {
		t.Errorf("after it: %v", err)
	}
	_ = near.Close()
	if err := in.receive(); err == nil {
		t.Error("a closed connection can be read from")
	}
	if in.buffer != nil {
		t.Error("a buffer is kept")
	}
}

func TestMemoryOfLargeBuffersIsBounded(t *testing.T) {
	t.Parallel()
	store := new(buffers)
	var taken []*buffer
	sum := 0
	for range 1000 {
		b := store.take(len(bufferSizes) - 1)
		taken = append(taken, b)
		if b.level > recordLevel {
			sum += len(b.bytes)
		}
	}
	if last := taken[len(taken)-1]; last.level != recordLevel || sum > maxLarge || sum < maxLarge/2 {
		t.Errorf("%d bytes are in large buffers, and the last one is of level %d", sum, last.level)
	}
	for _, b := range taken {
		store.give(b)
	}
	if n := store.large.Load(); n != 0 {
		t.Errorf("%d bytes are held to be in use", n)
	}
	for n, want := range map[int]int{0: 0, 4 << 10: 0, 20 << 10: 1, 20<<10 + 1: 2, 1 << 30: 3} {
		if b := store.takeFor(n); b.level != want {
			t.Errorf("for %d bytes there is one of level %d, want %d", n, b.level, want)
		}
	}
}
