package config

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// expandArgumentFiles replaces each @FILE by the lines of that file, one
// argument a line; empty lines and those that start with # are skipped. kingpin
// would do that itself, but it would also do it to the value of a flag, which
// may be a password, and without end for a file that names itself.
//
// The value of a flag is joined to its flag instead, as is a number below 0,
// which kingpin would take for a flag; and what follows -- stays as it is.
func expandArgumentFiles(args []string) ([]string, error) {
	var expanded []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return append(expanded, args[i:]...), nil
		case takesNextArgument(arg) && i+1 < len(args) && (strings.HasPrefix(args[i+1], "@") || takesNegative(arg) && isNegative(args[i+1])):
			i++
			expanded = append(expanded, arg+"="+args[i])
		case strings.HasPrefix(arg, "@"):
			lines, err := readArgumentFile(arg[1:])
			if err != nil {
				return nil, err
			}
			expanded = append(expanded, lines...)
		default:
			expanded = append(expanded, arg)
		}
	}
	return expanded, nil
}

// takesNextArgument tells whether arg is a flag whose value follows it. An
// unknown flag does: it may be the flag of a password, mistyped.
func takesNextArgument(arg string) bool {
	name, ok := strings.CutPrefix(arg, "--")
	if !ok || strings.Contains(name, "=") {
		return false
	}
	s := findFlag(name)
	return s == nil || !s.isSwitch()
}

// takesNegative tells whether arg is a flag whose value may be below 0.
func takesNegative(arg string) bool {
	s := findFlag(strings.TrimPrefix(arg, "--"))
	return s != nil && s.negative
}

func readArgumentFile(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("argument file %q: %w", path, errnoOf(err))
	}
	defer file.Close()
	var args []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "@") {
			return nil, fmt.Errorf("argument file %q: names another argument file; give both on the command line", path)
		}
		if line != "" && !strings.HasPrefix(line, "#") {
			args = append(args, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("argument file %q: %w", path, errnoOf(err))
	}
	return args, nil
}

// errnoOf is the cause alone of an error that also holds a path, which may
// have line breaks in it.
func errnoOf(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}
