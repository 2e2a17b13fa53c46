package sidecar

import (
	"context"

	"sallyport/certloader"
)

// file is where the tunnels come from, as a part that is reloaded before all others.
type file struct {
	fleet   *fleet
	content *certloader.Source // holds nothing, and is there for its watch over the file
}

// newFile watches over the file of a configuration, if that is to be reread and watched over.
func newFile(ctx context.Context, f *fleet) (*file, error) {
	content, err := certloader.New(ctx, f.watcher.Watch(certloader.Files(certloader.FileOptions{}), []string{f.start.File.Path}))
	if err != nil {
		return nil, err
	}
	return &file{fleet: f, content: content}, nil
}

// reload reads the file anew, and has the fleet become what it says. An error leaves everything as it was.
func (f *file) reload(ctx context.Context) error {
	if err := f.content.Reload(ctx); err != nil { // first, so that what changes from here on is news
		return err
	}
	next, err := f.fleet.start.File.Read()
	if err != nil {
		return err
	}
	return f.fleet.apply(ctx, next)
}

// name is that of no tunnel.
func (*file) name() string { return "" }

// news receives when the file has changed.
func (f *file) news() <-chan struct{} { return f.content.Changed() }

// close ends the watch.
func (f *file) close() error { return f.content.Close() }
