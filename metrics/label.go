package metrics

import "strings"

// label makes text fit to be the value of a label, which has to be UTF-8. Peers
// choose some of it, so it may be anything.
func label(text string) string { return strings.ToValidUTF8(text, "\ufffd") }
