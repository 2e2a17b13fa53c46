package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"sallyport/internal/memnet"
)

// readOnly is a connection of which nothing but Read is used.
type readOnly struct {
	net.Conn
	io.Reader
}

func (r readOnly) Read(p []byte) (int, error) { return r.Reader.Read(p) }

func record(kind byte, payload string) string {
	return string([]byte{kind, 3, 3, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

func TestWireHandsOverOneRecordAtATime(t *testing.T) {
	t.Parallel()
	first, second := record(23, "one"), record(21, "three")
	long := record(23, string(bytes.Repeat([]byte("x"), maxPlaintext+2048)))
	for _, c := range []struct {
		name, sent string
		want       []string
	}{
		{"two at once", first + second, []string{first, second}},
		{"the longest", long + first, []string{long, first}},
		{"a record that is cut off", first + second[:7], []string{first, second[:7]}},
		{"a header that is cut off", first + "\x17\x03", []string{first, "\x17\x03"}},
		{"no TLS", "GET / HTTP/1.1\r\n\r\n", []string{"GET / HTTP/1.1\r\n\r\n"}},
		{"a version that there is not", "\x17\x02\x00\x00\x20", []string{"\x17\x02\x00\x00\x20"}},
		{"too long a record", "\x17\x03\x03\xff\xff" + first, []string{"\x17\x03\x03\xff\xff" + first}},
		{"nothing", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(readOnly{Reader: bytes.NewReader([]byte(c.sent))}, new(buffers))
			var got []string
			p := make([]byte, 64<<10)
			for {
				n, err := w.Read(p)
				if err != nil {
					if err != io.EOF || n != 0 {
						t.Errorf("%d bytes, %v; want io.EOF", n, err)
					}
					break
				}
				got = append(got, string(p[:n]))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("handed over: %q, want %q", got, c.want)
			}
			if !w.ended || w.received != (c.sent != "") || w.in.buffer != nil {
				t.Errorf("ended: %t, received: %t, buffer: %v", w.ended, w.received, w.in.buffer)
			}
		})
	}
}

func TestImpatientWireDoesNotWait(t *testing.T) {
	t.Parallel()
	near, far := memnet.Pipe(1 << 10)
	defer closeAll(near, far)
	w := newWire(near, new(buffers))
	whole, part := record(23, "whole"), record(23, "part")[:7]
	mustWrite(t, far, whole+part)
	w.await()
	if !w.complete() {
		t.Error("a record that is there is not complete")
	}
	w.patient = false
	p := make([]byte, 100)
	if n, err := w.Read(p); string(p[:n]) != whole || err != nil {
		t.Errorf("%q, %v; want what is there", p[:n], err)
	}
	if w.complete() {
		t.Error("a part of a record is complete")
	}
	for range 2 {
		if n, err := w.Read(p); n != 0 || !errors.Is(err, errNothingYet) {
			t.Errorf("%d bytes, %v; want %v", n, err, errNothingYet)
		}
	}
	w.patient = true
	mustWrite(t, far, "rt")
	if n, err := w.Read(p); string(p[:n]) != record(23, "part") || err != nil {
		t.Errorf("%q, %v; want the rest too", p[:n], err)
	}
}

// The system tells a failure once; the wire goes on telling.
func TestWireKeepsItsFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	once := io.MultiReader(bytes.NewReader([]byte(record(23, "x"))), iotest.ErrReader(broken))
	w := newWire(readOnly{Reader: once}, new(buffers))
	if _, err := io.ReadFull(w, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := w.Read(make([]byte, 10)); !errors.Is(err, broken) {
			t.Errorf("%v, want %v", err, broken)
		}
		w.await()
	}
	if w.ended {
		t.Error("a failure is an end")
	}
}

// FuzzWire: whatever comes, in whatever pieces, and however much is asked for: all of it is handed over, in order.
func FuzzWire(f *testing.F) {
	f.Add([]byte(record(22, "hello")+record(23, "there")), uint16(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(1))
	f.Add([]byte("\x17\x03\x03\xff\xff"), uint16(500))
	f.Fuzz(func(t *testing.T, sent []byte, size uint16) {
		w := newWire(readOnly{Reader: iotest.HalfReader(bytes.NewReader(sent))}, new(buffers))
		p := make([]byte, int(size)+1)
		var got []byte
		for {
			n, err := w.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				break
			}
			if n == 0 {
				t.Fatal("neither bytes nor an error")
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%q came of %q", got, sent)
		}
	})
}

// journalled is a connection that notes its writes, and fails after some.
type journalled struct {
	net.Conn
	writes [][]byte
	fails  int // from this one on; 0 is never
}

var errFull = errors.New("no room")

func (j *journalled) Write(p []byte) (int, error) {
	if j.writes = append(j.writes, bytes.Clone(p)); j.fails > 0 && len(j.writes) >= j.fails {
		return 0, errFull
	}
	return len(p), nil
}

func TestCorkedWireSendsAtOnce(t *testing.T) {
	t.Parallel()
	j := new(journalled)
	w := newWire(j, new(buffers))
	mustWrite(t, w, "alone")
	w.cork(100)
	mustWrite(t, w, "one ")
	mustWrite(t, w, "two")
	if len(j.writes) != 1 {
		t.Errorf("written before it was uncorked: %q", j.writes)
	}
	if err := w.uncork(); err != nil {
		t.Error(err)
	}
	mustWrite(t, w, "alone again")
	w.cork(100)
	if err := w.uncork(); err != nil {
		t.Error(err)
	}
	want := [][]byte{[]byte("alone"), []byte("one two"), []byte("alone again")}
	if !slices.EqualFunc(j.writes, want, bytes.Equal) {
		t.Errorf("written: %q, want %q", j.writes, want)
	}
}

// What does not fit goes out in order.
func TestCorkedWireTakesMoreThanItHolds(t *testing.T) {
	t.Parallel()
	j := new(journalled)
	w := newWire(j, new(buffers))
	var sent []byte
	w.cork(1)
	for i, size := range []int{10, bufferSizes[0] - 5, 3, 2 * bufferSizes[0], 1, bufferSizes[0], 7} {
		p := bytes.Repeat([]byte{byte(i)}, size)
		sent = append(sent, p...)
		mustWrite(t, w, string(p))
	}
	if err := w.uncork(); err != nil {
		t.Error(err)
	}
	if got := bytes.Join(j.writes, nil); !bytes.Equal(got, sent) {
		t.Errorf("%d bytes were written of %d, or others", len(got), len(sent))
	}
}

func TestCorkedWireFails(t *testing.T) {
	t.Parallel()
	w := newWire(&journalled{fails: 1}, new(buffers))
	w.cork(1)
	mustWrite(t, w, "held")
	if _, err := w.Write(make([]byte, bufferSizes[0])); !errors.Is(err, errFull) {
		t.Errorf("what does not fit: %v", err)
	}
	mustWrite(t, w, "more")
	if err := w.uncork(); !errors.Is(err, errFull) {
		t.Errorf("uncorking: %v", err)
	}
	if w.corked != nil {
		t.Error("it keeps its buffer")
	}
}

// A stream gathers the plaintext of all records that are there, and does not wait for more with some in hand.
func TestStreamGathersWhatIsThere(t *testing.T) {
	t.Parallel()
	certs := newPKI(t)
	near, far := memnet.Pipe(1 << 20)
	defer closeAll(near, far)
	server := tls.Server(newWire(far, new(buffers)), certs.serverConfig())
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	store := new(buffers)
	client := tls.Client(newWire(near, store), certs.clientConfig())
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	s := newSide(client).stream(store).(*tlsStream)
	s.wire.in.level = 1
	mustWrite(t, server, "one ") // behind a session ticket
	mustWrite(t, server, "two ")
	mustWrite(t, server, "three")
	p, err := s.next()
	if err != nil || string(p) != "one two three" {
		t.Errorf("%q, %v", p, err)
	}
	s.done()

	mustWrite(t, server, "the last")
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if p, err = s.next(); err != io.EOF || string(p) != "the last" {
		t.Errorf("%q, %v; want the last bytes with the end", p, err)
	}
	s.done()
	if s.buffer != nil || s.wire.in.buffer != nil {
		t.Error("a stream at its end keeps buffers")
	}
}

// What a session has opened before it is forwarded, and nobody has read, comes first: the network need not bring any more.
func TestStreamBeginsWithWhatIsLeftOfARecord(t *testing.T) {
	t.Parallel()
	certs := newPKI(t)
	near, far := memnet.Pipe(1 << 20)
	defer closeAll(near, far)
	server := tls.Server(newWire(far, new(buffers)), certs.serverConfig())
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	store := new(buffers)
	client := tls.Client(newWire(near, store), certs.clientConfig())
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	mustWrite(t, server, "read, left")
	wantRead(t, client, "read, ")
	got := make(chan string, 1)
	go func() {
		p, _ := newSide(client).stream(store).next()
		got <- string(p)
	}()
	select {
	case text := <-got:
		if text != "left" {
			t.Errorf("%q", text)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the network")
	}
}

// Much that is written at once goes out at once, in records of full size.
func TestMuchIsSentAtOnce(t *testing.T) {
	t.Parallel()
	certs := newPKI(t)
	near, far := memnet.Pipe(1 << 20)
	defer closeAll(near, far)
	shaken := make(chan error, 1)
	client := tls.Client(newWire(near, new(buffers)), certs.clientConfig())
	go func() { shaken <- client.Handshake() }()
	j := &journalled{Conn: far}
	config := certs.serverConfig()
	config.DynamicRecordSizingDisabled = true
	server := tls.Server(newWire(far, new(buffers)), config)
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	s := newSide(server)
	s.wire.out = newOutlet(j)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 256<<10/16)
	if n, err := s.write(sent); n != len(sent) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if len(j.writes) != 1 {
		t.Errorf("%d writes", len(j.writes))
	}
	for rest := bytes.Join(j.writes, nil); len(rest) > 0; rest = rest[recordLength(rest):] {
		if !isRecord(rest) || recordLength(rest) > len(rest) {
			t.Fatalf("no record: %x", rest[:recordHeader])
		}
	}
	j.fails = 2
	if n, err := s.write(sent); n != 0 || !errors.Is(err, errFull) {
		t.Errorf("a write that fails: %d, %v", n, err)
	}
}
