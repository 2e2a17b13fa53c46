package config

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// routed is a file with one tunnel in server mode, and routes of it.
func routed(routes ...string) string {
	text := server("cert: null", "cacert: ca.pem", "allow-cn: alice", "routes:")
	text = strings.Replace(text, "  cert: null\n", "", 1)
	for _, route := range routes {
		text += "  - " + route + "\n"
	}
	return text
}

func TestARouteIsItsTunnelButForWhatItSays(t *testing.T) {
	t.Parallel()
	got, err := fileOf(t, `defaults: {idle-timeout: 5m, crl: all.crl}
tunnels:
- name: web
  mode: server
  listen: :8443
  target: localhost:8080
  cert: web.pem
  key: web-key.pem
  identities: [{keystore: rsa.p12, storepass: secret}]
  cacert: ca.pem
  allow-cn: [alice, bob]
  routes:
  - name: shop
    server-name: [Shop.example.com, '*.Shop.example.com']
    target: localhost:8081
  - name: staff
    server-name: staff.example.com
    keystore: staff.p12
    storepass-file: staff.password
    cacert: staff-ca.pem
    crl: ~
    allow-ou: staff
  - name: open
    server-name: open.example.com
    target: 10.0.0.1:80
    unsafe-target: true
    disable-authentication: true
`)
	if err != nil {
		t.Fatal(err)
	}
	web := got.Tunnels[0]
	web.Routes = nil
	if want := []Identity{{Keystore: "rsa.p12", Password: "secret"}}; !cmp.Equal(want, web.Identities) {
		t.Errorf("further identities: %+v", web.Identities)
	}
	change := func(name string, names []string, f func(*Tunnel)) Route {
		r := Route{Name: name, ServerNames: names, Tunnel: web}
		f(&r.Tunnel)
		return r
	}
	want := []Route{
		change("shop", []string{"shop.example.com", "*.shop.example.com"}, func(u *Tunnel) { u.Upstream.Targets = []Target{{Address: address(t, "localhost:8081"), Weight: 1}} }),
		change("staff", []string{"staff.example.com"}, func(u *Tunnel) {
			u.Identity, u.Identities = Identity{Keystore: "staff.p12", PasswordFile: "staff.password"}, nil
			u.CACert, u.CRLs = "staff-ca.pem", nil
			u.Access = Access{OrganizationalUnits: []string{"staff"}}
		}),
		change("open", []string{"open.example.com"}, func(u *Tunnel) {
			u.Upstream.Targets = []Target{{Address: address(t, "10.0.0.1:80"), Weight: 1}}
			u.Access, u.DisableAuthentication = Access{}, true
		}),
	}
	for i, route := range got.Tunnels[0].Routes {
		want[i].Origin = route.Origin
		if route.IdleTimeout != 5*time.Minute {
			t.Errorf("route %s: idle timeout %v", route.Name, route.IdleTimeout)
		}
	}
	if diff := cmp.Diff(want, got.Tunnels[0].Routes, byValue, bySecret, cmp.AllowUnexported(Origin{}, place{})); diff != "" {
		t.Error(diff)
	}
	moved := got.Tunnels[0]
	moved.Routes = slices.Clone(moved.Routes)
	moved.Routes[0].Origin = nil
	if !moved.Equal(&got.Tunnels[0]) {
		t.Error("a tunnel whose routes stand elsewhere is another one")
	}
	moved.Routes[0].Access.All = true
	if moved.Equal(&got.Tunnels[0]) {
		t.Error("a tunnel with another route is the same one")
	}
}

func TestATunnelMayServeItsRoutesAlone(t *testing.T) {
	t.Parallel()
	got, err := fileOf(t, `tunnels:
- name: web
  mode: server
  listen: :8443
  routes:
  - {name: a, server-name: a.test, target: 'localhost:1', keystore: a.p12, allow-all: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	if web := got.Tunnels[0]; !web.Upstream.IsZero() || !web.Identity.IsZero() || !web.Access.IsZero() || len(web.Routes) != 1 || !web.SendsNoCertificate() {
		t.Errorf("%+v", web)
	}
}

// TestExampleHasEveryKeyOfRoutes and of further identities.
func TestExampleHasEveryKeyOfRoutes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	type tunnel struct {
		Routes     []map[string]any `yaml:"routes"`
		Identities []map[string]any `yaml:"identities"`
	}
	var example struct {
		Tunnels []tunnel `yaml:"tunnels"`
	}
	if err := yaml.Load(text, &example); err != nil {
		t.Fatal(err)
	}
	var routes, identities []map[string]any
	for _, t := range example.Tunnels {
		routes, identities = append(routes, t.Routes...), append(identities, t.Identities...)
	}
	for _, r := range routes {
		if list, ok := r[keyIdentities].([]any); ok {
			for _, one := range list {
				identities = append(identities, one.(map[string]any))
			}
		}
	}
	has := func(all []map[string]any, name string) bool {
		return slices.ContainsFunc(all, func(m map[string]any) bool { return m[name] != nil })
	}
	for _, name := range keyNames(inRoute) {
		if !has(routes, name) {
			t.Errorf("%s has no route with %s", exampleFile, name)
		}
	}
	for _, name := range keyNames(inIdentity) {
		if !has(identities, name) {
			t.Errorf("%s has no identity with %s", exampleFile, name)
		}
	}
}

func TestNamePatterns(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Shop.Example.COM":  "shop.example.com",
		"*.Example.com":     "*.example.com",
		"localhost":         "localhost",
		"shop.example.com.": "shop.example.com",
		"*":                 "", "": "", "*.": "", "a.*.com": "", "*a.com": "", "*.*.com": "", "a b": "", "10.0.0.1": "", "::1": "", "*.10.0.0.1": "", "a:1": "", "unix:a": "",
		"a..b": "", "a..": "", "-a.test": "", "a-.test": "", "a_b.test": "a_b.test", "büro.test": "", "xn--bro-hoa.test": "xn--bro-hoa.test",
		strings.Repeat("a", 64) + ".test": "", strings.Repeat("a.", 127) + "a": "",
	} {
		got, err := parseNamePattern(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// FuzzNamePattern: what is read is a name that reads as itself, in lower case, with
// an asterisk nowhere but for its first label.
func FuzzNamePattern(f *testing.F) {
	f.Add("*.Example.com")
	f.Add("xn--bcher-kva.example.")
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseNamePattern(text)
		if err != nil {
			return
		}
		again, err := parseNamePattern(name)
		if err != nil || again != name || name != strings.ToLower(name) {
			t.Errorf("%q is %q, which is %q, %v", text, name, again, err)
		}
		if rest := strings.TrimPrefix(name, "*."); rest == "" || strings.Contains(rest, "*") || strings.HasSuffix(rest, ".") {
			t.Errorf("%q is %q", text, name)
		}
	})
}
