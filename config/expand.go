package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// reference is what a value may take from the environment, beside what is
// written like that and not meant so.
var reference = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)

// variableName is what shells take for the name of a variable.
var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand replaces each ${NAME} in a value by what env has for it; $${ is a ${
// that is meant as such. A variable that is empty counts as none. No error shows
// more of the value than a variable's name: it may be a secret.
func expand(text string, env func(string) (string, bool)) (string, error) {
	var mistake error
	expanded := reference.ReplaceAllStringFunc(text, func(found string) string {
		if literal, ok := strings.CutPrefix(found, "$$"); ok {
			return "$" + literal
		}
		name := variableName.FindStringSubmatch(found)
		if name == nil {
			mistake = errReference
			return ""
		}
		value, _ := env(name[1])
		if value == "" {
			mistake = fmt.Errorf("%s: that variable is not set, or empty", found)
		}
		return value
	})
	if mistake != nil {
		return "", mistake
	}
	return expanded, nil
}

var errReference = errors.New("${ without the name of a variable and }; write ${NAME}, or $${ for a ${ that is meant as such")
