package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// line is a command line taken apart. Nothing in it has been interpreted.
type line struct {
	command   *command // nil: none was named
	flags     []flag   // in the order given
	arguments []string
	page      page // if it asks for nothing but something to read

	ghostunnel bool // the line was one of Ghostunnel's
}

// flag is one occurrence of a flag.
type flag struct {
	name  string // as typed, without dashes; --no-NAME is NAME
	value string // "true" or "false" for a switch
}

// page writes something for people to read, and ends with ErrHelp.
type page func(out io.Writer, version string) error

// parseLine takes args apart by kingpin's rules: --flag value, --flag=value,
// --no-flag, commands and subcommands.
//
// It stops where kingpin has parsed and would go on to act, because kingpin's
// actions write to os.Stdout, read the process's environment and call os.Exit.
// Every name is registered once and for all commands, so that a flag may stand
// before its command, as most of Ghostunnel's may, and so that one in front of
// the wrong command can be told where it belongs.
//
// A line can be had beside an error: it is what came before the mistake.
func parseLine(args []string) (line, error) {
	app := kingpin.New("sallyport", "")
	app.HelpFlag.Short('h')
	app.Flag("version", "").Bool()
	registerFlags(app)
	registerCommands(app)

	var l line
	args, l.ghostunnel = withoutGhostunnel(args)
	context, err := app.ParseContext(args)
	if context == nil {
		return l, fmt.Errorf("command line: %w", err)
	}
	if selected := context.SelectedCommand; selected != nil {
		l.command = findCommand(selected.FullCommand())
	}
	isHelp := context.SelectedCommand != nil && context.SelectedCommand == app.HelpCommand
	for _, element := range context.Elements {
		switch clause := element.Clause.(type) {
		case *kingpin.FlagClause:
			l.addFlag(clause.Model().Name, *element.Value, context.SelectedCommand)
		case *kingpin.ArgClause:
			l.arguments = append(l.arguments, *element.Value)
		}
	}
	if l.page != nil {
		return l, nil
	}
	if err := checkSwitches(args); err != nil {
		return l, err
	}
	switch {
	case err != nil:
		return l, l.mistake(args, context, err)
	case l.ghostunnel && l.command != nil && l.command.set == inRun:
		return l, errors.New("check ghostunnel: say what it is: ghostunnel server, or ghostunnel client, with their flags")
	case isHelp:
		topic := strings.Join(l.arguments, " ")
		if !isTopic(topic) {
			return l, fmt.Errorf("help: no command %q; see sallyport --help", topic)
		}
		l.page = helpPage(topic)
	case l.command == nil && context.SelectedCommand != nil:
		return l, fmt.Errorf("%s: needs one of its commands; see sallyport %[1]s --help", context.SelectedCommand.FullCommand())
	}
	return l, nil
}

// addFlag notes a flag, or the page that it asks for.
func (l *line) addFlag(name, value string, selected *kingpin.CmdClause) {
	switch name {
	case "help":
		topic := ""
		if selected != nil {
			topic = selected.FullCommand()
		}
		l.page = helpPage(topic)
	case "help-long":
		l.page = longHelpPage
	case "help-man":
		l.page = manPage
	case "completion-script-bash":
		l.page = completionPage(kingpin.BashCompletionTemplate)
	case "completion-script-zsh":
		l.page = completionPage(kingpin.ZshCompletionTemplate)
	case fishFlag:
		l.page = fishPage
	case schemaFlag:
		l.page = schemaPage
	case "version":
		l.page = versionPage
	default:
		l.flags = append(l.flags, flag{name, value})
	}
}

func registerFlags(app *kingpin.Application) {
	app.Flag(fishFlag, "").Bool() // kingpin has those of the other shells
	app.Flag(schemaFlag, "").Bool()
	for i := range settings {
		s := &settings[i]
		for _, name := range append([]string{s.name}, s.aliases...) {
			if app.GetFlag(name) != nil {
				continue // another command's row of that name
			}
			if clause := app.Flag(name, ""); s.isSwitch() {
				clause.Bool()
			} else {
				clause.String()
			}
		}
	}
}

func registerCommands(app *kingpin.Application) {
	parents := make(map[string]*kingpin.CmdClause)
	for _, c := range commands {
		var clause *kingpin.CmdClause
		parent, child, isChild := strings.Cut(c.name, " ")
		if !isChild {
			clause = app.Command(c.name, "")
			parents[c.name] = clause
		} else {
			if parents[parent] == nil {
				parents[parent] = app.Command(parent, "")
			}
			clause = parents[parent].Command(child, "")
		}
		for _, a := range c.arguments {
			clause.Arg(a.name, "").String()
		}
	}
}

// checkSwitches refuses values of switches, which kingpin would take for
// arguments of the command. Whatever begins with -- is a flag to it.
func checkSwitches(args []string) error {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		name, _, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !hasValue || !strings.HasPrefix(arg, "--") {
			continue
		}
		if s := findFlag(name); s != nil && s.isSwitch() {
			return fmt.Errorf("--%s: a switch takes no value; write --%s, or --no-%[2]s to turn it off", name, s.name)
		}
	}
	return nil
}

