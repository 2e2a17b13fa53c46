// Package peertext makes text that a stranger chose fit to be shown: a name in a
// certificate, a server name, what a proxy or a file says of itself. It may be
// anything, of any length, and comes before anybody was let in.
//
//	log.Warn("refused", "identity", peertext.Cut(name))         // the log escapes
//	return fmt.Errorf("issued by %s", peertext.Printable(name)) // nobody does
//
// It does not quote, knows no width of terminals, and hides no secret.
package peertext

import (
	"strings"
	"unicode"
)

// Limit is how many bytes of a text are shown.
const Limit = 256

// Cut is text, or if it is longer than Limit its beginning and an ellipsis. The
// end is between two characters; of what is cut, bytes that are no UTF-8 are left
// out. What Cut has cut it does not change again.
func Cut(text string) string {
	if len(text) <= Limit {
		return text
	}
	return strings.ToValidUTF8(text[:Limit], "") + "…"
}

// Printable is text without what is not printed, control characters and bytes
// that are no UTF-8 among it, each of which becomes U+FFFD. Of text that is longer
// than Limit it is the beginning and an ellipsis.
func Printable(text string) string {
	var out strings.Builder
	for i, r := range text {
		if i >= Limit {
			return out.String() + "…"
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		out.WriteRune(r)
	}
	return out.String()
}
