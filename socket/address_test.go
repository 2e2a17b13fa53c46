package socket

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text          string
		network, host, path string
		port                int
		written             string // "" when it is text
		local               bool
	}{
		{name: "host name", text: "db.example.com:5432", network: "tcp", host: "db.example.com", port: 5432},
		{name: "underscore in a container's name", text: "my_db:1", network: "tcp", host: "my_db", port: 1},
		{name: "localhost", text: "localhost:65535", network: "tcp", host: "localhost", port: 65535, local: true},
		{name: "localhost in capitals", text: "LOCALHOST:80", network: "tcp", host: "LOCALHOST", port: 80, local: true},
		{name: "name that only starts like localhost", text: "localhost.example.com:80", network: "tcp", host: "localhost.example.com", port: 80},
		{name: "IPv4 loopback", text: "127.0.0.1:80", network: "tcp", host: "127.0.0.1", port: 80, local: true},
		{name: "IPv4", text: "192.0.2.1:80", network: "tcp", host: "192.0.2.1", port: 80},
		{name: "IPv4 unspecified", text: "0.0.0.0:80", network: "tcp", host: "0.0.0.0", port: 80},
		{name: "IPv6 loopback", text: "[::1]:80", network: "tcp", host: "::1", port: 80, local: true},
		{name: "IPv6 in long form", text: "[2001:DB8:0:0::1]:80", network: "tcp", host: "2001:db8::1", port: 80, written: "[2001:db8::1]:80"},
		{name: "IPv6 with zone", text: "[fe80::1%eth0]:80", network: "tcp", host: "fe80::1%eth0", port: 80},
		{name: "IPv4 in IPv6 loopback", text: "[::ffff:127.0.0.1]:80", network: "tcp", host: "::ffff:127.0.0.1", port: 80, local: true},
		{name: "host that is called systemd", text: "systemd:80", network: "tcp", host: "systemd", port: 80},
		{name: "every interface", text: ":8443", network: "tcp", port: 8443},
		{name: "service name", text: "localhost:https", network: "tcp", host: "localhost", port: 443, written: "localhost:443", local: true},
		{name: "leading zeros in the port", text: "localhost:0080", network: "tcp", host: "localhost", port: 80, written: "localhost:80", local: true},
		{name: "UNIX path", text: "unix:/run/app.sock", network: "unix", path: "/run/app.sock", local: true},
		{name: "UNIX path with colon", text: "unix:a:b", network: "unix", path: "a:b", local: true},
		{name: "abstract UNIX name", text: "unix:@app", network: "unix", path: "@app", local: true},
		{name: "relative UNIX path", text: "unix:run/app.sock", network: "unix", path: "run/app.sock", local: true},
		{name: "longest UNIX path", text: "unix:" + strings.Repeat("p", maxPath), network: "unix", path: strings.Repeat("p", maxPath), local: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := ParseAddress(tt.text)
			if err != nil {
				t.Fatalf("ParseAddress(%q): %v", tt.text, err)
			}
			if a.Network() != tt.network || a.Host() != tt.host || a.Port() != tt.port || a.Path() != tt.path {
				t.Errorf("got network %q, host %q, port %d, path %q; want %q, %q, %d, %q",
					a.Network(), a.Host(), a.Port(), a.Path(), tt.network, tt.host, tt.port, tt.path)
			}
			want := tt.written
			if want == "" {
				want = tt.text
			}
			if a.String() != want {
				t.Errorf("String() = %q, want %q", a.String(), want)
			}
			if a.IsLocal() != tt.local {
				t.Errorf("IsLocal() = %v, want %v", a.IsLocal(), tt.local)
			}
			if a.IsZero() {
				t.Error("a parsed address is zero")
			}
		})
	}
}

func TestParseAddressErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"nothing", "", "empty address; write HOST:PORT, [IPv6]:PORT or unix:PATH"},
		{"no port", "localhost", "no port; write HOST:PORT, or unix:PATH for a UNIX socket"},
		{"a bare path", "/run/app.sock", "no port; write HOST:PORT, or unix:PATH for a UNIX socket"},
		{"no port after the colon", "localhost:", "no port after the colon; write HOST:PORT"},
		{"port 0", "localhost:0", "port 0 is out of range; use 1 to 65535"},
		{"port 70000", "localhost:70000", "port 70000 is out of range; use 1 to 65535"},
		{"port beyond any integer", "localhost:99999999999999999999", "port 99999999999999999999 is out of range; use 1 to 65535"},
		{"port with a sign", "localhost:+80", `port "+80" is neither a number nor a service known here; use 1 to 65535`},
		{"negative port", "localhost:-1", `port "-1" is neither a number nor a service known here; use 1 to 65535`},
		{"unknown service", "localhost:nosuchservice", `port "nosuchservice" is neither a number nor a service known here; use 1 to 65535`},
		{"port with a path", "localhost:80/x", `port "80/x" is neither a number nor a service known here; use 1 to 65535`},
		{"IPv6 without brackets", "::1:80", "more than one colon; an IPv6 address goes in brackets: [IPv6]:PORT"},
		{"IPv6 without port", "[::1]", "no port; write [IPv6]:PORT"},
		{"brackets left open", "[::1:80", "no ] after the IPv6 address; write [IPv6]:PORT"},
		{"name in brackets", "[localhost]:80", "no IPv6 address between the brackets; other hosts go without: HOST:PORT"},
		{"IPv4 in brackets", "[127.0.0.1]:80", "no IPv6 address between the brackets; other hosts go without: HOST:PORT"},
		{"control character in the zone", "[fe80::1%a\nb]:80", "control character in the zone of an IPv6 address"},
		{"socket of systemd", "systemd:tls", "a socket from systemd can be listened on, not connected to; write HOST:PORT or unix:PATH"},
		{"socket of launchd", "launchd:https", "a socket from launchd can be listened on, not connected to; write HOST:PORT or unix:PATH"},
		{"URL", "http://localhost:80", `a URL ("http://"), not an address; write HOST:PORT alone`},
		{"blank in the host", "local host:80", `character ' ' in the host name; write HOST:PORT, with other alphabets as xn--`},
		{"other alphabet", "müller.example:80", `character 'ü' in the host name; write HOST:PORT, with other alphabets as xn--`},
		{"host too long", strings.Repeat("h", 254) + ":80", "host name of 254 bytes is too long; the limit is 253"},
		{"unix without path", "unix:", "unix: without a path; write unix:PATH"},
		{"unix path too long", "unix:" + strings.Repeat("p", maxPath+1), fmt.Sprintf("path of %d bytes is too long for a UNIX socket; use at most %d", maxPath+1, maxPath)},
		{"zero byte in the path", "unix:/a\x00b", "control character in the path of a UNIX socket"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := ParseAddress(tt.text)
			if err == nil {
				t.Fatalf("ParseAddress(%q) = %v, want an error", tt.text, a)
			}
			if err.Error() != tt.want {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if !a.IsZero() {
				t.Errorf("an address came with the error: %v", a)
			}
		})
	}
}

func TestParseListenAddress(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, network string }{
		{"systemd", "systemd:web", "systemd"},
		{"systemd's name for a unit's socket", "systemd:web.socket", "systemd"},
		{"a number is a name", "systemd:80", "systemd"},
		{"launchd", "launchd:Listeners", "launchd"},
		{"the longest name", "systemd:" + strings.Repeat("n", 255), "systemd"},
		{"TCP as ever", "localhost:80", "tcp"},
		{"UNIX as ever", "unix:/s", "unix"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := ParseListenAddress(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			activated := tt.network == "systemd" || tt.network == "launchd"
			if a.Network() != tt.network || a.String() != tt.text || !a.IsLocal() || a.IsActivated() != activated {
				t.Errorf("got network %q, text %q, local %v, activated %v", a.Network(), a, a.IsLocal(), a.IsActivated())
			}
			if activated && (a.Host() != "" || a.Port() != 0 || a.Path() != "" || a.IsFile()) {
				t.Errorf("got host %q, port %d, path %q", a.Host(), a.Port(), a.Path())
			}
		})
	}
	for text, want := range map[string]string{
		"systemd:":                            "systemd: without a name; write systemd:NAME",
		"launchd:":                            "launchd: without a name; write launchd:NAME",
		"systemd:a:b":                         "colon in the name of a socket from systemd, which none can have; write systemd:NAME",
		"systemd:a\nb":                        "control character in the name of a socket from systemd",
		"systemd:" + strings.Repeat("n", 256): "name of 256 bytes is too long for a socket from systemd; use at most 255",
		"localhost":                           "no port; write HOST:PORT, or unix:PATH for a UNIX socket",
	} {
		if a, err := ParseListenAddress(text); err == nil || err.Error() != want || !a.IsZero() {
			t.Errorf("%q: got %v, %v; want the error %q", text, a, err, want)
		}
	}
}

