package sidecar

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"sallyport/config"
	"sallyport/netstat"
	"sallyport/sandbox"
	"sallyport/socket"
	"sallyport/status"
)

// netstatAge is the age from which on --netstat counts a connection: the default of sallyport netstat.
const netstatAge = 6 * time.Second

// netstatKeepAlive is after how much silence it is asked whether a scraper is still there.
const netstatKeepAlive = 15 * time.Second

// Netstat serves the metric of this host's long-lived connections until a signal comes, and puts the process into a sandbox
// for good, if the configuration wants that. Log lines go to out. Requests in progress are answered before it returns; an error
// names the flag at fault.
func Netstat(signals <-chan os.Signal, c *config.Netstat, out io.Writer) error {
	log, _, err := newLogger(c.Log, out) // to out: there is nothing to be let go of
	if err != nil {
		return err
	}
	activation := socket.Activated()
	ln, err := socket.Listen(context.Background(), c.Listen, socket.ListenOptions{KeepAlive: netstatKeepAlive, Activation: activation})
	_, _ = activation.Close() // what else was handed over is of no use here
	if err != nil {
		return fmt.Errorf("--listen %s: %w", c.Listen, err)
	}
	watch, err := netstat.New(netstat.Options{
		MinAge: c.MinAge, TCP6: c.TCP6, Simple: c.Simple,
		Port: portNumber(c.Port), OwnPort: portOf(ln),
	})
	if err == nil {
		_, err = enterSandbox(log, withoutSandbox(c), netstatConfinement(c))
	}
	if err != nil {
		_ = ln.Close() // nothing has been served
		return err
	}
	server := status.NewServer(watch.Handler(), log)
	served := make(chan error, 1)
	var running sync.WaitGroup
	watching, stop := context.WithCancel(context.Background())
	running.Go(func() { watch.Run(watching) })
	running.Go(func() { served <- server.Serve(ln) })
	log.Info("listening", "listen", c.Listen.String(), "path", "/metrics")

	select {
	case err = <-served:
		err = fmt.Errorf("--listen %s: %w", c.Listen, err)
	case sig := <-signals:
		log.Info("shutting down", "cause", signalName(sig))
	}
	closing, cancel := context.WithTimeout(context.Background(), portGrace)
	defer cancel()
	_ = server.Shutdown(closing) // whoever does not read his answer is left without the rest of it
	stop()
	running.Wait()
	log.Info("stopped")
	return err
}

// measureHost has the status port tell of this host's connections, if that was asked for.
func (s *Sidecar) measureHost() error {
	if !s.config.Netstat {
		return nil
	}
	var err error
	s.netstat, err = netstat.New(netstat.Options{MinAge: netstatAge, TCP6: true, OwnPort: portNumber(s.config.Status.Listen.Port())})
	if err != nil {
		return fmt.Errorf("--netstat: %w", err)
	}
	s.metrics.AddCollector(s.netstat)
	return nil
}

func withoutSandbox(c *config.Netstat) string {
	if c.DisableLandlock {
		return disabledLandlock
	}
	return ""
}

// netstatConfinement is what Netstat has to be able to do once it listens: to read its own /proc, and to remove its socket.
func netstatConfinement(c *config.Netstat) sandbox.Rules {
	r := rules{sandbox.Rules{Itself: true}}
	r.listen(c.Listen)
	return r.Rules
}

// portOf is the TCP port that a listener is on; 0 if it is on none.
func portOf(ln net.Listener) uint16 {
	if addr, ok := ln.Addr().(*net.TCPAddr); ok {
		return portNumber(addr.Port)
	}
	return 0
}
