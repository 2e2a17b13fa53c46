package inspect

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// When the end of a certificate is worth a colour.
const (
	soon     = 30 * day
	verySoon = 7 * day
)

// text is what is seen, for people. With the sight before it, it tells rates.
func (s *sight) text(style style, before *sight) string {
	var b strings.Builder
	b.WriteString(s.summary(style, before))
	for _, t := range s.tunnels() {
		b.WriteString("\n")
		if t.name != "" {
			fmt.Fprintf(&b, "%s\n", style.head("tunnel "+printable(t.name)))
		}
		b.WriteString(t.text(style, s.report.Time, len(s.report.Tunnels) > 1))
	}
	if s.pages != nil {
		b.WriteString("\n")
		b.WriteString(s.connections(style, before))
	}
	return b.String()
}

// summary is about the process.
func (s *sight) summary(style style, before *sight) string {
	r := &s.report
	rows := lines{style: style}
	rows.add("status", style.verdict(r.OK, cmp.Or(printable(r.Status), "critical"))+": "+printable(r.Message))
	rows.add("host", printable(r.Hostname))
	rows.add("version", s.version())
	if !r.Started.IsZero() {
		rows.add("up", span(r.Time.Sub(r.Started))+", since "+moment(r.Started))
	}
	rows.add("last reload", s.reload(style))
	if d := r.Draining; d != nil {
		text := count(d.Open, "connection") + " left"
		if !d.Deadline.IsZero() {
			text += ", cut in " + span(d.Deadline.Sub(r.Time)) + ", at " + moment(d.Deadline)
		}
		rows.add("draining", style.doubt(text))
	}
	rows.add("connections", s.counts(before))
	rows.add("traffic", s.flow(before))
	return rows.String()
}

// version is what the process was built from.
func (s *sight) version() string {
	parts := []string{s.report.Version}
	if s.report.Revision != "" {
		parts = append(parts, "revision "+cut(s.report.Revision, 13))
	}
	parts = append(parts, s.report.Compiler)
	return printable(strings.Trim(strings.Join(parts, ", "), ", "))
}

// reload is how the latest reload went.
func (s *sight) reload(style style) string {
	r := &s.report
	if r.LastReload.Year() <= 1 {
		return "none yet"
	}
	ago := span(r.Time.Sub(r.LastReload)) + " ago"
	switch {
	case r.LastReloadError == "":
		return ago + ", " + style.good("ok")
	case r.LastReloadSuccess.IsZero():
		return ago + ", " + style.bad("failed") + ": " + printable(r.LastReloadError)
	}
	return ago + ", " + style.bad("failed") + ": " + printable(r.LastReloadError) +
		"; what was loaded " + span(r.Time.Sub(r.LastReloadSuccess)) + " ago is in use"
}

// counts is how many connections there are.
func (s *sight) counts(before *sight) string {
	c := s.report.Connections
	if c == nil {
		return ""
	}
	text := fmt.Sprintf("%d open, %d accepted", c.Open, c.Total)
	if before != nil && before.report.Connections != nil {
		over := s.report.Time.Sub(before.report.Time)
		text += fmt.Sprintf(", %.1f/s", rate(float64(before.report.Connections.Total), float64(c.Total), over))
	}
	return text
}

// flow is how many bytes a second went each way.
func (s *sight) flow(before *sight) string {
	if s.traffic == nil || before == nil || before.traffic == nil {
		return ""
	}
	over := s.report.Time.Sub(before.report.Time)
	return size(rate(before.traffic.in, s.traffic.in, over)) + "/s in, " + size(rate(before.traffic.out, s.traffic.out, over)) + "/s out"
}

// tunnel is one of the report's tunnels.
type tunnel struct {
	name, fault string
	draining    bool // it is, and the process is not
	health
}

// tunnels are those of the report. Of Ghostunnel, which knows no such thing, the
// whole is one without a name.
func (s *sight) tunnels() []tunnel {
	if len(s.report.Tunnels) == 0 {
		return []tunnel{{health: s.report.health}}
	}
	var out []tunnel
	for _, t := range s.report.Tunnels {
		out = append(out, tunnel{t.Name, t.Error, t.Message == "stopping" && s.report.Message != t.Message, t.health})
	}
	return out
}

// text is about one tunnel, which may be one of many.
func (t tunnel) text(style style, now time.Time, many bool) string {
	rows := lines{style: style, indent: "  "}
	switch {
	case t.fault != "":
		rows.add("fault", style.bad(printable(t.fault)))
	case t.draining:
		rows.add("state", style.doubt("draining"))
	}
	rows.add("mode", printable(t.Mode))
	rows.add("listener", printable(t.ListenAddress))
	if t.ForwardAddress != "" || len(t.Routes) == 0 {
		rows.add("target", printable(t.ForwardAddress))
	}
	if t.fault != "" {
		return rows.String() // nobody has asked its backend
	}
	backend := style.verdict(t.BackendOK, cmp.Or(printable(t.BackendStatus), "critical"))
	if t.BackendError != "" {
		backend += ": " + printable(t.BackendError)
	}
	rows.add("backend", backend)
	if t.Connections != nil && many { // of one it was told
		rows.add("connections", fmt.Sprintf("%d open, %d accepted", t.Connections.Open, t.Connections.Total))
	}
	told := rows.String() + t.routes(style) + t.targets(style)
	if len(t.Certificates) == 0 {
		return told
	}
	grid := [][]cell{heads(style, "CERTIFICATE", "LEFT", "NOT AFTER", "SERIAL", "SUBJECT")}
	for _, c := range t.Certificates {
		left, paint := remaining(style, c.NotAfter.Sub(now))
		role := c.Role
		if c.Route != "" {
			role += " of " + c.Route
		}
		grid = append(grid, []cell{
			{text: printable(role)}, {text: left, paint: paint}, {text: moment(c.NotAfter)}, {text: printable(c.Serial)}, {text: printable(c.Subject)},
		})
	}
	return told + table(grid)
}

