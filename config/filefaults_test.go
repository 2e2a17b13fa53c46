package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// faultsOf are the faults of a file, without its name.
func faultsOf(t *testing.T, text string, flags ...string) []string {
	t.Helper()
	path := writeFile(t, text)
	_, err := Parse(append([]string{"run", "--config", path}, flags...), environment("HOME=/root", "EMPTY=", "BAD=hunter2:x", "WORD=hunter2"), &strings.Builder{}, "v1.2.3")
	var faults Faults
	if err == nil {
		return nil
	}
	if !errors.As(err, &faults) {
		t.Fatalf("%v, want Faults", err)
	}
	var lines []string
	for _, fault := range faults {
		lines = append(lines, strings.ReplaceAll(fault.Error(), path+":", ""))
	}
	return lines
}

// server is a file with one tunnel in server mode, of line 2 on, and more of its keys.
func server(keys ...string) string {
	return "tunnels:\n- name: web\n  mode: server\n  listen: :8443\n  target: localhost:8080\n  keystore: id.pem\n" + indented(keys)
}

// client is the same in client mode.
func client(keys ...string) string {
	return "tunnels:\n- name: db\n  mode: client\n  listen: localhost:5432\n  target: db.example.com:5433\n  keystore: id.pem\n" + indented(keys)
}

func indented(keys []string) string {
	text := ""
	for _, key := range keys {
		text += "  " + key + "\n"
	}
	return text
}

// fileFault is a file that something is wrong with, and what is told of it.
type fileFault struct {
	name, text string
	want       []string
}

