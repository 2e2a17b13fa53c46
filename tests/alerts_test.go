package tests

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

// again calls f again and again until the test ends, with a context that ends then.
func again(t *testing.T, every time.Duration, f func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			f(ctx)
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// firing are the alerts that fire, or ever did, by instance: its names, sorted,
// each once.
func (p *prometheus) firing(t *testing.T, ever bool) map[string]string {
	t.Helper()
	expr := `ALERTS{alertstate="firing"}`
	if ever {
		expr = "last_over_time(" + expr + "[1h])"
	}
	result, err := p.query(t, "group by (instance, alertname) ("+expr+")")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for _, s := range result {
		names[s.Metric["instance"]] = append(names[s.Metric["instance"]], s.Metric["alertname"])
	}
	joined := map[string]string{}
	for instance, list := range names {
		slices.Sort(list)
		joined[instance] = strings.Join(list, " ")
	}
	return joined
}

// TestEachAlertFiresForItsFailureAlone: a process for each alert fails in its
// way, and one does not; a real Prometheus scrapes them all.
func TestEachAlertFiresForItsFailureAlone(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes many processes; make test-full runs it")
	}
	need(t, "prometheus")
	want := map[string]string{} // alert by instance; "" is none
	var scraped []*process
	failing := func(alert string, server *process) *process {
		scraped = append(scraped, server)
		want[strings.TrimPrefix(server.status.base, "http://")] = alert
		return server
	}
	p := newPKI(t)
	service := serve(t, "tcp", echo)
	alice, mallory := p.clientConfig(p.client(t)), p.clientConfig(p.issue(t, "mallory", devpki.Request{CommonName: "mallory"}))
	// startWith starts a server with an identity of its own, so that it can be spoilt.
	startWith := func(id files, flags ...string) (server *process, listen string) {
		t.Helper()
		listen = reserve(t)
		return start(t, append(append(id.flags(), "server", "--listen", listen, "--cacert", p.root, "--allow-cn", "client",
			"--status", "http://"+reserve(t)), flags...)...), listen
	}
	target := []string{"--target", service.address}
	fresh := func(name string) files {
		return p.issue(t, name, devpki.Request{CommonName: name, DNSNames: []string{"localhost"}})
	}
	try := func(listen string, times int) {
		again(t, 100*time.Millisecond, func(ctx context.Context) {
			for range times {
				if conn, err := handshake(ctx, listen, alice); err == nil {
					_ = roundTrip(conn)
					_ = conn.Close()
				}
			}
		})
	}

	server, listen := startWith(fresh("healthy"), target...)
	failing("", server)
	try(listen, 1)

	now := time.Now()
	server, _ = startWith(p.issue(t, "expiring", devpki.Request{CommonName: "expiring", NotBefore: now.Add(-84 * 24 * time.Hour), NotAfter: now.Add(6 * 24 * time.Hour)}), target...)
	failing("SallyportCertificateExpiring", server)
	server, _ = startWith(p.issue(t, "expired", devpki.Request{CommonName: "expired", NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), target...)
	failing("SallyportCertificateExpired", server)

	old, err := devpki.NewCA(devpki.Options{NotBefore: now.Add(-355 * 24 * time.Hour), NotAfter: now.Add(10 * 24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	oldCA := filepath.Join(p.dir, "old-ca.pem")
	writeFile(t, oldCA, old.PEM())
	failing("SallyportCAExpiring", start(t, append(fresh("of-old-ca").flags(), "server", "--listen", reserve(t), "--target", service.address,
		"--cacert", oldCA, "--allow-all", "--status", "http://"+reserve(t))...))

	issuer := newCRLIssuer(t, p)
	issuer.publish("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z")
	server, _ = startWith(fresh("list"), append(target, "--crl", issuer.path)...)
	failing("SallyportRevocationListOutdated", server)

	unused := fresh("unused")
	server, _ = startWith(unused, append(target, "--no-watch-files")...)
	failing("SallyportReloadPending", server)
	next := fresh("next")
	replaceFile(t, unused.key, next.KeyPEM())
	replaceFile(t, unused.cert, next.CertPEM())

	broken := fresh("broken")
	server, _ = startWith(broken, target...)
	reloads := failing("SallyportReloadFailing", server)
	writeFile(t, broken.key, []byte("no key"))
	again(t, time.Second, func(context.Context) { _ = reloads.cmd.Process.Signal(syscall.SIGHUP) })

	server, listen = startWith(fresh("plaintext"), target...)
	failing("SallyportHandshakesFailing", server)
	inPlaintext := func(listen string) {
		again(t, 100*time.Millisecond, func(ctx context.Context) {
			for range 3 {
				if conn, err := new(net.Dialer).DialContext(ctx, "tcp", listen); err == nil {
					_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
				}
			}
		})
	}
	inPlaintext(listen)

	server, listen = startWith(fresh("headerless"), append(target, "--proxy-protocol-in", "127.0.0.1")...)
	failing("SallyportProtocolFailing", server)
	inPlaintext(listen)

	server, listen = startWith(fresh("refusing"), target...)
	failing("SallyportPeersDenied", server)
	refusing := listen
	again(t, 100*time.Millisecond, func(ctx context.Context) {
		for range 3 {
			if conn, err := handshake(ctx, refusing, mallory); err == nil {
				_ = roundTrip(conn)
				_ = conn.Close()
			}
		}
	})

	server, listen = startWith(fresh("slow"), target...)
	failing("SallyportHandshakesSlow", server)
	for range 4 {
		slow := listen
		again(t, 100*time.Millisecond, func(ctx context.Context) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", slow)
			if err != nil {
				return
			}
			defer conn.Close()
			select {
			case <-time.After(1500 * time.Millisecond):
				_ = tls.Client(conn, alice).HandshakeContext(ctx)
			case <-ctx.Done():
			}
		})
	}

	server, listen = startWith(fresh("targetless"), "--target", reserve(t))
	failing("SallyportTargetDown", server)
	try(listen, 1)

	server, listen = startWith(fresh("full"), append(target, "--max-concurrent-conns", "2")...)
	failing("SallyportSaturated", server)
	for range 2 {
		if err := roundTrip(connect(t, listen, alice)); err != nil {
			t.Fatal(err)
		}
	}

	const descriptors = 100
	listen = reserve(t)
	server = startLimited(t, descriptors, append(fresh("descriptors").flags(), "server", "--listen", listen, "--target", service.address,
		"--cacert", p.root, "--allow-all", "--status", "http://"+reserve(t))...)
	failing("SallyportFewFileDescriptors", server)
	for metricOf(t, server, "process_open_fds") <= 0.93*descriptors {
		if err := roundTrip(connect(t, listen, alice)); err != nil {
			t.Fatal(err)
		}
	}

	server, listen = startWith(fresh("draining"), target...)
	failing("SallyportDrainStuck", server)
	if err := roundTrip(connect(t, listen, alice)); err != nil {
		t.Fatal(err)
	}

	partly := newMany(t)
	partly.write(t, one("web", reserve(t), service.address), one("broken", reserve(t), service.address, "cert: "+partly.pki.dir+"/none.pem"))
	partly.run(t)
	failing("SallyportTunnelDown", partly.process)

	gone := reserve(t)
	want[gone] = "SallyportDown"
	jobs := []string{scrapeJob("sallyport", scraped...), fmt.Sprintf("job_name: more-sallyport\nstatic_configs: [{targets: [%s]}]", gone)}
	prometheus := startPrometheus(t, jobs, quickRules(t, rulesFile))
	server.signal(t, syscall.SIGTERM) // the one to drain
	maps.DeleteFunc(want, func(_, alert string) bool { return alert == "" })
	// The rules are quick enough to find, before the first scrape, that there was none.
	absent := map[string]string{"": "SallyportAbsent"}
	eventually(t, "all are scraped", func() bool {
		n, ok := prometheus.value(t, "count(up == 1)")
		return ok && n == fmt.Sprint(len(scraped))
	})
	var got map[string]string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("alerts that fire\n\t%v\nwant\n\t%v", got, want)
		}
	})
	eventually(t, "each alert fires", func() bool {
		got = prometheus.firing(t, false)
		return maps.Equal(got, want)
	})
	ever := prometheus.firing(t, true)
	if ever[""] == absent[""] {
		delete(ever, "")
	}
	if !maps.Equal(ever, want) {
		t.Errorf("alerts that fired at some time\n\t%v\nwant\n\t%v", ever, want)
	}

	// Absence cannot be had beside all these.
	alone := startPrometheus(t, nil, quickRules(t, rulesFile))
	eventually(t, "the alert of absence fires alone", func() bool {
		return maps.Equal(alone.firing(t, false), absent)
	})
	tried := map[string]bool{absent[""]: true}
	for _, alert := range want {
		tried[alert] = true
	}
	for _, name := range alertNames(t, rulesFile) {
		if !tried[name] {
			t.Errorf("%s was not tried", name)
		}
	}
}
