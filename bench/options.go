package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// options are what is asked for.
type options struct {
	sallyport, other, ghostunnel string // paths of binaries; "" if there is none
	contestants, rows            []string
	reference                    string // the contestant whose figures are 1; "" is the first of those that are usual
	rounds                       int
	measure                      measure
	list                         bool
}

// What a quick look is: enough to see that all works, too little to compare.
const (
	quickRounds, quickConns = 1, 200
	quickTime               = 300 * time.Millisecond
)

// restingTime is how long memory has to rest for any other look.
const restingTime = 3 * time.Second

// parse reads the arguments. What -help prints goes to out.
func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.sallyport, "sallyport", "", "`path` of the binary to measure")
	flags.StringVar(&o.other, "other", "", "`path` of another sallyport, to compare with")
	flags.StringVar(&o.ghostunnel, "ghostunnel", "", "`path` of a ghostunnel, to compare with")
	names := func(name string, list *[]string, usage string) {
		flags.Func(name, usage, func(text string) error {
			*list = append(*list, strings.Split(text, ",")...)
			return nil
		})
	}
	names("contestants", &o.contestants, "`names` of those to compare, by commas; without it, all that are here")
	names("rows", &o.rows, "`names` of the rows, by commas; without it, all")
	flags.StringVar(&o.reference, "ratio-to", "", "`name` of the contestant that the others are told in ratio to; without it ghostunnel, or other, or copyloop")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each contestant does each kind of work")
	flags.DurationVar(&o.measure.time, "time", 2*time.Second, "how long it is measured each time")
	flags.IntVar(&o.measure.conns, "conns", 1000, "how many idle connections are held")
	quick := flags.Bool("quick", false, "a second for each figure, to see that all works")
	flags.BoolVar(&o.list, "list", false, "print the rows and the contestants")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.measure.rest = restingTime
	if *quick {
		o.rounds, o.measure = quickRounds, measure{time: quickTime, conns: quickConns, rest: quickTime}
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q: there are flags alone; see -help", flags.Arg(0))
	case o.rounds < 1 || o.measure.time <= 0 || o.measure.conns < 1:
		return nil, errors.New("-rounds, -time, -conns: at least one")
	}
	for _, name := range o.rows {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			return nil, fmt.Errorf("-rows %s: there is none; see -list", name)
		}
	}
	return o, nil
}

// wants reports whether a row is asked for.
func (o *options) wants(r *row) bool { return len(o.rows) == 0 || slices.Contains(o.rows, r.name) }
