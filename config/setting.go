package config

import (
	"slices"
	"strings"
)

// setting is one row of the table: one thing that an operator can set.
type setting struct {
	name     string     // of the flag, without dashes
	aliases  []string   // other names that work but are not shown
	commands commandSet // where it can be set
	group    group
	value    string   // what stands for the value in help; "" makes it a switch, on or off
	choices  []string // all that the value can be, where that is a short list
	initial  string   // the value if no source gives one, read as if given; "" leaves the draft as it is
	env      []string // Ghostunnel's names for it, beside variable's
	help     string   // what it means, as one sentence without its dot
	hidden   bool     // left out of help, manual page and completion
	secret   bool     // the value must not be shown
	negative bool     // the value may be a number below 0
	repeats  bool     // may be given several times, each adding to the last
	flagOnly bool     // no key of a configuration file
	set      func(*draft, string) error
}

// isSwitch tells whether the flag stands alone, with a --no- form to turn it
// off.
func (s *setting) isSwitch() bool { return s.value == "" }

// variable is the environment variable that every setting has. Those of sallyport
// status and stop have names apart: as a health check it shares the environment of
// the process that it looks at, whose certificate, say, is not meant for it.
func (s *setting) variable() string {
	prefix := "SALLYPORT_"
	if s.commands&^inQuery == 0 && s.name != "status" {
		prefix += "STATUS_"
	}
	return prefix + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// variables are all variables of the setting, the first to count first.
func (s *setting) variables() []string {
	return append([]string{s.variable()}, s.env...)
}

// findSetting is the row of a flag, by any of its names, in any of commands.
// It is nil if there is none.
func findSetting(name string, commands commandSet) *setting {
	for i := range settings {
		s := &settings[i]
		if s.commands&commands != 0 && (s.name == name || slices.Contains(s.aliases, name)) {
			return s
		}
	}
	return nil
}

// group is a heading in the help.
type group string

// The groups, in the order in which help shows them.
const (
	groupFile         group = "File"
	groupAddresses    group = "Addresses"
	groupTargets      group = "Several targets"
	groupIdentity     group = "Identity and trust"
	groupAccess       group = "Access"
	groupLimits       group = "Timeouts and limits"
	groupHTTP         group = "HTTP, with --protocol http"
	groupTLS          group = "TLS"
	groupStatus       group = "Status and metrics"
	groupShown        group = "What to show"
	groupConnections  group = "Connections"
	groupProcess      group = "Process"
	groupLogging      group = "Logging"
	groupCertificates group = "Certificates"
)

// groups is their order.
var groups = []group{
	groupFile, groupAddresses, groupTargets, groupIdentity, groupAccess, groupLimits, groupHTTP, groupTLS,
	groupStatus, groupShown, groupConnections, groupProcess, groupLogging, groupCertificates,
}
