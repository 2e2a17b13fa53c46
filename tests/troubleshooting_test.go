package tests

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

// updateGuides has the test write its part of docs/troubleshooting.md anew:
//
//	go test ./tests -run TestTroubleshooting -args -update-guides
var updateGuides = flag.Bool("update-guides", false, "write the tables of docs/troubleshooting.md anew")

// A mishap is something that goes wrong for somebody, and what they are told.
type mishap struct {
	what  string                             // as it is to the one whom it happens to
	cause func(t *testing.T, m *mess) string // has it happen, and returns what sallyport says
	do    string                             // what helps
}

// mishaps are those of the first hour, by where sallyport tells of them.
var mishaps = []struct {
	where string
	those []mishap
}{
	{"On standard error, at the start", []mishap{
		{"no identity is named", printed(aServer),
			"name one ([certificates.md](certificates.md)); `sallyport certs init certs` makes some to try with"},
		{"a file is not there", printed(aServer + " --cert sever.pem --key server-key.pem"),
			"look at the path; it is relative to the working directory"},
		{"certificate and key are swapped", printed(aServer + " --cert server-key.pem --key server.pem"),
			"swap them"},
		{"the key is another's", printed(aServer + " --cert server.pem --key client-key.pem"),
			"take both from one pair; `openssl x509 -noout -pubkey` of the one and `openssl pkey -pubout` of the other print the same"},
		{"the keystore's password is missing", printed(aServer + " --keystore server.p12"),
			"the variable `KEYSTORE_PASS` does as well; flags are seen in the list of processes until they are hidden"},
		{"it is wrong", printed(aServer + " --keystore server.p12 --storepass wrong"),
			"[keystores.md](keystores.md#when-it-does-not-work)"},
		{"it is not said who may connect", printed("server --listen LISTEN --target TARGET --cacert ca.pem" + itsCert),
			"[access.md](access.md); `--allow-all` lets in everybody with a certificate of `--cacert`"},
		{"no target", printed("server --listen LISTEN --cacert ca.pem --allow-all" + itsCert),
			"the variable `SALLYPORT_TARGET` does as well"},
		{"the target is on another machine", printed("server --listen LISTEN --target 192.0.2.1:80 --cacert ca.pem --allow-all" + itsCert),
			"run Sallyport beside the service; the flag is for a network that is trusted"},
		{"client mode listens for others", printed("client --listen :8000 --target SECURE --cacert ca.pem --disable-authentication"),
			"the flag is for when whoever can connect may"},
		{"the target's name is wrong", printed(strings.Replace(aServer, "TARGET", "lcalhost.invalid:8080 --unsafe-target", 1) + itsCert),
			"look at the spelling; the flag is for names that will resolve later"},
		{"the port is taken", printed(strings.Replace(aServer, "LISTEN", "SECURE", 1) + itsCert),
			"`ss -ltnp` tells which"},
		{"another process has the UNIX socket", printed("server --listen unix:taken --target TARGET --allow-all --cacert ca.pem" + itsCert),
			"`ss -lxp` tells which"},
		{"the UNIX socket's directory is not there", printed("server --listen unix:run/web --target TARGET --allow-all --cacert ca.pem" + itsCert),
			"`mkdir`; in a unit `RuntimeDirectory=`"},
		{"the target is a URL", printed(strings.Replace(aServer, "TARGET", "http://TARGET", 1) + itsCert),
			"HTTP goes through as anything does; [http.md](http.md) has what `--protocol http` adds"},
		{"client mode connects to itself", printed("client --listen localhost:8000 --target 127.0.0.1:8000 --cacert ca.pem --disable-authentication"),
			"`--target` is the server's address"},
		{"the key has a passphrase", withPassphrase(aServer + " --cert server.pem --key sealed-key.pem"),
			"the variable `KEYSTORE_PASS` does as well"},
		{"a flag is mistyped", printed(aServer + itsCert + " --conect-timeout 1s"),
			"`sallyport server --help` lists them"},
		{"a duration has no unit", printed(aServer + itsCert + " --idle-timeout 30"),
			"`0` is no limit"},
		{"a configuration file is indented with tabs", printed("run --config tabs.yaml"),
			"`expand` makes blanks of them"},
		{"a key of a configuration file is mistyped", printed("run --config mistyped.yaml"),
			"file, line and column say where; [config.example.yaml](../config.example.yaml) has every key"},
		{"a variable in it is not set", printed("run --config variable.yaml"),
			"set it where the process is started: `Environment=` in a unit, `env:` in a manifest"},
		{"`--status` is asked over the wrong scheme", statusOf("http://STATUS"),
			"HTTPS is the default on TCP; `--status http://…` for plain HTTP"},
		{"the status port's certificate is not trusted", statusOf("STATUS"),
			"`--cacert`, as for the tunnel itself"},
		{"nobody answers at the status port", printed("status http://NOBODY"),
			"`sallyport status` takes the address that `--status` has"},
	}},
	{"By `sallyport check`", []mishap{
		{"the certificate has expired", printed("check " + aServer + " --cert expired.pem --key expired-key.pem"),
			"renew it; a reload takes the new one"},
	}},
	{"In the log, while it runs", []mishap{
		{"a client shows no certificate", logged(aServer+itsCert, connecting(nil)),
			"`curl --cert … --key …`. Many clients show none if it is not of a CA that they are told of"},
		{"its certificate is of another CA", logged(aServer+itsCert, connecting(func(t *testing.T, m *mess) *devpki.Identity {
			return authority(t, "another CA").issue(t, "client", devpki.Request{CommonName: "client"}).Identity
		})),
			"several may be in one file"},
		{"it has expired", logged(aServer+itsCert, connecting(func(t *testing.T, m *mess) *devpki.Identity { return m.issue(t, "visitor", expired("client")).Identity })),
			"`openssl x509 -noout -dates -in client.pem` has the dates"},
		{"no access flag matches it", logged(aServer+itsCert, connecting(func(t *testing.T, m *mess) *devpki.Identity {
			return m.issue(t, "visitor", devpki.Request{CommonName: "mallory"}).Identity
		})),
			"[access.md](access.md)"},
		{"a client speaks no TLS", logged(aServer+itsCert, plainly),
			"or `sallyport client` in front of it"},
		{"the client does not trust the certificate", logged(aServer+itsCert, connectingTo("another CA")),
			"what the client says; `--cacert` of curl, of `sallyport client`"},
		{"a client says nothing", logged(aServer+itsCert+" --connect-timeout 100ms", silently),
			"[starttls.md](starttls.md)"},
		{"the target is down", logged(strings.Replace(aServer, "TARGET", "NOBODY", 1)+itsCert, connecting(func(t *testing.T, m *mess) *devpki.Identity {
			return m.issue(t, "visitor", devpki.Request{CommonName: "client"}).Identity
		})),
			"`ss -ltn` lists where services listen"},
		{"client mode does not trust the target", logged(aClient+" --cacert other-ca.pem", plainly),
			"`openssl s_client -showcerts -connect HOST:PORT` shows which CA that is"},
		{"the target's certificate is for another name", logged(aClient+" --cacert ca.pem --override-server-name web.example.com", plainly),
			"[client.md](client.md#what-the-target-must-prove)"},
		{"the target speaks no TLS", logged(strings.Replace(aClient, "SECURE", "PLAIN", 1)+" --cacert ca.pem", plainly),
			"[starttls.md](starttls.md)"},
		{"the target wants a certificate", logged("client --listen LISTEN --target SECURE --cacert ca.pem --disable-authentication", plainly),
			"[client.md](client.md#without-a-certificate)"},
		{"the service speaks no HTTP", logged(strings.Replace(aServer, "TARGET", "MUTE", 1)+itsCert+" --protocol http", requesting),
			"leave out `--protocol http` for what is none"},
		{"a reload finds a broken file", reloaded("server-key.pem", "broken"),
			"[reloading.md](reloading.md)"},
	}},
}

