package webproxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestRequestsArriveAsTheyWereMeant(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		for _, toHTTP2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("HTTP/2 %v, to the target %v", http2, toHTTP2), func(t *testing.T) {
				t.Parallel()
				r := start(t, &Proxy{TargetH2C: toHTTP2}, func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					w.Header().Set("Seen", fmt.Sprintf("%s %s %s %s %v %v", r.Method, r.Host, r.RequestURI, r.Proto, r.Trailer, err))
					w.Header().Set("Trailer", "Announced")
					w.WriteHeader(http.StatusTeapot)
					_, _ = w.Write(body)
					w.Header().Set("Announced", "a")
					w.Header().Set(http.TrailerPrefix+"Unannounced", "u")
				})
				sent := strings.Repeat("x", 1<<20)
				request, err := http.NewRequestWithContext(t.Context(), "PATCH", "http://example.com:81/a%2Fb//c?q=1;2&%zz", struct{ io.Reader }{strings.NewReader(sent)})
				if err != nil {
					t.Fatal(err)
				}
				request.Trailer = http.Header{"Sum": {"s"}}
				response, err := r.client(http2).Do(request)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || string(got) != sent || response.StatusCode != http.StatusTeapot {
					t.Errorf("status %d, %d bytes, %v", response.StatusCode, len(got), err)
				}
				protocol := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}
				if seen, want := response.Header.Get("Seen"), "PATCH example.com:81 /a%2Fb//c?q=1;2&%zz "+protocol[toHTTP2]+" map[Sum:[s]] <nil>"; seen != want {
					t.Errorf("the target saw\n\t%s\nwant\n\t%s", seen, want)
				}
				if want := (http.Header{"Announced": {"a"}, "Unannounced": {"u"}}); !maps.EqualFunc(response.Trailer, want, slices.Equal) {
					t.Errorf("trailer %v, want %v", response.Trailer, want)
				}
				r.stop()
				told := r.observed()
				if len(told) != 1 || told[0].Code != http.StatusTeapot || told[0].BytesIn != 1<<20 || told[0].BytesOut != 1<<20 || told[0].Reason != "" || told[0].Protocol != protocol[http2] ||
					told[0].Path != "/a/b//c" || told[0].Method != "PATCH" || told[0].Host != "example.com:81" || told[0].Target == nil || told[0].ID == "" {
					t.Errorf("told of %+v", told)
				}
			})
		}
	}
}

func TestWhatBelongsToOneConnectionStaysThere(t *testing.T) {
	t.Parallel()
	var seen http.Header
	r := startRaw(t, &Proxy{}, func(c net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			seen = request.Header
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: Private\r\nPrivate: p\r\nKeep-Alive: timeout=1\r\n"+
				"Proxy-Authenticate: Basic\r\nKept: k\r\nContent-Length: 0\r\n\r\n")
		}
		_ = c.Close()
	})
	response, _ := r.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Drop\r\nX-Drop: x\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n" +
		"Proxy-Authorization: Basic x\r\nTe: trailers, deflate\r\nUpgrade: h2c\r\nHttp2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nAuthorization: kept\r\n\r\n")
	for _, name := range []string{"Private", "Keep-Alive", "Proxy-Authenticate"} {
		if _, there := response.Header[name]; there {
			t.Errorf("the client got %s", name)
		}
	}
	if response.Header.Get("Kept") != "k" || response.Header.Get("Date") == "" {
		t.Errorf("answer %v", response.Header)
	}
	if _, guessed := response.Header["Content-Type"]; guessed {
		t.Errorf("a type was made up: %v", response.Header)
	}
	want := []string{"Authorization", "Te", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) || seen.Get("Te") != "trailers" {
		t.Errorf("the target got %v, want %v", seen, want)
	}
}

