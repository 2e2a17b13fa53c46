// Sallyport is a TLS sidecar: it runs beside a service and carries its connections over mutual TLS. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"sallyport/config"
	"sallyport/devpki"
	"sallyport/inspect"
	"sallyport/sidecar"
)

// version and revision, the commit, are set by the Makefile, through the
// linker. Without git the revision is empty.
var (
	version  = "devel"
	revision string
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // while starting or running, or a forced end
	exitUsage   = 2 // unusable flags or environment, or what check found

	exitCritical    = 1 // of status: the process answers that not all is well
	exitUnreachable = 3 // of status and stop: there is no answer
)

func main() {
	os.Exit(run(privately(os.Args[1:]), os.LookupEnv, os.Stdout, os.Stderr))
}

// run is the whole program, short of the exit.
func run(args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	command, err := config.Parse(args, env, stdout, version)
	if errors.Is(err, config.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return fail(stderr, err, exitUsage)
	}
	switch c := command.(type) {
	case *config.Sidecar:
		err = serve(c, stdout)
	case *config.Check:
		if err := sidecar.Check(context.Background(), c.Sidecar, stdout); err != nil {
			return fail(stderr, err, exitUsage)
		}
		if c.Ghostunnel {
			err = sidecar.CompareWithGhostunnel(c.Sidecar, stdout)
		}
	case *config.StatusQuery:
		return showStatus(c, env, stdout, stderr)
	case *config.Certs:
		err = makeCerts(c, stdout)
	case *config.Netstat:
		err = watchConnections(c, stdout)
	}
	if err != nil {
		return fail(patient{stderr}, err, exitFailure)
	}
	return exitOK
}

// patient is where the last words of a process go, which ends soon even if nobody reads them.
type patient struct{ to io.Writer }

// Write waits a second at most.
func (p patient) Write(text []byte) (int, error) {
	text = slices.Clone(text)
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = p.to.Write(text)
	}()
	select {
	case <-written:
	case <-time.After(time.Second):
	}
	return len(text), nil
}

// surviveReaders has the process live on when whoever reads its output has gone: a collector of logs that crashes is to take
// no connection with it. What is written then is lost.
func surviveReaders() { signal.Ignore(syscall.SIGPIPE) }

// serve runs tunnels until a signal or a request ends them. A signal that ends them before they run is no failure.
func serve(c *config.Sidecar, stdout io.Writer) error {
	surviveReaders()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, sidecar.Signals()...)
	defer signal.Stop(signals)
	starting, started := signal.NotifyContext(context.Background(), sidecar.ShutdownSignals()...)
	defer started()

	s, err := sidecar.New(starting, c, sidecar.Build{Version: version, Revision: commit()}, stdout)
	if starting.Err() != nil && s == nil {
		return nil
	}
	if err != nil {
		return err
	}
	started()
	return s.Run(signals)
}

// showStatus shows a status port, or has it end the process, and gives the exit code that tells of it.
func showStatus(q *config.StatusQuery, env func(string) (string, bool), stdout, stderr io.Writer) int {
	noColor, _ := env("NO_COLOR") // no-color.org: if it is there and not empty
	client, err := inspect.New(inspect.Options{
		Network: q.Port.Network(), Address: q.Address(), TLS: q.TLS,
		CAFile: q.CACert, CertFile: q.Cert, KeyFile: q.Key, ServerName: q.ServerName,
		Token: string(q.Token), TokenFile: q.TokenFile,
		Timeout: q.Timeout, Interval: q.Interval,
		Tunnel: q.Tunnel, Connections: q.Connections, JSON: q.JSON, Plain: noColor != "",
	})
	if err != nil {
		return fail(stderr, err, exitUsage)
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), sidecar.ShutdownSignals()...)
	defer stop()

	if term, _ := env("TERM"); term == "dumb" {
		stdout = struct{ io.Writer }{stdout} // no terminal to draw on
	}
	look := client.Show
	switch {
	case q.Stop:
		look = client.Stop
	case q.Watch:
		look = client.Watch
	}
	healthy, err := look(ctx, stdout)
	switch {
	case errors.As(err, new(*inspect.UnreachableError)):
		return fail(stderr, err, exitUnreachable)
	case err != nil:
		return fail(stderr, err, exitFailure)
	case !healthy:
		return exitCritical
	}
	return exitOK
}

// watchConnections serves the metric of this host's connections until a signal ends it.
func watchConnections(c *config.Netstat, stdout io.Writer) error {
	surviveReaders()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, sidecar.ShutdownSignals()...)
	defer signal.Stop(signals)
	return sidecar.Netstat(signals, c, stdout)
}

// makeCerts writes a development CA and identities, or one more of them.
func makeCerts(c *config.Certs, stdout io.Writer) error {
	options := devpki.FileOptions{
		OrganizationalUnits: c.OrganizationalUnits, DNSNames: c.DNSNames, IPs: c.IPs, URIs: c.URIs,
		Validity: c.Lifetime, Password: string(c.Password), Force: c.Force,
	}
	write, made := devpki.Init, "a CA, a server and a client identity"
	if c.Name != "" {
		write, made = func(dir string, o devpki.FileOptions) error { return devpki.IssueInto(dir, c.Name, o) }, "identity "+c.Name
	}
	replaces := c.Name == "" && devpki.HasCA(c.Dir)
	if err := write(c.Dir, options); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "wrote %s to %s\n", made, c.Dir); err != nil || !replaces {
		return err
	}
	_, err := fmt.Fprintln(stdout, "the CA is new: what the one before it issued no longer counts; issue that anew with certs issue --force")
	return err
}

// fail prints an error, once and in one line; for a file with several faults, one for each.
func fail(stderr io.Writer, err error, code int) int {
	if faults, ok := errors.AsType[config.Faults](err); ok {
		for _, fault := range faults {
			_, _ = fmt.Fprintln(stderr, "sallyport:", fault)
		}
		return code
	}
	_, _ = fmt.Fprintln(stderr, "sallyport:", strings.ReplaceAll(err.Error(), "\n", "; "))
	return code
}

// commit is what the binary was built from: what the Makefile says or, built
// without it, what Go recorded.
func commit() string {
	if revision != "" {
		return revision
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return ""
}
