package sidecar

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeConfig writes a configuration file in which @ stands for the directory.
func writeConfig(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const manyTunnels = `
status: unix:@/status
watch-files: false
defaults: {cert: @/server.pem, key: @/server-key.pem, cacert: @/ca.pem, allow-all: true, target: "unix:@/out"}
tunnels:
- {name: web, mode: server, listen: "unix:@/in"}
- {name: other, mode: server, listen: "unix:@/other"}
`

// startMany runs the tunnels of manyTunnels in the directory, and waits until both listen.
func startMany(t *testing.T, dir string) *rig {
	t.Helper()
	r := start(t, dir, "run --config "+writeConfig(t, dir, manyTunnels))
	r.waitLog(t, "msg=listening", 2)
	return r
}

func TestATunnelOfManyWhoseListenerFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := startMany(t, dir)
	kept, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(kept, "before"); err != nil {
		t.Fatal(err)
	}
	if err := r.sidecar.fleet.tunnels()[0].listener.Close(); err != nil {
		t.Fatal(err)
	}
	r.waitLog(t, "a tunnel has failed; it is tried again", 1)
	r.waitLog(t, "tunnel web has failed", 1)
	r.waitLog(t, "msg=listening", 3)
	again, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(again, "after"); err != nil {
		t.Error(err)
	}
	if err := roundTrip(kept, "still"); err != nil {
		t.Errorf("who was connected: %v", err)
	}
	if a := r.status(t); !a.OK || a.Connections.Open != 2 || a.Connections.Total != 2 {
		t.Errorf("status %+v", a)
	}
}

// What is prepared for a reload that comes to nothing is let go of, whatever the end of the process finds in progress.
func TestAReloadThatComesTooLateChangesNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	path := writeConfig(t, dir, manyTunnels)
	s, err := New(t.Context(), parse(t, dir, "run --config "+path), Build{}, new(syncBuffer))
	if err != nil {
		t.Fatal(err)
	}
	writeConfig(t, dir, manyTunnels+`- {name: third, mode: server, listen: "unix:@/third"}`)
	next, err := s.config.File.Read()
	if err != nil {
		t.Fatal(err)
	}
	s.fleet.end()
	if err := s.fleet.apply(t.Context(), next); err == nil || !strings.Contains(err.Error(), errEnding.Error()) {
		t.Errorf("apply: %v", err)
	}
	if c, err := net.DialTimeout("unix", dir+"/third", time.Second); err == nil {
		_ = c.Close()
		t.Error("the new tunnel listens")
	}
	if n := len(s.fleet.members()); n != 2 {
		t.Errorf("%d members", n)
	}
	if _, kept := s.fleet.ledgers["third"]; kept {
		t.Error("there is a ledger of a tunnel that never was")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A listener may be lost just when another tunnel is to have it, and its place be taken.
func TestATunnelThatFindsItsListenerGoneIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	path := writeConfig(t, dir, manyTunnels)
	s, err := New(t.Context(), parse(t, dir, "run --config "+path), Build{}, new(syncBuffer))
	if err != nil {
		t.Fatal(err)
	}
	f := s.fleet
	f.run()
	writeConfig(t, dir, strings.Replace(manyTunnels, "name: web", "name: new", 1))
	next, err := s.config.File.Read()
	if err != nil {
		t.Fatal(err)
	}
	p := f.plan(next)
	if err := f.prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	old := f.tunnels()[0]
	if err := old.server.HandOver(); err != nil { // and nobody gets it
		t.Fatal(err)
	}
	if _, err := f.commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := old.listener.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case again := <-f.changed:
		if err := again.reload(t.Context()); err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("nobody tries it")
	}
	if c, err := net.DialTimeout("unix", dir+"/in", time.Second); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	if err := f.shutDown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// reread has the process read a file that says something else by now.
func (r *rig) reread(t *testing.T, text string) {
	t.Helper()
	writeConfig(t, r.dir, text)
	r.signals <- syscall.SIGHUP
}

