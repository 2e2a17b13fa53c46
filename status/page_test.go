package status

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// between is the text of a page's only element of a name.
func between(t *testing.T, page, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?s)<`+name+`>(.*?)</`+name+`>`).FindAllStringSubmatch(page, -1)
	if len(found) != 1 {
		t.Fatalf("%d times <%s>, want one", len(found), name)
	}
	return found[0][1]
}

func TestPageMayDoNothingButAskThisPort(t *testing.T) {
	t.Parallel()
	response, page := ask(t, http.MethodGet, served(t, Options{State: NewState()})+"/")
	policy := strings.Split(response.Header.Get("Content-Security-Policy"), "; ")
	for _, want := range []string{
		"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		"script-src " + digest(between(t, page, "script")), "style-src " + digest(between(t, page, "style")),
	} {
		if !slices.Contains(policy, want) {
			t.Errorf("the policy has no %q: %q", want, policy)
		}
	}
	if strings.Contains(strings.Join(policy, " "), "unsafe") {
		t.Errorf("the policy is unsafe: %q", policy)
	}
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Set-Cookie": ""} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What a policy would stop has no place in the page: it would fail in silence.
func TestPageNeedsNothingThatItsPolicyForbids(t *testing.T) {
	t.Parallel()
	for what, pattern := range map[string]string{
		"a style or a handler in an attribute": `<[^>]* (style|on[a-z]+)=`,
		"a request to elsewhere":               `(src|href|action)="?(https?:)?//`,
		"an import":                            `@import|\burl\(|\bimport\b`,
		"text as markup":                       `innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function`,
		"a place that outlives the page":       `localStorage|sessionStorage|indexedDB|document\.cookie|history\.|location`,
	} {
		for name, text := range map[string]string{"document": pageDocument, "style": pageStyle, "script": pageScript} {
			if found := regexp.MustCompile(pattern).FindString(text); found != "" {
				t.Errorf("%s in the %s: %q", what, name, found)
			}
		}
	}
}

func TestPageHasWhatItsScriptLooksFor(t *testing.T) {
	t.Parallel()
	for _, found := range regexp.MustCompile(`byId\("([\w-]+)"\)`).FindAllStringSubmatch(pageScript, -1) {
		if strings.Count(pageDocument, `id="`+found[1]+`"`) != 1 {
			t.Errorf("the script wants one element %q", found[1])
		}
	}
}
