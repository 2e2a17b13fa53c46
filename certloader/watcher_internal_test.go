package certloader

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// nothing is a Provider that brings nothing.
type nothing struct{}

func (nothing) Load(context.Context) (*Material, error) { return new(Material), nil }
func (nothing) Changed() <-chan struct{}                { return nil }
func (nothing) Close() error                            { return nil }

// A user may have few instances of what watches files.
func TestAWatcherTakesOneInstanceForAllProviders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared, own := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	w := NewWatcher(slog.New(slog.DiscardHandler))
	one := w.Watch(nothing{}, []string{shared})
	two := w.Watch(nothing{}, []string{shared, filepath.Join(own, "cert.pem")})
	notify := w.notify
	if notify == nil || len(w.all) != 2 || w.wanted[dir] != 2 || w.wanted[own] != 1 {
		t.Fatalf("instance %p for %d providers, directories %v", notify, len(w.all), w.wanted)
	}
	for _, p := range []Provider{one, two} {
		if _, err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(shared, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-one.Changed()
	<-two.Changed()

	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if w.notify != notify || len(w.wanted) != 1 || len(notify.WatchList()) != 1 {
		t.Errorf("one has left: directories %v, watched %q", w.wanted, notify.WatchList())
	}
	if _, err := one.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(shared); err != nil {
		t.Fatal(err)
	}
	<-one.Changed()
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if w.notify != nil || len(w.wanted) != 0 {
		t.Errorf("all have left: instance %p, directories %v", w.notify, w.wanted)
	}
	if err := w.Watch(nothing{}, []string{shared}).Close(); err != nil { // and begins anew
		t.Fatal(err)
	}
}

func TestANilWatcherWatchesNothing(t *testing.T) {
	t.Parallel()
	var w *Watcher
	if p := w.Watch(nothing{}, []string{"ca.pem"}); p != Provider(nothing{}) {
		t.Errorf("another provider: %T", p)
	}
}

// The system may lose events, where there are too many. What it lost may have been
// anybody's.
func TestEventsThatWereLostConcernEverybody(t *testing.T) {
	t.Parallel()
	w := NewWatcher(slog.New(slog.DiscardHandler))
	one, two := &directories{hint: make(chan struct{}, 1)}, &directories{hint: make(chan struct{}, 1)}
	w.all[one], w.all[two] = true, true
	notify := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(notify)
	}()
	notify.Events <- fsnotify.Event{Name: "/elsewhere"}
	notify.Errors <- fsnotify.ErrEventOverflow
	<-one.hints()
	<-two.hints()
	close(notify.Errors)
	close(notify.Events)
	<-ended
	select {
	case <-one.hints():
		t.Error("what concerns nobody was told of")
	default:
	}
}

// What the system tells is heard while somebody changes what is watched: there it
// may wait for that itself. A directory that is moved away and removed is such a
// case: of that fsnotify tells by an error, and has nobody add a directory meanwhile.
func TestEventsAreHeardWhileWhatIsWatchedChanges(t *testing.T) {
	t.Parallel()
	w := NewWatcher(slog.New(slog.DiscardHandler))
	d := &directories{hint: make(chan struct{}, 1)}
	w.all[d] = true
	notify := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(notify)
	}()
	w.changing.Lock()
	for range 3 {
		notify.Errors <- errors.New("invalid argument")
		<-d.hints()
	}
	w.changing.Unlock()
	close(notify.Errors)
	close(notify.Events)
	<-ended
}
