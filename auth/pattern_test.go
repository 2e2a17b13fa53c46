package auth_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/auth"
)

func TestPatternMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern string
		match   []string
		differ  []string
	}{
		{
			pattern: "spiffe://example/web",
			match:   []string{"spiffe://example/web", "spiffe://example/web/"},
			differ:  []string{"", "/", "spiffe://example", "spiffe://example/we", "spiffe://example/web/x", "spiffe://example/web//", "spiffe://example//web", "SPIFFE://example/web", "xspiffe://example/web"},
		},
		{
			pattern: "spiffe://example/web/",
			match:   []string{"spiffe://example/web", "spiffe://example/web/"},
			differ:  []string{"spiffe://example/web//"},
		},
		{
			pattern: "spiffe://example/*",
			match:   []string{"spiffe://example/web", "spiffe://example/web/", "spiffe://example/*", "spiffe://example/..", "spiffe://example/a.b"},
			differ:  []string{"spiffe://example", "spiffe://example/", "spiffe://example//", "spiffe://example/web/eu", "spiffe://other/web"},
		},
		{
			pattern: "spiffe://*/web/*/eu",
			match:   []string{"spiffe://example/web/1/eu", "spiffe://x/web/2/eu/"},
			differ:  []string{"spiffe:///web/1/eu", "spiffe://example/web//eu", "spiffe://example/web/1/2/eu", "spiffe://example/web/1"},
		},
		{
			pattern: "spiffe://example/**",
			match:   []string{"spiffe://example/web", "spiffe://example/web/", "spiffe://example/web/eu/1", "spiffe://example//x"},
			differ:  []string{"spiffe://example", "spiffe://example/", "spiffe://example.org/web", "spiffe://other/web"},
		},
		{
			pattern: "spiffe://example/*/**",
			match:   []string{"spiffe://example/web/eu", "spiffe://example/web/eu/1"},
			differ:  []string{"spiffe://example/web", "spiffe://example/web/", "spiffe://example//eu"},
		},
		{
			pattern: "**",
			match:   []string{"spiffe://example/web", "urn:x", "x/"},
			differ:  []string{"", "/"},
		},
		{
			pattern: "*",
			match:   []string{"urn:x", "urn:x/"},
			differ:  []string{"", "/", "spiffe://example/web"},
		},
		{
			pattern: "a.c/[x]+",
			match:   []string{"a.c/[x]+"},
			differ:  []string{"abc/x", "a.c/xx"},
		},
	} {
		p := pattern(t, test.pattern)
		for _, uri := range test.match {
			if !p.Match(uri) {
				t.Errorf("%q does not match %q", test.pattern, uri)
			}
		}
		for _, uri := range test.differ {
			if p.Match(uri) {
				t.Errorf("%q matches %q", test.pattern, uri)
			}
		}
	}
	if (auth.URIPattern{}).Match("") {
		t.Error("the zero pattern matches the empty URI")
	}
}

func TestPatternsThatCannotBe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "empty",
		"/":                        "empty",
		"//":                       "slash",
		"spiffe://example//":       "slash",
		"spiffe://**/web":          "last",
		"**/":                      "", // the trailing slash is ignored
		"**/**":                    "last",
		"spiffe://example/web*":    "web*",
		"spiffe://example/*web/x":  "*web",
		"spiffe://example/***":     "***",
		"spiffe://example/**x":     "**x",
		"spiffe://*.example/x":     "*.example",
		"spiffe://example/w*b/y/z": "w*b",
	} {
		p, err := auth.ParseURIPattern(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && err == nil:
			t.Errorf("%q: accepted as %q", text, p)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%q: error %q does not tell of %q", text, err, want)
		}
	}
}

func TestPatternKeepsItsValueWhenTheTextIsBad(t *testing.T) {
	t.Parallel()
	p := pattern(t, "spiffe://example/*")
	if err := p.UnmarshalText([]byte("a*")); err == nil {
		t.Fatal("accepted a*")
	}
	if p.String() != "spiffe://example/*" {
		t.Errorf("now %q", p)
	}
	if _, err := (auth.URIPattern{}).MarshalText(); err == nil {
		t.Error("the zero pattern became text")
	}
}

// FuzzURIPattern: what parses comes back as the same pattern, ignores a
// trailing slash, and agrees with the regular expression that the rules spell
// out.
func FuzzURIPattern(f *testing.F) {
	f.Add("spiffe://example/*", "spiffe://example/web")
	f.Add("spiffe://example/**", "spiffe://example/web/eu/")
	f.Add("a//b/", "a//b")
	f.Add("*/", "x")
	f.Add("**", "/")
	f.Fuzz(func(t *testing.T, text, uri string) {
		p, err := auth.ParseURIPattern(text)
		if err != nil {
			return
		}
		marshalled, err := p.MarshalText()
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var again auth.URIPattern
		if err := again.UnmarshalText(marshalled); err != nil || again != p {
			t.Fatalf("%q became %q, then %q: %v", text, p, again, err)
		}
		matches := p.Match(uri)
		if !strings.HasSuffix(uri, "/") && p.Match(uri+"/") != matches {
			t.Errorf("%q: a trailing slash on %q matters", text, uri)
		}
		if !utf8.ValidString(text) || !utf8.ValidString(uri) {
			return // regexp takes no other text
		}
		if want := asRegexp(p).MatchString(strings.TrimSuffix(uri, "/")); matches != want {
			t.Errorf("%q.Match(%q) = %t, want %t", text, uri, matches, want)
		}
	})
}

func asRegexp(p auth.URIPattern) *regexp.Regexp {
	segments := strings.Split(p.String(), "/")
	for i, segment := range segments {
		switch segment {
		case "*":
			segments[i] = `[^/]+`
		case "**":
			segments[i] = `.+`
		default:
			segments[i] = regexp.QuoteMeta(segment)
		}
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(segments, "/") + `$`)
}
