package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a hint that tells what it was asked for.
func asked(stage, reason, serverName string) string {
	return strings.Join([]string{"hint for", stage, reason, serverName}, "/")
}

func TestWhatMayHelpIsToldWithTheFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		server := certs.serverConfig()
		server.VerifyConnection = deny
		r := start(t, &Server{TLS: server, HandshakeTimeout: time.Second, Hint: asked}, nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := certs.clientConfig()
		if _, err := tls.Client(socket, client).Read(make([]byte, 1)); err == nil {
			t.Error("the client was let in")
		}
		_ = socket.Close()
		_ = r.stop(t, time.Minute)
		wantRefusal(t, r, ` hint="hint for/handshake/not_allowed/`+client.ServerName+`"`)
	})
}

func TestTargetsThatAreReachedForAHandlerHaveHintsToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{Hint: asked}, nil)
		refuse := func(context.Context) (net.Conn, error) { return nil, errors.New("no such luck") }
		if _, err := r.Reacher(refuse)(t.Context()); err == nil {
			t.Error("it was reached")
		}
		_ = r.stop(t, time.Minute)
		if line := `error="no such luck" hint="hint for/dial/error/"`; !strings.Contains(r.log.String(), line) {
			t.Errorf("no %s in\n%s", line, r.log)
		}
	})
}

// Of a connection that was forwarded there is one only if it did not simply end, and without something to be said there is none.
func TestHintsAreForWhatWentWrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		hint func(stage, reason, serverName string) string
		cut  bool
		want string
	}{
		{"that ended", asked, false, ""},
		{"that was cut", asked, true, ` hint="hint for//idle_timeout/"`},
		{"that was cut, for which there is none", func(string, string, string) string { return "" }, true, ""},
		{"that was cut, without any", nil, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &Server{Hint: test.hint, IdleTimeout: time.Minute}, nil)
				client, target := r.connect(t)
				if !test.cut {
					closeAll(client, target)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				closeAll(client, target)
				_ = r.stop(t, time.Minute)
				_, line, found := strings.Cut(r.log.String(), `msg="closed pipe"`)
				_, told, has := strings.Cut(strings.TrimSpace(line), " hint=")
				if has {
					told = " hint=" + told
				}
				if !found || told != test.want {
					t.Errorf("got %q, want %q in\n%s", told, test.want, r.log)
				}
			})
		})
	}
}
