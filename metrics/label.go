package metrics

import "strings"

// label makes text fit to be the value of a label, which has to be UTF-8. Peers
// choose some of it, so it may be anything.
func label(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// cut is label for what a peer chose: it keeps 256 bytes, as the log does.
func cut(text string) string {
	const limit = 256
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return label(text)
}
