package starttls

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
)

// Bounds on what SMTP is spoken in here (RFC 5321, 4.5.3.1: 512 bytes for a command's line and for a reply's). Servers are
// given twice that: extensions make their lines longer.
const (
	smtpCommandLine = 512
	smtpCommands    = 16
	smtpReplyLine   = 1024
	smtpReplyLines  = 128
)

func newSMTP() *Protocol {
	return &Protocol{
		server: func() Server { return Server{Upgrade: smtpServe, Join: smtpJoinTarget} },
		client: func() Client {
			return Client{
				Upgrade: func(_, target net.Conn) error { return smtpAsk(target) },
				Join:    func(client, _ net.Conn) error { return smtpSay(client, "220 %s ESMTP", smtpName(client)) },
			}
		},
		probe: smtpAsk,
	}
}

// smtpName is what this host calls itself on a connection: by its address, as RFC 5321, 4.1.3, has it for hosts without a
// name. It is what the peer knows anyway.
func smtpName(on net.Conn) string {
	at, err := netip.ParseAddrPort(on.LocalAddr().String())
	if err != nil {
		return "localhost" // a UNIX socket
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

// smtpServe greets a client and waits for its STARTTLS (RFC 3207, section 4). Nothing that it says before counts afterwards,
// so that little of it has to be understood.
func smtpServe(client net.Conn) error {
	name := smtpName(client)
	if err := smtpSay(client, "220 %s ESMTP", name); err != nil {
		return err
	}
	for n := range smtpCommands {
		line, err := smtpLine(client, smtpCommandLine)
		if err != nil {
			if n > 0 {
				err = cutShort(err)
			}
			if err, ok := errors.AsType[*Error](err); ok {
				return smtpEnd(client, "500 5.5.2 Not a line of SMTP", err)
			}
			return err
		}
		verb, argument, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "STARTTLS":
			if argument == "" {
				return smtpSay(client, "220 2.0.0 Ready to start TLS")
			}
			err = smtpSay(client, "501 5.5.4 STARTTLS takes no parameters")
		case "EHLO":
			err = smtpSay(client, "250-%s\r\n250 STARTTLS", name)
		case "HELO":
			err = smtpSay(client, "250 %s", name)
		case "NOOP", "RSET":
			err = smtpSay(client, "250 2.0.0 OK")
		case "QUIT":
			return smtpEnd(client, "221 2.0.0 Bye", required("the client left without STARTTLS"))
		default:
			err = smtpSay(client, "530 5.7.0 Must issue a STARTTLS command first")
		}
		if err != nil {
			return err
		}
	}
	return smtpEnd(client, "421 4.7.0 Too many commands without STARTTLS", required("the client sent %d commands, and no STARTTLS", smtpCommands))
}

// smtpJoinTarget takes the target's greeting: the client, which was greeted before TLS, goes on with EHLO. If the target turns
// the connection away, that is the answer to whatever the client says first.
func smtpJoinTarget(client, target net.Conn) error {
	reply, err := smtpReply(target)
	if err != nil {
		return ofTarget(err)
	}
	if reply.code() == "220" {
		return nil
	}
	if _, err := smtpLine(client, smtpCommandLine); err != nil {
		return err
	}
	if code := reply.code(); code[0] != '4' && code[0] != '5' { // it means something else to a client that has said EHLO
		reply = smtpLines("421 4.3.2 Service not available\r\n")
	}
	if _, err := client.Write(reply); err != nil {
		return err
	}
	return turnedAway(reply)
}

// smtpAsk asks a target for TLS.
func smtpAsk(target net.Conn) error {
	reply, err := smtpReply(target)
	if err != nil {
		return ofTarget(err)
	}
	if reply.code() != "220" {
		return turnedAway(reply)
	}
	if reply, err = smtpCommand(target, "EHLO "+smtpName(target)); err != nil {
		return err
	}
	if reply.code() != "250" || !reply.offers("STARTTLS") {
		return refused("the target does not offer STARTTLS: it answered EHLO with %s", clip(reply))
	}
	if reply, err = smtpCommand(target, "STARTTLS"); err != nil {
		return err
	}
	if reply.code() != "220" {
		return refused("the target does not go on in TLS: it answered STARTTLS with %s", clip(reply))
	}
	return nil
}

func smtpCommand(target net.Conn, command string) (smtpLines, error) {
	if err := smtpSay(target, "%s", command); err != nil {
		return nil, ofTarget(err)
	}
	reply, err := smtpReply(target)
	return reply, ofTarget(err)
}

func smtpSay(to net.Conn, format string, args ...any) error {
	_, err := fmt.Fprintf(to, format+"\r\n", args...)
	return err
}

// smtpEnd says a last thing, and returns err unless that failed.
func smtpEnd(client net.Conn, last string, err error) error {
	if failed := smtpSay(client, "%s", last); failed != nil {
		return failed
	}
	return err
}

// smtpLines is a reply, with its ends of lines.
type smtpLines []byte

// code is the reply's, as its last line has it.
func (l smtpLines) code() string {
	last := bytes.TrimSuffix(l, []byte("\r\n"))
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	return string(last[:3])
}

// offers reports whether an answer to EHLO has a line with the keyword (RFC 5321, 4.1.1.1). The first line greets.
func (l smtpLines) offers(keyword string) bool {
	first := true
	for line := range bytes.Lines(l) {
		word, _, _ := strings.Cut(strings.TrimSpace(string(line[4:])), " ")
		if !first && strings.EqualFold(word, keyword) {
			return true
		}
		first = false
	}
	return false
}

// smtpReply reads a reply, which goes on as long as there is a dash behind the code (RFC 5321, 4.2.1).
func smtpReply(from net.Conn) (smtpLines, error) {
	var reply smtpLines
	for range smtpReplyLines {
		line, err := smtpLine(from, smtpReplyLine)
		if err != nil {
			return nil, err
		}
		if len(line) == 3 {
			line += " " // its text is left out
		}
		if len(line) < 4 || strings.Trim(line[:3], "0123456789") != "" || line[3] != ' ' && line[3] != '-' {
			return nil, malformed("not a reply of SMTP: %s", clip(line))
		}
		reply = append(append(reply, line...), '\r', '\n')
		if line[3] == ' ' {
			return reply, nil
		}
	}
	return nil, malformed("a reply of more than %d lines", smtpReplyLines)
}

// smtpLine reads a line of at most so many bytes, with its end, which it leaves off. It reads byte by byte, because what
// follows is not to be read; these are a few short lines.
func smtpLine(from net.Conn, limit int) (string, error) {
	line := make([]byte, 0, limit)
	for len(line) < limit {
		if _, err := io.ReadFull(from, line[len(line):len(line)+1]); err != nil {
			if err == io.EOF && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		line = line[:len(line)+1]
		if line[len(line)-1] != '\n' {
			continue
		}
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
			return "", malformed("not a line of SMTP: it ends without CRLF, or holds a CR or a zero") // and perhaps a password
		}
		return string(text), nil
	}
	return "", malformed("a line of more than %d bytes", limit)
}