// fileFaults has every kind of fault that a file can have.
func fileFaults() []fileFault {
	const other = "- {name: other, mode: client, listen: 'localhost:1', target: 'a:2', keystore: k"
	return []fileFault{
		// Not a configuration file
		{"empty", "", []string{"1:1: empty; it needs a list of tunnels"}},
		{"a comment alone", "# soon\n", []string{"1:1: empty; it needs a list of tunnels"}},
		{"no YAML", "tunnels: [\n", []string{"2:1: not YAML: while parsing a flow node: did not find expected node content"}},
		{"no blank behind a colon", "tunnels:\n- name: x\n  mode:server\n  listen: y\n", []string{"4:3: not YAML: while scanning a simple key: could not find expected ':'; a key ends with a colon and a blank"}},
		{"a list that is out of line", "tunnels:\n  - name: x\n - name: y\n", []string{"3:2: not YAML: while parsing a block mapping: did not find expected key; keys that belong together begin in the same column"}},
		{"a tab", "tunnels:\n\t- name: x\n", []string{"2:1: not YAML: while scanning for the next token: found character that cannot start any token: a tab; indent with blanks"}},
		{"a colon in a value", "tunnels:\n- name: a: b\n", []string{"2:10: not YAML: mapping values are not allowed in this context; is a line above it cut short, or a value with a colon and a blank not in quotes?"}},
		{"an alias of nothing", "tunnels: *web\n", []string{"1:10: not YAML: an alias that stands for nothing above; a value that begins with * or & goes in quotes"}},
		{"too deep", "tunnels: " + strings.Repeat("[", 99), []string{"1:42: not YAML: while increasing flow level: exceeded max depth of 32"}},
		{"two documents", server("allow-all: true") + "---\n", []string{"8:1: a second document; a configuration file holds one, without --- in it"}},
		{"a list", "- name: web\n", []string{
			"1:1: a configuration file is a mapping, with tunnels and more; this is a list", "1:1: tunnels: missing; it is the list of tunnels",
		}},
		{"no tunnels", "status: localhost:6060\n", []string{"1:1: tunnels: missing; it is the list of tunnels"}},
		{"an empty list", "tunnels: []\n", []string{"1:10: tunnels: empty; it needs at least one"}},
		{"tunnels as a mapping", "tunnels: {name: web}\n", []string{"1:10: tunnels: takes a list, and this is a mapping; write - in front of each tunnel"}},
		{"a tunnel as text", "tunnels: [web]\n", []string{"1:11: a tunnel is a mapping, with name, mode, listen, target and more; this is a single value"}},
		{"too many tunnels", "tunnels: [" + strings.Repeat("a,", maxTunnels+1) + "]\n", []string{"1:10: tunnels: 4097 of them, and one process has room for 4096"}},

		// Routes and identities
		{"a route that is wrong in many ways", routed("{name: default, server-name: a.test, target: 'far.example.com:80', keystore: k, cert: c, listen: ':1', alow-cn: x}"), []string{
			"10:5: tunnel web: more than one identity: keystore (line 10), cert (line 10); give one of them",
			`10:6: name "default": is what the tunnel's own settings are called; choose another`,
			"10:42: target far.example.com:80: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add unsafe-target: true",
			`10:94: key "listen": is for the whole tunnel; put it there`,
			`10:108: unknown key "alow-cn"; did you mean allow-cn?`,
		}},
		{"routes in client mode", client("routes: []"), []string{`7:3: key "routes": has a meaning in server mode alone; leave it out`}},
		{"no routes", server("allow-all: true", "routes: []"), []string{"8:3: routes: empty; leave it out"}},
		{"routes as a mapping", server("allow-all: true", "routes: {name: a}"), []string{"8:3: routes: takes a list, and this is a mapping; write - in front of each"}},
		{"a route as text", server("allow-all: true", "routes: [a]"), []string{"8:12: a route is a mapping, with name, server-name, target and more; this is a single value"}},
		{"a route without a name", routed("{server-name: a.test}"), []string{"10:5: name: missing; logs and metrics tell routes apart by it"}},
		{"two routes of one name", routed("{name: a, server-name: a.test}", "{name: a, server-name: b.test}"), []string{`11:6: name "a": the route in line 10 has that name; choose another`}},
		{"a name of two routes", routed("{name: a, server-name: [a.test, b.test]}", "{name: b, server-name: B.test}"), []string{
			"11:15: server-name: b.test is of route a in line 10 too; a name leads one way",
		}},
		{"a route for nobody", routed("{name: a}"), []string{"10:5: tunnel web: route a: server-name: missing; say which names of clients the route is for, such as shop.example.com or *.example.com"}},
		{"a server name that is none", routed("{name: a, server-name: 'a.*.test'}"), []string{`10:15: server-name "a.*.test": an asterisk stands for the whole first label alone, as in *.example.com`}},
		{"a route to elsewhere", routed("{name: a, server-name: a.test, target: 'far.example.com:80'}"), []string{
			"10:36: target far.example.com:80: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add unsafe-target: true",
		}},
		{"a route with two identities", routed("{name: a, server-name: a.test, cert: c, key: k, keystore: s}"), []string{
			"10:5: tunnel web: route a: more than one identity: keystore (line 10), cert (line 10) with key (line 10); give one of them",
		}},
		{"a route that lets in everybody and somebody", routed("{name: a, server-name: a.test, allow-all: true, allow-cn: x}"), []string{
			"10:36: allow-all and allow-cn (line 10): the first lets in everybody with a certificate; give one or the other",
		}},
		{"a route without a target", "tunnels:\n- name: web\n  mode: server\n  listen: :8443\n  routes: [{name: a, server-name: a.test, keystore: k, allow-all: true}]\n", []string{
			"5:12: tunnel web: route a: target: missing; say where to forward, as HOST:PORT or unix:PATH",
		}},
		{"a route with further identities alone", routed("{name: a, server-name: a.test, identities: [{keystore: k}]}"), []string{
			"10:5: tunnel web: route a: identities are further ones: give cert with key, or keystore, beside them",
		}},
		{"an identity with two", server("allow-all: true", "identities: [{cert: c, key: k, keystore: s}]"), []string{
			"8:16: tunnel web: more than one identity: give cert with key, or keystore; the other one is an item of its own",
		}},
		{"half a further identity", server("allow-all: true", "identities: [{cert: c}]"), []string{"8:17: cert: needs key too"}},
		{"a further identity that is none", server("allow-all: true", "identities: [{storepass: hunter2}]"), []string{
			"8:16: tunnel web: no identity: give cert with key, or keystore",
		}},
		{"an identity as text", server("allow-all: true", "identities: [a]"), []string{"8:16: an identity is a mapping, with cert and key, or keystore; this is a single value"}},
		{"too many routes and identities", server("allow-all: true", "identities: &all ["+strings.Repeat("{keystore: k},", maxNested)+"]", "routes: [{name: a, server-name: a.test, keystore: k, identities: *all}]"), []string{
			"9:3: routes: more than 4096 routes and identities in this file, those of aliases counted each time",
		}},
		{"a route whose clients nobody says whom to trust for", strings.Replace(server("allow-all: true", "routes: [{name: a, server-name: a.test, keystore: k}]"), "keystore: id.pem", "use-workload-api-addr: unix:///agent", 1), []string{
			"8:12: tunnel web: route a: cacert: missing; the tunnel's trust comes from the Workload API with an identity that the route does not use",
		}},
		{"an unknown key of an identity", server("allow-all: true", "identities: [{keystore: k, certt: c}]"), []string{`8:30: unknown key "certt"; did you mean cert?`}},
		{"routes without TLS", server("protocol: http", "disable-tls: true", "unsafe-listen: true", "routes: [{name: a, server-name: a.test}]"), []string{
			"8:3: disable-tls and keystore (line 6): without TLS there are no certificates, and no handshake; give one or the other",
			"8:3: disable-tls: without TLS nobody asks for a server name, and nobody is shown a certificate; leave out routes and identities",
		}},

		// Keys
		{"an unknown key", server("allow-all: true", "listem: :1"), []string{`8:3: unknown key "listem"; did you mean listen?`}},
		{"one that is like nothing", server("allow-all: true", "frobnicate: 1"), []string{`8:3: unknown key "frobnicate"; sallyport --config-schema lists all`}},
		{"one with underscores", server("allow_all: true"), []string{`7:3: unknown key "allow_all"; did you mean allow-all?`}},
		{"one in capitals", server("ALLOW-ALL: true"), []string{`7:3: unknown key "ALLOW-ALL"; did you mean allow-all?`}},
		{"one with dashes in front", server("--allow-all: true"), []string{`7:3: unknown key "--allow-all"; did you mean allow-all?`}},
		{"another name of a flag", server("allow-dns-san: a"), []string{`7:3: unknown key "allow-dns-san"; did you mean allow-dns?`}},
		{"a flag that is no key", "use-landlock: true\n" + server("allow-all: true"), []string{`1:1: unknown key "use-landlock"; sallyport --config-schema lists all`}},
		{"the flag of the file", "config: a\n" + server("allow-all: true"), []string{`1:1: unknown key "config"; sallyport --config-schema lists all`}},
		{"a flag of another command", server("allow-all: true", "days: 3"), []string{`8:3: unknown key "days"; sallyport --config-schema lists all`}},
		{"a long key", strings.Repeat("k", 99) + ": 1\n" + server("allow-all: true"), []string{`1:1: unknown key "` + strings.Repeat("k", 64) + `…"; sallyport --config-schema lists all`}},
		{"a key of the process in a tunnel", server("allow-all: true", "status: localhost:6060"), []string{`8:3: key "status": belongs to the process; put it at the top level`}},
		{"in defaults", "defaults:\n  log-level: warn\n" + server("allow-all: true"), []string{`2:3: key "log-level": belongs to the process; put it at the top level`}},
		{"a key of tunnels at the top", "cert: a\n" + server("allow-all: true"), []string{`1:1: key "cert": belongs to a tunnel; put it into one of tunnels, or into defaults for all`}},
		{"a key nearly of tunnels at the top", "certs: a\n" + server("allow-all: true"), []string{`1:1: unknown key "certs"; did you mean cert, in a tunnel?`}},
		{"a key nearly of the process in a tunnel", server("allow-all: true", "log-levvel: info"), []string{`8:3: unknown key "log-levvel"; did you mean log-level, at the top level?`}},
		{"a key of the other mode", server("allow-all: true", "verify-cn: a"), []string{`8:3: key "verify-cn": has a meaning in client mode alone; leave it out`}},
		{"and the reverse", client("allow-cn: a"), []string{`7:3: key "allow-cn": has a meaning in server mode alone; leave it out`}},
		{"a key twice", server("allow-all: true", "listen: :2"), []string{`8:3: key "listen": given twice; line 4 has it too`}},
		{"a key twice at the top", "status: localhost:1\nstatus: localhost:2\n" + server("allow-all: true"), []string{`2:1: key "status": given twice; line 1 has it too`}},
		{"a key that is none", server("allow-all: true", "[a]: b"), []string{"8:3: a key is a name, and this is a list"}},
		{"a merge", "tunnels:\n- &web\n  name: web\n  mode: server\n  listen: :3\n  target: localhost:2\n  keystore: k\n  allow-all: true\n" + other + ", <<: *web}\n",
			[]string{`9:82: key "<<": mappings are not merged here; put what tunnels share under defaults`}},

		// Names and modes
		{"no name", "tunnels:\n- {mode: server, listen: ':1', target: 'localhost:2', keystore: k, allow-all: true}\n", []string{"2:3: name: missing; logs and metrics tell tunnels apart by it"}},
		{"no mode", "tunnels:\n- name: web\n  listen: :1\n", []string{"2:3: mode: missing; write server for one that accepts TLS, or client for one that speaks it to its target"}},
		{"another mode", "tunnels:\n- name: web\n  mode: sever\n", []string{`3:3: mode "sever": no such mode; write server or client`}},
		{"a mode that is a list", "tunnels:\n- name: web\n  mode: [server]\n", []string{"3:3: mode: takes a single value, and this is a list"}},
		{"an empty mode", "tunnels:\n- name: web\n  mode:\n", []string{"3:3: mode: takes a single value, and this is nothing"}},
		{"a name that is none", "tunnels:\n- name: a/b\n  mode: server\n  listen: :1\n  target: localhost:2\n  keystore: k\n  allow-all: true\n",
			[]string{`2:3: name "a/b": not the name of a tunnel; use up to 63 letters, digits, and . _ - after the first`}},
		{"a name twice", client() + "- {name: db, mode: client, listen: 'localhost:1', target: 'a:2', keystore: k}\n", []string{`7:4: name "db": the tunnel in line 2 has that name; choose another`}},
		{"a name in defaults", "defaults: {name: a, mode: server}\n" + server("allow-all: true"), []string{
			"1:12: name: each tunnel has its own; put it there", "1:21: mode: each tunnel has its own; put it there",
		}},

		// Values
		{"a duration that is none", server("allow-all: true", "idle-timeout: 5 minutes"), []string{`8:3: idle-timeout "5 minutes": not a duration; write it like 30s, 5m or 1h30m`}},
		{"a duration without a unit", server("allow-all: true", "idle-timeout: 30"), []string{`8:3: idle-timeout "30": not a duration; write it like 30s, 5m or 1h30m`}},
		{"a count that is none", server("allow-all: true", "max-handshakes: many"), []string{`8:3: max-handshakes "many": not a count; use a whole number from 0 to 2147483647`}},
		{"a switch that is none", server("allow-all: yes"), []string{`7:3: allow-all "yes": not a switch; write true or false`}},
		{"a switch for a path", server("allow-all: true", "cacert: true"), []string{"8:3: cacert: takes PATH, not true; write it in quotes if it is meant so"}},
		{"a list for one value", server("allow-all: true", "cacert: [a, b]"), []string{"8:3: cacert: takes PATH, and this is a list"}},
		{"a mapping for a value", server("allow-all: true", "cacert: {path: a}"), []string{"8:3: cacert: takes PATH, and this is a mapping"}},
		{"a list in a list", server("allow-cn: [[a]]"), []string{"7:14: allow-cn: takes CN, or a list of it, and this is a list"}},
		{"some of a list", server("allow-cn:", "- a", "- ''", "- b", "-"), []string{
			`9:5: allow-cn "": empty value; leave it out to set nothing`, "11:4: allow-cn: the value is missing; write allow-cn: CN, or leave it out",
		}},
		{"no value", server("allow-all: true", "cacert:"), []string{"8:3: cacert: the value is missing; write cacert: PATH, or leave it out"}},
		{"no value of a switch", server("allow-all:"), []string{"7:3: allow-all: the value is missing; write allow-all: true or false, or leave it out"}},
		{"a tag", server("allow-all: true", "cacert: !!binary aGk="), []string{`8:3: cacert: tags mean nothing here; a value that begins with ! goes in quotes`}},
		{"a choice that is none", server("allow-all: true", "proxy-protocol-mode: full"), []string{`8:3: proxy-protocol-mode "full": unknown mode; use conn, tls or tls-full`}},
		{"of the process", "log-level: loud\nlog-sample: 0\n" + server("allow-all: true"), []string{
			`1:1: log-level "loud": unknown level; use debug, info, warn or error`, `2:1: log-sample "0": none at all; use 1 or more`,
		}},
		{"that a default has wrong, once", "defaults:\n  idle-timeout: long\n" + server("allow-all: true") + other + "}\n", []string{
			`2:3: idle-timeout "long": not a duration; write it like 30s, 5m or 1h30m`,
		}},

		// The environment
		{"a variable that is not set", server("allow-all: true", "storepass: ${NOWHERE}"), []string{"8:3: storepass: ${NOWHERE}: that variable is not set, or empty"}},
		{"one that is empty", server("allow-all: true", "storepass: a${EMPTY}b"), []string{"8:3: storepass: ${EMPTY}: that variable is not set, or empty"}},
		{"one without a name", server("allow-all: true", "storepass: hunter2${"), []string{"8:3: storepass: ${ without the name of a variable and }; write ${NAME}, or $${ for a ${ that is meant as such"}},
		{"with a default, as shells have", server("allow-all: true", "storepass: ${A:-b}"), []string{"8:3: storepass: ${ without the name of a variable and }; write ${NAME}, or $${ for a ${ that is meant as such"}},
		{"one that holds something else", server("allow-all: true", "max-handshakes: ${BAD}"), []string{`8:3: max-handshakes "${BAD}": not a count; use a whole number from 0 to 2147483647`}},
		{"a part of an address", strings.Replace(server("allow-all: true"), "8080", "${WORD}", 1), []string{
			`5:3: target "localhost:${WORD}": port "${WORD}" is neither a number nor a service known here; use 1 to 65535`,
		}},
		{"a part of a pin", server("allow-spki-pin: '${WORD}:aGk='"), []string{
			`7:3: allow-spki-pin "${WORD}:aGk=": no pins are made with "${WORD}"; use sha256, sha384 or sha512`,
		}},
		{"a part of a pattern", server("allow-uri: 'spiffe://${WORD}/a*${WORD}/b'"), []string{
			`7:3: allow-uri: URI pattern "spiffe://${WORD}/a*${WORD}/b": segment "a*${WORD}" mixes * with other characters; a wildcard is a whole segment, * or **`,
		}},
		{"in a name", strings.Replace(server("allow-all: true"), "web", "${BAD}", 1), []string{`2:3: name "${BAD}": not the name of a tunnel; use up to 63 letters, digits, and . _ - after the first`}},

		// What keys say together
		{"what is missing", "tunnels:\n- name: web\n  mode: server\n", []string{
			"2:3: tunnel web: listen: missing; say where to accept, as HOST:PORT or unix:PATH",
			"2:3: tunnel web: target: missing; say where to forward, as HOST:PORT or unix:PATH",
			"2:3: tunnel web: no identity: give keystore, cert with key, cert with pkcs11-module, use-workload-api: true, auto-acme-cert or auto-tls: true",
			"2:3: tunnel web: nobody may connect: give allow-all: true, allow-cn, allow-ou, allow-dns, allow-uri, allow-spki-pin, allow-policy or disable-authentication: true",
		}},
		{"half an identity", strings.Replace(server("allow-all: true"), "keystore", "cert", 1), []string{"6:3: cert: needs key too, or pkcs11-module"}},
		{"two identities", server("allow-all: true", "cert: a", "key: b"), []string{"2:3: tunnel web: more than one identity: keystore (line 6), cert (line 8) with key (line 9); give one of them"}},
		{"one by default", "defaults: {auto-tls: true}\n" + server("allow-all: true"), []string{
			"3:3: tunnel web: more than one identity: keystore (line 7), auto-tls (of defaults, line 1); give one of them",
		}},
		{"what excludes each other", server("allow-all: true", "allow-cn: a"), []string{"7:3: allow-all and allow-cn (line 8): the first lets in everybody with a certificate; give one or the other"}},
		{"a target elsewhere", strings.Replace(server("allow-all: true"), "localhost", "db", 1), []string{
			"5:3: target db:8080: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add unsafe-target: true",
		}},
		{"a switch that is on by default", server("allow-all: true", "session-ticket-keys: f", "resumption: false"), []string{
			"8:3: session-ticket-keys and resumption: false: without resumption there are no tickets; give one or the other",
		}},
		{"one address of two tunnels", server("allow-all: true") + "- {name: b, mode: server, listen: '127.0.0.1:8443', target: 'localhost:1', keystore: k, allow-all: true}\n", []string{
			"8:27: listen 127.0.0.1:8443: is where tunnel web of line 2 listens already; choose another",
		}},
		{"and of the status port", "status: :8443\n" + server("allow-all: true"), []string{"5:3: listen and status (line 1): both are :8443; change one"}},
		{"what needs a status port", "enable-pprof: true\n" + server("allow-all: true"), []string{"1:1: enable-pprof: needs status, which it is about"}},
		{"HTTPS without an identity", "status: https://localhost:1\n" + strings.Replace(client("disable-authentication: true"), "  keystore: id.pem\n", "", 1), []string{
			"1:1: status https://localhost:1: HTTPS needs a certificate, and with disable-authentication (line 7) there is none; write http://localhost:1",
		}},

		// Nothing is said twice
		{"what follows from a misspelt key", strings.Replace(server("allow-all: true"), "listen", "listne", 1), []string{`4:3: unknown key "listne"; did you mean listen?`}},
		{"from a wrong value", strings.Replace(server("allow-all: true"), ":8443", "8443", 1), []string{`4:3: listen "8443": no port; write HOST:PORT, or unix:PATH for a UNIX socket`}},
		{"from a wrong default", "defaults: {allow-cn: ['']}\n" + server(), []string{`1:23: allow-cn "": empty value; leave it out to set nothing`}},
	}
}

