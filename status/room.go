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
// a request to come, or to be complete. Those whose requests are being answered stay, and if there are no others, it is the
// newcomer that goes. A prober that asks at once is answered like that, even among thousands who do not.
type room struct {
	most int
	log  *slog.Logger

	mu      sync.Mutex
	conns   map[net.Conn]*list.Element // nil for those whose requests are being answered
	waiting list.List                  // of the others, each a net.Conn, those first that have waited longest
	told    time.Time                  // when the log was last told that there are too many
}

func newRoom(most int, log *slog.Logger) *room {
	return &room{most: most, log: log, conns: make(map[net.Conn]*list.Element)}
}

// follow takes note of what a connection does.
func (r *room) follow(conn net.Conn, state http.ConnState) {
	leaves, tell := r.note(conn, state)
	if leaves != nil {
		leave(leaves)
	}
	if tell {
		r.log.Warn("status port: too many connections; those go that have waited longest for a request", "connections", r.most)
	}
}

// note is follow, and returns which connection has to go, if one has, and whether the log is to be told.
func (r *room) note(conn net.Conn, state http.ConnState) (leaves net.Conn, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.conns[conn]; at != nil {
		r.waiting.Remove(at)
	}
	switch state {
	case http.StateNew, http.StateIdle:
		r.conns[conn] = r.waiting.PushBack(conn)
	case http.StateActive:
		r.conns[conn] = nil
	default:
		delete(r.conns, conn)
	}
	if state != http.StateNew || len(r.conns) <= r.most {
		return nil, false
	}
	first := r.waiting.Front() // the newcomer is among them
	leaves, _ = r.waiting.Remove(first).(net.Conn)
	r.conns[leaves] = nil // until it has gone
	now := time.Now()
	if tell = now.Sub(r.told) >= fullPause; tell {
		r.told = now
	}
	return leaves, tell
}

// leave closes a connection. Under TLS that is the socket: to say goodbye could take long, to one who does not read.
func leave(conn net.Conn) {
	if session, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = session.NetConn()
	}
	_ = conn.Close() // whoever was there has asked for nothing
}