func TestEarlyAnswersGoOn(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.Copy(w, r.Body)
	})
	for _, http2 := range []bool{false, true} {
		var early []string
		trace := &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				early = append(early, fmt.Sprint(code, " ", header.Get("Link")))
				return nil
			},
		}
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, "http://a/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		client := r.client(http2)
		if !http2 {
			request.Header.Set("Expect", "100-continue")
			client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != "body" || response.Header.Get("Link") != "" {
			t.Errorf("HTTP/2 %v: got %q %v %v", http2, body, response.Header, err)
		}
		if want := "103 </style.css>; rel=preload"; !slices.Contains(early, want) {
			t.Errorf("HTTP/2 %v: early answers %q, want %q", http2, early, want)
		}
	}
}

// HTTP/1.0 knows no answers before the one that counts, and would take one for that (RFC 9110, section 15.2).
func TestEarlyAnswersAreNotForHTTP10(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "late")
	})
	if response, body := r.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n"); response.StatusCode != http.StatusOK || body != "late" {
		t.Errorf("%s %q", response.Status, body)
	}
}

// What a target says behind its answer goes on, whether or not it has said before what that would be.
func TestTrailersOfAnswersGoOn(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, r *http.Request) {
		name := "Sum"
		if r.URL.Path == "/announced" {
			w.Header().Set("Trailer", name)
		} else {
			name = http.TrailerPrefix + name
		}
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(name, "s")
	})
	for _, http2 := range []bool{false, true} {
		for _, path := range []string{"/announced", "/sudden"} {
			response, err := r.client(http2).Get("http://a" + path)
			if err != nil {
				t.Fatal(err)
			}
			_, announced := response.Trailer["Sum"]
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || string(body) != "body" || response.Trailer.Get("Sum") != "s" || announced != (path == "/announced") {
				t.Errorf("HTTP/2 %v, %s: %q, trailer %v, announced: %v, %v", http2, path, body, response.Trailer, announced, err)
			}
		}
	}
}

// Nothing but Dial has to be set, and any connection does.
func TestAProxyNeedsToBeToldNoMoreThanItsTarget(t *testing.T) {
	t.Parallel()
	target := agreeing(func(c net.Conn, in *bufio.Reader) { _, _ = io.Copy(c, in) })
	p := &Proxy{Dial: func(context.Context) (net.Conn, error) {
		near, far := memnet.Pipe(64 << 10)
		go target(far)
		return near, nil
	}}
	client, server := memnet.Pipe(64 << 10)
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.Handle(context.Background(), struct{ net.Conn }{server}) // which can do nothing more
	}()
	_, _ = io.WriteString(client, upgradeRequest)
	in := bufio.NewReader(client)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	_, _ = io.WriteString(client, "echo")
	got := make([]byte, len("helloecho"))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "helloecho" {
		t.Errorf("%q, %v", got, err)
	}
	p.Close()
	<-over
	_ = client.Close()
}

func TestABodyThatNobodyWantsIsNotSent(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })
	c := r.dial(nil)
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
	all, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(all), "HTTP/1.1 417 ") {
		t.Errorf("got %q", all)
	}
}

func TestAnswersWithoutABodyStayThat(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/unchanged":
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		case "/nothing":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusOK)
		}
	})
	for _, http2 := range []bool{false, true} {
		client := r.client(http2)
		for _, test := range []struct {
			method, path string
			code         int
			length       int64
		}{
			{http.MethodHead, "/", http.StatusOK, 5},
			{http.MethodGet, "/unchanged", http.StatusNotModified, 0},
			{http.MethodGet, "/nothing", http.StatusNoContent, 0},
		} {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "http://a"+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || len(body) > 0 || response.StatusCode != test.code || max(response.ContentLength, 0) != test.length {
				t.Errorf("HTTP/2 %v: %s %s: %s, length %d, %q, %v", http2, test.method, test.path, response.Status, response.ContentLength, body, err)
			}
		}
	}
}

