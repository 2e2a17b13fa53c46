package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// helpWidth is how wide help is, on any terminal: what people read, paste and
// keep should not depend on the window that it was made in.
const helpWidth = 80

// Where the two columns of a list begin.
const (
	helpIndent = 2
	helpColumn = 30
)

func versionPage(out io.Writer, version string) error {
	return printed(out, "sallyport "+version+"\n")
}

// helpPage is the help for a command, for the first word of several, or for
// the program ("").
func helpPage(topic string) page {
	return func(out io.Writer, _ string) error {
		if c := findCommand(topic); c != nil {
			return printed(out, commandHelp(c))
		}
		return printed(out, topicHelp(topic))
	}
}

// longHelpPage is all there is to read, hidden flags left out.
func longHelpPage(out io.Writer, _ string) error {
	pages := []string{topicHelp("")}
	for i := range commands {
		pages = append(pages, commandHelp(&commands[i]))
	}
	return printed(out, strings.Join(pages, "\n"))
}

// orientation is what a line without command gets to see.
func orientation() string {
	var b strings.Builder
	b.WriteString("usage: sallyport COMMAND [FLAG...]\n\n")
	b.WriteString("Sallyport wraps TCP and UNIX socket connections in mutually authenticated TLS.\n\n")
	writeCommands(&b, "")
	b.WriteString("\nTo begin:\n")
	writeRow(&b, "sallyport certs init certs", "make certificates to try with, in a directory certs")
	writeRow(&b, "sallyport server --help", "the flags of a command, and examples at the end")
	writeRow(&b, "sallyport check server …", "what would keep a line from running, before it runs")
	return b.String()
}

// topicHelp is the help for all commands that begin with topic.
func topicHelp(topic string) string {
	var b strings.Builder
	if topic == "" {
		b.WriteString(orientation())
		b.WriteString("\nFlags:\n")
		for _, f := range generalFlags {
			writeRow(&b, f.name, f.help)
		}
	} else {
		fmt.Fprintf(&b, "usage: sallyport %s COMMAND [FLAG...]\n\n", topic)
		writeCommands(&b, topic)
	}
	b.WriteString("\n")
	text := "The flags of a command: " + strings.TrimSpace("sallyport "+topic) + " COMMAND --help."
	if topic == "" {
		text += " " + furtherReading
	}
	writeParagraph(&b, text)
	return b.String()
}

// furtherReading says where there is more to read.
const furtherReading = "The guides begin with README.md, in the source, in archives, and below /usr/share/doc/sallyport in packages."

// generalFlags are those that ask for something to read.
var generalFlags = []struct{ name, help string }{
	{"-h, --help", "show this help, or that of a command"},
	{"--help-long", "show the help of all commands"},
	{"--help-man", "print a manual page"},
	{"--version", "print the version"},
	{"--completion-script-bash", "print a script that completes lines in bash"},
	{"--completion-script-zsh", "print a script that completes lines in zsh"},
	{"--completion-script-fish", "print a script that completes lines in fish"},
	{"--config-schema", "print the JSON Schema of configuration files, for editors"},
}

func commandHelp(c *command) string {
	var b strings.Builder
	writeParagraph(&b, "usage: "+synopsis(c))
	b.WriteString("\n")
	writeParagraph(&b, c.summary+". "+c.details)
	if len(c.arguments) > 0 {
		b.WriteString("\nArguments:\n")
		for _, a := range c.arguments {
			writeRow(&b, a.name, a.help)
		}
	}
	for _, g := range groups {
		rows := shownSettings(c, g)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n", g)
		for _, s := range rows {
			writeRow(&b, s.usage(), s.description())
		}
	}
	b.WriteString("\n")
	writeParagraph(&b, environmentNote(c.set))
	b.WriteString("\nExamples:\n")
	for _, e := range c.examples {
		fmt.Fprintf(&b, "\n  # %s\n", e.why)
		writeLines(&b, "  ", "      ", " \\", flagWords(e.line))
	}
	return b.String()
}

// environmentNote tells of variables, with the first flag of commands for an
// example.
func environmentNote(commands commandSet) string {
	first := slices.IndexFunc(settings, func(s setting) bool { return s.commands&commands != 0 })
	s := &settings[first]
	return "Every flag can be set by an environment variable too: --" + s.name + " by " +
		s.variable() + ", a repeatable one with a value on each line. A flag wins over its variable. " +
		"A switch has a --no- form that turns it off. @FILE stands for the lines of FILE."
}

// synopsis is the shape of a command's line.
func synopsis(c *command) string {
	words := []string{"sallyport", c.name}
	for _, a := range c.arguments {
		if a.optional {
			words = append(words, "["+a.name+"]")
			continue
		}
		words = append(words, a.name)
	}
	switch {
	case c.set&inTunnel != 0:
		words = append(words, "--listen=ADDR", "--target=ADDR")
	case c.set == inRun:
		words = append(words, "--config=FILE")
	}
	return strings.Join(append(words, "[FLAG...]"), " ")
}

// shownSettings are the rows of one group in a command's help. A check takes
// the flags of another command, whose help has them.
func shownSettings(c *command, g group) []*setting {
	var rows []*setting
	if c.check {
		return rows
	}
	for i := range settings {
		if s := &settings[i]; s.commands&c.set != 0 && s.group == g && !s.hidden {
			rows = append(rows, s)
		}
	}
	return rows
}

// usage is how the flag is written.
func (s *setting) usage() string {
	if s.isSwitch() {
		return "--" + s.name
	}
	return "--" + s.name + "=" + s.value
}

// description is all that help says of the flag.
func (s *setting) description() string {
	text := s.help
	if s.repeats {
		text += "; repeatable"
	}
	var notes []string
	if s.initial != "" {
		notes = append(notes, "default "+s.initial)
	}
	switch names := strings.Join(s.env, ", "); len(s.env) {
	case 0:
	case 1:
		notes = append(notes, "variable "+names)
	default:
		notes = append(notes, "variables "+names)
	}
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, ", ") + ")"
	}
	return text
}

func writeCommands(b *strings.Builder, topic string) {
	b.WriteString("Commands:\n")
	for _, c := range commands {
		if strings.HasPrefix(c.name, topic) {
			writeRow(b, c.name, c.summary)
		}
	}
}

// writeRow writes a row of a list: a name, and what it means in the second
// column, below the name if that is too long to stand beside.
func writeRow(b *strings.Builder, name, text string) {
	margin := strings.Repeat(" ", helpColumn)
	first := fmt.Sprintf("%*s%-*s", helpIndent, "", helpColumn-helpIndent, name)
	if len(name) > helpColumn-helpIndent-2 {
		fmt.Fprintf(b, "%*s%s\n", helpIndent, "", name)
		first = margin
	}
	writeLines(b, first, margin, "", strings.Fields(text))
}

func writeParagraph(b *strings.Builder, text string) { writeLines(b, "", "", "", strings.Fields(text)) }

// flagWords splits a command line where it may be broken: before each flag.
func flagWords(line string) []string {
	words := strings.Split(line, " --")
	for i := range words[1:] {
		words[i+1] = "--" + words[i+1]
	}
	return words
}

// writeLines fills lines with words: the first line after first, the others
// after margin, and each but the last with more at its end. A word that is
// longer than a line stands alone.
func writeLines(b *strings.Builder, first, margin, more string, words []string) {
	b.WriteString(first)
	width := len(first)
	for i, word := range words {
		switch {
		case i == 0:
		case width+1+len(word)+len(more) > helpWidth:
			b.WriteString(more + "\n" + margin)
			width = len(margin)
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	b.WriteString("\n")
}
