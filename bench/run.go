package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport/devpki"
)

// run is the whole program, short of the exit.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if played, err := play(ctx, os.Stdin, out); played {
		return err
	}
	o, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := contestants(o)
	if err != nil {
		return err
	}
	if o.list {
		return list(out, all)
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(progress, format+"\n", args...) }
	chosen, err := choose(all, o.contestants, say)
	if err != nil {
		return err
	}
	b, err := newBench(o, chosen, say)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	for i := range rows {
		if o.wants(&rows[i]) {
			if err := b.compare(ctx, &rows[i]); err != nil {
				return fmt.Errorf("%s: %w", rows[i].name, err)
			}
		}
	}
	return b.table.write(out)
}

// list prints what there is to choose from.
func list(out io.Writer, all []*contestant) error {
	var text []byte
	text = append(text, "rows:\n"...)
	for i := range rows {
		text = fmt.Appendf(text, "  %-16s %s, %s\n", rows[i].name, rows[i].what, rows[i].unit)
	}
	text = append(text, "contestants:\n"...)
	for _, c := range all {
		note := ""
		if c.only {
			note = ", if it is named"
		}
		text = fmt.Appendf(text, "  %-16s %s%s\n", c.name, c.what, note)
	}
	_, err := out.Write(text)
	return err
}

// A bench is one run.
type bench struct {
	options     *options
	contestants []*contestant
	cpu         int // of the contestants; the load has the other
	dir         string
	certs       map[devpki.KeyKind]*certificates
	table       *table
	say         func(format string, args ...any)
}

// newBench puts this process where the load has its place.
func newBench(o *options, chosen []*contestant, say func(string, ...any)) (*bench, error) {
	cpus, err := processors()
	if err != nil {
		return nil, err
	}
	if len(cpus) == 1 {
		say("there is one processor: load and contestants share it, and the figures are worth less")
	}
	b := &bench{options: o, contestants: chosen, cpu: cpus[0], certs: map[devpki.KeyKind]*certificates{}, say: say}
	o.measure.cpu = cpus[len(cpus)-1]
	if b.table, err = newTable(o, chosen); err != nil {
		return nil, err
	}
	if err := moveTo(o.measure.cpu); err != nil {
		return nil, err
	}
	b.dir, err = os.MkdirTemp("", "bench")
	return b, err
}

// compare has everybody who can do it do one kind of work, in rounds.
func (b *bench) compare(ctx context.Context, r *row) (err error) {
	certs := b.certs[r.keys]
	if certs == nil {
		if certs, err = newCertificates(filepath.Join(b.dir, fmt.Sprintf("keys-%d", r.keys)), r.keys); err != nil {
			return err
		}
		b.certs[r.keys] = certs
	}
	line := b.table.add(r)
	sites := map[*contestant]*site{}
	defer func() {
		for _, s := range sites {
			err = errors.Join(err, s.close())
		}
	}()
	able := slices.DeleteFunc(slices.Clone(b.contestants), func(c *contestant) bool {
		return c.plain && !r.floor || c.serverOnly && r.mode != serverMode
	})
	for round := range b.options.rounds {
		for i := range able {
			c := able[(i+round)%len(able)]
			result, err := b.once(ctx, r, c, certs, sites)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				result = sample{fault: err.Error()}
			}
			b.say("%-14s %d/%d %-12s %8.3f %s %s", r.name, round+1, b.options.rounds, c.name, result.value, r.unit, result.remarks())
			line.add(c, result)
		}
	}
	return nil
}

// endurance is how long a contestant may take for what comes before and after what is measured.
const endurance = time.Minute

var errStuck = errors.New("it does not get on with its work")

// once has one contestant do the work once. Its site is kept for the next round, unless something failed there.
func (b *bench) once(ctx context.Context, r *row, c *contestant, certs *certificates, sites map[*contestant]*site) (result sample, err error) {
	s := sites[c]
	if s == nil {
		if s, err = c.open(ctx, r.mode, certs, b.cpu, b.dir); err != nil {
			return sample{}, err
		}
		sites[c] = s
	}
	running, cancel := context.WithTimeoutCause(ctx, settle+b.options.measure.time+endurance, errStuck)
	defer cancel()
	result, err = r.run(running, s, b.options.measure)
	if ctx.Err() == nil && running.Err() != nil {
		err = context.Cause(running)
	}
	if r.fresh || err != nil {
		delete(sites, c)
		err = errors.Join(err, s.close())
	}
	return result, err
}
