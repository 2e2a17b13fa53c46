package proxy

import "context"

// slots are places of which so many can be taken at once. Who waits for one gets it in turn. Nil is without a limit.
type slots chan struct{}

// newSlots makes n places; zero or less is without a limit.
func newSlots(n int) slots {
	if n <= 0 {
		return nil
	}
	return make(slots, n)
}

// take waits for a free place, and answers pings meanwhile; false when the context ends first, also where one is free by then.
func (s slots) take(ctx context.Context, pings pings) bool {
	for ctx.Err() == nil {
		if s == nil {
			return true
		}
		select {
		case s <- struct{}{}:
			return true
		case answered := <-pings:
			close(answered)
		case <-ctx.Done():
		}
	}
	return false
}

// give frees a place that was taken.
func (s slots) give() {
	if s != nil {
		<-s
	}
}

// tryTake takes a place if there is a free one.
func (s slots) tryTake() bool {
	if s == nil {
		return true
	}
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}
