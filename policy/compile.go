package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/rego"
)

// maxFileSize bounds a .rego file and a bundle's archive: more than any of them
// has, and little enough to be read by mistake.
const maxFileSize = 16 << 20

// gzipMagic is how the archive of a bundle begins (RFC 1952, section 2.3.1).
var gzipMagic = []byte{0x1f, 0x8b}

// compile reads the policy at path and makes it ready to be asked.
func compile(ctx context.Context, path, query string) (*rego.PreparedEvalQuery, error) {
	source, version, err := read(path)
	if err != nil {
		return nil, err
	}
	question, err := ast.ParseBodyWithOpts(query, ast.ParserOptions{RegoVersion: version})
	switch {
	case err != nil:
		return nil, fmt.Errorf("query %q: %w", query, oneLine(err))
	case len(question) != 1:
		return nil, fmt.Errorf("query %q: has to be one expression, such as data.access.allow", query)
	}
	prepared, err := rego.New(
		source,
		rego.SetRegoVersion(version),
		rego.ParsedQuery(question),
		// Where a function fails, what it is part of would be undefined, and a
		// rule that says who is not let in would be taken not to hold.
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, oneLine(err)
	}
	return &prepared, nil
}

// read reads what is at path, and tells the version of Rego in which to
// understand the query.
func read(path string) (source func(*rego.Rego), version ast.RegoVersion, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if info.IsDir() {
		source, err = readDirectory(path)
		return source, ast.RegoV1, err
	}
	content, err := readFile(path)
	if err != nil {
		return nil, 0, err
	}
	if filepath.Ext(path) == ".rego" {
		module, err := ast.ParseModuleWithOpts(path, string(content), ast.ParserOptions{RegoVersion: ast.RegoV0})
		if err != nil {
			return nil, 0, fmt.Errorf("%w (a .rego file is read as Rego v0; for v1, have it import rego.v1, or give a bundle)", oneLine(err))
		}
		return rego.ParsedModule(module), ast.RegoV0, nil
	}
	if !bytes.HasPrefix(content, gzipMagic) {
		return nil, 0, errors.New("neither a .rego file nor a bundle, which is a directory or a .tar.gz")
	}
	source, err = parseBundle(loader.NewFileLoader().WithReader(bytes.NewReader(content)), path)
	return source, ast.RegoV1, err
}

// readDirectory reads a bundle that is not packed.
func readDirectory(path string) (func(*rego.Rego), error) {
	// The loader does not go into a directory that is a symbolic link.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if err := checkDirectory(path); err != nil {
		return nil, err
	}
	hidden := func(at string, info fs.FileInfo, _ int) bool { return isHidden(path, at, info.Name()) }
	return parseBundle(loader.NewFileLoader().WithFollowSymlinks(true).WithFilter(hidden), path)
}

// checkDirectory refuses a directory of which the loader would leave something
// out in silence: the rule that refuses somebody could be in it.
func checkDirectory(path string) error {
	return filepath.WalkDir(path, func(at string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case isHidden(path, at, entry.Name()) && entry.IsDir():
			return fs.SkipDir
		case isHidden(path, at, entry.Name()) || entry.Type() != fs.ModeSymlink:
			return nil
		}
		info, err := os.Stat(at)
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s: a symbolic link to a directory, which cannot be part of a bundle", at)
		}
		return err
	})
}

// isHidden tells whether what is at a path in the directory is no part of it.
// Kubernetes keeps a mounted volume's files in a directory whose name begins with
// two dots, and symbolic links to them where they are looked for.
func isHidden(directory, at, name string) bool {
	return strings.HasPrefix(name, "..") && filepath.Clean(at) != directory
}

// parseBundle reads a bundle in which there is something to be asked.
func parseBundle(from loader.FileLoader, path string) (func(*rego.Rego), error) {
	parsed, err := from.AsBundle(path)
	switch {
	case err != nil:
		return nil, oneLine(err)
	case len(parsed.Modules) == 0:
		return nil, errors.New("a bundle without a .rego file")
	}
	return rego.ParsedBundle("policy", parsed), nil
}

// readFile reads a file of a bearable size.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	return content, nil
}

// oneLine says what OPA says in several: it draws the place of an error below
// it.
func oneLine(err error) error {
	var told []string
	for line := range strings.Lines(strings.ReplaceAll(err.Error(), "1 error occurred: ", "")) {
		if line = strings.TrimRight(line, " \n"); line != "" && !strings.HasPrefix(line, "\t") {
			told = append(told, line)
		}
	}
	return &toldError{text: strings.Join(told, "; "), err: err}
}

// toldError is an error in other words.
type toldError struct {
	text string
	err  error
}

func (e *toldError) Error() string { return e.text }

func (e *toldError) Unwrap() error { return e.err }
