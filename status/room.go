package status

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxConns is how many connections a status port has at most: far more than probes, scrapers and people make, and few
	// enough that whoever opens them by the thousand takes no descriptors from the tunnels.
	maxConns = 256

	// fullPause is the time from one line about that to the next.
	fullPause = time.Minute
)

// room keeps the connections of a port within a bound. Where there are too many, that one goes which has waited longest: for
// a request to come, or for its header to be complete. If there is none but the newcomer, that one goes whose request has been
// worked on longest: it may be one that promised a body which never comes, or that does not read its answer. A prober that
// asks at once is answered like that, even among thousands who do not, or who want it to take long. Whoever has to go leaves
// soon, but for those whose requests wait for what does not come, such as a reader of the log: as many of them again as there
// is room for, and the newcomer goes.
type room struct {
	most int
	log  *slog.Logger

	mu      sync.Mutex
	conns   map[net.Conn]seat
	waiting list.List // those first that have waited longest, each a net.Conn
	busy    list.List // with a request, likewise
	told    time.Time // when the log was last told that there are too many
}

// seat is where a connection is in one of the lists of a room; zero: it is in none, and has to go.
type seat struct {
	row *list.List
	at  *list.Element
}

func newRoom(most int, log *slog.Logger) *room {
	return &room{most: most, log: log, conns: make(map[net.Conn]seat)}
}

// follow takes note of what a connection does.
func (r *room) follow(conn net.Conn, state http.ConnState) {
	leaves, tell := r.note(conn, state)
	if leaves != nil {
		leave(leaves)
	}
	if tell {
		r.log.Warn("status port: too many connections; those go that have waited or taken longest", "connections", r.most)
	}
}

// note is follow, and returns which connection has to go, if one has, and whether the log is to be told.
func (r *room) note(conn net.Conn, state http.ConnState) (leaves net.Conn, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vacate(conn)
	switch state {
	case http.StateNew, http.StateIdle:
		r.conns[conn] = seat{&r.waiting, r.waiting.PushBack(conn)}
	case http.StateActive:
		r.conns[conn] = seat{&r.busy, r.busy.PushBack(conn)}
	default:
		delete(r.conns, conn)
	}
	if state != http.StateNew || len(r.conns) <= r.most {
		return nil, false
	}
	first := r.waiting.Front()
	switch newcomer := r.waiting.Back(); {
	case len(r.conns) > 2*r.most:
		first = newcomer
	case first == newcomer && r.busy.Len() > 0:
		first = r.busy.Front()
	}
	leaves, _ = first.Value.(net.Conn)
	r.vacate(leaves)
	r.conns[leaves] = seat{} // until it has gone
	now := time.Now()
	if tell = now.Sub(r.told) >= fullPause; tell {
		r.told = now
	}
	return leaves, tell
}

// vacate takes a connection from the list that it is in. r.mu is held.
func (r *room) vacate(conn net.Conn) {
	if s := r.conns[conn]; s.row != nil {
		s.row.Remove(s.at)
	}
}

// leave closes a connection. Under TLS that is the socket: to say goodbye could take long, to one who does not read.
func leave(conn net.Conn) {
	if session, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = session.NetConn()
	}
	_ = conn.Close() // there is nothing to be done about a failure
}
