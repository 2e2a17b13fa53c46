package sidecar

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"sallyport/proxy"
)

// ledger keeps count of what goes through the tunnels of one name, one after another: where a reload replaces a tunnel, the
// connections that it has go on, under the same name.
type ledger struct {
	lastID atomic.Uint64 // of a connection

	mu             sync.Mutex
	servers        []*proxy.Server // those that accept connections, or have some left
	total, in, out int64           // of those that are no more
	byRoute        map[string]*proxy.Traffic
}

// traffic is what goes by the routes of one name.
func (l *ledger) traffic(route string) *proxy.Traffic {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byRoute == nil {
		l.byRoute = make(map[string]*proxy.Traffic)
	}
	if l.byRoute[route] == nil {
		l.byRoute[route] = new(proxy.Traffic)
	}
	return l.byRoute[route]
}

// add has a server count too.
func (l *ledger) add(s *proxy.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.servers = append(l.servers, s)
}

// end writes down what a server has come to, whose connections have all ended.
func (l *ledger) end(s *proxy.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, total := s.Counts()
	in, out := s.Bytes()
	l.total, l.in, l.out = l.total+total, l.in+in, l.out+out
	l.servers = slices.DeleteFunc(l.servers, func(other *proxy.Server) bool { return other == s })
}

// counts is proxy.Server.Counts for all of them.
func (l *ledger) counts() (open, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total = l.total
	for _, s := range l.servers {
		now, all := s.Counts()
		open, total = open+now, total+all
	}
	return open, total
}

// bytes is proxy.Server.Bytes for all of them.
func (l *ledger) bytes() (in, out int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in, out = l.in, l.out
	for _, s := range l.servers {
		toTarget, toClient := s.Bytes()
		in, out = in+toTarget, out+toClient
	}
	return in, out
}

// connections is proxy.Server.Connections for all of them.
func (l *ledger) connections() []proxy.Connection {
	l.mu.Lock()
	servers := slices.Clone(l.servers)
	l.mu.Unlock()
	var all []proxy.Connection
	for _, s := range servers {
		all = append(all, s.Connections()...)
	}
	if len(servers) > 1 {
		slices.SortFunc(all, func(a, b proxy.Connection) int { return cmp.Compare(a.ID, b.ID) })
	}
	return all
}
