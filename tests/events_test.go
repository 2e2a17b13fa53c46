package tests

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// eventsPage is what operators know the events from.
func eventsPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// documented reports whether the page has a word by itself, or what begins with a
// message of which it leaves out the end.
func documented(page, message string) bool {
	if strings.Contains(page, "`"+message+"`") {
		return true
	}
	for whole := range strings.SplitSeq(page, "`") {
		if start, cut := strings.CutSuffix(whole, "…"); cut && len(start) > 10 && strings.HasPrefix(message, start) {
			return true
		}
	}
	return false
}

// TestEventsOfARunAreDocumented has a process meet all kinds of things and looks
// at what it logs, as JSON and down to the debug level.
func TestEventsOfARunAreDocumented(t *testing.T) {
	t.Parallel()
	page := eventsPage(t)
	p, listen := newPKI(t), reserve(t)
	path := filepath.Join(t.TempDir(), "target")
	service := serveOn(t, "unix", path, echo)
	server := startServer(t, p, listen, "unix:"+path, "--allow-cn", "alice", "--log-format", "json", "--log-level", "debug",
		"--metrics-graphite", reserve(t), "--metrics-interval", "10ms", "--max-conns-per-ip", "1")
	idle := func() {
		t.Helper()
		eventually(t, "no connection is open", func() bool {
			_, report := server.status.report(t)
			return report.Connections.Open == 0
		})
	}
	trusted := p.clientConfig(p.issue(t, "alice", alice))
	if err := attempt(t, listen, trusted); err != nil {
		t.Fatal(err)
	}
	server.waitLine(t, "closed pipe")
	idle()
	if attempt(t, listen, p.clientConfig(p.client(t))) == nil {
		t.Error("a stranger was let in")
	}
	server.waitLine(t, "error on TLS handshake", "not_allowed")
	idle()
	probe := dial(t, "tcp", listen)
	second := dial(t, "tcp", listen) // one too many
	server.waitLine(t, "error on accept", "too_many_from_source")
	_, _ = probe.Close(), second.Close()
	server.waitLine(t, "error on TLS handshake", "client_abort")
	idle()
	service.close()
	if attempt(t, listen, trusted) == nil {
		t.Error("the target has gone, and something echoes")
	}
	server.waitLine(t, "error on dial")
	server.waitLine(t, "metrics do not arrive")
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "reloaded")
	server.stop(t)

	types := map[string]string{ // those of JSON that are not strings
		"conn": "number", "bytes_in": "number", "bytes_out": "number", "duration": "number", "retry_in": "number", "landlock_abi": "number",
	}
	messages := map[string]bool{}
	for _, line := range server.lines() {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		message, _ := event["msg"].(string)
		messages[message] = true
		if !documented(page, message) {
			t.Errorf("docs/events.md does not tell of %q", message)
		}
		for key, value := range event {
			if !documented(page, key) {
				t.Errorf("docs/events.md does not tell of the key %q of %q", key, message)
			}
			kind := "string"
			if _, ok := value.(float64); ok {
				kind = "number"
			}
			if want := types[key]; kind != want && (kind != "string" || want != "") {
				t.Errorf("%q: %s is a %s", line, key, kind)
			}
		}
		if reason, ok := event["reason"].(string); ok && event["conn"] != nil && !documented(page, reason) {
			t.Errorf("docs/events.md does not tell of the reason %q", reason)
		}
	}
	if len(messages) < 12 {
		t.Errorf("%d kinds of events alone: %v", len(messages), messages)
	}
}

// TestEventsOfTheSourceAreDocumented finds those that no test provokes.
func TestEventsOfTheSourceAreDocumented(t *testing.T) {
	t.Parallel()
	page := eventsPage(t)
	found := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() {
			if slices.Contains([]string{"config", "tests", "internal", "docker", ".git", "testdata"}, name) {
				return filepath.SkipDir
			}
			return nil
		} else if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, word := range loggedWords(call) {
				found++
				if !documented(page, word) {
					t.Errorf("%s: docs/events.md does not tell of %q", path, word)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 80 {
		t.Errorf("found %d messages and keys alone", found)
	}
}

// loggedWords are the message and the keys of a call that logs, as far as the
// source has them in so many words.
func loggedWords(call *ast.CallExpr) []string {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	on := ""
	switch x := method.X.(type) {
	case *ast.Ident:
		on = x.Name
	case *ast.SelectorExpr:
		on = x.Sel.Name
	}
	first := 0 // which argument is the message
	switch name := method.Sel.Name; {
	case on == "slog" && slices.Contains([]string{"String", "Int64", "Uint64", "Duration", "Any"}, name):
		return literals(call.Args[:1])
	case !strings.EqualFold(on, "log"):
		return nil
	case name == "With":
	case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, name):
	case name == "Log", name == "LogAttrs":
		first = 2
	default:
		return nil
	}
	words := []ast.Expr{}
	for i, arg := range call.Args[min(first, len(call.Args)):] {
		if method.Sel.Name == "With" && i%2 == 0 || method.Sel.Name != "With" && (i == 0 || i%2 == 1) {
			words = append(words, arg)
		}
	}
	return literals(words)
}

// literals are the strings among some expressions.
func literals(of []ast.Expr) []string {
	var all []string
	for _, expression := range of {
		if literal, ok := expression.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				all = append(all, text)
			}
		}
	}
	return all
}

// TestLogSampleLeavesOutConnectionsAndNoFailures, nor one line of a connection
// without the other.
func TestLogSampleLeavesOutConnectionsAndNoFailures(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-cn", "client", "--log-sample", "3")
	known := p.clientConfig(p.client(t))
	for range 4 {
		if err := attempt(t, listen, known); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		speakNoTLS(t, listen)
	}
	server.stop(t)
	for message, want := range map[string][]string{
		"opening pipe":           {"conn=1 ", "conn=4 "},
		"closed pipe":            {"conn=1 ", "conn=4 "},
		"error on TLS handshake": {"conn=5 ", "conn=6 ", "conn=7 "},
	} {
		lines := server.lines(message)
		if len(lines) != len(want) {
			t.Errorf("%q is logged %d times, want %d", message, len(lines), len(want))
			continue
		}
		for i, conn := range want {
			if !strings.Contains(lines[i], conn) {
				t.Errorf("%q, want %s", lines[i], conn)
			}
		}
	}
}
