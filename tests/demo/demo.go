package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// A demo is one showing.
type demo struct {
	binary string
	once   bool // ends by itself
	out    *console

	dir            string // of the certificates
	server, client *tunnel
}

// run shows everything. What it started has ended when it returns.
func (d *demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d.dir = dir

	service, err := startService(ctx)
	if err != nil {
		return fmt.Errorf("starting the service: %w", err)
	}
	defer func() { err = errors.Join(err, service.close()) }()
	d.out.say("A service, in plain HTTP, on %s: nothing but this machine can reach it.", service.address)

	if err := d.makeCertificates(ctx); err != nil {
		return err
	}
	if err := d.startTunnels(ctx, service.address); err != nil {
		return errors.Join(err, d.stopTunnels())
	}
	err = d.sendRequests(ctx)
	if err == nil && !d.once {
		d.invite()
		<-ctx.Done()
		d.out.say("")
	}
	return errors.Join(err, d.stopTunnels())
}

func (d *demo) makeCertificates(ctx context.Context) error {
	d.out.say("\nA certificate authority, a server's identity and a client's:")
	d.out.command(d.binary, "certs", "init", d.dir)
	made, err := exec.CommandContext(ctx, d.binary, "certs", "init", d.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sallyport certs init: %w\n%s", err, made)
	}
	return nil
}

func (d *demo) startTunnels(ctx context.Context, service string) error {
	ports, err := freeAddresses(ctx, 4)
	if err != nil {
		return err
	}
	d.server = &tunnel{name: "server", listen: ports[0], status: "https://" + ports[1]}
	d.client = &tunnel{name: "client", listen: ports[2], status: "http://" + ports[3]}

	d.out.say("\nIn front of the service, a tunnel that only lets the client's certificate in:")
	err = d.server.start(ctx, d, "server", "--target", service, "--allow-cn", "client")
	if err != nil {
		return err
	}
	d.out.say("\nWhere the service is needed, a tunnel that has that certificate:")
	return d.client.start(ctx, d, "client", "--target", d.server.listen)
}

// stopTunnels stops whatever tunnels run, those that connect to others first.
func (d *demo) stopTunnels() error {
	var errs []error
	for _, t := range []*tunnel{d.client, d.server} {
		if t != nil && t.process != nil {
			errs = append(errs, t.stop(d))
		}
	}
	return errors.Join(errs...)
}

// file is the path of one of the files that certs init has made.
func (d *demo) file(name string) string { return filepath.Join(d.dir, name) }

// freeAddresses returns n loopback addresses that nobody listened on a moment
// ago.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	var (
		addresses []string
		listeners []net.Listener // open until the last is found, so that they differ
		err       error
	)
	for range n {
		var listener net.Listener
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			break
		}
		listeners = append(listeners, listener)
		addresses = append(addresses, listener.Addr().String())
	}
	for _, listener := range listeners {
		err = errors.Join(err, listener.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	return addresses, nil
}

// invite prints what to try by hand.
func (d *demo) invite() {
	ca, cert, key := d.file("ca.pem"), d.file("client.pem"), d.file("client-key.pem")
	d.out.say("\nTry it by hand, from another terminal:")
	for _, line := range []struct{ why, command string }{
		{"through both tunnels", "curl http://" + d.client.listen + "/"},
		{"straight to the server's", fmt.Sprintf("curl --cacert %s --cert %s --key %s https://%s/", ca, cert, key, d.server.listen)},
		{"without a certificate: refused", fmt.Sprintf("curl --cacert %s https://%s/", ca, d.server.listen)},
		{"the handshake, in detail", fmt.Sprintf("openssl s_client -connect %s -CAfile %s -cert %s -key %s </dev/null", d.server.listen, ca, cert, key)},
		{"how the tunnels are", fmt.Sprintf("curl --cacert %s %s/_status", ca, d.server.status)},
		{"", "curl " + d.client.status + "/_status"},
		{"what they count", fmt.Sprintf("curl --cacert %s '%s/_metrics?format=prometheus'", ca, d.server.status)},
		{"make them read their certificates again", fmt.Sprintf("kill -HUP %d %d", d.server.process.Process.Pid, d.client.process.Process.Pid)},
	} {
		if line.why != "" {
			d.out.say("\n  # %s", line.why)
		}
		d.out.say("  %s", line.command)
	}
	d.out.say("\nCtrl-C ends the demo.")
}
