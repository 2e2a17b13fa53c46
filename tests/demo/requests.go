package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// sendRequests sends what shows that the tunnels do their work, and fails
// unless all is answered as it should be.
func (d *demo) sendRequests(ctx context.Context) error {
	d.out.say("\nRequests:")
	for _, step := range []struct {
		what string
		send func(context.Context) error
	}{
		{"GET / through both tunnels", d.greet},
		{"POST of 1 MiB through both tunnels, and the same back", d.echo},
		{"GET / straight to the server tunnel, with the client's certificate", d.greetDirectly},
		{"GET / straight to the server tunnel, without a certificate: refused", d.beRefused},
		{"both tunnels say that they are well", d.askStatus},
	} {
		if err := step.send(ctx); err != nil {
			d.out.say("  FAILED  %s", step.what)
			return fmt.Errorf("%s: %w", step.what, err)
		}
		d.out.say("  ok      %s", step.what)
	}
	return nil
}

func (d *demo) greet(ctx context.Context) error {
	return d.expect(ctx, request{url: "http://" + d.client.listen + "/"}, []byte(greeting))
}

func (d *demo) echo(ctx context.Context) error {
	body := make([]byte, 1<<20)
	rand.Read(body)
	return d.expect(ctx, request{method: http.MethodPost, url: "http://" + d.client.listen + "/echo", body: body}, body)
}

func (d *demo) greetDirectly(ctx context.Context) error {
	return d.expect(ctx, request{url: "https://" + d.server.listen + "/", identify: true}, []byte(greeting))
}

func (d *demo) beRefused(ctx context.Context) error {
	_, err := d.fetch(ctx, request{url: "https://" + d.server.listen + "/"})
	if err == nil {
		return errors.New("answered")
	}
	// This is how crypto/tls tells of an alert that the other end has sent.
	if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
		return fmt.Errorf("not a TLS alert: %w", err)
	}
	return nil
}

func (d *demo) askStatus(ctx context.Context) error {
	for _, t := range []*tunnel{d.server, d.client} {
		answer, err := d.fetch(ctx, request{url: t.status + "/_status"})
		if err != nil {
			return err
		}
		var status struct{ OK bool }
		if err := json.Unmarshal(answer, &status); err != nil {
			return fmt.Errorf("%s/_status: %w", t.status, err)
		}
		if !status.OK {
			return fmt.Errorf("the %s tunnel is not: %s", t.name, answer)
		}
	}
	return nil
}

func (d *demo) expect(ctx context.Context, r request, want []byte) error {
	got, err := d.fetch(ctx, r)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %d bytes, not the %d that were expected", len(got), len(want))
	}
	return nil
}

// A request is what fetch sends; its zero method is GET.
type request struct {
	method, url string
	body        []byte
	identify    bool // with the client's certificate
}

// fetch returns the body of the answer, which must be 200.
func (d *demo) fetch(ctx context.Context, r request) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	config, err := d.tlsConfig(r)
	if err != nil {
		return nil, err
	}
	// A connection kept for later would keep the tunnels from ending.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", r.url, resp.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}

// tlsConfig trusts the demo's authority and nobody else.
func (d *demo) tlsConfig(r request) (*tls.Config, error) {
	if !strings.HasPrefix(r.url, "https:") {
		return nil, nil
	}
	ca, err := os.ReadFile(d.file("ca.pem"))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !config.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s: no certificate in it", d.file("ca.pem"))
	}
	if r.identify {
		identity, err := tls.LoadX509KeyPair(d.file("client.pem"), d.file("client-key.pem"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{identity}
	}
	return config, nil
}
