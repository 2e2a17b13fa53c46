package inspect

import (
	"context"
	"errors"
	"io"
	"time"
)

// Watch looks at every interval until ctx ends, and writes to out: on a terminal
// in place of what it wrote before, else one block after another. That the process
// cannot be reached is shown and tried again. Watch returns what the last look
// said, as [Client.Show] does.
func (c *Client) Watch(ctx context.Context, out io.Writer) (healthy bool, err error) {
	var terminal *screen
	if !c.options.JSON {
		terminal = newScreen(out)
	}
	if terminal != nil {
		if err := terminal.open(); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, terminal.close()) }()
	}
	tick := time.NewTicker(c.options.Interval)
	defer tick.Stop()
	paint := style{colours: !c.options.Plain && terminal != nil}
	var before *sight
	for looked := false; ; looked = true {
		seen, lookErr := c.look(ctx, true)
		if looked && ctx.Err() != nil {
			return healthy, err // a look that was cut short says nothing new
		}
		healthy, err = lookErr == nil && seen.report.OK, lookErr
		if writeErr := c.show(out, terminal, c.block(paint, seen, before, lookErr)); writeErr != nil {
			return healthy, writeErr
		}
		before = seen
		select {
		case <-ctx.Done():
			return healthy, err
		case <-tick.C:
		}
	}
}

// block is what Watch writes about one look.
func (c *Client) block(style style, seen, before *sight, err error) string {
	switch {
	case err != nil && c.options.JSON:
		return "" // no document; the end tells, if it is the last
	case err != nil:
		return style.label(moment(time.Now())) + "\n" + style.bad("unreachable") + ": " + err.Error() + "\n"
	case c.options.JSON:
		return seen.documents()
	}
	return style.label(moment(seen.report.Time)) + "\n" + seen.text(style, before)
}

// show writes a block.
func (c *Client) show(out io.Writer, terminal *screen, block string) error {
	if terminal != nil {
		return terminal.draw(block)
	}
	if !c.options.JSON {
		block += "\n" // between two blocks
	}
	_, err := io.WriteString(out, block)
	return err
}