// TestNothingIsHeldBack has both sides wait for what the other has just written.
func TestNothingIsHeldBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		header http.Header
	}{
		{"an event stream", http.Header{"Content-Type": {"text/event-stream"}}},
		{"no length", nil},
		{"a length", http.Header{"Content-Length": {"300"}}},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, " HTTP/2 ", http2), func(t *testing.T) {
				t.Parallel()
				r := start(t, &Proxy{TargetH2C: http2}, func(w http.ResponseWriter, r *http.Request) {
					maps.Copy(w.Header(), test.header)
					control := http.NewResponseController(w)
					if r.ProtoMajor == 1 {
						_ = control.EnableFullDuplex()
					}
					in := make([]byte, 3)
					for range 100 {
						if _, err := io.ReadFull(r.Body, in); err != nil {
							return
						}
						_, _ = w.Write(in)
						_ = control.Flush()
					}
				})
				body, in := io.Pipe()
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a/", body)
				if err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = in.Write([]byte("000")) }()
				response, err := r.client(http2).Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Body.Close() }()
				out := make([]byte, 3)
				for i := range 100 {
					if _, err := io.ReadFull(response.Body, out); err != nil || string(out) != fmt.Sprintf("%03d", i) {
						t.Fatalf("%d: %q, %v", i, out, err)
					}
					if i < 99 {
						_, _ = fmt.Fprintf(in, "%03d", i+1)
					}
				}
				_ = in.Close()
				if rest, err := io.ReadAll(response.Body); len(rest) > 0 || err != nil {
					t.Errorf("%q, %v", rest, err)
				}
			})
		}
	}
}

// TestWhatIsLeftOfABodyIsNoRequest has targets answer before they have read a request, of which the rest then comes, broken or
// not.
func TestWhatIsLeftOfABodyIsNoRequest(t *testing.T) {
	t.Parallel()
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, test := range []struct {
		name, head, rest string
		next             bool // another request is answered
	}{
		{"all of it", "Content-Length: 5", "hello", true},
		{"all of it in chunks", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", true},
		{"less than all of it", "Content-Length: 500", smuggled, false},
		{"no chunks", "Transfer-Encoding: chunked", "zz\r\n" + smuggled, false},
		{"more than is read on", "Content-Length: 10000000", strings.Repeat("x", 1<<20) + smuggled, false},
		{"chunks without end", "Transfer-Encoding: chunked", strings.Repeat("5\r\nhello\r\n", 100000) + smuggled, false},
	} {
		for _, reads := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, ", read by the target ", reads), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var asked []string
					r := start(t, &Proxy{ReadTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
						asked = append(asked, r.URL.Path)
						_ = http.NewResponseController(w).EnableFullDuplex()
						w.Header().Set("Content-Length", "2")
						if !reads && r.Method == http.MethodPost {
							w.Header().Set("Connection", "close")
						}
						_, _ = io.WriteString(w, "a")
						_ = http.NewResponseController(w).Flush()
						if reads {
							_, _ = io.Copy(io.Discard, r.Body)
						}
						_, _ = io.WriteString(w, "b")
					})
					c := r.dial(nil)
					in := bufio.NewReader(c)
					_, _ = fmt.Fprintf(c, "POST /first HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", test.head)
					response, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					go func() { _, _ = io.WriteString(c, test.rest+"GET /next HTTP/1.1\r\nHost: a\r\n\r\n") }()
					body, _ := io.ReadAll(response.Body) // it may break off, where the target gets no more of the request
					if test.next && string(body) != "ab" {
						t.Errorf("answered %q", body)
					}
					if next, err := http.ReadResponse(in, nil); (err == nil) != test.next || test.next && next.StatusCode != http.StatusOK {
						t.Errorf("another request was answered: %v", err)
					}
					_ = c.Close()
					r.stop()
					if slices.Contains(asked, "/smuggled") || slices.Contains(asked, "/next") != test.next {
						t.Errorf("the target was asked for %q", asked)
					}
					time.Sleep(time.Hour)
				})
			})
		}
	}
}

func TestAnEarlyRefusalIsHeard(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	response, body := r.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 10000000))
	if response.StatusCode != http.StatusForbidden || body != "no\n" {
		t.Errorf("%s %q", response.Status, body)
	}
}

