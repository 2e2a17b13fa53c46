package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/socket"
)

// StatusQuery is the work of `sallyport status`: to read a status port, and to
// show what it says. It is that of `sallyport stop` too, which asks the port to end
// the process.
type StatusQuery struct {
	Stop bool // of what follows, only how to reach the port counts

	Port socket.Address
	TLS  bool // HTTPS, else plain HTTP

	CACert     string // "": the system's CAs
	Cert, Key  string // the certificate to show; both or neither
	ServerName string // whom the port's certificate must be for; "": the host of Port

	Token     Secret // "": what is in TokenFile
	TokenFile string // "": no token

	Timeout     time.Duration // for one answer; not 0
	Tunnel      string        // the one to look at; "": all
	Connections bool          // the open connections too
	Watch       bool          // again and again, at the Interval
	Interval    time.Duration // not 0
	JSON        bool          // the documents themselves
}

// Address is where the port is, as net.Dial takes it for the network of Port.
func (q *StatusQuery) Address() string {
	if q.Port.Network() == "unix" {
		return q.Port.Path()
	}
	return q.Port.String()
}

// setStatusQuery takes the argument for the setting that the variable is of.
func setStatusQuery(d *draft, text string) error {
	address, err := parseStatusAddress(text)
	if err != nil {
		return err
	}
	d.from["status"] = "ADDR"
	d.status = address
	return nil
}

// checkStatusQuery wants it said what to read.
func (d *draft) checkStatusQuery() (Command, error) {
	q := &d.query
	q.Stop = d.command.set == inStop
	q.Port, q.TLS = d.status.address, !d.status.plain
	switch network := q.Port.Network(); {
	case q.Port.IsZero():
		return nil, errors.New("ADDR: missing; say where the status port is, as HOST:PORT or unix:PATH, or set SALLYPORT_STATUS")
	case network != "tcp" && network != "unix":
		return nil, fmt.Errorf("%s %s: says who opens the status port and not where it is; write HOST:PORT or unix:PATH", d.name("status"), q.Port)
	case q.Cert != "" && q.Key == "":
		return nil, fmt.Errorf("%s: needs --key too", d.name("cert"))
	case q.Cert == "" && q.Key != "":
		return nil, fmt.Errorf("%s: needs --cert too", d.name("key"))
	case q.Token != "" && q.TokenFile != "":
		return nil, fmt.Errorf("%s and %s: both say what the token is; give one or the other", d.name("token"), d.name("token-file"))
	}
	return q, nil
}

// parseToken reads what may stand in a header after Bearer. No error shows it.
func parseToken(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("not a token, which is one word")
	}
	return Secret(text), nil
}
