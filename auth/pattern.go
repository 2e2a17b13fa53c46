package auth

import (
	"errors"
	"fmt"
	"strings"
)

// URIPattern matches URIs segment by segment, where segments are what slashes
// separate. A segment "*" stands for any one segment that is not empty, a last
// segment "**" for all that follows, one segment at least; every other segment
// stands for itself. One trailing slash, of the pattern or the URI, is ignored.
//
//	spiffe://example/*        spiffe://example/web     not …/web/eu
//	spiffe://example/*/eu     spiffe://example/web/eu  not …/web/us
//	spiffe://example/**       spiffe://example/web/eu  not spiffe://example
//
// The zero value matches nothing. Patterns are comparable with ==.
type URIPattern struct {
	text string // valid, without a trailing slash
}

// ParseURIPattern reads a pattern. Its errors say which part cannot be.
func ParseURIPattern(text string) (URIPattern, error) {
	trimmed := strings.TrimSuffix(text, "/")
	if trimmed == "" {
		return URIPattern{}, errors.New("empty URI pattern; ** alone matches every URI")
	}
	if strings.HasSuffix(trimmed, "/") {
		return URIPattern{}, fmt.Errorf("URI pattern %q: ends with more than one slash", text)
	}
	segments := strings.Split(trimmed, "/")
	for i, segment := range segments {
		switch {
		case segment == "**" && i < len(segments)-1:
			return URIPattern{}, fmt.Errorf("URI pattern %q: ** may only be the last segment", text)
		case segment != "*" && segment != "**" && strings.Contains(segment, "*"):
			return URIPattern{}, fmt.Errorf("URI pattern %q: segment %q mixes * with other characters; a wildcard is a whole segment, * or **", text, segment)
		}
	}
	return URIPattern{text: trimmed}, nil
}

// Match reports whether the pattern matches uri.
func (p URIPattern) Match(uri string) bool {
	if p.text == "" {
		return false
	}
	pattern, uri := p.text, strings.TrimSuffix(uri, "/")
	for {
		wanted, patternRest, patternMore := strings.Cut(pattern, "/")
		segment, uriRest, uriMore := strings.Cut(uri, "/")
		switch wanted {
		case "**":
			return uri != ""
		case "*":
			if segment == "" {
				return false
			}
		default:
			if segment != wanted {
				return false
			}
		}
		if !patternMore || !uriMore {
			return patternMore == uriMore
		}
		pattern, uri = patternRest, uriRest
	}
}

// String is the pattern's text without a trailing slash; empty for the zero
// value.
func (p URIPattern) String() string { return p.text }

// MarshalText gives what [URIPattern.UnmarshalText] takes. The zero value is an
// error.
func (p URIPattern) MarshalText() ([]byte, error) {
	if p.text == "" {
		return nil, errors.New("empty URI pattern")
	}
	return []byte(p.text), nil
}

// UnmarshalText is [ParseURIPattern].
func (p *URIPattern) UnmarshalText(text []byte) error {
	parsed, err := ParseURIPattern(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