func TestRequestsAreRefused(t *testing.T) {
	t.Parallel()
	reached := make(chan string, 10)
	elsewhere := func(host string) bool { return host == "b.test" || host == "::1" }
	r := start(t, &Proxy{MaxBodyBytes: 10, MaxHeaderBytes: 1 << 10, Misdirected: elsewhere}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		reached <- fmt.Sprint(r.URL, err)
	})
	var fields strings.Builder
	for i := range maxFields {
		fmt.Fprintf(&fields, "a%d: b\r\n", i)
	}
	for _, test := range []struct {
		name, text string
		code       int
		reason     string
	}{
		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", http.StatusMethodNotAllowed, reasonMethod},
		{"another host", "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", http.StatusMisdirectedRequest, reasonMisdirected},
		{"another host with a dot and a port", "GET / HTTP/1.1\r\nHost: b.test.:8443\r\n\r\n", http.StatusMisdirectedRequest, reasonMisdirected},
		{"another host in the target", "GET http://b.test:80/ HTTP/1.1\r\nHost: a\r\n\r\n", http.StatusMisdirectedRequest, reasonMisdirected},
		{"another address", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", http.StatusMisdirectedRequest, reasonMisdirected},
		{"many fields", "GET / HTTP/1.1\r\nHost: a\r\nz: z\r\n" + fields.String() + "\r\n", http.StatusRequestHeaderFieldsTooLarge, reasonHeader},
		{"a large body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890", http.StatusRequestEntityTooLarge, reasonBody},
		{"a large body of which the length is not told", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n", http.StatusRequestEntityTooLarge, reasonBody},
		{"a body that is no chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n01234567890\r\n0\r\n\r\n", http.StatusBadRequest, reasonBadBody},
	} {
		response, body := r.ask(test.text)
		id := response.Header.Get(requestID)
		if response.StatusCode != test.code || id == "" || !strings.Contains(body, id) {
			t.Errorf("%s: %d %q with id %q", test.name, response.StatusCode, body, id)
		}
		told := r.observed()
		if last := told[len(told)-1]; last.Reason != test.reason || last.Code != test.code || last.ID != id {
			t.Errorf("%s: told of %+v", test.name, last)
		}
	}
	if response, _ := r.ask("GET / HTTP/1.1\r\nHost: a\r\nz: " + strings.Repeat("z", 8<<10) + "\r\n\r\n"); response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %s", response.Status)
	}
	r.stop()
	for range len(reached) { // nobody waits for what is still with the target
		if what := <-reached; !strings.HasSuffix(what, "EOF") {
			t.Errorf("the target was asked for %s", what)
		}
	}
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	t.Parallel()
	busy, free := make(chan struct{}), make(chan struct{})
	r := start(t, &Proxy{MaxRequests: 1}, func(http.ResponseWriter, *http.Request) {
		busy <- struct{}{}
		<-free
	})
	done := make(chan int)
	get := func() int {
		response, err := r.client(false).Get("http://a/")
		if err != nil {
			t.Error(err)
			return 0
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "1" {
			t.Errorf("header %v", response.Header)
		}
		return response.StatusCode
	}
	go func() { done <- get() }()
	<-busy
	if code := get(); code != http.StatusServiceUnavailable {
		t.Errorf("the second got %d", code)
	}
	free <- struct{}{}
	if code := <-done; code != http.StatusOK {
		t.Errorf("the first got %d", code)
	}
	go func() { <-busy; free <- struct{}{} }()
	if code := get(); code != http.StatusOK {
		t.Errorf("the third got %d", code)
	}
}

// namedError is what a dial function may fail with.
type namedError struct{ reason string }

func (e namedError) Error() string { return "secret address" }

func (e namedError) Reason() string { return e.reason }

func TestTargetsThatFail(t *testing.T) {
	t.Parallel()
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c); _ = c.Close() }
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}
	for _, test := range []struct {
		name   string
		dial   error
		target func(net.Conn)
		code   int
		reason string
	}{
		{"one that refuses", namedError{"connection_refused"}, nil, http.StatusBadGateway, "connection_refused"},
		{"one that is not reached in time", namedError{"timeout"}, nil, http.StatusGatewayTimeout, "timeout"},
		{"a dial that gives up", context.DeadlineExceeded, nil, http.StatusGatewayTimeout, reasonNoAnswer},
		{"one that says nothing", nil, silent, http.StatusGatewayTimeout, reasonNoAnswer},
		{"one that closes", nil, says(""), http.StatusBadGateway, reasonBadAnswer},
		{"one that speaks another protocol", nil, says("220 smtp ready\r\n"), http.StatusBadGateway, reasonBadAnswer},
		{"one with two lengths", nil, says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), http.StatusBadGateway, reasonBadAnswer},
		{"one with a huge header", nil, says("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 2<<20) + "\r\n\r\n"), http.StatusBadGateway, reasonBadAnswer},
		{"one that switches when nobody asked", nil, says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), http.StatusBadGateway, reasonUpgrade},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &Proxy{ResponseTimeout: time.Minute}
				if test.dial != nil {
					p.Dial = func(context.Context) (net.Conn, error) { return nil, test.dial }
				}
				r := startRaw(t, p, test.target)
				response, body := r.ask("POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nContent-Length: 2\r\n\r\nab")
				if response.StatusCode != test.code || response.Header.Get(requestID) != "mine" || !strings.Contains(body, "request mine") || strings.Contains(body, "secret") {
					t.Errorf("got %d %v %q", response.StatusCode, response.Header, body)
				}
				if told := r.observed(); len(told) != 1 || told[0].Reason != test.reason || told[0].Code != test.code || told[0].Err == nil {
					t.Errorf("told of %+v", told)
				}
				r.stop()
				time.Sleep(time.Second) // Go's server waits before it closes
			})
		})
	}
}

func TestATargetThatTakesNoMoreEndsTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stay := make(chan struct{})
		r := startRaw(t, &Proxy{ResponseTimeout: time.Minute}, func(c net.Conn) { <-stay; _ = c.Close() })
		c := r.dial(nil)
		began := time.Now()
		go func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
			_, _ = c.Write(make([]byte, 10000000))
		}()
		head := make([]byte, len("HTTP/1.1 504"))
		if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 504" {
			t.Errorf("%q, %v", head, err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("after %v", took)
		}
		_ = c.Close()
		close(stay)
		r.stop()
		time.Sleep(time.Second) // Go's server waits before it closes
		if told := r.observed(); len(told) != 1 || told[0].Reason != reasonStalled {
			t.Errorf("told of %+v", told)
		}
	})
}

func TestClientsThatAreSlow(t *testing.T) {
	t.Parallel()
	p := func() *Proxy {
		return &Proxy{MaxBodyBytes: 100, HeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, IdleTimeout: 30 * time.Second}
	}
	for _, test := range []struct {
		name, text, want string
		after            time.Duration
	}{
		{"nothing", "", "", 10 * time.Second},
		{"half a header", "GET / HTTP/1.1\r\nHost", "", 10 * time.Second},
		{"half a preface", "PRI * HT", "", 10 * time.Second},
		{"half a body that is refused", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\nabc", "HTTP/1.1 413 ", quiet},
		{"half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 ", 20 * time.Second},
		{"half a body that calls itself gRPC", "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 ", 20 * time.Second},
		{"no second request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 ", 30 * time.Second},
		{"half a second request", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /", "HTTP/1.1 200 ", 10 * time.Second},
		{"a second request behind a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 ", 30 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, p(), func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
				c := r.dial(nil)
				began := time.Now()
				_, _ = io.WriteString(c, test.text)
				all, _ := io.ReadAll(c)
				if !strings.HasPrefix(string(all), test.want) {
					t.Errorf("got %q", all)
				}
				if took := time.Since(began).Truncate(time.Second); took != test.after {
					t.Errorf("closed after %v, want %v", took, test.after)
				}
				_ = c.Close()
			})
		})
	}
}

func TestStreamsOfGRPCMayBeSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Proxy{ReadTimeout: time.Second, ResponseTimeout: time.Second, TargetH2C: true}, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(w, r.Body)
		})
		body, in := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a/", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/grpc+proto")
		client := r.client(true)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		_, _ = in.Write([]byte("late"))
		_ = in.Close()
		if got, err := io.ReadAll(response.Body); string(got) != "late" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		client.CloseIdleConnections()
		r.stop()
	})
}

// TestAnAnswerThatBreaksOffIsNotTakenForComplete is about what a client can know: of HTTP/1.0, where the end of the connection
// is the end of the answer, only whether that is an orderly one.
func TestAnAnswerThatBreaksOffIsNotTakenForComplete(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"} {
		for _, protocol := range []string{"1.0", "1.1"} {
			t.Run(head+protocol, func(t *testing.T) {
				t.Parallel()
				r := startRaw(t, &Proxy{}, func(c net.Conn) {
					_, _ = c.Read(make([]byte, 1<<10))
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n5\r\nhello")
					_ = c.Close()
				})
				c := r.dial(nil)
				defer func() { _ = c.Close() }()
				_, _ = fmt.Fprintf(c, "GET / HTTP/%s\r\nHost: a\r\n\r\n", protocol)
				got, err := io.ReadAll(c)
				if err == nil {
					t.Errorf("an orderly end after %q", got)
				}
				r.stop()
				if told := r.observed(); len(told) != 1 || told[0].Reason != reasonBroken || told[0].Code != http.StatusOK {
					t.Errorf("told of %+v", told)
				}
			})
		}
	}
}

func TestAClientThatGoesAwayEndsItsRequest(t *testing.T) {
	t.Parallel()
	asked, ended := make(chan struct{}), make(chan error, 1)
	r := start(t, &Proxy{}, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	c := r.dial(nil)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-asked
	_ = c.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.stop()
	if told := r.observed(); len(told) != 1 || told[0].Code != statusClientGone || told[0].Reason != reasonClientGone {
		t.Errorf("told of %+v", told)
	}
}

func TestConnectionsToTheTargetAreShared(t *testing.T) {
	t.Parallel()
	dials := 0
	var r *rig
	p := &Proxy{}
	p.Dial = func(ctx context.Context) (net.Conn, error) { dials++; return r.target.Dial(ctx) }
	r = start(t, p, func(http.ResponseWriter, *http.Request) {})
	get := func() {
		response, err := r.client(false).Get("http://a/")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	for range 5 {
		get()
	}
	if dials != 1 {
		t.Errorf("%d connections for requests of 5 clients, one after the other", dials)
	}
	r.Refresh()
	get()
	if dials != 2 {
		t.Errorf("%d connections after a reload", dials)
	}
}

func TestAFaultOfTheProgramIsLogged(t *testing.T) {
	t.Parallel()
	log := new(bytes.Buffer)
	p := &Proxy{Log: slog.New(slog.NewTextHandler(log, nil))}
	p.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("no") }
	r := startRaw(t, p, nil)
	p.Misdirected = func(string) bool { panic("a bug") }
	c := r.dial(nil)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	r.stop()
	if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "a bug") {
		t.Errorf("logged %q", got)
	}
}

func TestIDsOfRequests(t *testing.T) {
	t.Parallel()
	var seen []string
	r := start(t, &Proxy{}, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header[requestID] })
	for _, test := range []struct {
		header string
		kept   bool
	}{
		{"X-Request-Id: 7b5d1a1e-9d3f-4a64-8d2b-0d6f6f7a1c11\r\n", true},
		{"x-request-id: " + strings.Repeat("a", maxID) + "\r\n", true},
		{"", false},
		{"X-Request-Id:\r\n", false},
		{"X-Request-Id: a b\r\n", false},
		{"X-Request-Id: a\"b\r\n", false},
		{"X-Request-Id: ${jndi:x}\r\n", false},
		{"X-Request-Id: \xff\r\n", false},
		{"X-Request-Id: " + strings.Repeat("a", maxID+1) + "\r\n", false},
		{"X-Request-Id: a\r\nX-Request-Id: b\r\n", false},
	} {
		response, _ := r.ask("GET / HTTP/1.1\r\nHost: a\r\n" + test.header + "\r\n")
		id := response.Header.Get(requestID)
		if !isSane(id) || !slices.Equal(seen, []string{id}) {
			t.Errorf("%q: the client was told %q, the target %q", test.header, id, seen)
		}
		if kept := strings.Contains(test.header, " "+id+"\r\n"); kept != test.kept {
			t.Errorf("%q: became %q", test.header, id)
		}
	}
}

