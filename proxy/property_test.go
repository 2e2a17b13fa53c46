package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// How an end behaves when it has sent all it has.
type ending int

const (
	endHalf  ending = iota // half-closes, and goes on reading
	endReset               // resets the connection
	endStay                // keeps the connection open for ever
)

// script is what one end of a connection does.
type script struct {
	data   []byte
	chunks []int           // sizes of the writes
	pauses []time.Duration // before each of them
	end    ending
	slow   time.Duration // pause before each read
	stuck  bool          // never reads
}

func randomScript(rng *rand.Rand, hostile bool) *script {
	s := &script{}
	for range rng.IntN(12) {
		size := 1 + rng.IntN(100)
		if rng.IntN(4) == 0 {
			size = 1 + rng.IntN(100_000)
		}
		s.chunks = append(s.chunks, size)
		pause := time.Duration(0)
		if rng.IntN(3) == 0 {
			pause = time.Duration(rng.IntN(5000)) * time.Millisecond
		}
		s.pauses = append(s.pauses, pause)
		chunk := make([]byte, size)
		for i := range chunk {
			chunk[i] = byte(rng.Uint32())
		}
		s.data = append(s.data, chunk...)
	}
	if rng.IntN(3) == 0 {
		s.slow = time.Duration(rng.IntN(30)) * time.Millisecond
	}
	if hostile {
		s.end = ending(rng.IntN(3))
		s.stuck = rng.IntN(5) == 0
	}
	return s
}

// outcome is what an end saw.
type outcome struct {
	got      []byte
	err      error // what its reads ended with
	writeErr error
}

// play runs a script over a connection until reading and writing are over, and closes it.
func play(s *script, seed uint64, conn net.Conn, socket *memnet.Conn) (o outcome) {
	var wg sync.WaitGroup
	if !s.stuck {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			buf := make([]byte, 1+rng.IntN(20_000))
			for o.err == nil {
				time.Sleep(s.slow)
				var n int
				n, o.err = conn.Read(buf[:1+rng.IntN(len(buf))])
				o.got = append(o.got, buf[:n]...)
			}
			if n, err := conn.Read(buf); o.err == io.EOF && (n != 0 || err != io.EOF) {
				o.err = fmt.Errorf("after EOF: %d bytes, %w", n, err)
			}
			if o.err == io.EOF && newSide(conn).truncated() {
				o.err = io.ErrUnexpectedEOF
			}
		})
	}
	wg.Go(func() {
		data := s.data
		for i, size := range s.chunks {
			time.Sleep(s.pauses[i])
			if _, o.writeErr = conn.Write(data[:size]); o.writeErr != nil {
				return
			}
			data = data[size:]
		}
		switch s.end {
		case endHalf:
			if session, ok := conn.(*tls.Conn); ok && session.Handshake() != nil {
				return // crypto/tls cannot half-close before that
			}
			o.writeErr = conn.(interface{ CloseWrite() error }).CloseWrite()
		case endReset:
			socket.Reset()
		case endStay:
		}
	})
	wg.Wait()
	if s.stuck {
		time.Sleep(time.Hour)
	}
	_ = socket.Close()
	return o
}

// run is one connection through a server, both ends of which follow a script.
type run struct {
	*rig
	clientScript, targetScript *script
	client, target             outcome
}

// forward drives one connection through the server, which it shuts down in the end.
func forward(t *testing.T, rng *rand.Rand, server *Server, hostile bool) *run {
	certs := newPKI(t)
	clientTLS, targetTLS := rng.IntN(3) == 0, rng.IntN(3) == 0
	if clientTLS {
		server.TLS = certs.serverConfig()
	}
	var toTarget *tls.Config
	if targetTLS {
		toTarget = certs.clientConfig()
	}
	r := &run{
		rig:          startBuffered(t, server, toTarget, 1+rng.IntN(70_000)),
		clientScript: randomScript(rng, hostile),
		targetScript: randomScript(rng, hostile),
	}
	clientSeed, targetSeed := rng.Uint64(), rng.Uint64()

	var peers sync.WaitGroup
	peers.Go(func() {
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		conn := socket
		if clientTLS {
			conn = tls.Client(newWire(socket, new(buffers)), certs.clientConfig())
		}
		r.client = play(r.clientScript, clientSeed, conn, socket.(*memnet.Conn))
	})
	peers.Go(func() {
		socket, err := r.back.Accept()
		if err != nil {
			return // the client was gone before the target was dialled
		}
		conn := socket
		if targetTLS {
			conn = tls.Server(newWire(socket, new(buffers)), certs.serverConfig())
		}
		r.target = play(r.targetScript, targetSeed, conn, socket.(*memnet.Conn))
	})
	time.Sleep(24 * time.Hour) // of the bubble's clock: longer than any script
	_ = r.back.Close()
	peers.Wait()
	if err := r.stop(t, time.Minute); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	return r
}

