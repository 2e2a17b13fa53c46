// Package config turns a command line and an environment into one validated
// command: everything in it is of its final type, and what belongs together
// has been checked together.
//
//	cmd, err := config.Parse(os.Args[1:], os.LookupEnv, os.Stdout, version)
//	switch {
//	case errors.Is(err, config.ErrHelp):
//		return 0
//	case err != nil:
//		fmt.Fprintln(os.Stderr, "sallyport:", err)
//		return 2
//	}
//	switch cmd := cmd.(type) {
//	case *config.Sidecar:
//		// start cmd.Tunnels, and where there is a file read it again by cmd.File.Read
//	case *config.Check:
//		// load what cmd.Sidecar would, and report
//	case *config.StatusQuery:
//		// show what cmd.Port says
//	case *config.Certs:
//		// write cmd.Dir
//	case *config.Netstat:
//		// serve at cmd.Listen
//	}
//
// One table, settings, lists all that an operator can set. The flags, their
// environment variables, the help, the manual page and the completion are
// made from its rows, so that they cannot differ. A row reads text into a
// draft, and the draft checks itself once all its sources are in: a front end
// that reads a file gives the draft its keys between environment and defaults,
// and has every type, check and message for nothing. A configuration file is one
// draft for what belongs to the process, and one for each of its tunnels.
//
// The package opens none of the files that its values name, but for those that
// hold settings themselves: argument files, written @FILE, --config and --conf. It
// resolves no host and starts nothing.
package config

import (
	"errors"
	"io"
)

// ErrHelp is what Parse returns when the arguments asked for help, the version,
// the manual page or a completion, and it has been written.
var ErrHelp = errors.New("help was asked for and given")

// Command is what the operator wants done: *Sidecar, *Check, *StatusQuery,
// *Certs or *Netstat.
type Command interface{ command() }

func (*Sidecar) command()     {}
func (*Check) command()       {}
func (*StatusQuery) command() {}
func (*Certs) command()       {}
func (*Netstat) command()     {}

// Parse reads args, which do not include the program's name, and the
// environment that env looks up, as os.LookupEnv does; version is what --version
// tells. What is asked for by --help and its like goes to out, and ends with
// ErrHelp; a failed write ends with its own error.
//
// Any other error is one line that names the flag, the variable or the key at
// fault and holds no secret; of a configuration file it is Faults. Without a command, Parse also writes a short orientation to
// out.
//
// A flag wins over its variables, and SALLYPORT_<FLAG> over those that
// Ghostunnel has for it; an empty variable counts as none. Both win over a file. Parse keeps no state
// and is safe for concurrent use.
func Parse(args []string, env func(string) (string, bool), out io.Writer, version string) (Command, error) {
	if words, ok := completionRequest(args); ok {
		return nil, printed(out, completions(words))
	}
	args, err := expandArgumentFiles(args)
	if err != nil {
		return nil, err
	}
	line, err := parseLine(args)
	if line.page != nil {
		return nil, line.page(out, version)
	}
	if err != nil {
		return nil, err
	}
	if line.command == nil {
		if err := printed(out, orientation()); !errors.Is(err, ErrHelp) {
			return nil, err
		}
		return nil, errors.New("no command given; start with sallyport --help")
	}
	return line.read(env)
}

// read makes a command of a line, and of the files that it names as they are now.
func (l *line) read(env func(string) (string, bool)) (Command, error) {
	d := newDraft(l.command)
	d.ghostunnel = l.ghostunnel
	d.again = func() (Command, error) { return l.read(env) }
	if err := d.setFlags(l.flags); err != nil {
		return nil, err
	}
	if err := d.setArguments(l.arguments); err != nil {
		return nil, err
	}
	if err := d.setEnvironment(env); err != nil {
		return nil, err
	}
	if err := d.setFront(env); err != nil {
		return nil, err
	}
	if err := d.setKeyFile(); err != nil {
		return nil, err
	}
	if err := d.setFile(env); err != nil {
		return nil, err
	}
	if err := d.setDefaults(); err != nil {
		return nil, err
	}
	d.sidecar.Log.JournalStream, _ = env("JOURNAL_STREAM")
	var err error
	if d.sidecar.Manager, err = newManager(env); err != nil {
		return nil, err
	}
	return d.finish()
}

// printed writes text to out and is ErrHelp once that is done.
func printed(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	return ErrHelp
}
