package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A room is one top-level directory of the module; the empty name is main.
type room struct {
	imports []string // the rooms it may import; "*" is every one
	why     string   // said when it imports another
	open    bool     // its sub-packages are for whoever may import it
}

// whyInside is said when a room imports what is within another.
const whyInside = "a room's sub-packages are for that room alone: what others need of them, the room itself offers"

// noSibling is the rule for every room that does one thing.
var noSibling = room{why: "a room imports no sibling: take a standard type (net.Listener, net.Conn, *tls.Config, http.Handler, *slog.Logger, a func) and let sidecar join the two"}

// outside is the rule for what looks at the program from outside.
var outside = room{imports: []string{"devpki"}, why: "it drives the built binary: of the rooms it knows devpki alone, for certificates"}

// plan says who may import whom. A directory that is not in it is not in the
// plan of the house, which ARCHITECTURE.md draws.
var plan = map[string]room{
	"":        {imports: []string{"config", "sidecar", "inspect", "devpki", "tunnel"}, why: "main parses, runs one command and exits: what runs is put together in sidecar"},
	"sidecar": {imports: []string{"*"}},
	"config":  {imports: []string{"socket", "auth"}, why: "config takes typed values from socket and auth and knows nothing that runs"},

	"auth":       noSibling,
	"certloader": noSibling,
	"devpki":     noSibling,
	"inspect":    noSibling,
	"internal":   {why: noSibling.why, open: true}, // it is nothing but sub-packages
	"metrics":    noSibling,
	"netstat":    noSibling,
	"policy":     noSibling,
	"proxy":      noSibling,
	"sandbox":    noSibling,
	"socket":     noSibling,
	"starttls":   noSibling,
	"status":     noSibling,
	"tunnel":     noSibling,
	"upstream":   noSibling,
	"webproxy":   noSibling,

	"bench":  outside,
	"docker": outside,
	"tests":  outside,
}

// forTests are the rooms that every test may import.
var forTests = []string{"devpki", "internal"}

// forAll are the packages of internal/ that the program may import too. What is
// among them has a few pure functions of standard types and no word of what this
// program does, and has to be the same wherever it is needed. So no room learns of
// another by it. All else of internal/ is for tests.
var forAll = []string{"internal/peertext"}

// whyInternal is said when a room imports what is for tests.
const whyInternal = "it is for tests: the program may import of internal/ what forAll has"

// An owner is the one room that may import the packages below a path; or more
// than one, by blanks.
type owner struct{ path, rooms, why string }

var owners = []owner{
	{"github.com/alecthomas/kingpin", "config", "flags are read in one room, so that every other gets values that are valid"},
	{"github.com/goccy/go-yaml", "config", "files are read by the room that reads the flags, so that the two cannot drift apart"},
	{"go.yaml.in/yaml", "config tests", "files are read by the room that reads the flags, so that the two cannot drift apart; tests read what is for other programs"},
	{"gopkg.in/yaml", "config", "files are read by the room that reads the flags, so that the two cannot drift apart"},
	{"github.com/cyberdelia/go-metrics-graphite", "metrics", "what is measured leaves through one room: report it through funcs of standard types"},
	{"github.com/coreos/go-systemd", "socket", "what a service manager hands over is read once, by the room that opens sockets"},
	{"github.com/deathowl/go-metrics-prometheus", "metrics", "what is measured leaves through one room: report it through funcs of standard types"},
	{"github.com/pires/go-proxyproto", "proxy tests", "PROXY headers are written in one room; its own reader knows where a header ends"},
	{"github.com/prometheus", "metrics netstat", "what is measured leaves through one room, and what netstat measures is a prometheus.Collector, which joins it there or is served alone; report anything else through funcs of standard types"},
	{"github.com/open-policy-agent", "policy", "a policy is asked through a func(tls.ConnectionState) error, so that no other room has to know its language"},
	{"github.com/rcrowley/go-metrics", "metrics", "what is measured leaves through one room: report it through funcs of standard types"},
}

