package socket

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"sallyport/internal/peertext"
)

// maxReply is how many bytes of header a proxy may answer with, all interim
// answers included.
const maxReply = 8 << 10

// askConnect has an HTTP proxy connect to the target (RFC 9110, section 9.3.6).
func askConnect(conn io.ReadWriter, target Address, user, password string) error {
	var request bytes.Buffer
	request.WriteString("CONNECT " + target.hostPort() + " HTTP/1.1\r\nHost: " + target.hostPort() + "\r\n")
	if user != "" {
		request.WriteString("Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n")
	}
	request.WriteString("\r\n")
	if _, err := conn.Write(request.Bytes()); err != nil {
		return err
	}
	reply, err := readReply(conn)
	if err != nil {
		return err
	}
	return reply.judge(user != "")
}

// reply is the answer of an HTTP proxy, as far as it counts. Of one that agrees,
// that is its status alone: RFC 9110 has a client ignore Content-Length and
// Transfer-Encoding, since what follows is the target's.
type reply struct {
	status int
	phrase string
	header textproto.MIMEHeader // as much of it as could be read
}

// readReply reads the header of the final answer, and not a byte more.
func readReply(from io.Reader) (reply, error) {
	budget := maxReply
	for {
		head, err := readHead(from, budget)
		if err != nil {
			return reply{}, err
		}
		budget -= len(head)
		r, err := parseReply(head)
		// 101 would be an agreement to something that nobody asked for.
		if interim := r.status/100 == 1 && r.status != http.StatusSwitchingProtocols; err != nil || !interim {
			return r, err
		}
	}
}

// leastHead is the shortest header there is.
const leastHead = len("HTTP/1.1 200\n\n")

// readHead reads up to the empty line that ends a header, and that line. It asks
// for no more than has to come in any case, which is two line feeds, or one; so
// it never takes what is behind, and needs no buffer to keep that in. A line may
// end without the carriage return (RFC 9112, section 2.2).
func readHead(from io.Reader, most int) ([]byte, error) {
	const sign = "HTTP/1."
	head := make([]byte, 0, 256)
	for need := leastHead; need > 0; need = missing(head) {
		if len(head)+need > most {
			return nil, refused(reasonProxyError, "the header of the answer does not end within %d bytes", maxReply)
		}
		start := len(head)
		head = append(head, make([]byte, need)...)
		n, err := from.Read(head[start:])
		head = head[:start+n]
		if seen := min(len(head), len(sign)); string(head[:seen]) != sign[:seen] {
			return nil, notHTTP(head)
		}
		if err != nil && missing(head) > 0 {
			if err == io.EOF && len(head) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return head, nil
}

// missing is how many bytes at least have to come before the header is over.
func missing(head []byte) int {
	switch text := string(head[max(0, len(head)-3):]); {
	case len(head) < leastHead:
		return leastHead - len(head)
	case strings.HasSuffix(text, "\n\n"), strings.HasSuffix(text, "\n\r\n"):
		return 0
	case strings.HasSuffix(text, "\n"), strings.HasSuffix(text, "\n\r"):
		return 1
	}
	return 2
}

func notHTTP(head []byte) error {
	const alert = 21 // RFC 8446, section 5.1
	hint := "look at the scheme and the port"
	if head[0] == alert {
		hint = "it may want https://"
	}
	return refused(reasonProxyError, "the answer is not HTTP/1 but %q…; %s", peertext.Printable(string(head)), hint)
}

// parseReply takes a header apart.
func parseReply(head []byte) (reply, error) {
	line, fields, _ := strings.Cut(string(head), "\n")
	line = strings.TrimSuffix(line, "\r")
	version, rest, _ := strings.Cut(line, " ")
	digits, phrase, _ := strings.Cut(rest, " ")
	status, err := strconv.ParseUint(digits, 10, 16)
	if len(version) != len("HTTP/1.1") || version[7] < '0' || version[7] > '9' || err != nil || len(digits) != 3 || status < 100 {
		return reply{}, refused(reasonProxyError, "the answer begins with %q, which is no status line of HTTP/1", peertext.Printable(line))
	}
	// What cannot be read is not needed.
	header, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(fields))).ReadMIMEHeader()
	return reply{int(status), phrase, header}, nil
}

// judge is nil for an answer that agrees. Authorized: it was told who asks.
func (r reply) judge(authorized bool) error {
	said := strings.TrimSpace(strconv.Itoa(r.status) + " " + peertext.Printable(r.phrase))
	switch {
	case r.status/100 == 2:
		return nil
	case r.status == http.StatusProxyAuthRequired, r.status == http.StatusUnauthorized: // the second is tinyproxy's
		return refused(reasonProxyAuth, "%s; %w", said, r.unauthorized(authorized))
	case r.status == http.StatusBadGateway, r.status == http.StatusServiceUnavailable, r.status == http.StatusGatewayTimeout:
		return refused(reasonProxyGateway, "%s; the proxy cannot reach the target", said)
	case r.status == http.StatusForbidden:
		return refused(reasonProxyRefused, "%s; the rules of the proxy are against it, perhaps for the target's port", said)
	}
	return refused(reasonProxyRefused, "%s; it may be no proxy, or one that does not do CONNECT", said)
}

// unauthorized says what to do about a proxy that wants to know who asks.
func (r reply) unauthorized(authorized bool) error {
	offers := r.header.Values("Proxy-Authenticate")
	var schemes []string
	for _, offer := range offers {
		scheme, _, _ := strings.Cut(strings.TrimSpace(offer), " ")
		if strings.EqualFold(scheme, "Basic") {
			schemes = nil
			break
		}
		schemes = append(schemes, scheme)
	}
	switch {
	case len(schemes) > 0:
		return errors.New("the proxy takes " + peertext.Printable(strings.Join(schemes, ", ")) + ", and Sallyport has Basic alone")
	case authorized:
		return errors.New("the proxy does not take this user with this password")
	}
	return errors.New("the proxy wants a user and a password; put them into --proxy-auth-file, or into the URL")
}