// A mess is where a mishap happens: a directory with identities and files that are
// not all as they should be, and services.
type mess struct {
	*pki

	stands *strings.Replacer // the words of a line for what they stand for
	shown  *strings.Replacer // what differs from run to run for what can be read
	at     map[string]string // addresses, by these words
}

func newMess(t *testing.T) *mess {
	t.Helper()
	m := &mess{pki: authority(t, "example CA")}
	server := m.server(t)
	m.client(t)
	m.issue(t, "expired", expired("server"))
	writeFile(t, filepath.Join(m.dir, "other-ca.pem"), authority(t, "another CA").PEM())
	keystore, err := server.PKCS12("changeit")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(m.dir, "server.p12"), keystore)
	const tunnel = "tunnels:\n  - name: web\n    mode: server\n    listen: localhost:8443\n    target: localhost:8080\n    keystore: server-combined.pem\n"
	writeFile(t, filepath.Join(m.dir, "mistyped.yaml"), []byte(tunnel+"    alow-cn: client\n"))
	writeFile(t, filepath.Join(m.dir, "variable.yaml"), []byte(tunnel+"    allow-cn: ${WHO}\n"))
	writeFile(t, filepath.Join(m.dir, "tabs.yaml"), []byte("tunnels:\n\t- name: web\n"))
	serveOn(t, "unix", filepath.Join(m.dir, "taken"), echo)
	m.at = map[string]string{
		"LISTEN": reserve(t),
		"STATUS": reserve(t),
		"NOBODY": reserve(t),
		"TARGET": serve(t, "tcp", echo).address,
		"PLAIN": serve(t, "tcp", func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") // the client may have left
		}).address,
		"MUTE": serve(t, "tcp", func(conn net.Conn) {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, "550 what?\r\n")
		}).address,
		"SECURE": serve(t, "tcp", overTLS(m.targetConfig(server), echo)).address,
	}
	ports := map[string]string{"LISTEN": "8000", "STATUS": "6060", "NOBODY": "8080", "TARGET": "8080", "PLAIN": "8080", "MUTE": "8080", "SECURE": "8443"}
	var stands, shown []string
	for _, name := range slices.Sorted(maps.Keys(m.at)) {
		stands = append(stands, name, m.at[name])
		shown = append(shown, m.at[name], "127.0.0.1:"+ports[name])
	}
	m.stands, m.shown = strings.NewReplacer(stands...), strings.NewReplacer(shown...)
	return m
}