func TestFaultsOfAFile(t *testing.T) {
	t.Parallel()
	for _, tt := range fileFaults() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := faultsOf(t, tt.text)
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

func TestFileThatIsTooLarge(t *testing.T) {
	t.Parallel()
	path := writeFile(t, strings.Repeat("#", maxFileSize+1))
	_, err := Parse([]string{"run", "--config", path}, environment(), &strings.Builder{}, "v1.2.3")
	want := fmt.Sprintf("--config %q: larger than 1048576 bytes, which is more than a configuration file may be", path)
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestFileThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:             "is a directory",
		dir + "/absent": "no such file or directory",
	} {
		_, err := Parse([]string{"run", "--config", path}, environment(), &strings.Builder{}, "v1.2.3")
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestAFlagBesideAFileHasItsOwnName has faults of what was no key told by flag.
func TestAFlagBesideAFileHasItsOwnName(t *testing.T) {
	t.Parallel()
	got := faultsOf(t, server("allow-all: true"), "--enable-pprof")
	if want := "--enable-pprof: needs --status, which it is about"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFaultsEnd(t *testing.T) {
	t.Parallel()
	got := faultsOf(t, server("allow-all: true")+strings.Repeat("- {name: x}\n", 3000))
	if want := maxFaults + 1; len(got) != want || !strings.HasSuffix(got[maxFaults], " and more; mend these first") {
		t.Errorf("%d faults, the last %q", len(got), got[len(got)-1])
	}
}

// TestRepeatedAliasesAreRefused has a megabyte of aliases that stand for ever
// more of what they stand for.
func TestRepeatedAliasesAreRefused(t *testing.T) {
	t.Parallel()
	var laughs strings.Builder
	laughs.WriteString("allow-cn: &a0 [a, b, c, d, e, f, g, h, i]\n")
	for i := 1; laughs.Len() < maxFileSize-100; i++ {
		fmt.Fprintf(&laughs, "k%d: &a%d [*a%[3]d, *a%[3]d, *a%[3]d]\n", i, i, i-1)
	}
	names := "defaults:\n  allow-cn: &all [" + strings.Repeat("x,", 20000) + "]\ntunnels:\n"
	for i := range 100 {
		names += fmt.Sprintf("- {name: t%d, mode: server, listen: ':%[2]d', target: 'localhost:1', keystore: k}\n", i, i+2)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"nested":   {laughs.String(), `1:1: key "allow-cn": belongs to a tunnel`},
		"itself":   {"tunnels: &t [*t]\n", "1:10: a tunnel is a mapping"},
		"a tunnel": {"tunnels:\n- &t {name: t, mode: server, listen: ':1', target: 'localhost:2', keystore: k, allow-all: true}\n" + strings.Repeat("- *t\n", 3000), `2:7: name "t": the tunnel in line 2 has that name`},
		"defaults": {names, "2:4227: allow-cn: more than 262144 values in this file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := faultsOf(t, tt.text); len(got) == 0 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("%.200q, want %s", got, tt.want)
			}
		})
	}
}

func TestAliasesStandForValues(t *testing.T) {
	t.Parallel()
	got, err := fileOf(t, server("allow-cn: &ops [alice, bob]")+
		"- {name: b, mode: server, listen: ':1', target: 'localhost:2', keystore: k, allow-ou: *ops}\n")
	if err != nil {
		t.Fatal(err)
	}
	if ous := got.Tunnels[1].Access.OrganizationalUnits; len(ous) != 2 || ous[1] != "bob" {
		t.Errorf("%q", ous)
	}
}

func TestNullTakesADefaultAway(t *testing.T) {
	t.Parallel()
	got, err := fileOf(t, "defaults: {cert: a, key: b, idle-timeout: 5m, crl: [x]}\n"+server("allow-all: true", "cert: ~", "key: null", "idle-timeout:", "crl: []"))
	if err != nil {
		t.Fatal(err)
	}
	if u := got.Tunnels[0]; u.Identity.Cert != "" || u.IdleTimeout != 0 || len(u.CRLs) != 0 {
		t.Errorf("%+v", u)
	}
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	env := environment("A=1", "B_2=two", "EMPTY=", "NESTED=${A}")
	for text, want := range map[string]string{
		"":              "",
		"plain $A $":    "plain $A $",
		"${A}":          "1",
		"x${A}${B_2}y":  "x1twoy",
		"$${A}":         "${A}",
		"$$${A}":        "$${A}",
		"$$$${A}":       "$$${A}",
		"${NESTED}":     "${A}",
		"$${":           "${",
		"a$$b":          "a$$b",
		"${A}$${A}${A}": "1${A}1",
	} {
		if got, err := expand(text, env); err != nil || got.text() != want {
			t.Errorf("%q: %q, %v, want %q", text, got.text(), err, want)
		}
	}
	for _, text := range []string{"${", "${}", "${A", "${1A}", "${A B}", "${A-b}", "${NO}", "${EMPTY}", "${${A}}"} {
		if got, err := expand(text, env); err == nil {
			t.Errorf("%q: %q, want an error", text, got.text())
		}
	}
}

// TestWhatTheEnvironmentHoldsIsNotQuoted, whatever part of a value an error quotes.
func TestWhatTheEnvironmentHoldsIsNotQuoted(t *testing.T) {
	t.Parallel()
	e, err := expand("a${X}b$${c}", environment("X=Sec-ret"))
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string]string{
		`no "aSec-retb${c}"`:      `no "a${X}b$${c}"`,
		`no "Sec-ret" and no "b"`: `no "${X}" and no "b"`,
		`no "aSec"`:               `no "a${X}"`,
		`no "ret"`:                `no "${X}"`,
		`no "retb$"`:              `no "${X}b$${"`,
		`no "sec-ret"`:            `no "a${X}b$${c}"`, // changed since
		`no ""`:                   `no ""`,
		`no quotation`:            `no quotation`,
		`the end of it "`:         `the end of it "`,
	} {
		if got := e.requoted(message); got != want {
			t.Errorf("%s\nis    %s\nwant  %s", message, got, want)
		}
	}
	plain, _ := expand("Plain", environment())
	if got := plain.requoted(`no "plain"`); got != `no "plain"` {
		t.Errorf("without a reference: %s", got)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(leastFile)
	f.Add(server("allow-cn: [a, ${A}]"))
	f.Add("tunnels: &t [*t]\n")
	f.Add(server("allow-all: true", "routes: [{name: a, server-name: ['*.b'], identities: [{keystore: k}], crl: ~}]"))
	f.Add("defaults: {listen: ~}\ntunnels: [{name: a, mode: client, <<: {}}]\n")
	if example, err := os.ReadFile("../config.example.yaml"); err == nil {
		f.Add(string(example))
	}
	env := environment("A=b", "CERTS=/certs")
	f.Fuzz(func(t *testing.T, text string) {
		const path = "f.yaml"
		d := newDraft(findCommand("run"))
		d.configFile = path
		err := d.setDocument([]byte(text), env)
		if err == nil {
			_, err = d.finish()
		}
		if err == nil {
			for _, u := range d.sidecar.Tunnels {
				if u.Name == "" || u.Listen.IsZero() || len(u.Upstream.Targets) == 0 {
					t.Errorf("a tunnel without what it needs: %+v", u)
				}
			}
			return
		}
		faults, ok := errors.AsType[Faults](err)
		if !ok || len(faults) == 0 {
			t.Fatalf("%v, want Faults", err)
		}
		for _, fault := range faults {
			var line, column int
			where, found := strings.CutPrefix(fault.Error(), path+":")
			if _, err := fmt.Sscanf(where, "%d:%d: ", &line, &column); !found || len(faults) <= maxFaults && (err != nil || line < 1 || column < 1) {
				t.Errorf("%v: does not say where", fault)
			}
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, text := range []string{"", "${A}", "$${A}", "$$${", "${${", "a$b{c}", "${A"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env := environment("A=1")
		if got, err := expand(strings.ReplaceAll(text, "${", "$${"), env); err != nil || got.text() != text {
			t.Errorf("%q, once it is escaped, is %q, %v", text, got.text(), err)
		}
		got, err := expand(text, env)
		if err != nil && (got != nil || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: %q, %v", text, got.text(), err)
		}
		if whole := got.written(got.text()); err == nil && whole != text {
			t.Errorf("%q is said to be written %q", text, whole)
		}
	})
}

// BenchmarkFile reads 200 tunnels.
func BenchmarkFile(b *testing.B) {
	text := "defaults: {cert: a, key: b, cacert: c, idle-timeout: 5m}\ntunnels:\n"
	for i := range 200 {
		text += fmt.Sprintf("- name: t%d\n  mode: server\n  listen: :%d\n  target: localhost:8080\n  allow-cn: [a, b]\n", i, i+1000)
	}
	for b.Loop() {
		d := newDraft(findCommand("run"))
		d.configFile = "f.yaml"
		if err := d.setDocument([]byte(text), environment()); err != nil {
			b.Fatal(err)
		}
		if _, err := d.finish(); err != nil {
			b.Fatal(err)
		}
	}
}
