package config

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// draft is a command in the making. The settings write into it from one source
// after another; finish checks it as a whole.
type draft struct {
	command *command
	from    map[string]string // where each setting came from, as the operator wrote it: "--listen", "CERT_PATH"

	sidecar  Sidecar
	tunnel   Tunnel
	certs    Certs
	query    StatusQuery
	netstat  Netstat
	password *Secret // the one of the two that the command has

	// What only finish needs to know.
	status             statusAddress
	overrideServerName string
	unsafeTarget       bool
	unsafeListen       bool
	unsafeCipherSuites bool
	proxyProtocol      bool
	workloadAPITimeout time.Duration
	acmeAgreed         bool
	acmeTestCA         string
	keyFile            string // read after the environment
	ghostunnel         bool   // the line was one of Ghostunnel's

	// Of a configuration file, and of a tunnel in one.
	configFile string
	file       *file                   // what is in it, beside what belongs to the process
	again      func() (Command, error) // reads it all again
	texts      map[string][]Secret     // of what belongs to the process, as it was given
	origin     *Origin
	faulty     bool     // in itself, and not only together with others
	broken     []string // settings that there was something wrong with

	// Of a tunnel in a file, and of a route of one.
	serverNames []string
	routes      []*draft
	identities  []*draft
}

func newDraft(c *command) *draft {
	d := &draft{command: c, from: make(map[string]string), texts: make(map[string][]Secret)}
	d.password = &d.tunnel.Identity.Password
	if c.set&inCerts != 0 {
		d.password = &d.certs.Password
	}
	return d
}

// setFlags takes over what stood on the command line.
func (d *draft) setFlags(flags []flag) error {
	for _, f := range flags {
		s := findSetting(f.name, d.command.set)
		if s == nil {
			return d.misplaced(f.name)
		}
		source := "--" + f.name
		if _, again := d.from[s.name]; again && !s.repeats {
			return fmt.Errorf("%s: given twice; it takes one value", source)
		}
		if err := d.set(s, source, f.value); err != nil {
			return err
		}
	}
	return nil
}

// misplaced is the error for a flag of other commands. Of those with the same
// flags, a check is pointed to a check.
func (d *draft) misplaced(name string) error {
	var owners []string
	for _, c := range commands {
		if wrongKind := c.set&inProcess != 0 && c.check != d.command.check; !wrongKind && findSetting(name, c.set) != nil {
			owners = append(owners, "sallyport "+c.name)
		}
	}
	if d.command.set == inRun && findKey(name, inTunnel) != nil {
		advice := fmt.Sprintf("write %s into the file, for the tunnel that it is for", name)
		if d.command.check {
			advice = "see sallyport check server and sallyport check client, or check a file by --config"
		}
		return fmt.Errorf("--%s: not a flag of sallyport %s; %s", name, d.command.name, advice)
	}
	return fmt.Errorf("--%s: not a flag of sallyport %s, but of %s", name, d.command.name, listed(owners, " and "))
}

// setArguments takes over the positional arguments.
func (d *draft) setArguments(values []string) error {
	for i, a := range d.command.arguments {
		if i >= len(values) && a.optional {
			break
		}
		if i >= len(values) {
			return fmt.Errorf("%s: missing; it is the %s", a.name, a.help)
		}
		if err := a.set(d, values[i]); err != nil {
			return fmt.Errorf("%s %q: %w", a.name, values[i], err)
		}
	}
	return nil
}

// setEnvironment fills in what the command line left out. The values of a
// setting that repeats are the lines of its variable.
func (d *draft) setEnvironment(env func(string) (string, bool)) error {
	for s := range d.missing() {
		for _, name := range s.variables() {
			text, _ := env(name)
			if text == "" || isServiceLink(name, text) {
				continue
			}
			values := []string{text}
			if s.repeats {
				values = slices.DeleteFunc(strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), isBlank)
			}
			if len(values) == 0 {
				return fmt.Errorf("%s: holds nothing but blanks; write a value on each line, or unset it", name)
			}
			for _, value := range values {
				if err := d.set(s, name, value); err != nil {
					return err
				}
			}
			break
		}
	}
	return nil
}

// isServiceLink tells whether a variable is not meant for us: where Kubernetes has a
// Service called sallyport, every pod has SALLYPORT_PORT=tcp://10.0.0.1:443.
func isServiceLink(name, text string) bool {
	return strings.HasSuffix(name, "_PORT") && strings.Contains(text, "://")
}

func isBlank(line string) bool { return strings.TrimSpace(line) == "" }

// setDefaults fills in what no source gave.
func (d *draft) setDefaults() error {
	for s := range d.missing() {
		if s.initial == "" {
			continue
		}
		if err := s.set(d, s.initial); err != nil {
			return fmt.Errorf("default of --%s: %w", s.name, err)
		}
	}
	return nil
}

// missing yields the settings of the command that have not been set.
func (d *draft) missing() iter.Seq[*setting] {
	return func(yield func(*setting) bool) {
		for i := range settings {
			s := &settings[i]
			if _, set := d.from[s.name]; set || s.commands&d.command.set == 0 {
				continue
			}
			if !yield(s) {
				return
			}
		}
	}
}

// set reads one value into its setting and remembers where it came from, for
// the errors of this function and of finish.
func (d *draft) set(s *setting, source, value string) error {
	d.from[s.name] = source
	if d.command.set == inRun {
		d.texts[s.name] = append(d.texts[s.name], Secret(value))
	}
	err := s.set(d, value)
	switch quoted := strconv.Quote(value); {
	case err == nil:
		return nil
	case s.secret, strings.Contains(err.Error(), quoted):
		return fmt.Errorf("%s: %w", source, err)
	default:
		return fmt.Errorf("%s %s: %w", source, quoted, err)
	}
}

// name is what the operator called a setting, or its flag if that was not given.
func (d *draft) name(setting string) string {
	if source, ok := d.from[setting]; ok {
		return source
	}
	return "--" + setting
}

func setDir(d *draft, text string) error {
	dir, err := parsePath(text)
	if err != nil {
		return errors.New("not a directory's name")
	}
	d.certs.Dir = dir
	return nil
}

func setIdentityName(d *draft, text string) error {
	name, err := parseIdentityName(text)
	if err != nil {
		return err
	}
	d.certs.Name = name
	return nil
}