// expired is what to ask an authority for that is no longer good.
func expired(name string) devpki.Request {
	now := time.Now()
	return devpki.Request{CommonName: name, DNSNames: []string{"localhost"}, NotBefore: now.Add(-2 * time.Minute), NotAfter: now.Add(-time.Minute)}
}

// What most mishaps happen to.
const (
	aServer = "server --listen LISTEN --target TARGET --cacert ca.pem --allow-cn client"
	itsCert = " --cert server.pem --key server-key.pem"
	aClient = "client --listen LISTEN --target SECURE --cert client.pem --key client-key.pem"
)

// command starts sallyport in the directory of the mess.
func (m *mess) command(t *testing.T, line string) *process {
	t.Helper()
	cmd := exec.Command(sallyport(t), strings.Fields(m.stands.Replace(line))...)
	cmd.Dir = m.dir
	return launchSallyport(t, nil, cmd)
}

// printed is what is said on standard error by a command that does not work.
func printed(line string) func(*testing.T, *mess) string {
	return func(t *testing.T, m *mess) string {
		t.Helper()
		p := m.command(t, line)
		if code := p.exit(t); code == 0 {
			t.Error("it works")
		}
		return strings.TrimSpace(p.stderr.String())
	}
}

// withPassphrase is what is printed where a key has been encrypted.
func withPassphrase(line string) func(*testing.T, *mess) string {
	return func(t *testing.T, m *mess) string {
		t.Helper()
		seal := exec.Command(need(t, "openssl"), "pkey", "-in", "server-key.pem", "-aes256", "-passout", "pass:changeit", "-out", "sealed-key.pem")
		seal.Dir = m.dir
		if out, err := seal.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return printed(line)(t, m)
	}
}

// statusOf is what sallyport status says of a server's status port.
func statusOf(address string) func(*testing.T, *mess) string {
	return func(t *testing.T, m *mess) string {
		t.Helper()
		m.command(t, aServer+itsCert+" --status STATUS").waitReady(t)
		return printed("status "+address)(t, m)
	}
}

// logged is what is logged by a command when something is done to it.
func logged(line string, do func(*testing.T, *mess)) func(*testing.T, *mess) string {
	return func(t *testing.T, m *mess) string {
		t.Helper()
		p := m.command(t, line)
		p.waitReady(t)
		do(t, m)
		_, text, _ := strings.Cut(p.waitLine(t, " reason="), " msg=")
		return "msg=" + text
	}
}

