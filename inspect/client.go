package inspect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Bounds of what is taken from the other side, and from the token's file.
const (
	maxAnswerBytes = 16 << 20
	maxHeaderBytes = 64 << 10
	maxTokenBytes  = 4096
)

// UnreachableError is a process that could not be looked at: nobody answers, or
// who answers is not trusted, does not let us in, or is no status port.
type UnreachableError struct {
	URL string // what was asked for
	Err error
}

// Error is one line that names the address, and what to do where that is known. It
// is safe to print.
func (e *UnreachableError) Error() string { return printable(e.URL + ": " + e.Err.Error()) }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// New prepares to look, and loads the files that the options name; an error says
// which of them cannot be used.
func New(o Options) (*Client, error) {
	c := &Client{options: o}
	var err error
	if c.token, err = token(o); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, o.Network, dialled(o))
		},
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	scheme, host := "http", "localhost"
	if o.Network == "tcp" {
		host = o.Address
	}
	if o.TLS {
		scheme = "https"
		if transport.TLSClientConfig, err = trust(o); err != nil {
			return nil, err
		}
	}
	c.base = (&url.URL{Scheme: scheme, Host: host}).String() // the zone of an IPv6 address is written in a way of its own there (RFC 6874)
	c.http = &http.Client{
		Transport: transport,
		// Whoever is asked answers; the token is for nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// dialled is where to connect to. A port listens on all addresses of its machine
// where the variable that it shares with us names none.
func dialled(o Options) string {
	if o.Network != "tcp" {
		return o.Address
	}
	host, port, err := net.SplitHostPort(o.Address)
	if err == nil && isUnspecified(host) {
		return net.JoinHostPort("localhost", port)
	}
	return o.Address
}

// isUnspecified tells whether a host is what listeners call every address.
func isUnspecified(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// token is what to send.
func token(o Options) (string, error) {
	if o.Token != "" || o.TokenFile == "" {
		return o.Token, nil
	}
	file, err := os.Open(o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxTokenBytes+1))
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	text := strings.TrimSpace(string(data))
	switch {
	case text == "":
		return "", fmt.Errorf("--token-file %s: no token in it", o.TokenFile)
	case len(data) > maxTokenBytes || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("--token-file %s: not a token, which is one word", o.TokenFile)
	}
	return text, nil
}

// trust is how to speak TLS to the port.
func trust(o Options) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if host, _, err := net.SplitHostPort(o.Address); o.ServerName == "" && err == nil {
		config.ServerName, _, _ = strings.Cut(host, "%") // certificates know no zones
		if isUnspecified(host) {
			config.ServerName = "localhost"
		}
	}
	if o.CAFile != "" {
		data, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--cacert %s: no certificate in it", o.CAFile)
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert %s and --key %s: %w", o.CertFile, o.KeyFile, err)
		}
		// Shown whatever CAs the port names: to be told that it is the wrong
		// one helps more than to be told that there is none.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}

// get asks for a path, and returns the body if the answer has one of the codes.
func (c *Client) get(ctx context.Context, path string, codes ...int) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, path, codes...)
}

// ask is get with another method.
func (c *Client) ask(ctx context.Context, method, path string, codes ...int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, c.unreachable(path, err)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(path, c.explained(ctx, err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, c.unreachable(path, c.explained(ctx, err))
	case len(body) > maxAnswerBytes:
		return nil, c.unreachable(path, fmt.Errorf("the answer is larger than %d bytes", maxAnswerBytes))
	case !slices.Contains(codes, response.StatusCode):
		return nil, c.unreachable(path, c.refused(path, response.StatusCode, string(body)))
	}
	return body, nil
}

// unreachable says what was asked for.
func (c *Client) unreachable(path string, err error) error {
	at := c.base
	if c.options.Network != "tcp" {
		at = c.options.Network + ":" + c.options.Address + ":"
	}
	path, _, _ = strings.Cut(path, "?")
	return &UnreachableError{URL: at + path, Err: err}
}

// explained adds to an error what can be done about it.
func (c *Client) explained(ctx context.Context, err error) error {
	if wrapper, ok := errors.AsType[*url.Error](err); ok {
		err = wrapper.Err // what was asked for is told anyway
	}
	hint := ""
	switch alert, ok := errors.AsType[*net.OpError](err); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("it speaks plain HTTP; write http://%s", c.options.Address)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		hint = "is the process running, and is this its --status?"
	case errors.As(err, new(tls.RecordHeaderError)):
		hint = "it speaks no TLS; is this its --status?"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		hint = "--cacert PATH says whom to trust"
	case errors.As(err, new(x509.HostnameError)):
		hint = "--server-name NAME says whom it is for"
	case ok && alert.Op == "remote error" && c.options.CertFile == "": // what crypto/tls calls an alert
		hint = "it may ask for a client certificate: --cert and --key"
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}

// refused says what an answer with another code than those expected means.
func (c *Client) refused(path string, code int, body string) error {
	switch {
	case code == http.StatusUnauthorized && c.token == "":
		return errors.New("it asks for a token: --token-file PATH")
	case code == http.StatusUnauthorized:
		return errors.New("the token is not the right one")
	case code == http.StatusBadRequest && strings.Contains(body, "HTTP request to an HTTPS server"):
		return fmt.Errorf("it speaks HTTPS; write https://%s", c.options.Address)
	case code == http.StatusNotFound && path == shutdownPath:
		return errors.New("it ends no process that was started without --enable-shutdown")
	case code == http.StatusNotFound && strings.HasPrefix(body, "there is no tunnel "):
		return errors.New(strings.TrimSpace(body))
	case code == http.StatusNotFound:
		return errors.New("there is no such document; this may not be a status port, or one of an older version")
	}
	return fmt.Errorf("the answer is %d %s", code, http.StatusText(code))
}
