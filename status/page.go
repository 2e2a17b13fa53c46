package status

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// The page for people: a document, and the style and the script that go into it.
var (
	//go:embed page.html
	pageDocument string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string
)

// home answers /, with one document that asks for all else itself. It tells nothing
// of the process, so it needs no token; what its script asks for does.
func home() http.Handler {
	document := []byte(strings.NewReplacer(
		"<style></style>", "<style>"+pageStyle+"</style>",
		"<script></script>", "<script>"+pageScript+"</script>",
	).Replace(pageDocument))
	policy := pagePolicy()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(document)
	})
}

// pagePolicy lets the page run what is in it, ask this port, and do nothing else
// (Content Security Policy Level 3): should text of a peer ever become markup, it
// would be dead. Nobody may put the page into a frame.
func pagePolicy() string {
	return strings.Join([]string{
		"default-src 'none'",
		"script-src " + digest(pageScript),
		"style-src " + digest(pageStyle),
		"img-src data:", // its icon
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'",
		"trusted-types 'none'",
	}, "; ")
}

// digest names an inline script or style in a policy.
func digest(text string) string {
	hash := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}