// TestTrailersSayNothingButWhatWasAnnounced has a client try to tell in the trailer of a request what only its header can.
func TestTrailersSayNothingButWhatWasAnnounced(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	r := startRaw(t, &Proxy{}, func(c net.Conn) {
		defer func() { _ = c.Close() }()
		var log bytes.Buffer
		if request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &log))); err == nil {
			_, _ = io.Copy(io.Discard, request.Body)
		}
		got <- log.String()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	response, _ := r.ask("POST / HTTP/1.1\r\nHost: a\r\nTrailer: Sum, Host, Authorization, X-Request-Id, X-Forwarded-For\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSum: s\r\n" +
		"Host: b\r\nContent-Length: 7\r\nTransfer-Encoding: gzip\r\nConnection: close\r\nAuthorization: x\r\nX-Request-Id: forged\r\nX-Forwarded-For: forged\r\nMore: m\r\n\r\n")
	if response.StatusCode != http.StatusOK {
		t.Error(response.Status)
	}
	log := <-got
	if _, trailer, _ := strings.Cut(log, "\r\n\r\n0\r\n"); trailer != "Sum: s\r\n\r\n" || !strings.Contains(log, "\r\nTrailer: Sum\r\n") {
		t.Errorf("the target got %q", log)
	}
}

// TestAStatusThatIsNone has targets answer with what no client could be sent.
func TestAStatusThatIsNone(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"000", "042", "099"} {
		r := startRaw(t, &Proxy{}, func(c net.Conn) {
			defer func() { _ = c.Close() }()
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 "+status+" No\r\nContent-Length: 0\r\n\r\n")
		})
		response, _ := r.ask(get)
		r.stop()
		if told := r.observed(); response.StatusCode != http.StatusBadGateway || len(told) != 1 || told[0].Reason != reasonBadAnswer {
			t.Errorf("%s: answered %s, told of %+v", status, response.Status, told)
		}
	}
}

// TestNobodySwitchesProtocolsInHTTP2 has a target say so in HTTP/2, where it means nothing, before it answers.
func TestNobodySwitchesProtocolsInHTTP2(t *testing.T) {
	t.Parallel()
	r := startRaw(t, &Proxy{TargetH2C: true}, func(c net.Conn) {
		defer func() { _ = c.Close() }()
		_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		framer := http2.NewFramer(c, c)
		_ = framer.WriteSettings()
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			if asked, ok := frame.(*http2.HeadersFrame); ok {
				for _, status := range []string{"101", "200"} {
					var block bytes.Buffer
					_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
					_ = framer.WriteHeaders(http2.HeadersFrameParam{
						StreamID: asked.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: status == "200",
					})
				}
			}
		}
	})
	if response, _ := r.ask(get); response.StatusCode != http.StatusOK {
		t.Error(response.Status)
	}
}

