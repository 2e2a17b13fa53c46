package starttls

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/internal/memnet"
)

// A talk is one conversation: what the other side sends, and what it is to have
// been sent when speak is over.
type talk struct {
	name   string
	hears  string // what the side that is tested gets to hear, all at once
	says   string // what it has to have said
	left   string // what of hears it must not have read
	reason string // "": the upgrade succeeds
	eof    bool   // the other side ends its writing behind hears, with this error
	err    error
}

// try has speak converse with a peer.
func (c talk) try(t *testing.T, speak func(net.Conn) error) {
	t.Helper()
	here, there := memnet.Pipe(1 << 20)
	t.Cleanup(func() { _ = errors.Join(here.Close(), there.Close()) })
	deadline := time.Now().Add(10 * time.Second)
	if err := errors.Join(here.SetDeadline(deadline), there.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(there, c.hears); err != nil {
		t.Fatal(err)
	}
	if c.eof {
		if err := there.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	err := speak(here)
	wantReason(t, err, c.reason, c.err)
	if err := here.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(there)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(said), c.says) || c.says == "" && len(said) > 0 {
		t.Errorf("said %q, want %q", said, c.says)
	}
	if err := there.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if left, err := io.ReadAll(here); err != nil || string(left) != c.left {
		t.Errorf("%q was left unread, want %q (%v)", left, c.left, err)
	}
}

// A meeting is what came of speaking with a client and a target.
type meeting struct {
	toClient, toTarget     string // what they were told
	clientLeft, targetLeft string // what of theirs was not read
	err                    error
}

// meet has speak converse with a client and a target that have said all they
// will say.
func meet(t *testing.T, client, target string, speak func(client, target net.Conn) error) meeting {
	t.Helper()
	c, s := &scripted{Reader: bytes.NewReader([]byte(client))}, &scripted{Reader: bytes.NewReader([]byte(target))}
	err := speak(c, s)
	left := func(r io.Reader) string {
		rest, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		return string(rest)
	}
	return meeting{toClient: c.said.String(), toTarget: s.said.String(), clientLeft: left(c), targetLeft: left(s), err: err}
}

// wantReason wants an error with a reason, or, without one, a certain error.
func wantReason(t *testing.T, err error, reason string, certain error) {
	t.Helper()
	var named *Error
	switch errors.As(err, &named); {
	case reason == "" && !errors.Is(err, certain):
		t.Errorf("error %v, want %v", err, certain)
	case reason != "" && (named == nil || named.Reason() != reason):
		t.Errorf("error %v, want one with the reason %s", err, reason)
	}
}

// serverUpgrade is what a protocol does first with a client.
func serverUpgrade(t *testing.T, name string) func(net.Conn) error {
	t.Helper()
	p, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	return p.Server().Upgrade
}

// probe is what a protocol does with a target that nobody waits for.
func probe(t *testing.T, name string) func(net.Conn) error {
	t.Helper()
	p, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	return p.Probe
}

func TestNewKnowsFourProtocols(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"postgres", "mysql", "ldap", "smtp"} {
		if p, err := New(name); err != nil || p == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New("imap"); err == nil || !strings.Contains(err.Error(), `"imap"`) {
		t.Errorf("imap: %v", err)
	}
}

func TestErrorsShowNoMoreThanALineOfWhatAPeerSaid(t *testing.T) {
	t.Parallel()
	got := clip(strings.Repeat("\x1b", 10_000))
	if len(got) > 1024 || strings.Contains(got, "\x1b") {
		t.Errorf("%d bytes: %.80s", len(got), got)
	}
}

func TestReasonsAreThoseOfErrors(t *testing.T) {
	t.Parallel()
	for i, err := range []*Error{malformed(""), refused(""), required(""), turnedAway("")} {
		if Reasons()[i] != err.Reason() {
			t.Errorf("%q is not among %q", err.Reason(), Reasons())
		}
	}
}

func TestReceiveReadsWhatIsThereAndNoMore(t *testing.T) {
	t.Parallel()
	rest := strings.NewReader("0123456789")
	if got, err := receive(rest, 4); err != nil || string(got) != "0123" || rest.Len() != 6 {
		t.Errorf("%q, %v, %d bytes left", got, err, rest.Len())
	}
	if _, err := receive(rest, 7); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// scripted is a connection whose other side has said all it will say.
type scripted struct {
	net.Conn
	*bytes.Reader
	said bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *scripted) Write(p []byte) (int, error) { return s.said.Write(p) }
func (s *scripted) LocalAddr() net.Addr         { return memnet.Addr("here") }

// TestErrorsShowNoPassword has clients break a protocol with one in what they say.
func TestErrorsShowNoPassword(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"smtp":  "AUTH PLAIN hunter2\n",
		"mysql": packet(1, "\x04\x00\x00\x00\x01alice\x00hunter2\x00"),
	} {
		err := serverUpgrade(t, name)(&scripted{Reader: bytes.NewReader([]byte(said))})
		wantReason(t, err, reasonMalformed, nil)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	response := answer(mysqlCan&^mysqlProtocol41, "alice\x00hunter2\x00")
	if _, err := parseMySQLResponse([]byte(response)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
