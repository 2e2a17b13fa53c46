package webproxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzRequests has a client send anything. What the target gets is requests, one behind the other, that can be read in one way
// alone, and says of the client what we know of it.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\n\r\n1;x=y\r\na\r\n0\r\nX-Forwarded-For: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\nX: a\n b\nX_Forwarded_For: c\nConnection: X-Request-Id, Upgrade\nUpgrade: h2c\n\n",
		"GET http://b/ HTTP/1.0\r\nExpect: 100-continue\r\nX-Request-Id: a b\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
		preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01a\x40\x01x\x01\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		synctest.Test(t, func(t *testing.T) { fuzzRequests(t, sent) })
	})
}

func fuzzRequests(t *testing.T, sent []byte) {
	var mu sync.Mutex
	var got [][]byte
	r := startRaw(t, &Proxy{HeaderTimeout: time.Second, ReadTimeout: time.Second, IdleTimeout: time.Second}, func(c net.Conn) {
		log := new(bytes.Buffer)
		in := bufio.NewReader(io.TeeReader(c, log))
		for {
			request, err := http.ReadRequest(in)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				break
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		_ = c.Close()
		mu.Lock()
		defer mu.Unlock()
		got = append(got, log.Bytes())
	})
	c := r.dial(nil)
	go func() { _, _ = c.Write(sent) }()
	_, _ = io.Copy(io.Discard, c) // until the time is up, or it is refused
	_ = c.Close()
	r.stop()
	time.Sleep(time.Hour) // connections to the target are not kept longer
	mu.Lock()
	defer mu.Unlock()
	for _, log := range got {
		checkLog(t, log)
	}
}

// checkLog wants requests that have one reading. The last one may be broken off.
func checkLog(t *testing.T, log []byte) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(log))
	for {
		head, err := readHead(in)
		if err != nil {
			return
		}
		if strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\n") || strings.ContainsAny(head, "\x00") || strings.Contains(head, "\r\n ") || strings.Contains(head, "\r\n\t") {
			t.Fatalf("the target got %q", head)
		}
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			t.Fatalf("%v in %q", err, head)
		}
		names := strings.ToLower(head)
		if strings.Count(names, "\r\nhost:") != 1 || strings.Count(names, "\r\ncontent-length:")+strings.Count(names, "\r\ntransfer-encoding:") > 1 {
			t.Fatalf("the target got %q", head)
		}
		for name, values := range request.Header {
			if isOurs(name) && (len(values) != 1 || name != "X-Forwarded-Host" && values[0] != "192.0.2.7" && values[0] != "http") {
				t.Fatalf("the target got %q", head)
			}
		}
		if ids := request.Header[requestID]; len(ids) != 1 || !isSane(ids[0]) {
			t.Fatalf("the target got %q", head)
		}
		whole, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), in)))
		if err != nil {
			t.Fatalf("%v in %q", err, head)
		}
		if whole.ContentLength == 0 {
			continue
		}
		return // what a reader of bytes has read too far is not ours to look for
	}
}

// readHead reads to the end of a request's header.
func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		c, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		head.WriteByte(c)
	}
	return head.String(), nil
}
