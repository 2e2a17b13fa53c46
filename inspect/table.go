package inspect

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// cell is a field of a table. Its text is printable.
type cell struct {
	text  string
	paint func(string) string // nil: as it is
	right bool                // for numbers, which are compared
}

// widest is how many columns a cell may take: what peers call themselves has no
// end.
const widest = 60

// table aligns rows in columns, two blanks apart and from the margin.
func table(rows [][]cell) string {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = cut(row[i].text, widest)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(row[i].text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		b.WriteString("  ")
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-columns(c.text))
			text := c.text
			if c.paint != nil {
				text = c.paint(text)
			}
			switch last := i == len(row)-1; {
			case c.right:
				b.WriteString(pad + text)
			case last:
				b.WriteString(text)
			default:
				b.WriteString(text + pad)
			}
			if i < len(row)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// columns is how wide text is on a terminal.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

// columnsOf is how wide a printable rune is (Unicode Standard Annex #11). Those
// that go onto the one before have no width.
func columnsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens text to so many columns, with an ellipsis for the rest.
func cut(text string, most int) string {
	if columns(text) <= most {
		return text
	}
	n := 1 // the ellipsis
	for i, r := range text {
		if n += columnsOf(r); n > most {
			return text[:i] + "…"
		}
	}
	return text
}
