package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"time"
)

const (
	startTimeout = 15 * time.Second
	drainTimeout = 5 * time.Second
)

// A tunnel is a sallyport process.
type tunnel struct {
	name   string
	listen string
	status string // URL of the status port; https has the tunnel's certificate

	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// start starts the process in a mode, with what every tunnel has and with args,
// and waits until it is ready.
func (t *tunnel) start(ctx context.Context, d *demo, mode string, args ...string) error {
	args = append([]string{mode, "--listen", t.listen}, args...)
	args = append(args,
		"--cert", d.file(t.name+".pem"), "--key", d.file(t.name+"-key.pem"), "--cacert", d.file("ca.pem"),
		"--status", t.status, "--enable-shutdown", "--shutdown-timeout", drainTimeout.String())
	d.out.command(append([]string{d.binary}, args...)...)

	// Not bound to ctx: it is to end in its own time, by stop.
	t.process = exec.Command(d.binary, args...)
	t.process.Stdout = d.out.lines(t.name)
	t.process.Stderr = d.out.lines(t.name)
	if err := t.process.Start(); err != nil {
		t.process = nil
		return fmt.Errorf("starting the %s tunnel: %w", t.name, err)
	}
	t.ended = make(chan struct{})
	go func() {
		defer close(t.ended)
		_ = t.process.Wait() // stop reads the ProcessState instead
	}()
	return t.waitReady(ctx, d)
}

func (t *tunnel) waitReady(ctx context.Context, d *demo) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := d.fetch(ctx, request{url: t.status + "/readyz"}); err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-t.ended:
			return fmt.Errorf("the %s tunnel ended at once: %v", t.name, t.process.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the %s tunnel to be ready: %w", t.name, ctx.Err())
		}
	}
}

// stop asks the process to end and waits until it has. Ctrl-C reaches the
// process as well, and a second signal would cut its connections: /_shutdown
// may be asked for again without harm.
func (t *tunnel) stop(d *demo) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*drainTimeout)
	defer cancel()
	// That it fails because the process has ended already is all right; for
	// any other reason, the process is killed below.
	_, err := d.fetch(ctx, request{method: http.MethodPost, url: t.status + "/_shutdown"})
	select {
	case <-t.ended:
	case <-ctx.Done():
		killErr := t.process.Process.Kill()
		<-t.ended
		return errors.Join(fmt.Errorf("the %s tunnel did not end when it was asked to, and was killed", t.name), err, killErr)
	}
	if !t.process.ProcessState.Success() {
		return fmt.Errorf("the %s tunnel: %v", t.name, t.process.ProcessState)
	}
	d.out.say("The %s tunnel has ended cleanly.", t.name)
	return nil
}
