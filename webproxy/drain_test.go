package webproxy

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// TestADrainLosesNoRequest has HTTP/1.1 clients that have a request in hand, that are about to send one, and that send none.
func TestADrainLosesNoRequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		asks         time.Duration // after the drain began; less than 0: never
		closed       time.Duration
		answersAtEnd int
	}{
		{"a client that asks at once", 0, 0, 1},
		{"one that asks late", quiet - time.Second, quiet - time.Second, 1},
		{"one that does not ask", -1, quiet, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &Proxy{}, func(http.ResponseWriter, *http.Request) {})
				c := r.dial(nil)
				in := bufio.NewReader(c)
				ask := func() *http.Response {
					_, _ = io.WriteString(c, get)
					response, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					return response
				}
				if response := ask(); response.Close {
					t.Error("the connection is to be closed before the drain")
				}
				r.drain()
				began := time.Now()
				if test.asks >= 0 {
					time.Sleep(test.asks)
					if response := ask(); response.StatusCode != http.StatusOK || !response.Close {
						t.Errorf("%s, to be closed: %v", response.Status, response.Close)
					}
				}
				if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
					t.Errorf("%q, %v", rest, err)
				}
				if took := time.Since(began); took != test.closed {
					t.Errorf("closed after %v, want %v", took, test.closed)
				}
				_ = c.Close()
				r.clients.Wait()
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestADrainWaitsForAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Proxy{}, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(w, "late")
		})
		c := r.dial(nil)
		_, _ = io.WriteString(c, get)
		synctest.Wait()
		r.drain()
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || !response.Close {
			t.Fatal(response, err)
		}
		if body, err := io.ReadAll(response.Body); string(body) != "late" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		_ = c.Close()
		r.clients.Wait()
	})
}

// TestADrainSendsGoAway has an HTTP/2 client with a request in hand, and one without.
func TestADrainSendsGoAway(t *testing.T) {
	t.Parallel()
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			r := start(t, &Proxy{}, func(w http.ResponseWriter, _ *http.Request) { <-release })
			c := r.dial(nil)
			_, _ = io.WriteString(c, http2.ClientPreface)
			framer := http2.NewFramer(c, c)
			_ = framer.WriteSettings()
			if busy {
				_ = framer.WriteHeaders(http2.HeadersFrameParam{
					StreamID: 1, EndStream: true, EndHeaders: true,
					BlockFragment: []byte{0x82, 0x86, 0x84, 0x41, 0x01, 'a'}, // GET http / with :authority a (RFC 7541, appendix A)
				})
			}
			synctest.Wait()
			r.drain()
			var last uint32
			answered := false
			for goneAway := false; !goneAway || busy && !answered; {
				frame, err := framer.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				switch frame := frame.(type) {
				case *http2.GoAwayFrame:
					if frame.ErrCode != http2.ErrCodeNo {
						t.Error(frame)
					}
					last, goneAway = frame.LastStreamID, true
					close(release)
				case *http2.HeadersFrame:
					answered = true
				}
			}
			if busy && last != 1 {
				t.Errorf("the last stream is %d", last)
			}
			for { // until the connection ends
				if _, err := framer.ReadFrame(); err != nil {
					break
				}
			}
			_ = c.Close()
			r.clients.Wait()
			time.Sleep(time.Minute)
		})
	}
}

// TestADrainDoesNotWaitForWhoSaysNothing has a client that connected without TLS, so that what it speaks is not known yet.
func TestADrainDoesNotWaitForWhoSaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Proxy{}, func(http.ResponseWriter, *http.Request) {})
		c := r.dial(nil)
		synctest.Wait()
		began := time.Now()
		r.drain()
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		if took := time.Since(began); took != quiet {
			t.Errorf("closed after %v, want %v", took, quiet)
		}
		_ = c.Close()
	})
}

// TestHTTP2IsServedWhereADrainHasBegun has a client that was let in at the very moment when the drain begins.
func TestHTTP2IsServedWhereADrainHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Proxy{}, func(http.ResponseWriter, *http.Request) {})
		r.drain()
		response, err := r.client(true).Get("http://a/")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Error(response.Status)
		}
		r.clients.Wait() // GOAWAY has the client close the connection
	})
}
