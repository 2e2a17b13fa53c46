package starttls

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// Messages as OpenLDAP's ldapsearch and others send them.
const (
	ldapStart     = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + ldapStartTLS
	ldapStartYes  = "\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x16" + ldapStartTLS
	ldapStartLong = "\x30\x84\x00\x00\x00\x25\x02\x01\x01\x77\x84\x00\x00\x00\x1c\x80\x84\x00\x00\x00\x16" + ldapStartTLS // as Active Directory's tools pad it
	ldapBind      = "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"
	ldapUnbind    = "\x30\x05\x02\x01\x02\x42\x00"
	ldapAbandon   = "\x30\x06\x02\x01\x02\x50\x01\x01"
	ldapWhoAmI    = "\x30\x1e\x02\x01\x02\x77\x19\x80\x17" + "1.3.6.1.4.1.4203.1.11.3"
)

// refusal is the beginning of a response with the tag and a code to a message.
func refusal(id, tag, code byte, text, name string) string {
	return string(ldapResponse(int(id), tag, code, text, name))
}

func TestLDAPServesNobodyWithoutTLS(t *testing.T) {
	t.Parallel()
	const first = "StartTLS comes first"
	for _, test := range []talk{
		{name: "StartTLS", hears: ldapStart, says: ldapStartYes},
		{name: "lengths that are padded", hears: ldapStartLong, says: ldapStartYes},
		{name: "with controls", hears: "\x30\x1f" + ldapStart[2:] + "\xa0\x00", says: ldapStartYes},
		{name: "what is slipped in behind is TLS's to judge", hears: ldapStart + ldapBind, says: ldapStartYes, left: ldapBind},
		{name: "a bind", hears: ldapBind + ldapUnbind, says: refusal(1, 0x61, 13, first, ""), reason: reasonRequired},
		{name: "a bind, and StartTLS after all", hears: ldapBind + ldapStart, says: refusal(1, 0x61, 13, first, "") + ldapStartYes},
		{name: "an abandon has no answer", hears: ldapAbandon + ldapStart, says: ldapStartYes},
		{name: "another extended request", hears: ldapWhoAmI + ldapUnbind, says: refusal(2, 0x78, 13, first, ""), reason: reasonRequired},
		{name: "StartTLS with a value", hears: "\x30\x1f\x02\x01\x01\x77\x1a\x80\x16" + ldapStartTLS + "\x81\x00" + ldapStart, says: refusal(1, 0x78, 2, "StartTLS has no value", ldapStartTLS) + ldapStartYes},
		{name: "an extended request without its name", hears: "\x30\x05\x02\x01\x01\x77\x00" + ldapUnbind, says: refusal(1, 0x78, 2, "an extended request without its name", ""), reason: reasonRequired},
		{name: "no request", hears: ldapStartYes, says: refusal(0, 0x78, 2, "no request of LDAP", ldapDisconnection), reason: reasonMalformed},
		{name: "HTTP", hears: "GET /", says: refusal(0, 0x78, 2, "not a message of LDAP", ldapDisconnection), left: "T /", reason: reasonMalformed},
		{name: "a length that is not told", hears: "\x30\x80", says: "0", reason: reasonMalformed},
		{name: "a length of a length", hears: "\x30\x89", says: "0", reason: reasonMalformed},
		{name: "a message of 4 GiB", hears: "\x30\x84\xff\xff\xff\xff", says: "0", reason: reasonMalformed},
		{name: "a message that is too long", hears: "\x30\x83\x01\x00\x01", says: "0", reason: reasonMalformed},
		{name: "a negative ID", hears: "\x30\x05\x02\x01\xff\x42\x00", says: "0", reason: reasonMalformed},
		{name: "an ID of five bytes", hears: "\x30\x09\x02\x05\x00\x00\x00\x00\x01\x42\x00", says: "0", reason: reasonMalformed},
		{name: "nothing in it", hears: "\x30\x00", says: "0", reason: reasonMalformed},
		{name: "half a length", hears: "\x30\x84\x00", eof: true, err: io.ErrUnexpectedEOF},
		{name: "no operation", hears: "\x30\x03\x02\x01\x01", says: "0", reason: reasonMalformed},
		{name: "an operation that is longer than its message", hears: "\x30\x05\x02\x01\x01\x77\x7f", says: "0", reason: reasonMalformed},
		{name: "too many requests", hears: strings.Repeat(ldapBind, 20), says: strings.Repeat(refusal(1, 0x61, 13, first, ""), 16) + "0", left: strings.Repeat(ldapBind, 4), reason: reasonRequired},
		{name: "nothing", eof: true, err: io.EOF},
		{name: "half a message", hears: ldapStart[:20], eof: true, err: io.ErrUnexpectedEOF},
		{name: "no StartTLS", hears: ldapBind, says: refusal(1, 0x61, 13, first, ""), eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, serverUpgrade(t, "ldap"))
		})
	}
}