// Who is connected to a tunnel that is no longer there has --shutdown-timeout.
func TestConnectionsOfARemovedTunnelAreCutWhenTheirTimeIsUp(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := start(t, dir, "run --config "+writeConfig(t, dir, manyTunnels)+" --shutdown-timeout 50ms")
	r.waitLog(t, "msg=listening", 2)
	kept, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(kept, "before"); err != nil {
		t.Fatal(err)
	}
	r.reread(t, strings.Replace(manyTunnels, `- {name: web, mode: server, listen: "unix:@/in"}`, "", 1))
	r.waitLog(t, `"drained; connections were closed that took longer" tunnel=web limit=50ms`, 1)
	if _, err := kept.Read(make([]byte, 1)); err == nil {
		t.Error("who was connected still is")
	}
	eventually(t, func() bool { return len(r.sidecar.fleet.members()) == 1 }, func() string { return "the tunnel is still shown" })
}

// A tunnel that is removed is shown until all its connections have ended, those included from before it was changed, or failed.
func TestARemovedTunnelIsShownWhileAnyOfItsConnectionsIsOpen(t *testing.T) {
	t.Parallel()
	const web = `- {name: web, mode: server, listen: "unix:@/in"}`
	for name, next := range map[string]func(*testing.T, *rig){
		"changed before": func(t *testing.T, r *rig) {
			r.reread(t, strings.Replace(manyTunnels, web, strings.Replace(web, "}", ", idle-timeout: 1h}", 1), 1))
			r.waitLog(t, "changed=[web]", 1)
		},
		"failed before": func(t *testing.T, r *rig) {
			if err := os.Remove(r.dir + "/server.pem"); err != nil { // so that it does not come back
				t.Fatal(err)
			}
			if err := r.sidecar.fleet.tunnels()[0].listener.Close(); err != nil {
				t.Fatal(err)
			}
			r.waitLog(t, "a tunnel has failed", 1)
			eventually(t, func() bool { return len(r.sidecar.fleet.tunnels()) == 1 }, func() string { return "it has not failed" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			echo(t, listen(t, dir+"/out"))
			r := startMany(t, dir)
			first, err := r.dialTLS(t, "client")
			if err != nil {
				t.Fatal(err)
			}
			if err := roundTrip(first, "before"); err != nil {
				t.Fatal(err)
			}
			next(t, r)
			r.reread(t, strings.Replace(manyTunnels, web, "", 1))
			r.waitLog(t, "removed=[web]", 1)
			if name == "changed before" {
				r.waitLog(t, "msg=drained", 1) // the second of that name had no connection
				r.waitDismissed(t, 1)
			}
			if a := r.status(t); a.Connections.Open != 1 {
				t.Errorf("%d connections are open", a.Connections.Open)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return len(r.sidecar.fleet.members()) == 1 }, func() string { return "it is still shown" })
		})
	}
}

// waitDismissed waits until so many tunnels are left that leave.
func (r *rig) waitDismissed(t *testing.T, left int) {
	t.Helper()
	f := r.sidecar.fleet
	eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.leaving) == left
	}, func() string { return "more tunnels leave" })
}

// The file of a socket that is in use cannot become somebody else's: whoever waits in its queue came under the old permissions.
func TestPermissionsOfAListenerInUseStay(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := startMany(t, dir)
	for i, more := range []string{"listen-mode: 0600", "listen-owner: root"} {
		r.reread(t, strings.Replace(manyTunnels, `"unix:@/in"}`, `"unix:@/in", `+more+"}", 1))
		r.waitLog(t, "permissions and owner of a socket that is in use stay; restart the process, or choose another path", i+1)
	}
	conn, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(conn, "after"); err != nil {
		t.Error(err)
	}
}

func TestATunnelIsDrainedOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := startMany(t, dir)
	for _, name := range []string{"none", "web", "web", "other", "web"} {
		r.sidecar.fleet.drain(name)
	}
	r.waitLog(t, "msg=drained", 2)
	if n := strings.Count(r.log.String(), "draining a tunnel"); n != 2 {
		t.Errorf("%d drains have begun:\n%s", n, r.log)
	}
}
