package inspect

// style paints text for a terminal. The zero value leaves it as it is.
type style struct{ colours bool }

func (s style) good(text string) string  { return s.paint("32", text) }
func (s style) doubt(text string) string { return s.paint("33", text) }
func (s style) bad(text string) string   { return s.paint("1;31", text) }
func (s style) head(text string) string  { return s.paint("1", text) }
func (s style) label(text string) string { return s.paint("2", text) }

// verdict paints what is well or not.
func (s style) verdict(well bool, text string) string {
	if well {
		return s.good(text)
	}
	return s.bad(text)
}

// paint puts text between the codes (ECMA-48, section 8.3.117) for a look and for
// the end of it.
func (s style) paint(code, text string) string {
	if !s.colours || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
