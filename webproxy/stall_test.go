package webproxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// client2 speaks HTTP/2 frame by frame, and gives answers no room unless it says so.
type client2 struct {
	*http2.Framer
	net.Conn
}

func (r *rig) dial2() client2 {
	c := r.dial(nil)
	_, _ = io.WriteString(c, http2.ClientPreface)
	client := client2{http2.NewFramer(c, c), c}
	_ = client.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	return client
}

func (c client2) ask(stream uint32, contentType string) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}, {"content-type", contentType}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}

// until reads frames until so many streams have ended, and returns which was reset last, if any was, and when.
func (c client2) until(ends int) (reset uint32, at time.Time) {
	for ends > 0 {
		frame, err := c.ReadFrame()
		if err != nil {
			return reset, at
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			ends--
			reset, at = frame.StreamID, time.Now()
		case *http2.DataFrame:
			if frame.StreamEnded() {
				ends--
			}
		}
	}
	return reset, at
}

// An answer of which the client of HTTP/2 takes no more ends, and its connection does not.
func TestStreamsWithoutRoomEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Proxy{ReadTimeout: time.Minute}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 100<<10))
		})
		c := r.dial2()
		defer closeAll(c)
		c.ask(1, "text/plain")
		began := time.Now()
		reset, at := c.until(1)
		if after := at.Sub(began); reset != 1 || after < time.Minute || after > 2*time.Minute {
			t.Errorf("stream %d was reset after %v", reset, after)
		}
		synctest.Wait() // until the first is told of
		c.ask(3, "text/plain")
		_ = c.WriteWindowUpdate(3, 1<<20)
		_ = c.WriteWindowUpdate(0, 1<<20)
		if reset, _ := c.until(1); reset != 0 {
			t.Errorf("stream %d, which has room, was reset", reset)
		}
		synctest.Wait()
		if told := r.observed(); len(told) != 2 || told[0].Reason != reasonClientStalled || told[1].Reason != "" || told[1].BytesOut != 100<<10 {
			t.Errorf("told of %+v", told)
		}
	})
}

// Where others use the connection, an answer may have to wait for them; a stream of gRPC may wait in any case.
func TestStreamsThatMayWaitDoNotEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, contentType string
		others            bool
	}{{"beside others", "text/plain", true}, {"of gRPC", "application/grpc", false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &Proxy{ReadTimeout: time.Minute}, func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write(make([]byte, 100<<10))
				})
				c := r.dial2()
				c.ask(1, test.contentType)
				_ = c.WriteWindowUpdate(0, 1<<30)
				for stream := uint32(3); stream < 63; stream += 2 {
					time.Sleep(45 * time.Second)
					if !test.others {
						continue
					}
					c.ask(stream, "text/plain")
					_ = c.WriteWindowUpdate(stream, 1<<20)
					if reset, _ := c.until(1); reset != 0 {
						t.Fatalf("stream %d was reset", reset)
					}
				}
				_ = c.WriteWindowUpdate(1, 1<<20)
				if reset, _ := c.until(1); reset != 0 {
					t.Errorf("stream %d was reset", reset)
				}
				closeAll(c)
				synctest.Wait()
				for _, told := range r.observed() {
					if told.Reason != "" || told.BytesOut != 100<<10 {
						t.Errorf("told of %+v", told)
					}
				}
			})
		})
	}
}

func closeAll(all ...io.Closer) {
	for _, c := range all {
		_ = c.Close()
	}
}
