package inspect

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// printable is text as it can be shown on a terminal: what would move the cursor,
// change the direction of writing or not show at all is written as an escape, such
// as \x1b.
func printable(text string) string {
	if !strings.ContainsFunc(text, isHidden) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isHidden(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isHidden tells whether a terminal may do something else with r than show it.
func isHidden(r rune) bool { return !unicode.IsPrint(r) }

// escaped is a JSON document on one line, with what printable would escape as
// \u escapes: it means the same. Outside of its strings there is nothing to
// escape but line breaks and tabs, which mean nothing there.
func escaped(document []byte) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(string(document)) {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case !isHidden(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}