func TestNamesInLinuxsAbstractNamespaceHaveNoFile(t *testing.T) {
	t.Parallel()
	if a := parse(t, "unix:@app"); a.IsFile() != (runtime.GOOS != "linux") {
		t.Errorf("%v: IsFile() = %v on %s", a, a.IsFile(), runtime.GOOS)
	}
	if a := parse(t, "unix:./@app"); !a.IsFile() {
		t.Errorf("%v has no file", a)
	}
	if _, err := ParseAddress("unix:@"); runtime.GOOS == "linux" && (err == nil || err.Error() != "unix:@ without a name; write unix:@NAME") {
		t.Errorf("unix:@ gives %v", err)
	}
}

func TestAddressZeroValue(t *testing.T) {
	t.Parallel()
	var a Address
	if !a.IsZero() || a.IsLocal() || a.String() != "" || a.Network() != "" {
		t.Errorf("zero Address: IsZero %v, IsLocal %v, String %q, Network %q", a.IsZero(), a.IsLocal(), a.String(), a.Network())
	}
}

func TestAddressAtAnIPAddress(t *testing.T) {
	t.Parallel()
	name := parse(t, "db.example:5432")
	for ip, want := range map[string]string{"192.0.2.1": "192.0.2.1:5432", "2001:db8::1": "[2001:db8::1]:5432", "fe80::1%eth0": "[fe80::1%eth0]:5432"} {
		if got := name.At(netip.MustParseAddr(ip)); got != parse(t, want) {
			t.Errorf("at %s it is %v", ip, got)
		}
	}
}

func TestAddressAsText(t *testing.T) {
	t.Parallel()
	a, err := ParseAddress("[::1]:80")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != `"[::1]:80"` {
		t.Errorf("JSON is %s", text)
	}
	var back Address
	if err := json.Unmarshal(text, &back); err != nil || back != a {
		t.Errorf("read back as %v, %v", back, err)
	}
	if err := back.UnmarshalText([]byte("nonsense")); err == nil || back != a {
		t.Errorf("after a failed UnmarshalText: %v, error %v; want the address as it was", back, err)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, text := range []string{
		"systemd:web", "launchd:web", "systemd:80", "systemd:", "unix:@", "systemd:a:b", "localhost:80", ":80", "[::1]:80", "[fe80::1%eth0]:80", "unix:/a", "unix:@a", "a:http", "0:00001", "[::ffff:1.2.3.4]:1", "a:b:c", "http://a:1", "[]:1", "unix:",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseListenAddress(text)
		target, targetErr := ParseAddress(text)
		if err != nil {
			if targetErr == nil {
				t.Errorf("%q: can be dialled, but not listened on: %v", text, err)
			}
			if !a.IsZero() {
				t.Errorf("%q: an address came with the error: %v", text, a)
			}
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q: the error has more than one line: %q", text, err)
			}
			return
		}
		if a.IsActivated() {
			// systemd:80 is a host to dial.
			if targetErr == nil && target.Network() != "tcp" {
				t.Errorf("%q: can be dialled as %v", text, target)
			}
		} else if target != a || targetErr != nil {
			t.Errorf("%q: is %v to listen on and %v, %v to dial", text, a, target, targetErr)
		}
		again, err := ParseListenAddress(a.String())
		if err != nil || again != a {
			t.Errorf("%q is written %q, which reads as %v, %v", text, a.String(), again, err)
		}
		kinds := 0
		for _, is := range []bool{a.Path() != "", a.Port() != 0, a.IsActivated()} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			t.Errorf("%q has path %q, port %d, and IsActivated() is %v; want exactly one", text, a.Path(), a.Port(), a.IsActivated())
		}
	})
}
