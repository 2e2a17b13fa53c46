package status

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Bounds on what a backend may answer to a check.
const (
	maxAnswerHeader = 64 << 10
	maxAnswerBody   = 64 << 10
)

// Get returns a run for [NewCheck] that asks a backend for a URL (http or
// https) and expects 200. Every request has a new connection that dial makes,
// whatever host the URL names; redirects are followed, over dial too. For https
// the backend's certificate must be good for the URL's host under config, where
// nil stands for the system's trust. The URL is in no error, as a password or a
// token may be in it.
func Get(rawURL string, dial func(context.Context) (net.Conn, error), config *tls.Config) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx)
		},
		TLSClientConfig:        config,
		DisableKeepAlives:      true, // a kept connection says nothing about new ones
		MaxResponseHeaderBytes: maxAnswerHeader,
	}}
	return func(ctx context.Context) error {
		return get(ctx, client, rawURL)
	}
}

func get(ctx context.Context, client *http.Client, rawURL string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return withoutURL(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the target for its status: it answered %d, not 200", response.StatusCode)
	}
	// The status is what counts. The body is read so that the backend does not
	// see its answer refused, and no further than is reasonable.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswerBody)
	return nil
}

// withoutURL wraps an error of net/http without the URL that it quotes.
func withoutURL(err error) error {
	if quoting, ok := errors.AsType[*url.Error](err); ok {
		err = quoting.Err
	}
	return fmt.Errorf("asking the target for its status: %w", err)
}