// mistake says in one line what kingpin did not understand of args. The token
// where it stopped tells more than its message.
func (l *line) mistake(args []string, context *kingpin.ParseContext, err error) error {
	token := context.Peek()
	if err := checkValue(args, token); err != nil {
		return err
	}
	selected := ""
	if context.SelectedCommand != nil {
		selected = context.SelectedCommand.FullCommand()
	}
	switch {
	case token.IsFlag() && findFlag(token.Value) == nil:
		if err := foreignFlag(token.String()); err != nil {
			return err
		}
		if name := singleDashed(args[token.Index-1]); name != "" {
			return fmt.Errorf("unknown flag %q; flags begin with two dashes: --%s", "-"+name, name)
		}
		return unknownFlag(token.String(), selected)
	case token.Type == kingpin.TokenArg && l.endsInSecret():
		return fmt.Errorf("unexpected argument after the value of --%s; a value with blanks goes in quotes", l.flags[len(l.flags)-1].name)
	case token.Type == kingpin.TokenArg && l.command != nil && l.command.set == inRun && strings.ContainsAny(token.Value, "./"):
		return fmt.Errorf("unexpected argument %q; the file goes with --config", token.Value)
	case token.Type == kingpin.TokenArg && (l.command == nil || len(l.command.arguments) == 0 && len(nextWords(selected)) > 0):
		return unknownCommand(strings.TrimSpace(selected + " " + token.Value))
	case token.Type == kingpin.TokenArg:
		return fmt.Errorf("unexpected argument %q; a value goes with its flag, in quotes if it has blanks", token.Value)
	}
	return fmt.Errorf("command line: %w", err)
}

// singleDashed is the name of a flag that was written with one dash, as Go's own
// package has them; "" if arg is none.
func singleDashed(arg string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
	if strings.HasPrefix(arg, "--") || findFlag(name) == nil {
		return ""
	}
	return name
}

// checkValue tells of a flag whose value is not there: the next token is none
// that could be it. That token is not shown, since it may be a password that
// begins with -.
func checkValue(args []string, next *kingpin.Token) error {
	last := next.Index // tokens are counted from 1, the end is no token
	if next.IsFlag() {
		last--
	}
	if last < 1 || last > len(args) || !next.IsFlag() && next.Type != kingpin.TokenEOL {
		return nil
	}
	name, ok := strings.CutPrefix(args[last-1], "--")
	s := findFlag(name)
	switch {
	case !ok || s == nil || s.isSwitch():
		return nil
	case next.IsFlag() && findFlag(next.Value) == nil:
		if value := args[last]; !s.secret && isNegative(value) {
			d := newDraft(&command{})
			if err := d.set(s, "--"+name, value); err != nil {
				return err
			}
		}
		return fmt.Errorf("--%s: the value is missing, or begins with -; write --%[1]s=%s", name, s.value)
	}
	return fmt.Errorf("--%s: the value is missing; write --%[1]s=%s", name, s.value)
}

// isNegative tells whether text begins as a number below 0 does.
func isNegative(text string) bool {
	return len(text) > 1 && text[0] == '-' && '0' <= text[1] && text[1] <= '9'
}

// endsInSecret tells whether what follows may be the rest of a secret that was
// not quoted.
func (l *line) endsInSecret() bool {
	if len(l.flags) == 0 {
		return false
	}
	s := findSetting(l.flags[len(l.flags)-1].name, everyCommand)
	return s != nil && s.secret
}

// findFlag is the setting that --name or --no-name stands for, of any command.
func findFlag(name string) *setting {
	if s := findSetting(name, everyCommand); s != nil {
		return s
	}
	if name, ok := strings.CutPrefix(name, "no-"); ok {
		if s := findSetting(name, everyCommand); s != nil && s.isSwitch() {
			return s
		}
	}
	return nil
}

func unknownFlag(text, command string) error {
	among := everyCommand
	see := "sallyport --help"
	if c := findCommand(command); c != nil {
		among = c.set
		see = "sallyport " + c.name + " --help"
	}
	var names []string
	for _, s := range settings {
		if s.commands&among != 0 && !s.hidden {
			names = append(names, "--"+s.name)
		}
	}
	if name := nearest(text, names); name != "" {
		return fmt.Errorf("unknown flag %q; did you mean %s?", text, name)
	}
	return fmt.Errorf("unknown flag %q; see %s", text, see)
}

func unknownCommand(text string) error {
	var names []string
	for _, c := range commands {
		first, _, _ := strings.Cut(c.name, " ")
		names = append(names, c.name, first)
	}
	if name := nearest(text, names); name != "" {
		return fmt.Errorf("no command %q; did you mean %s?", text, name)
	}
	return fmt.Errorf("no command %q; see sallyport --help", text)
}