// routes is the table of what clients are told apart by, if they are.
func (t tunnel) routes(style style) string {
	if len(t.Routes) == 0 {
		return ""
	}
	grid := [][]cell{heads(style, "ROUTE", "OPEN", "MADE", "TARGET", "NAMES")}
	for _, r := range t.Routes {
		grid = append(grid, []cell{
			{text: printable(r.Name)},
			{text: strconv.FormatInt(r.Connections.Open, 10), right: true},
			{text: strconv.FormatInt(r.Connections.Total, 10), right: true},
			{text: printable(r.ForwardAddress)}, {text: printable(cmp.Or(strings.Join(r.ServerNames, ", "), "all others"))},
		})
	}
	return table(grid)
}

// targets is the table of those that connections are spread over, if they are.
func (t tunnel) targets(style style) string {
	if len(t.Targets) == 0 {
		return ""
	}
	grid := [][]cell{heads(style, "TARGET", "WEIGHT", "OPEN", "MADE", "BACKEND")}
	for _, one := range t.Targets {
		name := one.Target
		if one.Route != "" {
			name += " of " + one.Route
		}
		verdict, paint := cmp.Or(one.BackendStatus, "critical"), style.good
		if !one.BackendOK {
			paint = style.bad
		}
		if one.Ejected {
			verdict += ", ejected"
		}
		if one.BackendError != "" {
			verdict += ": " + one.BackendError
		}
		grid = append(grid, []cell{
			{text: printable(name)},
			{text: strconv.Itoa(one.Weight), right: true},
			{text: strconv.FormatInt(one.Connections.Open, 10), right: true},
			{text: strconv.FormatInt(one.Connections.Total, 10), right: true},
			{text: printable(verdict), paint: paint},
		})
	}
	return table(grid)
}

// remaining is how long a certificate lasts, and how to paint that.
func remaining(style style, left time.Duration) (string, func(string) string) {
	switch {
	case left <= 0:
		return "expired", style.bad
	case left < verySoon:
		return span(left), style.bad
	case left < soon:
		return span(left), style.doubt
	}
	return span(left), style.good
}

// connections is the table of what is open.
func (s *sight) connections(style style, before *sight) string {
	titles := []string{"ID", "PEER", "REMOTE", "FOR", "IN", "OUT", "TLS", "TARGET"}
	earlier := make(map[string]connection)
	var over time.Duration
	if before != nil {
		titles = []string{"ID", "PEER", "REMOTE", "FOR", "IN", "OUT", "IN/S", "OUT/S", "TLS", "TARGET"}
		over = s.report.Time.Sub(before.report.Time)
		for _, p := range before.pages {
			for _, c := range p.Connections {
				earlier[c.ID] = c
			}
		}
	}
	grid, shown, total := [][]cell{heads(style, titles...)}, 0, 0
	for _, p := range s.pages {
		total = p.Total
		for _, c := range p.Connections {
			row := []cell{
				{text: printable(c.ID)},
				{text: cmp.Or(printable(c.Identity), "-")},
				{text: printable(c.Remote)},
				{text: span(s.report.Time.Sub(c.Since)), right: true},
				{text: size(float64(c.In)), right: true},
				{text: size(float64(c.Out)), right: true},
			}
			if before != nil {
				was := earlier[c.ID]
				row = append(row,
					cell{text: size(rate(float64(was.In), float64(c.In), over)), right: true},
					cell{text: size(rate(float64(was.Out), float64(c.Out), over)), right: true})
			}
			grid = append(grid, append(row, cell{text: cmp.Or(printable(c.TLS), "-")}, cell{text: printable(c.Target)}))
			shown++
		}
	}
	text := style.head(count(int64(shown), "connection")) + "\n"
	if shown < total {
		text = style.head(fmt.Sprintf("%d of %s", shown, count(int64(total), "connection"))) + "\n"
	}
	if shown == 0 {
		return text
	}
	return text + table(grid)
}

// heads is the first row of a table.
func heads(style style, titles ...string) []cell {
	var row []cell
	for _, title := range titles {
		right := false
		switch title {
		case "FOR", "IN", "OUT", "IN/S", "OUT/S", "WEIGHT", "OPEN", "MADE":
			right = true
		}
		row = append(row, cell{text: title, paint: style.label, right: right})
	}
	return row
}

// count is a number of things.
func count(n int64, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.FormatInt(n, 10) + " " + of + "s"
}

// lines are labelled values, one under the other.
type lines struct {
	style  style
	indent string
	b      strings.Builder
}

// add adds a line, unless there is nothing to say on it.
func (l *lines) add(label, value string) {
	if value == "" {
		return
	}
	fmt.Fprintf(&l.b, "%s%s%s%s\n", l.indent, l.style.label(label), strings.Repeat(" ", 13-len(label)), value)
}

func (l *lines) String() string { return l.b.String() }
