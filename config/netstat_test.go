package config

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// leastNetstat is what `sallyport netstat` does without being told more.
func leastNetstat(t *testing.T) Netstat {
	t.Helper()
	return Netstat{
		Listen: address(t, ":9690"), MinAge: 6 * time.Second, TCP6: true,
		Log: Log{Format: LogText, Level: slog.LevelInfo},
	}
}

// TestNetstat takes flags, variables and a file, in this order.
func TestNetstat(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, flags string
		env         []string
		file        string
		want        func(*Netstat)
	}{
		{name: "nothing", want: func(*Netstat) {}},
		{name: "flags", flags: "--listen localhost:1 --duration 1m --port 80 --no-tcpv6 --simple --log-format json --log-level warn --disable-landlock",
			want: func(n *Netstat) {
				n.Listen, n.MinAge, n.Port, n.TCP6, n.Simple, n.DisableLandlock = address(t, "localhost:1"), time.Minute, 80, false, true, true
				n.Log = Log{Format: LogJSON, Level: slog.LevelWarn}
			}},
		{name: "a port to listen on", flags: "--listen 9000", want: func(n *Netstat) { n.Listen = address(t, ":9000") }},
		{name: "a socket to listen on", flags: "--listen unix:/s", want: func(n *Netstat) { n.Listen = address(t, "unix:/s") }},
		{name: "a socket of systemd's", flags: "--listen systemd:netstat", want: func(n *Netstat) { n.Listen = address(t, "systemd:netstat") }},
		{name: "all ports", flags: "--port -1 --simple", want: func(n *Netstat) { n.Simple = true }},
		{name: "all ports, joined", flags: "--port=-1", want: func(*Netstat) {}},
		{name: "seconds", flags: "--duration 90", want: func(n *Netstat) { n.MinAge = 90 * time.Second }},
		{name: "its variables", env: []string{"LISTEN=9000", "DURATION=1s", "PORT=-1", "TCPV6=false", "SIMPLE=1"},
			want: func(n *Netstat) {
				n.Listen, n.MinAge, n.TCP6, n.Simple = address(t, ":9000"), time.Second, false, true
			}},
		{name: "variables by the flags' names", env: []string{"SALLYPORT_LISTEN=9001", "LISTEN=9000", "SALLYPORT_SIMPLE=true"},
			want: func(n *Netstat) { n.Listen, n.Simple = address(t, ":9001"), true }},
		{name: "a Service of Kubernetes called sallyport", env: []string{"SALLYPORT_PORT=tcp://10.0.0.1:443"}, want: func(*Netstat) {}},
		{name: "such a Service, and a port", env: []string{"SALLYPORT_PORT=tcp://10.0.0.1:443", "PORT=5432"}, want: func(n *Netstat) { n.Port = 5432 }},
		{name: "a file", file: "# comment\n\nlisten  localhost:9000\r\n\tduration\t2s \nport -1\ntcpv6 false\nSIMPLE true\nlog_level warn",
			want: func(n *Netstat) {
				n.Listen, n.MinAge, n.TCP6, n.Simple = address(t, "localhost:9000"), 2*time.Second, false, true
				n.Log.Level = slog.LevelWarn
			}},
		{name: "an empty file", file: "\n", want: func(*Netstat) {}},
		{name: "all three", flags: "--duration 1s", env: []string{"DURATION=2s", "PORT=2"}, file: "duration 3s\nport 3\nsimple true\n",
			want: func(n *Netstat) { n.MinAge, n.Port, n.Simple = time.Second, 2, true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"netstat"}, strings.Fields(test.flags)...)
			if test.file != "" {
				args = append(args, "--conf", writeConf(t, test.file))
			}
			got, err := Parse(args, environment(test.env...), io.Discard, "v1.2.3")
			if err != nil {
				t.Fatal(err)
			}
			want := leastNetstat(t)
			test.want(&want)
			if diff := cmp.Diff(Command(&want), got, byValue); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func writeConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netstat.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWrongNetstatFiles has every mistake in a file, and where the error says it
// is. FILE stands for its path.
func TestWrongNetstatFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"port 80\nduration 6x\n", `FILE:2: duration "6x": not a duration; write it like 30s, 5m or 1h30m`},
		{"duration 0\n", `FILE:1: duration "0": no time at all; use more than 0`},
		{"# comment\n\nport http\n", `FILE:3: port "http": not a port; use 1 to 65535, or -1 for all`},
		{"port -2", `FILE:1: port "-2": not a port; use 1 to 65535, or -1 for all`},
		{"port 0", `FILE:1: port "0": not a port; use 1 to 65535, or -1 for all`},
		{"LISTEN 70000", `FILE:1: LISTEN "70000": port 70000 is out of range; use 1 to 65535`},
		{"simple perhaps", `FILE:1: simple "perhaps": not a switch; write true or false`},
		{"simple", `FILE:1: simple: the value is missing; write simple true or false`},
		{"duration\t", `FILE:1: duration: the value is missing; write duration DURATION`},
		{"port 1\n\nPort 2", `FILE:3: Port: given twice; line 1 has it too`},
		{"durtion 1s", `FILE:1: no key "durtion"; did you mean duration?`},
		{"--port 1", `FILE:1: no key "--port"; did you mean port?`},
		{"duration=1s", `FILE:1: no key "duration=1s"; did you mean duration?`},
		{"target a:1", `FILE:1: no key "target"; use listen, duration, port, tcpv6, simple, disable-landlock, log-format or log-level`},
		{strings.Repeat("#", maxFileSize+1), `--conf "FILE": larger than 1048576 bytes, which is more than a configuration file may be`},
		{"conf other", `FILE:1: no key "conf"; use listen, duration, port, tcpv6, simple, disable-landlock, log-format or log-level`},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			path := writeConf(t, test.text)
			_, err := parse("netstat --conf " + path)
			want := strings.Replace(test.want, "FILE", path, 1)
			if err == nil || err.Error() != want {
				t.Errorf("error\n\t%v\nwant\n\t%s", err, want)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for _, env := range [][]string{nil, {"SALLYPORT_CONF=" + missing}} {
		args, source := []string{"netstat"}, "SALLYPORT_CONF"
		if env == nil {
			args, source = append(args, "--conf", missing), "--conf"
		}
		_, err := Parse(args, environment(env...), io.Discard, "v1.2.3")
		want := source + ` "` + missing + `": no such file or directory`
		if err == nil || err.Error() != want {
			t.Errorf("error\n\t%v\nwant\n\t%s", err, want)
		}
	}
}

func TestWrongNetstatFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ line, want string }{
		{"netstat --port -2", `--port "-2": not a port; use 1 to 65535, or -1 for all`},
		{"netstat --port --simple", "--port: the value is missing; write --port=PORT"},
		{"netstat --duration -1s", `--duration "-1s": negative duration; use 0 or more`},
		{"netstat --listen x", `--listen "x": no port; write HOST:PORT, or unix:PATH for a UNIX socket`},
		{"netstat --target a:1", "--target: not a flag of sallyport netstat, but of sallyport server and sallyport client"},
		{"server --duration 1s", "--duration: not a flag of sallyport server, but of sallyport netstat"},
		{"netsat", `no command "netsat"; did you mean netstat?`},
	} {
		if _, err := parse(test.line); err == nil || err.Error() != test.want {
			t.Errorf("%s: error\n\t%v\nwant\n\t%s", test.line, err, test.want)
		}
	}
}

// FuzzKeyFile takes every file apart into lines that a file of the same meaning
// can be made of.
func FuzzKeyFile(f *testing.F) {
	f.Add("# comment\nport 80\n\n simple\ttrue\r\n")
	f.Add("key")
	f.Add(" \v\n\x85x y")
	f.Fuzz(func(t *testing.T, text string) {
		lines := parseKeyFile(text)
		var again strings.Builder
		next := 1
		for _, line := range lines {
			if line.key == "" || line.key[0] == '#' || strings.ContainsAny(line.key, " \t\n") || strings.TrimSpace(line.value) != line.value || line.number < next {
				t.Fatalf("%q holds %+v", text, line)
			}
			for ; next < line.number; next++ {
				again.WriteString("\n")
			}
			again.WriteString(line.key + " " + line.value + "\n")
			next++
		}
		if diff := cmp.Diff(lines, parseKeyFile(again.String()), cmp.AllowUnexported(keyLine{})); diff != "" {
			t.Errorf("%q: (-read +read again)\n%s", text, diff)
		}
	})
}
