package sidecar

import (
	"context"
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
		Open:     s.fleet.openConnections,
		Watchdog: manager.Watchdog,
		Alive:    s.fleet.accepting,
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
