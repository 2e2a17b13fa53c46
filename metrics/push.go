package metrics

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Push is a receiver of the JSON list that [Metrics.JSON] gives.
type Push struct {
	URL   *url.URL    // may hold a user and a password, which nothing shows
	TLS   *tls.Config // how to verify an https receiver
	Every time.Duration
	Log   *slog.Logger // is told when readings begin and cease to arrive
}

// Push POSTs readings until the context ends, and then a last one. Any answer
// but 2xx is a failure; what the receiver says is not read, and where it
// redirects to is not followed.
func (m *Metrics) Push(ctx context.Context, to Push) {
	transport := &http.Transport{
		TLSClientConfig:        to.TLS,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        2 * to.Every,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r := report{every: to.Every, log: to.Log, send: func(ctx context.Context) error {
		return post(ctx, client, to.URL, m.samples(time.Now()))
	}}
	r.run(ctx)
}

// post sends one reading. No error shows the URL.
func post(ctx context.Context, client *http.Client, to *url.URL, reading []sample) error {
	// None of the statistics in use is ever NaN, so that all of it can be encoded.
	body, err := json.Marshal(reading)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("it is no URL to send to")
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	// What is left unread would keep the connection from being used again.
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the receiver answers %s", response.Status)
	}
	return nil
}
