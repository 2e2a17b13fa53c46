package tests

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"sallyport/devpki"
)

// plantedFault is a tunnel with one fault, in the line that ends in #!, or in the
// tunnel as a whole, whose name it is then.
type plantedFault struct {
	name string
	keys string // of the tunnel, after its name
	want string // what is told of that line
	seen bool   // an editor that has the schema marks it too
}

// goodServer and goodClient are tunnels without a fault, but for what a test adds
// and takes away. Files are in the directory of the test.
const (
	goodListen = "listen: 127.0.0.1:PORT"
	goodServer = "mode: server, " + goodListen + ", target: 127.0.0.1:1, cert: DIR/server.pem, key: DIR/server-key.pem, cacert: DIR/ca.pem, allow-all: true"
	goodClient = "mode: client, " + goodListen + ", target: localhost:1, cert: DIR/server.pem, key: DIR/server-key.pem, cacert: DIR/ca.pem"
)

// changed is a tunnel with other keys: each change is KEY: VALUE, KEY alone takes it
// away, and what is new goes last.
func changed(good string, changes ...string) string {
	lines := strings.Split(good, ", ")
	for _, change := range changes {
		key, _, hasValue := strings.Cut(change, ":")
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, key+": ") })
		switch {
		case i < 0:
			lines = append(lines, change)
		case hasValue:
			lines[i] = change
		default:
			lines = slices.Delete(lines, i, i+1)
		}
	}
	return strings.Join(lines, "\n")
}

// plantedFaults are faults of every kind: of the file itself, of what its keys say
// together, and of what they name.
func plantedFaults() []plantedFault {
	server := func(changes ...string) string { return changed(goodServer, changes...) }
	client := func(changes ...string) string { return changed(goodClient, changes...) }
	return []plantedFault{
		// The file
		{"unknown-key", server("idle-timeuot: 5m #!"), `unknown key "idle-timeuot"; did you mean idle-timeout?`, true},
		{"key-twice", server() + "\ntarget: 127.0.0.1:2 #!", `key "target": given twice`, true},
		{"key-of-the-other-mode", client("allow-cn: bob #!"), `key "allow-cn": has a meaning in server mode alone`, true},
		{"key-of-the-process", server("log-level: debug #!"), `key "log-level": belongs to the process; put it at the top level`, true},
		{"mode", server("mode: sever #!"), `mode "sever": no such mode; write server or client`, true},
		{"duration", server("close-timeout: 5 min #!"), `close-timeout "5 min": not a duration`, true},
		{"count", server("max-handshakes: -1 #!"), `max-handshakes "-1": not a count`, true},
		{"list", server("key: [a, b] #!"), "key: takes PATH, and this is a list", true},
		{"port", server("listen: 127.0.0.1:70000 #!"), "port 70000 is out of range", false},
		{"variable", server("storepass: ${NO_SUCH_VARIABLE} #!"), "storepass: ${NO_SUCH_VARIABLE}: that variable is not set, or empty", false},

		// What keys say together
		{"no-target", server("target"), "target: missing; say where to forward", false},
		{"no-access", server("allow-all"), "nobody may connect: give allow-all: true, allow-cn", false},
		{"all-and-one", server("allow-all: true #!", "allow-cn: bob"), "allow-all and allow-cn (line ", false},
		{"no-key", server("cert: DIR/server.pem #!", "key"), "cert: needs key too, or pkcs11-module", false},
		{"two-identities", server("keystore: DIR/server-combined.pem"), "more than one identity: keystore (line ", false},
		{"target-elsewhere", server("target: 192.0.2.1:80 #!"), "would carry plaintext to another machine", false},
		{"listen-elsewhere", client("listen: 0.0.0.0:PORT #!"), "would accept plaintext from other machines", false},
		{"round-in-circles", client("target: 127.0.0.1:PORT", "listen: 127.0.0.1:PORT #!"), "so that connections would go round in circles", false},
		{"nothing-to-close-by", server("crl-close-revoked: true #!"), "crl-close-revoked: needs crl", false},
		{"the-status-port", server("listen: 127.0.0.1:6060 #!"), "both are 127.0.0.1:6060; change one", false},
		{"one-address-twice", server("listen: 127.0.0.1:6061 #!"), "is where tunnel other of line ", false},
		{"one-address-by-two-names", client("listen: localhost:6061 #!"), "is where listen 127.0.0.1:6061 listens already", false},

		// What keys name
		{"no-file", server("cert: DIR/nowhere.pem #!"), "no such file or directory", false},
		{"no-certificate", server("cert: DIR/server-key.pem #!"), "no certificate", false},
		{"a-key-that-does-not-fit", server("key: DIR/other-key.pem #!"), "the private key fits no certificate in cert", false},
		{"damaged", server("cert: DIR/damaged.pem #!"), "malformed certificate", false},
		{"expired", server("cert: DIR/expired.pem #!", "key: DIR/expired-key.pem"), "expired at ", false},
		{"not-valid-yet", server("cert: DIR/early.pem #!", "key: DIR/early-key.pem"), "is not valid before ", false},
		{"for-clients-alone", server("cert: DIR/usage.pem #!", "key: DIR/usage-key.pem"), "its extended key usage leaves out what server mode needs", false},
		{"for-no-name", server("cert: DIR/nameless.pem #!", "key: DIR/nameless-key.pem"), "it is for no name", false},
		{"wrong-password", server("cert", "key", "keystore: DIR/store.p12 #!", "storepass: wrong"), "password", false},
		{"no-trust", server("cacert: DIR/server-key.pem #!"), "no certificate in it; it holds PRIVATE KEY", false},
		{"trust-that-expired", server("cacert: DIR/expired-ca.pem #!"), "no CA in it is valid now", false},
		{"no-such-name", client("target: nowhere.invalid:1 #!"), "nowhere.invalid", false},
		{"no-revocation-list", server("crl: DIR/server.pem #!"), "no CRL in it", false},
		{"list-of-an-unknown-ca", server("crl: DIR/other.crl #!"), "no list of any CA that is trusted", false},
		{"no-policy", server("allow-policy: DIR/broken.rego #!", "allow-query: data.a.allow", "allow-all"), "rego_parse_error", false},
		{"no-ticket-keys", server("session-ticket-keys: DIR/ca.pem #!"), "line 1: not a key", false},
		{"no-such-user", server("listen: unix:DIR/socket", "listen-owner: nobody-of-that-name #!"), "nobody-of-that-name", false},
	}
}

