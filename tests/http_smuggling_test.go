package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A rawLog is a target of HTTP/1.1 that keeps every byte of what it is sent, and
// answers 200 to whatever it takes for a request. It wants a connection for each, so
// that what belongs to one request is what came on one connection.
type rawLog struct {
	address string

	mu   sync.Mutex
	open int
	logs []*bytes.Buffer // of the connections
}

func keepLog(t *testing.T) *rawLog {
	t.Helper()
	l := new(rawLog)
	l.address = serve(t, "tcp", func(c net.Conn) {
		log := new(bytes.Buffer)
		l.mu.Lock()
		l.open++
		l.logs = append(l.logs, log)
		l.mu.Unlock()
		request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, log)))
		if err == nil {
			if _, err = io.Copy(io.Discard, request.Body); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			}
		}
		_, _ = io.Copy(log, c)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
	}).address
	return l
}

// take returns what came since on connections, when they are closed.
func (l *rawLog) take(t *testing.T) []string {
	t.Helper()
	eventually(t, "the connections to the target are closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.open == 0
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	var logs []string
	for _, log := range l.logs {
		logs = append(logs, log.String())
	}
	l.logs = nil
	return logs
}

// requestLine reads the log of a connection as strictly as one can: whatever another
// reader could take in another way is an error. It returns the first line of the one
// request, and whether all of it is there.
func requestLine(log string) (line string, whole bool, _ error) {
	head, body, ok := strings.Cut(log, "\r\n\r\n")
	if !ok {
		return "", false, nil
	}
	if strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n\x00") {
		return "", false, errors.New("a control character")
	}
	fields := strings.Split(head, "\r\n")
	line = fields[0]
	if !regexp.MustCompile(`^[A-Z]+ [!-~]+ HTTP/1\.1$`).MatchString(line) {
		return line, false, errors.New("no request")
	}
	values := map[string][]string{}
	for _, field := range fields[1:] {
		match := regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+): (\\S?|\\S.*\\S)$").FindStringSubmatch(field)
		if match == nil {
			return line, false, fmt.Errorf("no field: %q", field)
		}
		name := strings.ToLower(match[1])
		values[name] = append(values[name], match[2])
	}
	length, chunked := values["content-length"], values["transfer-encoding"]
	switch {
	case len(values["host"]) != 1, len(length)+len(chunked) > 1, len(chunked) == 1 && chunked[0] != "chunked":
		return line, false, errors.New("it has two readings")
	case len(length) == 1:
		n, err := strconv.Atoi(length[0])
		if err != nil || n < len(body) || strconv.Itoa(n) != length[0] {
			return line, false, errors.New("the length is wrong")
		}
		return line, n == len(body), nil
	case len(chunked) == 0 && body != "":
		return line, false, errors.New("something follows")
	case len(chunked) == 0:
		return line, true, nil
	}
	for {
		size, rest, ok := strings.Cut(body, "\r\n")
		if !ok {
			return line, false, nil
		}
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || int(n)+2 <= len(rest) && rest[n:n+2] != "\r\n" {
			return line, false, errors.New("no chunk")
		}
		if int(n)+2 > len(rest) {
			return line, false, nil
		}
		body = rest[n+2:]
		if n == 0 && body != "" {
			return line, false, errors.New("something follows")
		}
		if n == 0 {
			return line, true, nil
		}
	}
}

// asked are the requests that the target was asked for as a whole. It fails the test
// if what came could be read in another way.
func (l *rawLog) asked(t *testing.T, sent string) []string {
	t.Helper()
	var asked []string
	for _, log := range l.take(t) {
		line, whole, err := requestLine(log)
		if err != nil {
			t.Errorf("%s: the target got %q: %v", sent, log, err)
		}
		if whole {
			asked = append(asked, strings.TrimSuffix(line, " HTTP/1.1"))
		}
	}
	return asked
}

