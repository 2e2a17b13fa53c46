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

// routed is a server for a.test and b.test, and the rig's own target for a.test alone: what goes to b.test fails.
func routed(t *testing.T, certs *pki) (*rig, map[string]*Route) {
	t.Helper()
	config := certs.serverConfig()
	routes := map[string]*Route{
		"a.test": {Name: "a", Traffic: new(Traffic)},
		"b.test": {Name: "b", Traffic: new(Traffic), Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("nobody is there") }},
	}
	nobody := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}
	s := &Server{
		TLS: &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if routes[hello.ServerName] == nil && hello.ServerName != "mistaken.test" {
				return nobody, nil
			}
			return config, nil
		}},
		Dial:         func(context.Context) (net.Conn, error) { return nil, errors.New("this is nobody's way") },
		Route:        func(name string) *Route { return routes[name] },
		Identify:     commonName,
		CloseTimeout: time.Minute,
	}
	r := start(t, s, nil)
	routes["a.test"].Dial = r.back.Dial // before anybody connects
	return r, routes
}

// ask shakes hands as a client that asks for a name, and reads what follows.
func (r *rig) ask(t *testing.T, config *tls.Config, name string) (*tls.Conn, error) {
	t.Helper()
	socket, err := r.front.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName, config.InsecureSkipVerify = name, true
	client := tls.Client(newWire(socket, new(buffers)), config)
	return client, client.Handshake()
}

func TestAConnectionGoesWhereItsNameLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r, routes := routed(t, certs)
		client, err := r.ask(t, certs.clientConfig(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		target := r.accept(t)
		synctest.Wait()
		if shown := r.Connections(); len(shown) != 1 || shown[0].Route != "a" || shown[0].State != StateOpen {
			t.Errorf("connections: %+v", shown)
		}
		if open, total, failed := routes["a.test"].Traffic.Counts(); open != 1 || total != 1 || failed != 0 {
			t.Errorf("a has %d open, %d, %d failed", open, total, failed)
		}
		closeAll(client, target)
		synctest.Wait()
		if client, err = r.ask(t, certs.clientConfig(), "b.test"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = client.Close()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		for name, want := range map[string][3]int64{"a.test": {0, 1, 0}, "b.test": {0, 0, 1}} {
			if open, total, failed := routes[name].Traffic.Counts(); [3]int64{open, total, failed} != want {
				t.Errorf("%s has %d open, %d, %d failed; want %v", name, open, total, failed, want)
			}
		}
		log := r.log.String()
		for _, want := range []string{`msg="opening pipe" conn=1`, `route=a`, `msg="error on dial" conn=2`, `route=b`, "nobody is there"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log has no %s:\n%s", want, log)
			}
		}
	})
}

func TestANameThatNoRouteIsForIsRefused(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		for _, asked := range []string{"c.test", ""} {
			t.Run(name+"/"+asked, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					certs := newPKI(t)
					r, _ := routed(t, certs)
					config := certs.clientConfig()
					config.MaxVersion = version
					client, err := r.ask(t, config, asked)
					if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
						t.Errorf("the client was told %v", err)
					}
					_ = client.NetConn().Close()
					synctest.Wait() // else it may be told of the end before it has failed
					if err := r.stop(t, time.Minute); err != nil {
						t.Error(err)
					}
					wantEvents(t, r, "accepted", "handshake", "failed handshake unrecognized_name", "closed unrecognized_name")
					if log := r.log.String(); !strings.Contains(log, "no route is for the server name") && !strings.Contains(log, "asked for no server name") {
						t.Errorf("log:\n%s", log)
					}
				})
			})
		}
	}
}

// A configuration that lets in more names than there are routes leads nowhere.
func TestWhereNoRouteLeadsNothingIsForwarded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r, _ := routed(t, certs)
		client, err := r.ask(t, certs.clientConfig(), "mistaken.test")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = client.Close()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantEvents(t, r, "accepted", "handshake", "failed handshake unrecognized_name", "closed unrecognized_name")
	})
}

func TestADenialIsThatOfItsRoute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r, routes := routed(t, certs)
		stranger := newPKI(t).clientConfig()
		stranger.MaxVersion = tls.VersionTLS12 // the verdict comes before the handshake is over
		client, err := r.ask(t, stranger, "b.test")
		if err == nil {
			t.Error("a stranger was let in")
		}
		_ = client.NetConn().Close()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		if _, total, failed := routes["b.test"].Traffic.Counts(); total != 0 || failed != 1 {
			t.Errorf("b has %d, %d failed", total, failed)
		}
		if log := r.log.String(); !strings.Contains(log, "route=b") {
			t.Errorf("log:\n%s", log)
		}
	})
}
