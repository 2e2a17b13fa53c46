package config

import (
	"fmt"
	"io"
	"strings"
)

// manPage is the manual page, in the macros of man(7).
func manPage(out io.Writer, version string) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH SALLYPORT 1 \"\" \"sallyport %s\"\n", roff(version))
	b.WriteString(".SH NAME\nsallyport \\- TLS sidecar with mutual authentication\n")
	b.WriteString(".SH SYNOPSIS\n")
	for i := range commands {
		fmt.Fprintf(&b, ".B %s\n.br\n", roff(synopsis(&commands[i])))
	}
	b.WriteString(".SH DESCRIPTION\nSallyport wraps TCP and UNIX socket connections in mutually authenticated TLS.\n")
	for _, f := range generalFlags {
		writeManRow(&b, f.name, f.help)
	}
	b.WriteString(".SH COMMANDS\n")
	for i := range commands {
		writeManCommand(&b, &commands[i])
	}
	fmt.Fprintf(&b, ".SH ENVIRONMENT\n%s\n", roff(environmentNote(everyCommand)))
	b.WriteString(".SH EXIT STATUS\n")
	writeManRow(&b, "0", "a clean end")
	writeManRow(&b, "1", "a failure while starting or running, or a drain that took too long; sallyport status: not all is well")
	writeManRow(&b, "2", "unusable flags or environment; sallyport check: it would not start")
	writeManRow(&b, "3", "sallyport status: the status port cannot be reached")
	fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", roff(furtherReading))
	return printed(out, b.String())
}

func writeManCommand(b *strings.Builder, c *command) {
	fmt.Fprintf(b, ".SS %s\n%s.\n%s\n", roff(c.name), roff(c.summary), roff(c.details))
	for _, a := range c.arguments {
		writeManRow(b, a.name, a.help)
	}
	for _, g := range groups {
		rows := shownSettings(c, g)
		if len(rows) > 0 {
			fmt.Fprintf(b, ".PP\n.B %s\n", roff(string(g)))
		}
		for _, s := range rows {
			writeManRow(b, s.usage(), s.description())
		}
	}
	for _, e := range c.examples {
		fmt.Fprintf(b, ".PP\nExample: %s\n.PP\n.nf\n%s\n.fi\n", roff(e.why), roff(e.line))
	}
}

func writeManRow(b *strings.Builder, name, text string) {
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(name), roff(text))
}

// roff escapes text for a line of a manual page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}
