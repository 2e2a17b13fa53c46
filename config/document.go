package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// What a configuration file may be at most. The first two are far above what
// people write, and low enough that no file takes long to be refused.
const (
	maxFileSize = 1 << 20
	maxNesting  = 32
	maxValues   = 1 << 18 // aliases and defaults counted each time that they are used
)

// place is where something stands in a file, from 1 on.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// compare is by what comes first in a file.
func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
}

// readFile is os.ReadFile for files that are no larger than they may be.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err == nil && len(text) > maxFileSize {
		err = fmt.Errorf("larger than %d bytes, which is more than a configuration file may be", maxFileSize)
	}
	return text, err
}

// parseDocument reads the one document that a file may hold. It says where it
// could not go on.
func parseDocument(text []byte) (*yaml.Node, place, error) {
	start := place{1, 1}
	// Keys that are given twice are found later, with the others at fault.
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithUniqueKeys(false),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxNesting))))
	if err != nil {
		return nil, start, err
	}
	var document yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF):
		return nil, start, errors.New("empty; it needs a list of tunnels")
	case err != nil:
		return syntaxError(err, text)
	}
	var second yaml.Node
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
		return document.Content[0], start, nil
	case err != nil:
		return syntaxError(err, text)
	}
	return nil, placeOf(&second), errors.New("a second document; a configuration file holds one, without --- in it")
}

// syntaxError is what the library says of a text that is no YAML, without its
// name and the name of the stage that it had come to.
func syntaxError(err error, file []byte) (*yaml.Node, place, error) {
	failure, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return nil, place{1, 1}, fmt.Errorf("not YAML: %w", err)
	}
	text := failure.Message
	if strings.HasPrefix(text, "unknown anchor") { // whose name may be a password
		text = "an alias that stands for nothing above; a value that begins with * or & goes in quotes"
	}
	switch at := failure.Mark.Index; {
	case at < len(file) && file[at] == '\t':
		text += ": a tab; indent with blanks"
	case strings.HasSuffix(text, "expected ':'"):
		text += "; a key ends with a colon and a blank"
	case strings.HasSuffix(text, "expected '-' indicator"), strings.HasSuffix(text, "expected key"):
		text += "; keys that belong together begin in the same column"
	case strings.HasPrefix(text, "mapping values are not allowed"):
		text += "; is a line above it cut short, or a value with a colon and a blank not in quotes?"
	}
	if failure.ContextMsg != "" {
		text = failure.ContextMsg + ": " + text
	}
	return nil, place{max(failure.Mark.Line, 1), max(failure.Mark.Column, 1)}, fmt.Errorf("not YAML: %s", text)
}

// target is the node that an alias stands for, or n itself.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// isNull tells whether n says that there is no value.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kindOf is what n is called in an error.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	return "a single value"
}
