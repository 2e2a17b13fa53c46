package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// writeFile writes a configuration file, and tells where.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// helpOf is what line writes, where that is all it does.
func helpOf(t *testing.T, line string) string {
	t.Helper()
	var out strings.Builder
	if _, err := Parse(strings.Fields(line), environment(), &out, "v1.2.3"); !errors.Is(err, ErrHelp) {
		t.Fatalf("%s: %v, want ErrHelp", line, err)
	}
	return out.String()
}

func TestHelpFitsItsWidth(t *testing.T) {
	t.Setenv("COLUMNS", "200") // makes no difference
	for _, line := range []string{
		"--help", "-h", "help", "--help-long", "server --help", "client --help", "certs --help",
		"certs init --help", "certs issue --help", "check --help", "check server --help", "netstat --help", "help server", "help certs init",
	} {
		text := helpOf(t, line)
		if !strings.HasPrefix(text, "usage: sallyport ") {
			t.Errorf("%s begins with %.40q", line, text)
		}
		for l := range strings.SplitSeq(text, "\n") {
			if utf8.RuneCountInString(l) > 80 {
				t.Errorf("%s: a line of %d columns: %s", line, utf8.RuneCountInString(l), l)
			}
			if strings.TrimRight(l, " ") != l {
				t.Errorf("%s: blanks at the end of %q", line, l)
			}
		}
	}
}

func TestHelpShowsTheFlagsOfItsCommandInGroups(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		text := helpOf(t, c.name+" --help")
		for i := range settings {
			s := &settings[i]
			row := findSetting(s.name, c.set)
			want := row != nil && !row.hidden && !c.check
			if got := shows(text, s.usage()); got != want {
				t.Errorf("help of %s shows %s: %v, want %v", c.name, s.usage(), got, want)
			}
			for _, alias := range s.aliases {
				if strings.Contains(text, alias) {
					t.Errorf("help of %s shows the alias --%s", c.name, alias)
				}
			}
		}
		last := 0
		for _, g := range groups {
			at := strings.Index(text, "\n"+string(g)+":\n")
			if (at >= 0) != (len(shownSettings(&c, g)) > 0) {
				t.Errorf("help of %s has the group %s at %d", c.name, g, at)
			}
			if at >= 0 && at < last {
				t.Errorf("help of %s has the group %s too early", c.name, g)
			}
			last = max(last, at)
		}
		if !strings.Contains(text, "\nExamples:\n") {
			t.Errorf("help of %s has no examples", c.name)
		}
	}
}

// shows tells whether help has a row for a flag.
func shows(help, usage string) bool {
	return strings.Contains(help, "\n  "+usage+" ") || strings.Contains(help, "\n  "+usage+"\n")
}

// TestExamplesWork takes the examples out of the help, as a reader would.
func TestExamplesWork(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "tunnels: [{name: web, mode: server, listen: :8443, target: localhost:8080, keystore: k.pem, allow-all: true}]")
	for _, c := range commands {
		_, examples, _ := strings.Cut(helpOf(t, c.name+" --help"), "\nExamples:\n")
		examples = strings.ReplaceAll(examples, "\\\n", "")
		n := 0
		for line := range strings.SplitSeq(examples, "\n") {
			args := strings.Fields(line)
			if len(args) == 0 || args[0] != "sallyport" {
				continue
			}
			n++
			if i := slices.Index(args, "--config"); i >= 0 {
				args[i+1] = file
			}
			if _, err := Parse(args[1:], environment(), &strings.Builder{}, "v1.2.3"); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		if n != len(c.examples) {
			t.Errorf("help of %s has %d examples, want %d", c.name, n, len(c.examples))
		}
	}
}

// TestPasswordsAreWhatTheyAreFor: the flag that opens a keystore of a tunnel closes those that sallyport certs makes.
func TestPasswordsAreWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"server --help":      "--storepass=PASS password of a keystore or an encrypted key",
		"certs init --help":  "--storepass=PASS password for the PKCS#12 files that are made",
		"certs issue --help": "--storepass=PASS password for the PKCS#12 files that are made",
	} {
		if help := strings.Join(strings.Fields(helpOf(t, line)), " "); !strings.Contains(help, want) {
			t.Errorf("%s does not say %q:\n%s", line, want, help)
		}
	}
}

// TestOrientationSaysHowToBegin, by lines that work.
func TestOrientationSaysHowToBegin(t *testing.T) {
	t.Parallel()
	_, beginning, found := strings.Cut(orientation(), "\nTo begin:\n")
	if !found {
		t.Fatalf("no way to begin in\n%s", orientation())
	}
	for line := range strings.Lines(beginning) {
		command, ok := strings.CutPrefix(line, "  sallyport ")
		if !ok {
			continue // the rest of a row
		}
		words := strings.Fields(command)
		if name := commandOf(words); findCommand(name) == nil {
			t.Errorf("%q is no command", strings.TrimSpace(line))
		}
	}
}

