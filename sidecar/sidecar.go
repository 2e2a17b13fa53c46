// Package sidecar puts a process together from its configuration and runs it: it is where packages meet that know nothing of
// each other, and where start, reload and drain are decided.
//
//	signals := make(chan os.Signal, 8)
//	signal.Notify(signals, sidecar.Signals()...)
//	s, err := sidecar.New(ctx, cfg, sidecar.Build{Version: version}, os.Stdout)
//	if err != nil {
//		return err // nothing is left open
//	}
//	return s.Run(signals)
//
// New loads every identity, resolves every target and opens every listener; whatever fails there fails before the first
// connection is accepted. Of the tunnels of a file, one that fails keeps no other from running, and is tried again. Run
// serves until it is told to stop. Its goroutine alone decides about the life of the process:
// the signals, the timer, the shutdown endpoint and the failures of listeners all meet in its one loop.
//
// The package parses nothing, copies no byte and never exits.
package sidecar

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/metrics"
	"sallyport/netstat"
	"sallyport/socket"
	"sallyport/status"
)

// Build is what the status port tells about the program.
type Build struct {
	Version  string // "1.2.3"
	Revision string // the commit it was built from; may be empty
}

// Sidecar is a process that is ready to run: all is loaded, and all listeners are open, but for tunnels of a file that are
// tried again.
type Sidecar struct {
	config  *config.Sidecar
	log     *slog.Logger
	logged  func() error // lets go of where the log goes
	state   *status.State
	fleet   *fleet           // nil until it is opened
	file    *file            // nil unless that is where tunnels come from
	metrics *metrics.Metrics // nil when nothing would read them
	netstat *netstat.Watch   // nil without --netstat
	port    *port            // nil without a status port
	door    *door            // nil if it asks nobody who they are
	notices *status.Notices  // nil if no service manager wants them

	shutdown chan struct{} // a request to /_shutdown
	failed   chan error    // a listener that gave up
}

// New makes a Sidecar of a configuration, and puts the process into a sandbox for good, if the configuration wants that. Log
// lines go to out. When the context ends first, its cause is the error. An error names the flag at fault and leaves nothing
// open, but what cannot be interrupted.
func New(ctx context.Context, cfg *config.Sidecar, build Build, out io.Writer) (*Sidecar, error) {
	log, logged, err := newLogger(cfg.Log, out)
	if err != nil {
		return nil, err
	}
	s := &Sidecar{
		config:   cfg,
		log:      log,
		logged:   logged,
		state:    status.NewState(),
		shutdown: make(chan struct{}, 1),
		failed:   make(chan error, 1),
	}
	opened := make(chan error, 1)
	go func() {
		err := s.open(ctx, build)
		if err != nil {
			err = errors.Join(err, s.close(), s.logged())
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			return nil, err
		}
		return s, nil
	case <-ctx.Done():
	}
	// What was opened is closed again, unless that, too, takes too long: a file may be on a disk that does not answer.
	_ = within(endGrace, func() error {
		if <-opened == nil {
			return errors.Join(s.close(), s.logged())
		}
		return nil
	})
	return nil, context.Cause(ctx)
}

// open opens all, and closes what the service manager handed over and no flag names: clients would wait there for ever.
func (s *Sidecar) open(ctx context.Context, build Build) error {
	s.log.Debug("configured", "config", s.config)
	limitMemory(s.log)
	activation := socket.Activated()
	err := s.openParts(ctx, build, activation)
	unused, closing := activation.Close()
	if err == nil && len(unused) > 0 {
		s.log.Warn("closed sockets that systemd handed over, and that no flag names", "names", unused)
	}
	return errors.Join(err, closing)
}

func (s *Sidecar) openParts(ctx context.Context, build Build, activation *socket.Activation) error {
	s.metrics = s.newMetrics(build)
	var watcher *certloader.Watcher
	if s.config.WatchFiles {
		watcher = certloader.NewWatcher(s.log)
	}
	s.fleet = newFleet(s.config, s.metrics, watcher, s.log, s.report)
	if err := s.fleet.load(ctx); err != nil {
		return err
	}
	var err error
	if s.door, err = newDoor(ctx, s.config, watcher); err != nil {
		return err
	}
	if s.config.File != nil {
		if s.file, err = newFile(ctx, s.fleet); err != nil {
			return err
		}
	}
	if s.metrics != nil && (s.door != nil || s.file != nil) {
		s.metrics.AddReloads("")
	}
	if err := s.measureHost(); err != nil {
		return err
	}
	s.notices = s.newNotices()
	if err := s.confine(); err != nil {
		return err
	}
	places, err := s.fleet.listen(ctx, activation)
	if err != nil {
		return err
	}
	if s.config.Status.Listen.IsZero() {
		return nil
	}
	if s.port, err = s.openPort(ctx, build, activation); err != nil {
		return err
	}
	at := place{"--status " + s.config.Status.Listen.String(), s.port.listener.Addr()}
	s.fleet.beside = []place{at}
	return at.distinctFrom(places)
}

// close lets go of all that New and Run opened and that is still open. What drains has to be drained before.
func (s *Sidecar) close() error {
	var errs []error
	if s.port != nil {
		errs = append(errs, s.port.close())
	}
	if s.fleet != nil {
		errs = append(errs, s.fleet.close())
	}
	if s.file != nil {
		errs = append(errs, s.file.close())
	}
	if s.door != nil {
		errs = append(errs, s.door.close())
	}
	if s.metrics != nil {
		s.metrics.Close()
	}
	if s.notices != nil {
		errs = append(errs, s.notices.Close())
	}
	return errors.Join(errs...)
}

// parts is all that can be reloaded, in order: what the file says comes first, so that what is new by it is not loaded twice.
func (s *Sidecar) parts() []part {
	var parts []part
	if s.file != nil {
		parts = append(parts, s.file)
	}
	parts = append(parts, s.fleet.parts()...)
	if s.door != nil {
		parts = append(parts, s.door)
	}
	return parts
}

// locate says where in the file that stands which an error of a part is about.
func (s *Sidecar) locate(p part, err error) error {
	if m, ok := p.(*member); ok {
		return m.locate(err)
	}
	if p != part(s.file) && s.config.File != nil {
		return s.config.File.Origin.Locate(err)
	}
	return err
}