// exits are the functions that end the process.
var exits = map[string][]string{
	"os":      {"Exit"},
	"log":     {"Fatal", "Fatalf", "Fatalln"},
	"syscall": {"Exit"},
}

const whyExit = "return an error: only the main.go of a command (and TestMain) ends the process, so that everything is closed in order"

func TestImports(t *testing.T) {
	t.Parallel()
	broken, err := brokenRules(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range broken {
		t.Error(rule)
	}
}

// A goPackage is what the check reads of a `go list -json` object.
type goPackage struct {
	Dir, ImportPath string
	Module          struct{ Path, Dir string }
	Error           *struct{ Err string }
}

// brokenRules returns one line for each place in the module at dir that breaks
// the plan. It looks at every Go file of a listed package, whatever system or
// build tag the file is for.
func brokenRules(ctx context.Context, dir string) ([]string, error) {
	// Without -find, a dependency that is not downloaded would be an error.
	list := exec.CommandContext(ctx, "go", "list", "-e", "-find", "-json", "./...")
	list.Dir = dir
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", list, err, &stderr)
	}
	var broken []string
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var pkg goPackage
		if err := decoder.Decode(&pkg); err != nil {
			return nil, fmt.Errorf("%v: %w", list, err)
		}
		if pkg.Error != nil {
			return nil, fmt.Errorf("%s: %s", pkg.ImportPath, pkg.Error.Err)
		}
		files, err := filepath.Glob(filepath.Join(pkg.Dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			rules, err := brokenByFile(pkg, file)
			if err != nil {
				return nil, err
			}
			broken = append(broken, rules...)
		}
	}
	return broken, nil
}

// brokenByFile returns the rules that one file of pkg breaks.
func brokenByFile(pkg goPackage, name string) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var broken []string
	report := func(pos token.Pos, format string, args ...any) {
		place := files.Position(pos)
		if rel, err := filepath.Rel(pkg.Module.Dir, place.Filename); err == nil {
			place.Filename = rel
		}
		broken = append(broken, fmt.Sprintf("%s:%d: ", place.Filename, place.Line)+fmt.Sprintf(format, args...))
	}

	from := roomOf(pkg.Module.Path, pkg.ImportPath)
	if _, ok := plan[from]; !ok {
		report(file.Package, "the room %s is not in the plan: draw it in ARCHITECTURE.md and say here what it may import", from)
		return broken, nil
	}
	isTest := strings.HasSuffix(name, "_test.go")
	imported := map[string]string{} // local name -> import path
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		local := path.Base(target)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imported[local] = target
		if reason := mayNotImport(pkg.Module.Path, from, target, isTest); reason != "" {
			report(spec.Pos(), "%s may not import %s: %s", title(from), target, reason)
		}
	}
	for _, decl := range file.Decls {
		if mayExit(file, decl, name) {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok && slices.Contains(exits[imported[x.Name]], selector.Sel.Name) {
				report(selector.Pos(), "%s.%s: %s", x.Name, selector.Sel.Name, whyExit)
			}
			return true
		})
	}
	return broken, nil
}

// mayNotImport returns the reason why room from must not import target, or "".
func mayNotImport(module, from, target string, isTest bool) string {
	if target == module || strings.HasPrefix(target, module+"/") {
		to := roomOf(module, target)
		allowed := plan[from].imports
		switch {
		case to == from, slices.Contains(forAll, strings.TrimPrefix(target, module+"/")):
			return ""
		case to == "internal" && !isTest:
			return whyInternal
		case !slices.Contains(allowed, to) && !slices.Contains(allowed, "*") && (!isTest || !slices.Contains(forTests, to)):
			return plan[from].why
		case target != path.Join(module, to) && !plan[to].open:
			return whyInside
		}
		return ""
	}
	for _, o := range owners {
		// A major version may follow with a dot: gopkg.in/yaml.v3.
		if rest, ok := strings.CutPrefix(target, o.path); ok && (rest == "" || rest[0] == '/' || rest[0] == '.') && !slices.Contains(strings.Fields(o.rooms), from) {
			return fmt.Sprintf("it belongs to %s: %s", strings.ReplaceAll(o.rooms, " ", " and "), o.why)
		}
	}
	return ""
}