func TestLDAPTargetHasToSayYes(t *testing.T) {
	t.Parallel()
	for _, test := range []talk{
		{name: "yes", hears: ldapStartYes, says: ldapStart},
		{name: "without its name", hears: "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", says: ldapStart},
		{name: "what is slipped in behind is TLS's to judge", hears: ldapStartYes + ldapBind, says: ldapStart, left: ldapBind},
		{name: "no", hears: "\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x02\x04\x00\x04\x02no", says: ldapStart, reason: reasonRefused},
		{name: "no, and not a word why", hears: "\x30\x08\x02\x01\x01\x78\x03\x0a\x01\x34", says: ldapStart, reason: reasonRefused},
		{name: "a notice of disconnection", hears: refusal(0, 0x78, 0, "", ldapDisconnection), says: ldapStart, reason: reasonRefused},
		{name: "another operation", hears: "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", says: ldapStart, reason: reasonMalformed},
		{name: "the answer to something else", hears: "\x30\x0c\x02\x01\x07\x78\x07\x0a\x01\x00\x04\x00\x04\x00", says: ldapStart, reason: reasonMalformed},
		{name: "no result", hears: "\x30\x05\x02\x01\x01\x78\x00", says: ldapStart, reason: reasonMalformed},
		{name: "a result without a code", hears: "\x30\x07\x02\x01\x01\x78\x02\x0a\x00", says: ldapStart, reason: reasonMalformed},
		{name: "something else", hears: "HTTP", says: ldapStart, left: "TP", reason: reasonMalformed},
		{name: "nothing", says: ldapStart, eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, probe(t, "ldap"))
		})
	}
}

// FuzzElement looks that an element is read as it was written, and that nothing
// of it lies outside of what it was read from.
func FuzzElement(f *testing.F) {
	for _, seed := range []string{ldapStart, ldapStartYes, ldapStartLong, ldapBind, "\x30\x80", "\x30\x84\xff\xff\xff\xff", "\x30"} {
		f.Add([]byte(seed))
	}
	for _, length := range []int{0x7f, 0x80, 0xff, 0x100, 0xffff} { // where another way to write it begins
		f.Add(appendElement(nil, tagSequence, make([]byte, length)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := readElement(data)
		from := bytes.NewReader(data)
		content, received := receiveElement(from, tagSequence, 1<<16)
		if err != nil {
			if received == nil {
				t.Errorf("%q is no element, and was received as one", data)
			}
			return
		}
		if !bytes.HasSuffix(data, append(bytes.Clone(e.content), rest...)) {
			t.Errorf("%q: content %q, rest %q", data, e.content, rest)
		}
		if again, left, err := readElement(appendElement(nil, e.tag, e.content)); len(e.content) < 1<<16 &&
			(err != nil || len(left) > 0 || again.tag != e.tag || !bytes.Equal(again.content, e.content)) {
			t.Errorf("%q became %q, %v", e.content, again.content, err)
		}
		if e.tag == tagSequence && len(e.content) <= 1<<16 && (received != nil || !bytes.Equal(content, e.content) || from.Len() != len(rest)) {
			t.Errorf("received %q with %d bytes left, %v; read %q and %q", content, from.Len(), received, e.content, rest)
		}
	})
}

// FuzzLDAPServe has a client say anything: it is answered, and never let past by
// anything but a StartTLS.
func FuzzLDAPServe(f *testing.F) {
	for _, seed := range []string{ldapStart, ldapBind + ldapStart, ldapWhoAmI + ldapUnbind, ldapAbandon, "\x30\x80"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &scripted{Reader: bytes.NewReader(said)}
		err := ldapServe(c)
		if err == nil && !bytes.Contains(said, []byte(ldapStartTLS)) {
			t.Errorf("%q was taken for a StartTLS", said)
		}
		if named := (*Error)(nil); errors.As(err, &named) && named.text == "" {
			t.Error("an error without a text")
		}
		for answers := c.said.Bytes(); len(answers) > 0; {
			e, rest, err := readElement(answers)
			if err != nil || e.tag != tagSequence {
				t.Fatalf("answered %q: %v", answers, err)
			}
			answers = rest
		}
	})
}
