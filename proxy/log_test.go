package proxy

import (
	"crypto/tls"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a peer chooses is in every line about it, also in those that refuse it.
func TestPeersCannotFillTheLogWithTheirNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		long := strings.Repeat("n", 100_000)
		config := certs.serverConfig()
		proto := strings.Repeat("p", 255) // ALPN has no longer ones (RFC 7301, 3.1)
		config.NextProtos = []string{proto}
		r := start(t, &Server{TLS: config, Identify: func(tls.ConnectionState) string { return long + "\u20ac" }}, nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := certs.clientConfig()
		client.InsecureSkipVerify, client.NextProtos = true, []string{proto}
		client.ServerName = strings.Repeat("s.", 5000) + "s"
		session := tls.Client(socket, client)
		if err := session.Handshake(); err != nil {
			t.Fatal(err)
		}
		target := r.accept(t)
		synctest.Wait()
		closeAll(session, target)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		lines := 0
		for line := range strings.Lines(r.log.String()) {
			lines++
			if len(line) > 1200 {
				t.Errorf("a line of %d bytes: %.1500s", len(line), line)
			}
		}
		for _, want := range []string{" identity=" + long[:256] + "… ", " server_name=" + client.ServerName[:256] + "… ", " alpn=" + proto + " "} {
			if !strings.Contains(r.log.String(), want) {
				t.Errorf("%d lines, none with %.40s…", lines, want)
			}
		}
	})
}