// TestHostsAndMethodsThatAreNone come where Go's server does not look at them: a host in a URL, and HTTP/2.
func TestHostsAndMethodsThatAreNone(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	r := start(t, &Proxy{Misdirected: func(host string) bool { return host == "xn--bcher-kva.example" }}, func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.Host
	})
	if response, _ := r.ask("GET http://bücher.example/ HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("a host beyond ASCII in a URL: %s", response.Status)
	}
	for _, rest := range []string{"Host: a\r\n\r\n", "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
		if response, _ := r.ask("PRI * HTTP/2.0\r\n" + rest); response.StatusCode != http.StatusBadRequest {
			t.Errorf("HTTP/2 within HTTP/1.1, %q: %s", rest, response.Status)
		}
	}
	for _, test := range []struct{ method, host string }{{"GET", "a b"}, {"GET /", "a"}} {
		c := r.dial(nil)
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, f := range []hpack.HeaderField{
			{Name: ":method", Value: test.method}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: test.host},
		} {
			_ = encoder.WriteField(f)
		}
		go func() {
			_, _ = io.WriteString(c, http2.ClientPreface)
			framer := http2.NewFramer(c, nil)
			_ = framer.WriteSettings()
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
		}()
		framer := http2.NewFramer(io.Discard, c)
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatalf("%+v: %v", test, err)
			}
			if answer, ok := frame.(*http2.MetaHeadersFrame); ok {
				if status := answer.PseudoValue("status"); status != "400" {
					t.Errorf("%+v: %s", test, status)
				}
				break
			}
			if reset, ok := frame.(*http2.RSTStreamFrame); ok {
				t.Logf("%+v: %v", test, reset)
				break
			}
		}
		_ = c.Close()
	}
	select {
	case host := <-asked:
		t.Errorf("the target was asked for %q", host)
	default:
	}
}

// TestAResetDuringAnEarlyAnswer has a client reset its stream while the header of that answer is on its way to it.
func TestAResetDuringAnEarlyAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startRaw(t, &Proxy{}, func(c net.Conn) {
			defer func() { _ = c.Close() }()
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 200<<10)+"\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		})
		c := r.dial(nil)
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "a"}} {
			_ = encoder.WriteField(f)
		}
		_, _ = io.WriteString(c, http2.ClientPreface)
		framer := http2.NewFramer(c, nil)
		_ = framer.WriteSettings()
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
		synctest.Wait() // it does not fit into what the client has not read
		_ = framer.WriteRSTStream(1, http2.ErrCodeCancel)
		synctest.Wait()
		if told := r.observed(); len(told) != 1 || told[0].Code != statusClientGone || told[0].Reason != reasonClientGone {
			t.Errorf("told of %+v", told)
		}
		_ = c.Close()
	})
}

// TestAClientThatGoesAwayDuringAnAnswerIsNotTheTargetsFault, whether it is a read or a write that finds it out.
func TestAClientThatGoesAwayDuringAnAnswerIsNotTheTargetsFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		size int // of the answer, of which nothing more comes
	}{{"the target is silent", 10}, {"the client has not taken all", 1 << 20}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startRaw(t, &Proxy{}, func(c net.Conn) {
					defer func() { _ = c.Close() }()
					in := bufio.NewReader(c)
					_, _ = http.ReadRequest(in)
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
					_, _ = c.Write(make([]byte, test.size))
					_, _ = io.Copy(io.Discard, in)
				})
				c := r.dial(nil)
				_, _ = io.WriteString(c, get)
				if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				c.(*memnet.Conn).Reset()
				synctest.Wait()
				r.stop()
				if told := r.observed(); len(told) != 1 || told[0].Code != http.StatusOK || told[0].Reason != reasonClientGone {
					t.Errorf("told of %+v", told)
				}
				if cuts := r.cutOffs(); len(cuts) != 1 || cuts[0] != "drop" {
					t.Errorf("the client was cut off by %q", cuts)
				}
			})
		})
	}
}

// TestAClientThatGoesAwayIsMissed has one wait for leave to send its body, which the target does not want; nor does that come to
// the end of its answer.
func TestAClientThatGoesAwayIsMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		r := startRaw(t, &Proxy{}, func(c net.Conn) {
			defer func() { _ = c.Close() }()
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf")
			_, _ = io.Copy(io.Discard, c)
			close(gone)
		})
		c := r.dial(nil)
		_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		if response, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || response.StatusCode != http.StatusForbidden || !response.Close {
			t.Errorf("%v, %v", response, err)
		}
		_ = c.Close()
		<-gone
		r.stop()
		if told := r.observed(); len(told) != 1 || told[0].Code != http.StatusForbidden || told[0].Reason != reasonClientGone {
			t.Errorf("told of %+v", told)
		}
	})
}