// TestRequestsHaveOneMeaning sends what two readers can take in two ways. It is
// refused, or the target gets it in a form that has one meaning: its log proves that.
func TestRequestsHaveOneMeaning(t *testing.T) {
	t.Parallel()
	target := keepLog(t)
	address := reserve(t)
	start(t, "server", "--protocol", "http", "--disable-tls", "--listen", address, "--target", target.address, "--status", "http://"+reserve(t))

	const host = "Host: a\r\n"
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	const last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	// What the target is asked for, if a request is normalised; both, where it is
	// followed by one that is meant as one.
	first, two := []string{"GET /first"}, []string{"GET /first", "GET /last"}
	post := []string{"POST /first", "GET /last"}
	for _, test := range []struct {
		name, text string
		answers    string   // the status codes
		asked      []string // of the target
	}{
		{"what means one thing", "GET /first HTTP/1.1\r\n" + host + "\r\n" + last, "200 200", two},
		// Lengths that contradict each other.
		{"CL.TE", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + last, "200 200", post},
		{"CL.TE with a request in it", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strconv.FormatInt(int64(len(smuggled)), 16) + "\r\n" + smuggled + "\r\n0\r\n\r\n" + last, "200 200", post},
		{"TE.CL", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" +
			strconv.FormatInt(int64(len(smuggled)), 16) + "\r\n" + smuggled + "\r\n0\r\n\r\n" + last, "200 200", post},
		{"TE.TE", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled, "400|501", nil},
		{"chunked twice", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + smuggled, "400|501", nil},
		{"another encoding", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" + smuggled, "400|501", nil},
		{"an encoding with a tab", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + last, "200 200", post},
		{"an encoding with a vertical tab", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + smuggled, "400|501", nil},
		{"an encoding on a line of its own", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + last, "200 200", post},
		{"an encoding in HTTP/1.0", "POST /first HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200", []string{"POST /first"}},
		{"two lengths", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + smuggled, "400", nil},
		{"two lengths in one", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 0, 40\r\n\r\n" + smuggled, "400", nil},
		{"one length twice", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx" + last, "200 200", post},
		{"a length with a sign", "POST /first HTTP/1.1\r\n" + host + "Content-Length: +5\r\n\r\nhello" + smuggled, "400", nil},
		{"a length below zero", "POST /first HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n" + smuggled, "400", nil},
		{"a length in hexadecimal", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 0x5\r\n\r\nhello" + smuggled, "400", nil},
		{"a length beyond all", "POST /first HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n" + smuggled, "400", nil},
		// Chunks.
		{"a chunk with a sign", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + smuggled, "400", nil},
		{"a chunk with 0x", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + smuggled, "400", nil},
		{"a chunk longer than it says", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n" + smuggled, "400", nil},
		{"a chunk with an extension", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n" + last, "200 200", post},
		{"a chunk that ends by a bare LF", "POST /first HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n" + smuggled, "400", nil},
		// Headers.
		{"two hosts", "GET /first HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + smuggled, "400", nil},
		{"no host", "GET /first HTTP/1.1\r\n\r\n" + smuggled, "400", nil},
		{"a host with a blank", "GET /first HTTP/1.1\r\nHost: a b\r\n\r\n" + smuggled, "400", nil},
		{"a host that ends its line", "GET /first HTTP/1.1\r\nHost: a\rX: y\r\n\r\n" + smuggled, "400", nil},
		{"a host before the one that counts", "GET http://b/first HTTP/1.1\r\nHost: a\r\n\r\n" + last, "200 200", two},
		{"obs-fold", "GET /first HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n" + last, "200 200", two},
		{"obs-fold that hides a field", "GET /first HTTP/1.1\r\n" + host + "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n" + last, "200 200", two},
		{"a fold before the first field", "GET /first HTTP/1.1\r\n X: a\r\n" + host + "\r\n" + smuggled, "400", nil},
		{"nul in a value", "GET /first HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n" + smuggled, "400", nil},
		{"nul in a name", "GET /first HTTP/1.1\r\n" + host + "X\x00: a\r\n\r\n" + smuggled, "400", nil},
		{"nul in a path", "GET /fi\x00rst HTTP/1.1\r\n" + host + "\r\n" + smuggled, "400", nil},
		{"a bare CR in a value", "GET /first HTTP/1.1\r\n" + host + "X: a\rY: b\r\n\r\n" + smuggled, "400", nil},
		{"bare LFs", "GET /first HTTP/1.1\n" + host + "X: a\nY: b\n\n" + last, "200 200", two},
		{"a blank before the colon", "POST /first HTTP/1.1\r\n" + host + "Content-Length : 5\r\n\r\nhello" + smuggled, "400", nil},
		{"no colon", "GET /first HTTP/1.1\r\n" + host + "X\r\n\r\n" + smuggled, "400", nil},
		{"no name", "GET /first HTTP/1.1\r\n" + host + ": a\r\n\r\n" + smuggled, "400", nil},
		{"a name beyond ASCII", "GET /first HTTP/1.1\r\n" + host + "X\xe9: a\r\n\r\n" + smuggled, "400", nil},
		{"a huge field", "GET /first HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 100<<10) + "\r\n\r\n" + smuggled, "431", nil},
		{"a huge path", "GET /first" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\n" + host + "\r\n" + smuggled, "431", nil},
		{"many fields", "GET /first HTTP/1.1\r\n" + host + strings.Repeat("X: x\r\n", 101) + "\r\n" + last, "431 200", []string{"GET /last"}},
		{"very many fields", "GET /first HTTP/1.1\r\n" + host + strings.Repeat("X: x\r\n", 20000) + "\r\n" + smuggled, "431", nil},
		// First lines.
		{"two blanks", "GET  /first HTTP/1.1\r\n" + host + "\r\n" + smuggled, "400", nil},
		{"a blank in the path", "GET /fi rst HTTP/1.1\r\n" + host + "\r\n" + smuggled, "400", nil},
		{"no version", "GET /first\r\n" + smuggled, "400", nil},
		{"another version", "GET /first HTTP/9.9\r\n" + host + "\r\n" + smuggled, "400|505", nil},
		{"no method", " /first HTTP/1.1\r\n" + host + "\r\n" + smuggled, "400", nil},
		{"no path", "GET first HTTP/1.1\r\n" + host + "\r\n" + smuggled, "400", nil},
		{"a path with an encoded line end", "GET /first%0d%0aX:y HTTP/1.1\r\n" + host + "\r\n" + last, "200 200", []string{"GET /first%0d%0aX:y", "GET /last"}},
		{"a tunnel", "CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n" + last, "405 200", []string{"GET /last"}},
		{"HTTP/0.9", "GET /first\r\n\r\n", "400", nil},
		// What follows on one connection, and what is said past us.
		{"an upgrade to HTTP/2", "GET /first HTTP/1.1\r\n" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + last, "200 200", two},
		{"an upgrade that the target refuses", "GET /first HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + last, "200 200", two},
		{"fields that would be dropped on the way", "GET /first HTTP/1.1\r\n" + host + "Connection: close, Host, Content-Length, X-Forwarded-For\r\nContent-Length: 0\r\n\r\n", "200", first},
	} {
		got := strings.Join(statuses(t, address, test.text), " ")
		if !slices.Contains(strings.Split(test.answers, "|"), got) {
			t.Errorf("%s: answered %q, want %q", test.name, got, test.answers)
		}
		if asked := target.asked(t, test.name); !slices.Equal(asked, test.asked) {
			t.Errorf("%s: the target was asked for %q, want %q", test.name, asked, test.asked)
		}
	}
}

// statuses sends bytes on a connection of their own, and returns the status codes
// of the answers until it is closed.
func statuses(t *testing.T, address, text string) []string {
	t.Helper()
	c := dial(t, "tcp", address)
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, text) }() // it may be refused before all was read
	var codes []string
	in := bufio.NewReader(c)
	for {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return codes
		}
		codes = append(codes, strconv.Itoa(response.StatusCode))
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.Close {
			return codes
		}
	}
}

// TestHTTP2RequestsHaveOneMeaning sends fields in HTTP/2, where a length stands
// before each, that would end their place in HTTP/1.1.
func TestHTTP2RequestsHaveOneMeaning(t *testing.T) {
	t.Parallel()
	target := keepLog(t)
	address := reserve(t)
	start(t, "server", "--protocol", "http", "--disable-tls", "--listen", address, "--target", target.address, "--status", "http://"+reserve(t))
	type fields = []hpack.HeaderField
	usual := fields{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/first"}, {Name: ":authority", Value: "a"}}
	with := func(i int, f hpack.HeaderField) fields {
		changed := slices.Clone(usual)
		changed[i] = f
		return changed
	}
	for _, test := range []struct {
		name string
		fields
		asked []string
	}{
		{"what means one thing", usual, []string{"POST /first"}},
		{"H2.CL", append(slices.Clone(usual), hpack.HeaderField{Name: "content-length", Value: "1"}), []string{"POST /first"}},
		{"H2.TE", append(slices.Clone(usual), hpack.HeaderField{Name: "transfer-encoding", Value: "chunked"}), nil},
		{"a connection field", append(slices.Clone(usual), hpack.HeaderField{Name: "connection", Value: "close"}), nil},
		{"a value with a line end", append(slices.Clone(usual), hpack.HeaderField{Name: "x", Value: "a\r\nTransfer-Encoding: chunked"}), nil},
		{"a value with nul", append(slices.Clone(usual), hpack.HeaderField{Name: "x", Value: "a\x00"}), nil},
		{"a name with a line end", append(slices.Clone(usual), hpack.HeaderField{Name: "x: a\r\ny", Value: "b"}), nil},
		{"a name with a colon", append(slices.Clone(usual), hpack.HeaderField{Name: "transfer-encoding: chunked", Value: "b"}), nil},
		{"a name in capitals", append(slices.Clone(usual), hpack.HeaderField{Name: "Transfer-Encoding", Value: "chunked"}), nil},
		{"a method with a request in it", with(0, hpack.HeaderField{Name: ":method", Value: "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET"}), nil},
		{"a path with a request in it", with(2, hpack.HeaderField{Name: ":path", Value: "/ HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled"}), nil},
		{"a path with a blank", with(2, hpack.HeaderField{Name: ":path", Value: "/first /second"}), []string{"POST /first%20/second"}},
		{"an authority with a line end", with(3, hpack.HeaderField{Name: ":authority", Value: "a\r\nX: y"}), nil},
		{"a scheme with a line end", with(1, hpack.HeaderField{Name: ":scheme", Value: "http://b/smuggled HTTP/1.1\r\nX: y"}), nil},
		{"two authorities", append(slices.Clone(usual), hpack.HeaderField{Name: ":authority", Value: "b"}), nil},
		{"a host beside the authority", append(slices.Clone(usual), hpack.HeaderField{Name: "host", Value: "b"}), []string{"POST /first"}},
		{"an unknown pseudo field", append(slices.Clone(usual), hpack.HeaderField{Name: ":x", Value: "b"}), nil},
		{"a pseudo field behind others", append(append(slices.Clone(usual[:3]), hpack.HeaderField{Name: "x", Value: "y"}), usual[3]), nil},
	} {
		sendHTTP2(t, address, test.fields)
		if asked := target.asked(t, test.name); !slices.Equal(asked, test.asked) {
			t.Errorf("%s: the target was asked for %q, want %q", test.name, asked, test.asked)
		}
	}
}

// sendHTTP2 sends the fields of a request on a connection of their own, and waits until
// it was answered or refused.
func sendHTTP2(t *testing.T, address string, fields []hpack.HeaderField) {
	t.Helper()
	c := dial(t, "tcp", address)
	defer func() { _ = c.Close() }()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		_ = encoder.WriteField(f)
	}
	_, _ = io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		h := frame.Header()
		if h.StreamID == 1 && (h.Type == http2.FrameRSTStream || h.Flags.Has(http2.FlagDataEndStream)) || h.Type == http2.FrameGoAway {
			return
		}
	}
}