// mayExit reports whether a declaration of the named file may end the process.
func mayExit(file *ast.File, decl ast.Decl, name string) bool {
	if file.Name.Name == "main" && filepath.Base(name) == "main.go" {
		return true
	}
	f, ok := decl.(*ast.FuncDecl)
	return ok && f.Recv == nil && f.Name.Name == "TestMain" && strings.HasSuffix(name, "_test.go")
}

// roomOf returns the top-level directory of a package of the module.
func roomOf(module, importPath string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"), "/")
	return first
}

func title(room string) string {
	if room == "" {
		return "main"
	}
	return room
}

func TestImportsCheckFindsPlantedViolations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files map[string]string
		want  []string // the beginning of each broken rule; empty: the plan holds
	}{
		{
			name: "the plan as it is drawn",
			files: map[string]string{
				"main.go":               `package main; import ("os"; _ "sallyport/config"; _ "sallyport/sidecar"); func main() { os.Exit(1) }`,
				"config/config.go":      `package config; import (_ "sallyport/socket"; _ "sallyport/auth"; _ "github.com/alecthomas/kingpin/v2"; _ "gopkg.in/yaml.v3")`,
				"sidecar/sidecar.go":    `package sidecar; import (_ "sallyport/config"; _ "sallyport/proxy"; _ "sallyport/metrics")`,
				"metrics/metrics.go":    `package metrics; import (_ "github.com/prometheus/client_golang/prometheus"; _ "github.com/rcrowley/go-metrics"; _ "sallyport/metrics/graphite")`,
				"metrics/graphite/g.go": `package graphite; import _ "sallyport/metrics/wire"`,
				"metrics/wire/w.go":     `package wire`,
				"netstat/netstat.go":    `package netstat; import (_ "github.com/prometheus/client_golang/prometheus"; _ "github.com/prometheus/procfs")`,
				"proxy/proxy.go":        `package proxy; import _ "sallyport/internal/peertext"`,
				"proxy/proxy_test.go":   `package proxy; import ("os"; "testing"; _ "sallyport/devpki"; _ "sallyport/internal/memnet"); func TestMain(m *testing.M) { os.Exit(m.Run()) }`,
				"tests/demo/main.go":    `package main; import "log"; func main() { log.Fatal("no") }`,
			},
		},
		{
			name:  "a room imports its sibling",
			files: map[string]string{"proxy/proxy.go": "package proxy\n\nimport _ \"sallyport/certloader\""},
			want:  []string{"proxy/proxy.go:3: proxy may not import sallyport/certloader: a room imports no sibling"},
		},
		{
			name:  "a test imports a sibling other than devpki",
			files: map[string]string{"proxy/proxy_test.go": `package proxy_test; import _ "sallyport/status"`},
			want:  []string{"proxy/proxy_test.go:1: proxy may not import sallyport/status: a room imports no sibling"},
		},
		{
			name: "the program imports what is for tests",
			files: map[string]string{
				"proxy/proxy.go":     `package proxy; import _ "sallyport/internal/memnet"`,
				"sidecar/sidecar.go": `package sidecar; import _ "sallyport/internal/memnet"`,
			},
			want: []string{
				"proxy/proxy.go:1: proxy may not import sallyport/internal/memnet: it is for tests",
				"sidecar/sidecar.go:1: sidecar may not import sallyport/internal/memnet: it is for tests",
			},
		},
		{
			name:  "a room imports what is within another",
			files: map[string]string{"sidecar/sidecar.go": "package sidecar\nimport _ \"sallyport/certloader\"\nimport _ \"sallyport/certloader/keystore\""},
			want:  []string{"sidecar/sidecar.go:3: sidecar may not import sallyport/certloader/keystore: a room's sub-packages are for that room alone"},
		},
		{
			name:  "a test imports what is within devpki",
			files: map[string]string{"proxy/proxy_test.go": `package proxy; import _ "sallyport/devpki/serial"`},
			want:  []string{"proxy/proxy_test.go:1: proxy may not import sallyport/devpki/serial: a room's sub-packages are for that room alone"},
		},
		{
			name:  "what is within a room imports a sibling",
			files: map[string]string{"certloader/keystore/keystore.go": `package keystore; import _ "sallyport/devpki"`},
			want:  []string{"certloader/keystore/keystore.go:1: certloader may not import sallyport/devpki: a room imports no sibling"},
		},
		{
			name:  "a file for another system imports a sibling",
			files: map[string]string{"socket/socket.go": `package socket`, "socket/listen_plan9.go": `package socket; import _ "sallyport/auth"`},
			want:  []string{"socket/listen_plan9.go:1: socket may not import sallyport/auth: a room imports no sibling"},
		},
		{
			name:  "main imports a room that runs",
			files: map[string]string{"main.go": `package main; import _ "sallyport/proxy"; func main() {}`},
			want:  []string{"main.go:1: main may not import sallyport/proxy: main parses"},
		},
		{
			name:  "config imports a room that runs",
			files: map[string]string{"config/config.go": `package config; import _ "sallyport/proxy"`},
			want:  []string{"config/config.go:1: config may not import sallyport/proxy: config takes typed values"},
		},
		{
			name:  "a black-box test looks inside",
			files: map[string]string{"tests/x_test.go": `package tests; import _ "sallyport/config"`},
			want:  []string{"tests/x_test.go:1: tests may not import sallyport/config: it drives the built binary"},
		},
		{
			name:  "a room that nobody planned",
			files: map[string]string{"helpers/helpers.go": `package helpers`},
			want:  []string{"helpers/helpers.go:1: the room helpers is not in the plan"},
		},
		{
			name:  "kingpin and YAML outside config",
			files: map[string]string{"main.go": "package main\nimport _ \"github.com/alecthomas/kingpin/v2\"\nimport _ \"gopkg.in/yaml.v3\"\nfunc main() {}"},
			want: []string{
				"main.go:2: main may not import github.com/alecthomas/kingpin/v2: it belongs to config: ",
				"main.go:3: main may not import gopkg.in/yaml.v3: it belongs to config: ",
			},
		},
		{
			name:  "Prometheus and go-metrics outside metrics",
			files: map[string]string{"status/status.go": "package status\nimport _ \"github.com/prometheus/client_golang/prometheus/promhttp\"\nimport _ \"github.com/rcrowley/go-metrics\"\nimport _ \"github.com/deathowl/go-metrics-prometheus\""},
			want: []string{
				"status/status.go:2: status may not import github.com/prometheus/client_golang/prometheus/promhttp: it belongs to metrics and netstat: ",
				"status/status.go:3: status may not import github.com/rcrowley/go-metrics: it belongs to metrics: ",
				"status/status.go:4: status may not import github.com/deathowl/go-metrics-prometheus: it belongs to metrics: ",
			},
		},
		{
			name: "the process ends outside main.go",
			files: map[string]string{
				"exit.go":            "package main\nimport stop \"os\"\nfunc main() {}\nvar end = stop.Exit",
				"sidecar/sidecar.go": "package sidecar\nimport \"log\"\nfunc Run() { log.Fatalf(\"no\") }",
				"auth/main.go":       "package auth\nimport \"os\"\nfunc Allow() { os.Exit(1) }",
				"auth/x_test.go":     "package auth\nimport \"os\"\nfunc check() { os.Exit(1) }",
			},
			want: []string{
				"exit.go:4: stop.Exit: return an error",
				"auth/main.go:3: os.Exit: return an error",
				"auth/x_test.go:3: os.Exit: return an error",
				"sidecar/sidecar.go:3: log.Fatalf: return an error",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, name := range slices.Sorted(maps.Keys(test.files)) {
				file := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(test.files[name]), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module sallyport\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := brokenRules(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("broken rules:\n%s\nwant lines that begin with:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}
