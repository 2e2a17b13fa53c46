package inspect

import (
	"io"
	"os"
	"strings"
)

// screen is a terminal that is drawn on again and again.
type screen struct{ file *os.File }

// newScreen is the terminal behind out, or nil if there is none.
func newScreen(out io.Writer) *screen {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if _, _, ok := terminalSize(file); !ok {
		return nil
	}
	return &screen{file}
}

// Control sequences (ECMA-48, and xterm's private modes).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another page, without cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	goHome      = "\x1b[H"
	clearLine   = "\x1b[K" // to its end
	clearBelow  = "\x1b[J"
)

// open turns to a page of its own, and close back to what was there before.
func (s *screen) open() error  { return s.write(enterScreen) }
func (s *screen) close() error { return s.write(leaveScreen) }

// draw puts text in place of what is there: as much of it as there is room for.
func (s *screen) draw(text string) error {
	width, height, ok := terminalSize(s.file)
	if !ok || width < 1 || height < 1 {
		width, height = 80, 24
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > height {
		lines = append(lines[:height-1], "…")
	}
	var b strings.Builder
	b.WriteString(goHome)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(fitted(line, width) + clearLine)
	}
	b.WriteString(clearBelow)
	return s.write(b.String())
}

func (s *screen) write(text string) error {
	_, err := s.file.WriteString(text)
	return err
}

// fitted is what of a line goes into so many columns. Colours take none, and are
// all kept so that each ends.
func fitted(line string, most int) string {
	var b strings.Builder
	n, inCode := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			inCode = true
			b.WriteRune(r)
		case inCode:
			inCode = r != 'm'
			b.WriteRune(r)
		default:
			if n += columnsOf(r); n <= most {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
