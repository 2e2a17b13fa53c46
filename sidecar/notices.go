package sidecar

import (
	"context"
	"fmt"
	"sync"

	"sallyport/status"
)

// newNotices connects to the service manager, if there is one that wants to hear of the process.
func (s *Sidecar) newNotices() *status.Notices {
	manager := s.config.Manager
	if manager.NotifySocket == "" {
		return nil
	}
	return status.NewNotices(status.NoticeOptions{
		Socket:   manager.NotifySocket,
		State:    s.state,
		Open:     s.openConnections,
		Watchdog: manager.Watchdog,
		Alive:    s.accepting,
		Log:      s.log,
	})
}

// sendNotices sends notices, if anybody wants them, until stop is called.
func (s *Sidecar) sendNotices() (stop func()) {
	if s.notices == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { s.notices.Run(ctx) })
	return func() {
		cancel()
		sending.Wait()
	}
}

// openConnections counts those of all tunnels.
func (s *Sidecar) openConnections() int64 {
	var sum int64
	for _, t := range s.tunnels {
		open, _ := t.server.Counts()
		sum += open
	}
	return sum
}

// accepting asks every tunnel whether it accepts connections, and returns which one has not answered when the context ends.
func (s *Sidecar) accepting(ctx context.Context) error {
	for _, t := range s.tunnels {
		if err := t.server.Ping(ctx); err != nil {
			return fmt.Errorf("--listen %s: what accepts connections is stuck: %w", t.config.Listen, err)
		}
	}
	return nil
}
