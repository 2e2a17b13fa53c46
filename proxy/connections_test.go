package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wantConnections compares the connections in hand, but for the addresses, which are the same for all in memory.
func wantConnections(t *testing.T, r *rig, want ...Connection) {
	t.Helper()
	got := r.Connections()
	for i := range got {
		if got[i].Remote == "" {
			t.Errorf("connection %d comes from nowhere", got[i].ID)
		}
		got[i].Remote, got[i].Target = "", ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConnectionsTellHowFarEachHasCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		config := certs.serverConfig()
		config.NextProtos = []string{"h2"}
		proceed := make(chan struct{})
		s := &Server{TLS: config, Identify: commonName, CloseTimeout: time.Minute}
		r := start(t, s, nil)
		dial := r.back.Dial
		s.Dial = func(ctx context.Context) (net.Conn, error) { // before anybody connects
			<-proceed
			return dial(ctx)
		}
		since := time.Now()
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantConnections(t, r, Connection{ID: 1, State: StateHandshake, Since: since})

		clientConfig := certs.clientConfig()
		clientConfig.NextProtos = []string{"h2"}
		client := tls.Client(newWire(socket, new(buffers)), clientConfig)
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		met := Connection{
			ID: 1, Identity: "client", ServerName: "localhost", ALPN: "h2", TLSVersion: "TLS 1.3", State: StateDial, Since: since,
		}
		wantConnections(t, r, met)

		time.Sleep(time.Second)
		second, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		close(proceed)
		target := r.accept(t)
		if _, err := io.WriteString(client, "three"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(target, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		met.State, met.BytesIn = StateOpen, 5
		other := Connection{ID: 2, State: StateHandshake, Since: since.Add(time.Second)}
		wantConnections(t, r, met, other)
		if got := r.Connections()[0].Target; got == "" {
			t.Error("an open connection has no target")
		}

		if _, err := io.WriteString(target, "two"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if err := target.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		met.State, met.BytesOut = StateHalfClosed, 3
		wantConnections(t, r, met, other)

		closeAll(client, socket, target, second)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantConnections(t, r, []Connection{}...)
		if in, out := r.Bytes(); in != 5 || out != 3 {
			t.Errorf("%d bytes in and %d out, want 5 and 3", in, out)
		}
		if !r.Draining() {
			t.Error("shut down, and not draining")
		}
	})
}

// The count of bytes is a counter, also while connections end.
func TestBytesNeverGoDown(t *testing.T) {
	t.Parallel()
	r := start(t, &Server{CloseTimeout: time.Minute}, nil)
	enough := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		in, out := int64(0), int64(0)
		for {
			nextIn, nextOut := r.Bytes()
			if nextIn < in || nextOut < out {
				t.Errorf("%d, %d after %d, %d", nextIn, nextOut, in, out)
				return
			}
			in, out = nextIn, nextOut
			select {
			case <-enough:
				return
			default:
			}
		}
	})
	const rounds = 200
	for range rounds {
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target := r.accept(t)
		if _, err := io.WriteString(client, "there"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(target, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		closeAll(client, target)
	}
	if err := r.stop(t, time.Minute); err != nil {
		t.Error(err)
	}
	close(enough)
	reader.Wait()
	if in, out := r.Bytes(); in != 5*rounds || out != 0 {
		t.Errorf("%d and %d bytes, want %d and none", in, out, 5*rounds)
	}
}