func TestHelpExplainsVariablesByAFlagOfTheCommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"server --help":      "--listen by SALLYPORT_LISTEN",
		"client --help":      "--listen by SALLYPORT_LISTEN",
		"certs init --help":  "--storepass by SALLYPORT_STOREPASS",
		"certs issue --help": "--storepass by SALLYPORT_STOREPASS",
		"netstat --help":     "--listen by SALLYPORT_LISTEN",
	} {
		if help := strings.Join(strings.Fields(helpOf(t, line)), " "); !strings.Contains(help, want) {
			t.Errorf("%s does not say %q:\n%s", line, want, help)
		}
	}
}

func TestSettingsTable(t *testing.T) {
	t.Parallel()
	variables := make(map[string][]*setting)
	for i := range settings {
		s := &settings[i]
		if s.set == nil || s.help == "" || s.commands == 0 || !slices.Contains(groups, s.group) {
			t.Errorf("--%s: a row with something missing: %+v", s.name, s)
		}
		if s.secret && s.initial != "" {
			t.Errorf("--%s: a secret with a default", s.name)
		}
		for _, choice := range s.choices {
			if err := s.set(newDraft(&commands[0]), choice); err != nil {
				t.Errorf("--%s %s: %v", s.name, choice, err)
			}
		}
		for _, name := range s.variables() {
			for _, other := range variables[name] {
				if other.name != s.name && other.commands&s.commands != 0 {
					t.Errorf("%s is of --%s and --%s", name, other.name, s.name)
				}
			}
			variables[name] = append(variables[name], s)
		}
		for _, name := range append([]string{s.name}, s.aliases...) {
			if first := findSetting(name, s.commands); first != s {
				t.Errorf("--%s: a second row of that name and command", name)
			}
			if findSetting(name, everyCommand).isSwitch() != s.isSwitch() {
				t.Errorf("--%s: a switch in one command and not in another", name)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := helpOf(t, "--version"); got != "sallyport v1.2.3\n" {
		t.Errorf("got %q", got)
	}
}

func TestManualPage(t *testing.T) {
	t.Parallel()
	page := helpOf(t, "--help-man")
	for _, want := range []string{".TH SALLYPORT 1", ".SH SYNOPSIS", ".SS certs issue", ".SH SEE ALSO\nThe guides begin with README.md", ".PP\n.B Timeouts and limits\n.TP\n", `.B \-\-allow\-cn=CN`, "sallyport v1.2.3"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(page, `max\-tls`) {
		t.Error("the page shows a hidden flag")
	}
	macros := []string{".TH", ".SH", ".SS", ".TP", ".B", ".PP", ".nf", ".fi", ".br"}
	for line := range strings.SplitSeq(page, "\n") {
		macro, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !slices.Contains(macros, macro) {
			t.Errorf("read as a request, not as text: %s", line)
		}
	}
}

func TestRoffEscapes(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"plain", "plain"},
		{"--flag", `\-\-flag`},
		{`a\b`, `a\eb`},
		{".hidden", `\&.hidden`},
		{"'quoted'", `\&'quoted'`},
		{"two\nlines", "two lines"},
	}
	for _, tt := range tests {
		if got := roff(tt.text); got != tt.want {
			t.Errorf("roff(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, words string
		want, not   []string
	}{
		{name: "a command", words: "", want: []string{"server", "client", "certs"}, not: []string{"init"}},
		{name: "a command begun", words: "se", want: []string{"server"}},
		{name: "a subcommand", words: "certs i", want: []string{"init", "issue"}, not: []string{"server"}},
		{name: "a flag", words: "server --al", want: []string{"--allow-cn", "--listen", "--help"}, not: []string{"--verify-cn", "--max-tls-version", "--days"}},
		{name: "a flag after the value of another", words: "server --cert client --al", want: []string{"--allow-cn"}, not: []string{"--verify-cn"}},
		{name: "a value of a few", words: "client --log-format j", want: []string{"text", "json"}, not: []string{"server"}},
		{name: "a value behind an equals sign, as bash takes it apart", words: "client --log-format = j", want: []string{"text", "json"}, not: []string{"server"}},
		{name: "a value of many", words: "server --cert c", not: []string{"server", "--listen"}},
		{name: "nothing after a command", words: "server x", not: []string{"client", "server"}},
		{name: "no word at all", words: "-", want: []string{"--help"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Fields(helpOf(t, "--completion-bash "+tt.words))
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("no %s in %v", want, got)
				}
			}
			for _, not := range tt.not {
				if slices.Contains(got, not) {
					t.Errorf("%s in %v", not, got)
				}
			}
		})
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := helpOf(t, "--completion-script-"+shell)
		if !strings.Contains(script, "sallyport") || !strings.Contains(script, "--completion-bash") {
			t.Errorf("%s: not a script for sallyport:\n%s", shell, script)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"--listen", "--target", "--log-level", "--log-format"}
	tests := []struct{ text, want string }{
		{"--listen", "--listen"},
		{"--lsten", "--listen"},
		{"--loglevel", "--log-level"},
		{"--tagret", "--target"},
		{"--frobnicate", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.text, names); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}
