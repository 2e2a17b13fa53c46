// Suite runs go test with the arguments it is given and prints what go test
// prints, and beside it every test that was skipped and why, which go test
// keeps to itself:
//
//	go run ./tests/suite -race ./...
//
// With CI=true in the environment a skipped test is a failure, but for those that
// are left to make test-full and say so. It exits with 0 if everything passed,
// else with 1.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	s := suite{out: os.Stdout, strict: os.Getenv("CI") == "true"}
	if err := s.run(context.Background(), ".", os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

// elsewhere is what a test says that is skipped because it takes long.
const elsewhere = "make test-full runs it"

// A suite is one run of go test.
type suite struct {
	out    io.Writer
	strict bool // a skipped test is a failure

	unfinished map[testID]*strings.Builder // what tests that run have printed
	skipped    int
}

type testID struct{ pkg, test string }

// An event is what go test -json prints for each thing that happens; see
// go doc test2json, and for build-output go help buildjson.
type event struct {
	Action, Package, Test, Output string
}

// run runs go test in dir.
func (s *suite) run(ctx context.Context, dir string, args []string) error {
	test := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	test.Dir = dir
	test.Stderr = s.out
	events, err := test.StdoutPipe()
	if err != nil {
		return err
	}
	if err := test.Start(); err != nil {
		return err
	}
	printErr := s.print(events)
	if err := test.Wait(); err != nil {
		return errors.Join(fmt.Errorf("go test: %w", err), printErr)
	}
	if printErr != nil {
		return printErr
	}
	if s.strict && s.skipped > 0 {
		return fmt.Errorf("%d tests were skipped, which CI=true makes a failure", s.skipped)
	}
	return nil
}

// print prints the events as they come. It reads them to the end, even after
// an error.
func (s *suite) print(events io.Reader) error {
	s.unfinished = map[testID]*strings.Builder{}
	var failed error
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			failed = errors.Join(failed, s.printEvent(line))
		}
		if errors.Is(err, io.EOF) {
			return failed
		}
		if err != nil {
			return errors.Join(failed, err)
		}
	}
}

func (s *suite) printEvent(line []byte) error {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		// A flag that go test does not know is answered in plain text.
		_, err := s.out.Write(line)
		return err
	}
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		return s.write(e.Output)
	case "output":
		switch {
		case e.Test != "":
			if s.unfinished[id] == nil {
				s.unfinished[id] = new(strings.Builder)
			}
			s.unfinished[id].WriteString(e.Output)
		case e.Output != "PASS\n": // which only -v makes go test print
			return s.write(e.Output)
		}
	case "pass":
		delete(s.unfinished, id)
	case "skip":
		// Without a name it is a package without tests.
		if printed := s.unfinished[id]; e.Test != "" && (printed == nil || !strings.Contains(printed.String(), elsewhere)) {
			s.skipped++
		}
		return s.flush(id)
	case "fail":
		if e.Test != "" {
			return s.flush(id)
		}
		// A panic or a time-out leaves tests behind that never finished.
		for id := range s.unfinished {
			if id.pkg == e.Package {
				if err := s.flush(id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// flush prints what a test has printed, without the lines that -v adds.
func (s *suite) flush(id testID) error {
	printed := s.unfinished[id]
	if printed == nil {
		return nil
	}
	delete(s.unfinished, id)
	noise := []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "}
	for line := range strings.Lines(printed.String()) {
		if slices.ContainsFunc(noise, func(prefix string) bool { return strings.HasPrefix(line, prefix) }) {
			continue
		}
		if err := s.write(line); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) write(text string) error {
	_, err := io.WriteString(s.out, text)
	return err
}
