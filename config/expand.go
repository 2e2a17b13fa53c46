package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reference is what a value may take from the environment, beside what is
// written like that and not meant so.
var reference = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)

// variableName is what shells take for the name of a variable.
var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expansion is a value in pieces, in order: references, and what stands between
// them.
type expansion []piece

// piece is a part of a value as the file has it, and as it is meant.
type piece struct {
	written, text string
	isReference   bool
}

// expand replaces each ${NAME} in a value by what env has for it; $${ is a ${
// that is meant as such. A variable that is empty counts as none. No error shows
// more of the value than a variable's name: it may be a secret.
func expand(written string, env func(string) (string, bool)) (expansion, error) {
	var e expansion
	literal := func(text string) { e = append(e, piece{written: text, text: text}) }
	end := 0 // of what is in e
	for _, at := range reference.FindAllStringIndex(written, -1) {
		literal(written[end:at[0]])
		end = at[1]
		found := written[at[0]:end]
		text, err := referenced(found, env)
		if err != nil {
			return nil, err
		}
		e = append(e, piece{found, text, true})
	}
	literal(written[end:])
	return e, nil
}

// referenced is what a reference stands for.
func referenced(found string, env func(string) (string, bool)) (string, error) {
	if literal, ok := strings.CutPrefix(found, "$$"); ok {
		return "$" + literal, nil
	}
	name := variableName.FindStringSubmatch(found)
	if name == nil {
		return "", errReference
	}
	value, _ := env(name[1])
	if value == "" {
		return "", fmt.Errorf("%s: that variable is not set, or empty", found)
	}
	return value, nil
}

var errReference = errors.New("${ without the name of a variable and }; write ${NAME}, or $${ for a ${ that is meant as such")

// text is the value as it is meant.
func (e expansion) text() string {
	var b strings.Builder
	for _, p := range e {
		b.WriteString(p.text)
	}
	return b.String()
}

// requoted has a message quote the value, and parts of it, as the file has them: of
// what the environment holds only the name is shown.
func (e expansion) requoted(message string) string {
	if !slices.ContainsFunc(e, func(p piece) bool { return p.isReference }) {
		return message
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(message, `"`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		quoted, err := strconv.QuotedPrefix(`"` + rest)
		if err != nil { // it quotes nothing
			b.WriteString(`"`)
			message = rest
			continue
		}
		part, _ := strconv.Unquote(quoted) // QuotedPrefix has found that it can be
		b.WriteString(strconv.Quote(e.written(part)))
		message = rest[len(quoted)-1:]
	}
}

// written is what the file has for a part of the text; for what is no part of it,
// such as one in lower case, all of the value.
func (e expansion) written(part string) string {
	from := strings.Index(e.text(), part)
	to := from + len(part)
	var b strings.Builder
	end := 0 // of the pieces so far, in the text
	for _, p := range e {
		begin := end
		end += len(p.text)
		switch {
		case from >= 0 && (end <= from || to <= begin):
		case p.isReference || from < 0:
			b.WriteString(p.written)
		default:
			b.WriteString(p.text[max(from-begin, 0):min(to-begin, len(p.text))])
		}
	}
	return b.String()
}
