package inspect

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// shutdownPath is where a port takes requests to end the process.
const shutdownPath = "/_shutdown"

// Stop has the process drain and end. It does not wait for that, but writes a line
// to out once it has begun. A process that is ending already takes it well, so it
// may be asked again and again. Unless there is an error, as of [Client.Show], it
// reports true.
func (c *Client) Stop(ctx context.Context, out io.Writer) (begun bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.options.Timeout, fmt.Errorf("no answer within --timeout %v", c.options.Timeout))
	defer cancel()
	if _, err := c.ask(ctx, http.MethodPost, shutdownPath, http.StatusOK); err != nil {
		return false, err
	}
	_, err = fmt.Fprintln(out, "shutting down")
	return true, err
}
