package tests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGuidesAreTrue types the commands of every page into a shell, in order, and
// compares what is printed with what the page says.
//
// Each page has a directory, a network and processes of its own, so that the ports
// that it names are free. The guides find there what the quick start makes: certs,
// and a service at localhost:8080 that says hello. What runs in the background
// ends with its ## section.
func TestGuidesAreTrue(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		if !slices.ContainsFunc(p.blocks, func(b block) bool { return b.commands() }) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := openShell(t, sceneOf(p.name))
			section := 0
			since := 0
			for _, b := range p.blocks {
				if b.section != section {
					section = b.section
					s.run(t, `kill -9 $(jobs -p) 2>/dev/null; wait 2>/dev/null; true`)
				}
				where := fmt.Sprintf("%s:%d", p.name, b.line)
				kind, note, _ := strings.Cut(b.info, " ")
				switch {
				case b.file != "":
					writeFile(t, filepath.Join(s.dir, b.file), []byte(strings.Join(b.lines, "\n")+"\n"))
				case b.commands():
					since = s.read
					for _, command := range b.before {
						if code, out := s.run(t, command); code != 0 {
							t.Fatalf("%s: what is run before it ended with %d:\n%s", where, code, out)
						}
					}
					s.follow(t, where, b)
				case kind == "log" && b.runs(note):
					s.expect(t, where, since, b.lines)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// A shell is bash, in a directory, a network and a process tree of its own.
type shell struct {
	process *process
	input   io.Writer
	dir     string
	read    int // how much of its output has been read
}

// setting is what the guides begin with: what the quick start has made.
const setting = `mkdir www && echo hello >www/index.html && sallyport certs init certs >/dev/null &&
(setsid python3 -m http.server 8080 --bind 127.0.0.1 --directory www >/dev/null 2>&1 &) &&
until ss -Hltn 'sport = :8080' | grep -q .; do sleep 0.05; done`

// A scene is what a page's shell begins with.
type scene int

const (
	guide      scene = iota // what the quick start makes
	quickStart              // nothing
	readme                  // the repository, in test-full; else what is built of it
)

func sceneOf(page string) scene {
	switch page {
	case "README.md":
		return readme
	case "docs/quickstart.md":
		return quickStart
	}
	return guide
}

func openShell(t *testing.T, begins scene) *shell {
	t.Helper()
	for _, program := range []string{"bash", "ip", "ss", "python3", "curl", "openssl", "jq"} {
		need(t, program)
	}
	// Nothing but /proc is mounted there, which is made private first: for all else to be so, / has to be a mount
	// point, as it is not in a chroot.
	unshare := []string{"--net", "--mount", "--propagation", "unchanged", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	program := need(t, "unshare")
	if out, err := exec.Command(program, append(unshare, "true")...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no namespaces here: %v: %s", err, out))
	}
	s := &shell{dir: t.TempDir()}
	switch {
	case begins == readme && full():
		copied := exec.Command("sh", "-c", `git ls-files -z | tar --null --files-from - --create | tar --directory "$0" --extract`, s.dir)
		copied.Dir = ".."
		if out, err := copied.CombinedOutput(); err != nil {
			t.Fatalf("copying the repository: %v\n%s", err, out)
		}
	case begins == readme:
		if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(sallyport(t), filepath.Join(s.dir, "bin", "sallyport")); err != nil {
			t.Fatal(err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(unshare, "bash", "--norc", "-c", `exec 2>&1; ip link set lo up && exec bash --norc`)...)
	cmd.Dir = s.dir
	// A terminal shows nothing of how far curl has come; what is no terminal would.
	writeFile(t, filepath.Join(s.dir, ".curlrc"), []byte("silent\nshow-error\n"))
	places := []string{filepath.Dir(sallyport(t)), filepath.Dir(need(t, "go")), "/usr/sbin", "/usr/bin", "/sbin", "/bin", filepath.Join(cache, "sallyport-peers")}
	cmd.Env = []string{
		"PATH=" + strings.Join(places, ":"),
		"HOME=" + s.dir, "TMPDIR=" + t.TempDir(), "LC_ALL=C.UTF-8", raceOptions,
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(string(value)))
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.input = input
	s.process = launch(t, cmd)
	t.Cleanup(func() {
		for _, sign := range []string{"\nWARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains(s.process.stdout.String(), sign) {
				t.Errorf("%s", strings.TrimSpace(sign))
			}
		}
	})
	// curl writes its errors byte by byte, which others might write in between.
	s.run(t, `curl() { command curl "$@" 2>.stderr; set -- $?; cat .stderr >&2; return $1; }`)
	if begins == guide {
		if code, out := s.run(t, setting); code != 0 {
			t.Fatalf("setting the scene ended with %d:\n%s", code, out)
		}
	}
	return s
}

// run types a command, and waits for its end. It reads what was printed meanwhile.
func (s *shell) run(t *testing.T, command string) (code int, out string) {
	t.Helper()
	script := filepath.Join(s.dir, ".command")
	if err := os.WriteFile(script, []byte(command+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What runs must not read the next command; $? is the command's for the next.
	if _, err := fmt.Fprintf(s.input, ". ./.command </dev/null; status=$?; %sprintf '\\1%%d\\n' $status; (exit $status)\n", s.awaitListeners(command)); err != nil {
		t.Fatal(err)
	}
	bound := patience
	if full() {
		bound *= 10 // there are builds among them
	}
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	for {
		_, changed := s.process.stdout.lines()
		before, after, marked := strings.Cut(s.process.stdout.String()[s.read:], "\x01")
		if end := strings.Index(after, "\n"); marked && end >= 0 {
			if _, err := fmt.Sscanf(after, "%d\n", &code); err != nil {
				t.Fatal(err)
			}
			s.read += len(before) + 1 + end + 1
			return code, before
		}
		select {
		case <-changed:
		case <-s.process.done:
			t.Fatalf("the shell ended in %q", command)
		case <-deadline.C:
			t.Fatalf("waited %v in vain for the end of %s", bound, command)
		}
	}
}

// listens finds where a command listens in the background, or what it reads does.
var listens = regexp.MustCompile(`(?:\blisten: |\bstatus: |--listen[ =]|--status[ =]|-l |http\.server )(?:https?://)?(?:[\w.-]*:)?(unix:\S+|\d+)\b`)

// awaitListeners is what waits for a command in the background to listen, as the
// reader does who takes a moment to type the next one.
func (s *shell) awaitListeners(command string) string {
	if !regexp.MustCompile(`&(\s+\w+=\S+)?\s*(#.*)?$`).MatchString(command) {
		return ""
	}
	if match := regexp.MustCompile(`--config[ =](\S+)`).FindStringSubmatch(command); match != nil {
		file, _ := os.ReadFile(filepath.Join(s.dir, match[1])) // if there is none, the command says so
		command += string(file)
	}
	wait := "for i in $(seq 400); do kill -0 $! 2>/dev/null || break; "
	for _, match := range listens.FindAllStringSubmatch(command, -1) {
		if path, ok := strings.CutPrefix(match[1], "unix:"); ok {
			wait += "test -S " + path + " && "
		} else {
			wait += "ss -Hltn 'sport = :" + match[1] + "' | grep -q . && "
		}
	}
	return wait + "break; sleep 0.05; done; "
}

// follow runs the commands of a block, and compares.
func (s *shell) follow(t *testing.T, where string, b block) {
	t.Helper()
	for i := 0; i < len(b.lines); {
		command, ok := strings.CutPrefix(b.lines[i], "$ ")
		i++
		if !ok {
			t.Fatalf("%s: begins with no command", where)
		}
		here := regexp.MustCompile(`<<'?(\w+)'?`).FindStringSubmatch(command)
		for i < len(b.lines) && (strings.HasSuffix(command, "\\") || here != nil && !strings.HasSuffix(command, "\n"+here[1])) {
			command += "\n" + b.lines[i]
			i++
		}
		first := i
		for i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ ") {
			i++
		}
		s.try(t, where, b, command, b.lines[first:i], i < len(b.lines) && b.lines[i] == "$ echo $?")
	}
}

// complaint is how a program begins that says why it fails.
var complaint = regexp.MustCompile(`^[\w.-]+: `)

// try runs one command. It must succeed, unless the page shows how it complains or
// asks for its exit code next.
func (s *shell) try(t *testing.T, where string, b block, command string, want []string, asked bool) {
	t.Helper()
	// A file that the page shows, and that nothing has made, is made so.
	if file, ok := strings.CutPrefix(command, "cat "); ok && !strings.Contains(file, " ") && len(want) > 0 {
		if _, err := os.Stat(filepath.Join(s.dir, file)); os.IsNotExist(err) {
			writeFile(t, filepath.Join(s.dir, file), []byte(strings.Join(want, "\n")+"\n"))
			return
		}
	}
	if strings.Contains(command, "…") {
		if b.elided == "" {
			t.Fatalf("%s: %s\nnothing says what … stands for: <!-- … = FLAGS --> before the block", where, command)
		}
		command = strings.ReplaceAll(command, "…", b.elided)
	}
	from := s.read
	code, out := s.run(t, command)
	if code != 0 && !asked && !slices.ContainsFunc(want, complaint.MatchString) {
		t.Fatalf("%s: %s\nended with code %d:\n%s", where, command, code, out)
	}
	s.expect(t, where+": "+command, from, want)
}

// expect waits until what was printed since has these lines, in this order. Lines
// in between do not matter, nor how log lines stand to the others: what runs in the
// background logs when it likes.
func (s *shell) expect(t *testing.T, what string, since int, want []string) {
	t.Helper()
	missing := ""
	met := func() bool {
		all := strings.Split(s.process.stdout.String()[since:], "\n")
		rest := map[bool][]string{true: all, false: all}
		for _, line := range want {
			if strings.Trim(line, " …") == "" {
				continue
			}
			pattern, logged := likeness(line), regexp.MustCompile(`\b(level|msg|reason)=`).MatchString(line)
			at := slices.IndexFunc(rest[logged], func(line string) bool { return pattern.MatchString(steady(line)) })
			if at < 0 {
				missing = line
				return false
			}
			rest[logged] = rest[logged][at+1:]
		}
		return true
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		_, changed := s.process.stdout.lines()
		if met() {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("%s\ndid not print:\n%s\nbut:\n%s", what, missing, s.process.stdout.String()[since:])
		}
	}
}

// likeness matches what a line of a page stands for: … is anything.
func likeness(line string) *regexp.Regexp {
	parts := strings.Split(steady(line), "…")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(strings.TrimSpace(part))
	}
	return regexp.MustCompile(`^` + strings.Join(parts, `.*`) + `$`)
}

// volatile is what differs from one run to the next: times, keys, ports.
var volatile = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)`), "TIME"},
	{regexp.MustCompile(`\b(\d+(\.\d+)?(h|m|s|ms|µs))+\b`), "DURATION"},
	{regexp.MustCompile(`\b\d+ s, `), "DURATION, "},
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=`), "DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{20,}\b`), "SERIAL"},
	{regexp.MustCompile(`\b127\.0\.0\.(\d+):[3-6]\d{4}\b`), "127.0.0.$1:PORT"},
	{regexp.MustCompile(`\b\d+ days`), "DAYS"},
	{regexp.MustCompile(`after \d+ ms`), "after DURATION"},
	{regexp.MustCompile(`\s+`), " "},
}

// steady is a line without what is volatile in it.
func steady(line string) string {
	for _, v := range volatile {
		line = v.pattern.ReplaceAllString(line, v.with)
	}
	return strings.TrimSpace(line)
}