// plantedFile is a file with these tunnels, and tells where the fault of each is: in
// what line, and in what column the key begins.
func plantedFile(dir string, faults []plantedFault) (text string, lines map[string]string) {
	var b strings.Builder
	lines = make(map[string]string)
	n := 0
	write := func(line string) {
		n++
		fmt.Fprintln(&b, line)
	}
	write("status: http://127.0.0.1:6060")
	write("status-token-file: " + dir + "/no-token # the last fault")
	write("tunnels:")
	other := changed(goodServer, "listen: 127.0.0.1:6061")
	for i, fault := range append([]plantedFault{{name: "other", keys: other}}, faults...) {
		write("  - name: " + fault.name)
		lines[fault.name] = fmt.Sprintf("%d:5: ", n)
		keys := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(7000+i)).Replace(fault.keys)
		for key := range strings.SplitSeq(keys, "\n") {
			if write("    " + strings.TrimSuffix(key, " #!")); strings.HasSuffix(key, " #!") {
				lines[fault.name] = fmt.Sprintf("%d:5: ", n)
			}
		}
	}
	return b.String(), lines
}

// plantedFiles makes what the tunnels name, in a directory.
func plantedFiles(t *testing.T) string {
	t.Helper()
	p := newPKI(t)
	dir := p.dir
	p.server(t)
	p.issue(t, "other", devpki.Request{CommonName: "other"})
	past, future := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
	names := devpki.Request{CommonName: "localhost", DNSNames: []string{"localhost"}}
	with := func(change func(*devpki.Request)) devpki.Request {
		request := names
		change(&request)
		return request
	}
	p.issue(t, "expired", with(func(r *devpki.Request) { r.NotBefore, r.NotAfter = past, past.Add(time.Hour) }))
	p.issue(t, "early", with(func(r *devpki.Request) { r.NotBefore, r.NotAfter = future, future.Add(time.Hour) }))
	p.issue(t, "usage", with(func(r *devpki.Request) { r.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
	p.issue(t, "nameless", devpki.Request{CommonName: "nobody"})
	store, err := p.Issue(names)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := store.PKCS12("right")
	if err != nil {
		t.Fatal(err)
	}
	expired, err := devpki.NewCA(devpki.Options{CommonName: "expired", NotBefore: past, NotAfter: past.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := devpki.NewCA(devpki.Options{CommonName: "stranger"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: past, NextUpdate: future},
		stranger.Certificate(), stranger.Key())
	if err != nil {
		t.Fatal(err)
	}
	server, err := os.ReadFile(filepath.Join(dir, "server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"store.p12":      sealed,
		"other.crl":      list,
		"expired-ca.pem": expired.PEM(),
		"damaged.pem":    bytes.Replace(server, []byte("\nMI"), []byte("\nNI"), 1),
		"broken.rego":    []byte("package a\nallow if {"),
	} {
		writeFile(t, filepath.Join(dir, name), data)
	}
	return dir
}

// TestCheckFindsEveryPlantedFault has one file with a fault in each tunnel, and one
// run that tells of all of them: each by file, line and column, and nothing else.
func TestCheckFindsEveryPlantedFault(t *testing.T) {
	t.Parallel()
	dir := plantedFiles(t)
	faults := plantedFaults()
	text, lines := plantedFile(dir, faults)
	path := filepath.Join(dir, "sallyport.yaml")
	writeFile(t, path, []byte(text))
	code, report, stderr := run(t, "check", "--config", path)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	told := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	faults = append(faults, plantedFault{name: "the process", want: "status-token-file " + dir + "/no-token: "})
	lines["the process"] = "2:1: "
	for _, fault := range faults {
		at := "sallyport: " + path + ":" + lines[fault.name]
		i := slices.IndexFunc(told, func(line string) bool { return strings.HasPrefix(line, at) && strings.Contains(line, fault.want) })
		if i < 0 {
			t.Errorf("%s: nothing is told that begins with %q and has %q", fault.name, at, fault.want)
			continue
		}
		told = slices.Delete(told, i, i+1)
	}
	if len(told) > 0 {
		t.Errorf("told beside that:\n%s", strings.Join(told, "\n"))
	}
	if t.Failed() {
		t.Logf("%s\n%s\n%s", text, report, stderr)
	}
	// Peers may trust another CA than this side does, which is no fault in itself.
	if !strings.Contains(report, "NOTE       the chain ends at CN=server, whose issuer") {
		t.Errorf("nothing is said of a certificate of an unknown CA:\n%s", report)
	}
	if !strings.Contains(report, "\ntunnel other (server mode)\n") {
		t.Errorf("the tunnel without a fault is not in the report:\n%s", report)
	}
}

// TestSchemaSeesPlantedFaults has the schema for editors judge each of those tunnels,
// and the example.
func TestSchemaSeesPlantedFaults(t *testing.T) {
	t.Parallel()
	file, err := os.Open("../docs/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	document, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	judge := func(text string) error {
		var value any
		if err := yaml.Load([]byte(text), &value); err != nil {
			return err // a key that is given twice, which editors mark too
		}
		plain, err := json.Marshal(value)
		if err != nil {
			return err
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
		if err != nil {
			return err
		}
		return schema.Validate(instance)
	}
	for _, fault := range plantedFaults() {
		text, _ := plantedFile("/dir", []plantedFault{fault})
		if err := judge(text); (err != nil) != fault.seen {
			t.Errorf("%s: %v", fault.name, err)
		}
	}
	example, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := judge(string(example)); err != nil {
		t.Error(err)
	}
}
