package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A table is what came of a run.
type table struct {
	head        string
	contestants []*contestant
	reference   *contestant
	lines       []*line
}

// A line is a row of it: what each contestant did in each round.
type line struct {
	row     *row
	samples map[*contestant][]sample
}

// newTable finds the contestant that the others are told in ratio to.
func newTable(o *options, chosen []*contestant) (*table, error) {
	t := &table{contestants: chosen, head: fmt.Sprintf(
		"%s, %s; %s. Medians of %d rounds of %v each.", time.Now().UTC().Format(time.DateOnly), machine(), runtime.Version(), o.rounds, o.measure.time)}
	wanted := []string{o.reference}
	if o.reference == "" {
		wanted = []string{"ghostunnel", "other", "copyloop", chosen[0].name}
	}
	for _, name := range wanted {
		if i := slices.IndexFunc(chosen, func(c *contestant) bool { return c.name == name }); i >= 0 {
			t.reference = chosen[i]
			return t, nil
		}
	}
	return nil, fmt.Errorf("-ratio-to %s: it does not take part", o.reference)
}

// add begins a line.
func (t *table) add(r *row) *line {
	l := &line{row: r, samples: map[*contestant][]sample{}}
	t.lines = append(t.lines, l)
	return l
}

// add notes what a contestant did in its next round.
func (l *line) add(c *contestant, s sample) { l.samples[c] = append(l.samples[c], s) }

// write prints the table as Markdown.
func (t *table) write(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s Each figure is the median, ± half of what lies between the least and the most, and in\nparentheses the median of the ratios to %s in the same round.\n\n", t.head, t.reference.name)
	text.WriteString("| work | unit |")
	for _, c := range t.contestants {
		fmt.Fprintf(&text, " %s |", c.name)
	}
	text.WriteString("\n| --- | --- |")
	text.WriteString(strings.Repeat(" --- |", len(t.contestants)))
	text.WriteByte('\n')
	var faults []string
	for _, l := range t.lines {
		fmt.Fprintf(&text, "| %s | %s |", l.row.what, l.row.unit)
		for _, c := range t.contestants {
			cell, fault := l.cell(c, t.reference)
			if fault != "" {
				faults = append(faults, fmt.Sprintf("%s, %s: %s", c.name, l.row.what, fault))
				cell += fmt.Sprintf(" [%d]", len(faults))
			}
			fmt.Fprintf(&text, " %s |", cell)
		}
		text.WriteByte('\n')
	}
	text.WriteByte('\n')
	for _, c := range t.contestants {
		fmt.Fprintf(&text, "- %s: %s\n", c.name, c.version())
	}
	for i, fault := range faults {
		fmt.Fprintf(&text, "- [%d] %s\n", i+1, fault)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// cell is what the table shows of a contestant, and what it did wrong in any round.
func (l *line) cell(c, reference *contestant) (cell, fault string) {
	var values, ratios []float64
	note := ""
	for round, s := range l.samples[c] {
		if s.fault != "" && fault == "" {
			fault = s.fault
		}
		if s.value == 0 {
			continue
		}
		values, note = append(values, s.value), s.note
		if others := l.samples[reference]; c != reference && round < len(others) && others[round].value != 0 {
			ratios = append(ratios, s.value/others[round].value)
		}
	}
	if len(values) == 0 {
		return "—", fault
	}
	middle := median(values)
	cell = figure(middle)
	if len(values) > 1 {
		cell += fmt.Sprintf(" ±%.0f %%", 100*(slices.Max(values)-slices.Min(values))/2/middle)
	}
	if len(ratios) > 0 {
		cell += fmt.Sprintf(" (%.2f)", median(ratios))
	}
	if note != "" {
		cell += ", " + note
	}
	return cell, fault
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// figure has three digits that count.
func figure(value float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Abs(value))))
	return fmt.Sprintf("%.*f", max(0, digits), value)
}
