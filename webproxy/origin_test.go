package webproxy

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/devpki"
)

func TestNobodyElseTellsWhereARequestComesFrom(t *testing.T) {
	t.Parallel()
	var seen http.Header
	r := start(t, &Proxy{Forwarded: true}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen = r.Header
		maps.Copy(seen, r.Trailer)
	})
	session := identity(t, devpki.Request{CommonName: "client", URIs: []string{"spiffe://example.org/web"}, DNSNames: []string{"web.example.org"}})
	var forged strings.Builder
	for _, name := range []string{
		"X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "X-Forwarded_For", "X-FORWARDED-HOST", "X-Forwarded-Proto", "X-Forwarded-Port",
		"X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Client-Cert", "X_forwarded_client_cert", "Forwarded", "forwarded", "X-Real-IP", "X_REAL_IP",
	} {
		forged.WriteString(name + ": forged\r\n")
	}
	for _, test := range []struct {
		name   string
		secure bool
		want   http.Header
	}{
		{"without TLS", false, http.Header{
			"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Host": {"a.example:81"}, "X-Forwarded-Proto": {"http"},
			"Forwarded": {`for=192.0.2.7;host="a.example:81";proto=http`},
		}},
		{"with TLS", true, http.Header{
			"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Host": {"a.example:81"}, "X-Forwarded-Proto": {"https"},
			"Forwarded":               {`for=192.0.2.7;host="a.example:81";proto=https`},
			"X-Forwarded-Client-Cert": {clientCert(session.PeerCertificates[0])},
		}},
	} {
		shown := session
		if !test.secure {
			shown = nil
		}
		c := r.dial(shown)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.example:81\r\nX-Request-Id: 1\r\nConnection: X-Forwarded-For, Forwarded, X-Forwarded-Client-Cert\r\n"+
			forged.String()+"Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For, Sum\r\n\r\n0\r\nX-Forwarded-For: forged\r\nForwarded: forged\r\nSum: s\r\n\r\n")
		if response, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response, err)
		}
		_ = c.Close()
		want := maps.Clone(test.want)
		maps.Copy(want, http.Header{requestID: {"1"}, "Sum": {"s"}})
		if !maps.EqualFunc(seen, want, slices.Equal) {
			t.Errorf("%s: the target got\n\t%v\nwant\n\t%v", test.name, seen, want)
		}
	}
}

func TestForwarded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ client, host, want string }{
		{"192.0.2.1", "example.com", "for=192.0.2.1;host=example.com;proto=https"},
		{"2001:db8::1", "[2001:db8::2]:80", `for="[2001:db8::1]";host="[2001:db8::2]:80";proto=https`},
		{"", "", "for=unknown;proto=https"},
		{"", `a"b\`, `for=unknown;host="a\"b\\";proto=https`},
	} {
		var client netip.Addr
		if test.client != "" {
			client = netip.MustParseAddr(test.client)
		}
		if got := forwarded(client, test.host, "https"); got != test.want {
			t.Errorf("%q, %q: %s, want %s", test.client, test.host, got, test.want)
		}
	}
}

func TestClientCertificatesAreDescribedAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		x509.Certificate
		want string
	}{
		{"a name alone", x509.Certificate{Subject: pkix.Name{CommonName: "client"}}, `Subject="CN=client"`},
		{"nothing", x509.Certificate{}, `Subject=""`},
		{
			"all of it",
			x509.Certificate{
				Subject:  pkix.Name{CommonName: "client", Organization: []string{"Example"}, Country: []string{"US"}},
				URIs:     []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/web"}, {Scheme: "urn", Opaque: "x"}},
				DNSNames: []string{"a.example", "b.example"},
			},
			`Subject="CN=client,O=Example,C=US";URI=spiffe://example.org/web;URI=urn:x;DNS=a.example;DNS=b.example`,
		},
		{"a subject with quotes", x509.Certificate{Subject: pkix.Name{CommonName: `a"b\c,d;e=f`}}, `Subject="CN=a\"b\\c\,d\;e=f"`},
		{"a subject that ends its line", x509.Certificate{Subject: pkix.Name{CommonName: "a\r\nX-Admin: yes\x00é"}}, `Subject="CN=a\0D\0AX-Admin: yes\00\C3\A9"`},
		{"a name that would begin another", x509.Certificate{DNSNames: []string{`a,Hash=00;URI="x"`, "b\r\nc"}}, `Subject="";DNS="a,Hash=00;URI=\"x\"";DNS="b\0D\0Ac"`},
		{"a URI that would too", x509.Certificate{URIs: []*url.URL{{Scheme: "urn", Opaque: "a,b;c=d"}}}, `Subject="";URI="urn:a,b;c=d"`},
	} {
		test.Raw = []byte(test.name)
		hash := sha256.Sum256(test.Raw)
		if got, want := clientCert(&test.Certificate), "Hash="+hex.EncodeToString(hash[:])+";"+test.want; got != want {
			t.Errorf("%s:\n\t%s\nwant\n\t%s", test.name, got, want)
		}
	}
}

// FuzzQuoted has what is quoted read back: nothing of a name can end its place, and nothing is lost.
func FuzzQuoted(f *testing.F) {
	for _, seed := range []string{"", "a", `a"b`, `a\`, "a,b;c=d", "a\r\nb", "é", `\0A`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := quoted(text, isPlain)
		read, rest := unquoted(got)
		if read != text || rest != "" {
			t.Errorf("%q became %s, which is read as %q, and %q", text, got, read, rest)
		}
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Errorf("%q became %q", text, got)
			}
		}
	})
}

// unquoted reads a value to its end, and returns what is behind it.
func unquoted(value string) (text, rest string) {
	if !strings.HasPrefix(value, `"`) {
		end := strings.IndexAny(value, `,;="`)
		if end < 0 {
			end = len(value)
		}
		return value[:end], value[end:]
	}
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			return b.String(), value[i+1:]
		case c != '\\':
			b.WriteByte(c)
		case value[i+1] == '"' || value[i+1] == '\\':
			i++
			b.WriteByte(value[i])
		default:
			var code byte
			_, _ = fmt.Sscanf(value[i+1:i+3], "%02X", &code)
			b.WriteByte(code)
			i += 2
		}
	}
	return b.String(), ""
}