// manySeeds runs a property with many seeds, each in a bubble of its own. SALLYPORT_RUNS sets how many, SALLYPORT_SEED
// repeats one.
func manySeeds(t *testing.T, property func(*testing.T, *rand.Rand)) {
	runs, first := 60, uint64(time.Now().UnixNano())
	if text := os.Getenv("SALLYPORT_RUNS"); text != "" {
		var err error
		if runs, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("SALLYPORT_SEED"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		runs = 1
	}
	var seed uint64
	defer func() {
		if t.Failed() {
			t.Logf("to repeat: SALLYPORT_SEED=%d", seed)
		}
	}()
	for i := range runs {
		seed = first + uint64(i)
		synctest.Test(t, func(t *testing.T) { property(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

// TestEachEndGetsAllThatTheOtherSent: whatever the sizes and pauses, all bytes arrive in order, and then one end of stream.
func TestEachEndGetsAllThatTheOtherSent(t *testing.T) {
	t.Parallel()
	manySeeds(t, func(t *testing.T, rng *rand.Rand) {
		r := forward(t, rng, &Server{CloseTimeout: -1}, false)
		check := func(from, to string, sent []byte, source, sink outcome) {
			if source.writeErr != nil {
				t.Errorf("%s could not write: %v", from, source.writeErr)
			}
			if !bytes.Equal(sink.got, sent) || sink.err != io.EOF {
				t.Errorf("%s got %d bytes and then %v, want the %d bytes of %s and EOF", to, len(sink.got), sink.err, len(sent), from)
			}
		}
		check("client", "target", r.clientScript.data, r.client, r.target)
		check("target", "client", r.targetScript.data, r.target, r.client)

		events := r.journal.all()
		if events[0] != "accepted" || !slices.Equal(events[len(events)-2:], []string{"opened", "closed eof"}) {
			t.Errorf("events: %q", events)
		}
		count := fmt.Sprintf("bytes_in=%d bytes_out=%d ", len(r.clientScript.data), len(r.targetScript.data))
		if !strings.Contains(r.log.String(), count) {
			t.Errorf("the log does not say %q:\n%s", count, r.log)
		}
	})
}

// TestHostileEndsGetNothingFalse: ends that reset, never read or never leave. What arrives is always a true prefix, an end of
// stream is never seen from one that resets, nor before all that it sent, and nothing outlives the time-outs (the
// bubble fails when a goroutine is left).
func TestHostileEndsGetNothingFalse(t *testing.T) {
	t.Parallel()
	seconds := func(rng *rand.Rand, most int) time.Duration { return time.Duration(1+rng.IntN(most)) * time.Second }
	manySeeds(t, func(t *testing.T, rng *rand.Rand) {
		server := &Server{
			HandshakeTimeout: seconds(rng, 10),
			DialTimeout:      seconds(rng, 10),
			CloseTimeout:     seconds(rng, 100) - time.Second,
			MaxLifetime:      seconds(rng, 200),
		}
		if rng.IntN(2) == 0 {
			server.IdleTimeout = seconds(rng, 60)
		}
		r := forward(t, rng, server, true)

		check := func(to string, sent *script, sink outcome) {
			if !bytes.HasPrefix(sent.data, sink.got) {
				t.Errorf("the %s got %d bytes that are no prefix of the %d sent", to, len(sink.got), len(sent.data))
			}
			if sink.err == io.EOF && (sent.end == endReset || len(sink.got) != len(sent.data)) {
				t.Errorf("the %s saw an end of stream after %d of %d bytes; ending %d", to, len(sink.got), len(sent.data), sent.end)
			}
		}
		check("target", r.clientScript, r.target)
		check("client", r.targetScript, r.client)

		events := r.journal.all()
		limit := server.MaxLifetime + server.HandshakeTimeout + server.DialTimeout
		for _, lifetime := range r.journal.lifetimes() {
			if lifetime > limit {
				t.Errorf("a connection lived %v, longer than %v", lifetime, limit)
			}
		}
		if strings.Count(strings.Join(events, "\n"), "closed ") != 1 {
			t.Errorf("events: %q", events)
		}
	})
}