// connecting is a client with an identity, or with none.
func connecting(with func(*testing.T, *mess) *devpki.Identity) func(*testing.T, *mess) {
	return func(t *testing.T, m *mess) {
		t.Helper()
		config := m.clientConfig()
		if with != nil {
			certificate := with(t, m).TLSCertificate()
			// Go's clients show none that is not of a CA which they are told of.
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		}
		if attempt(t, m.at["LISTEN"], config) == nil {
			t.Error("nothing went wrong")
		}
	}
}

// connectingTo is a client that trusts a CA of that name alone.
func connectingTo(name string) func(*testing.T, *mess) {
	return func(t *testing.T, m *mess) {
		t.Helper()
		config := m.clientConfig(m.issue(t, "visitor", devpki.Request{CommonName: "client"}))
		config.RootCAs = authority(t, name).Pool()
		if attempt(t, m.at["LISTEN"], config) == nil {
			t.Error("nothing went wrong")
		}
	}
}

// requesting is a client that asks for a page.
func requesting(t *testing.T, m *mess) {
	t.Helper()
	config := m.clientConfig(m.issue(t, "visitor", devpki.Request{CommonName: "client"}))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	response, err := client.Get("https://" + m.at["LISTEN"])
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadGateway {
		t.Error(response.Status)
	}
}

// silently is a client that waits to be greeted.
func silently(t *testing.T, m *mess) {
	t.Helper()
	_, _ = io.ReadAll(dial(t, "tcp", m.at["LISTEN"]))
}

// plainly is a client that speaks no TLS.
func plainly(t *testing.T, m *mess) {
	t.Helper()
	conn := dial(t, "tcp", m.at["LISTEN"])
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") // it may be refused by then
	_, _ = io.ReadAll(conn)
}

// reloaded is what is logged when a file is no longer what it should be.
func reloaded(file, content string) func(*testing.T, *mess) string {
	return func(t *testing.T, m *mess) string {
		t.Helper()
		p := m.command(t, aServer+itsCert)
		p.waitReady(t)
		writeFile(t, filepath.Join(m.dir, file), []byte(content))
		p.signal(t, syscall.SIGHUP)
		_, text, _ := strings.Cut(p.waitLine(t, "reload failed"), " msg=")
		return "msg=" + text
	}
}

// said is a message as it goes into a table.
func (m *mess) said(text string) string {
	text = m.shown.Replace(text)
	// Of a log line, what happened and why.
	text = regexp.MustCompile(` (tunnel|conn|remote|target|identity|server_name|alpn|tls_version|stage|request_id|method|host|path|protocol|bytes_in|bytes_out|duration)=("(\\.|[^"])*"|\S+)`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(text, "…")
	text = regexp.MustCompile(`lookup (\S+) on \S+:`).ReplaceAllString(text, "lookup $1:")
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// TestTroubleshooting: the guide says what Sallyport says when something goes wrong,
// and what helps.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	said := make([][]string, len(mishaps))
	t.Cleanup(func() { compareTables(t, said) }) // when all have gone wrong
	for i, group := range mishaps {
		said[i] = make([]string, len(group.those))
		for j, mishap := range group.those {
			t.Run(mishap.what, func(t *testing.T) {
				t.Parallel()
				m := newMess(t)
				said[i][j] = m.said(mishap.cause(t, m))
			})
		}
	}
}

// compareTables compares what was said with the tables of the guide, or writes them.
func compareTables(t *testing.T, said [][]string) {
	t.Helper()
	if t.Failed() || slices.ContainsFunc(said, func(group []string) bool { return slices.Contains(group, "") }) {
		return // not all was asked for: -run names a part
	}
	var tables strings.Builder
	for i, group := range mishaps {
		fmt.Fprintf(&tables, "\n## %s\n\n| what is wrong | what it says | what helps |\n| --- | --- | --- |\n", group.where)
		for j, mishap := range group.those {
			fmt.Fprintf(&tables, "| %s | %s | %s |\n", mishap.what, said[i][j], mishap.do)
		}
	}

	const guide = "../docs/troubleshooting.md"
	const begin, end = "<!-- TestTroubleshooting writes this -->\n", "\n<!-- to here -->\n"
	text := readText(t, guide)
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the tables", guide)
	}
	want := before + begin + tables.String() + end + after
	switch {
	case text == want:
	case *updateGuides:
		if err := os.WriteFile(guide, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s does not say what Sallyport says; go test ./tests -run TestTroubleshooting -args -update-guides writes it anew:\n%s", guide, tables.String())
	}
}
