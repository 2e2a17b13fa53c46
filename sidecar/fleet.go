package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/metrics"
	"sallyport/proxy"
	"sallyport/sandbox"
	"sallyport/socket"
)

// fleet is the tunnels of the process. Its roster is a list that does not change: what changes the fleet puts another in its
// place, so that whoever reads it waits for nobody.
//
// Where the tunnels come from a file, the fleet is tolerant: one that cannot be started, or fails, is tried again, and the
// others run. A single one that an operator has written on a command line ends the process.
type fleet struct {
	log      *slog.Logger
	metrics  *metrics.Metrics // nil when nothing would read them
	watcher  *certloader.Watcher
	gate     *proxy.Gate
	start    *config.Sidecar // what the process has started with
	tolerant bool
	report   func(error) // takes the failure of a listener that nothing else can be done about

	confined *sandbox.Rules // what the sandbox allows; nil: there is none
	beside   []place        // where the process listens beside its tunnels

	roster  atomic.Pointer[[]*member] // in the order of the configuration, those that are removed last
	changed chan part                 // those that have something to be reloaded

	mu       sync.Mutex      // nobody waits for who reads the log while it is held
	config   *config.Sidecar // what it is by now
	closed   bool            // nothing is started any more
	leaving  map[*tunnel]*ledger
	ledgers  map[string]*ledger
	foremost *tunnel // see first
	leader   *tunnel // see lead

	warned []string // the keys of settings that take a restart; the reload's

	ctx     context.Context // ends with the last reload
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newFleet(c *config.Sidecar, m *metrics.Metrics, watcher *certloader.Watcher, log *slog.Logger, report func(error)) *fleet {
	f := &fleet{
		log: log, metrics: m, watcher: watcher, gate: proxy.NewGate(gateWidth()), start: c, config: c,
		tolerant: c.File != nil, report: report,
		changed: make(chan part), leaving: make(map[*tunnel]*ledger), ledgers: make(map[string]*ledger),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.roster.Store(new([]*member))
	return f
}

// gateWidth is how many handshakes may compute at a time: a processor is left to the established connections, where there is
// more than one.
func gateWidth() int {
	return max(1, runtime.GOMAXPROCS(0)-1)
}

// members are all of them now.
func (f *fleet) members() []*member { return *f.roster.Load() }

// tunnels are those that run now.
func (f *fleet) tunnels() []*tunnel {
	var all []*tunnel
	for _, m := range f.members() {
		if m.tunnel != nil && !m.removed {
			all = append(all, m.tunnel)
		}
	}
	return all
}

// parts are those that can be reloaded, or started.
func (f *fleet) parts() []part {
	var all []part
	for _, m := range f.members() {
		if m.accepts() {
			all = append(all, m)
		}
	}
	return all
}

// first is the first tunnel that has a certificate to show, which is what the status port shows; without one, the last that
// was. Nil: there never was one.
func (f *fleet) first() *tunnel {
	return f.latest(&f.foremost, func(t *tunnel) bool { return !t.config.SendsNoCertificate() })
}

// lead is the first tunnel; without one, the last that was. There is one once the tunnels are loaded.
func (f *fleet) lead() *tunnel {
	return f.latest(&f.leader, func(*tunnel) bool { return true })
}

// latest is the first tunnel that will do, or without one the known one, which it becomes.
func (f *fleet) latest(known **tunnel, will func(*tunnel) bool) *tunnel {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tunnels() {
		if will(t) {
			*known = t
			break
		}
	}
	return *known
}

// build puts a tunnel together that is to have a ledger.
func (f *fleet) build(ctx context.Context, c *config.Tunnel, l *ledger) (*tunnel, error) {
	t, err := newTunnel(ctx, c, f.start, f.watcher, f.gate, f.log)
	if err != nil {
		return nil, err
	}
	t.server.LastID = &l.lastID
	for _, r := range t.routes.each() {
		r.forward.Traffic = l.traffic(r.name)
	}
	return t, nil
}

// builders is how many tunnels are put together at a time: it may mean to wait for a disk, or for DNS.
const builders = 32

// each calls build for all of n, several at a time.
func each(n int, build func(i int)) {
	var all sync.WaitGroup
	turn := make(chan struct{}, builders)
	for i := range n {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			build(i)
		})
	}
	all.Wait()
}

// load puts together all tunnels that the process starts with. It opens no listener.
func (f *fleet) load(ctx context.Context) error {
	members := make([]*member, len(f.config.Tunnels))
	for i := range members {
		c := &f.config.Tunnels[i]
		members[i] = f.newMember(c, f.ledgerOf(c.Name))
	}
	each(len(members), func(i int) {
		m := members[i]
		m.tunnel, m.fault = f.build(ctx, m.config, m.ledger)
		m.fault = m.locate(m.fault)
	})
	f.roster.Store(&members)
	for _, m := range members {
		m.measure(f.metrics)
	}
	f.lead() // is known from now on, whatever becomes of it
	return f.judge()
}

// listen opens the listeners of all that were put together.
func (f *fleet) listen(ctx context.Context, activation *socket.Activation) ([]place, error) {
	var places []place
	for _, m := range f.members() {
		if m.tunnel == nil {
			m.hold(ctx, activation)
			continue
		}
		err := m.tunnel.listen(ctx, activation)
		if err == nil {
			at := m.tunnel.place()
			if err = at.distinctFrom(places); err == nil {
				places = append(places, at)
				continue
			}
		}
		m.fault = m.locate(errors.Join(err, m.tunnel.close()))
		m.tunnel = nil
		m.measure(f.metrics)
	}
	return places, f.judge()
}

// judge is the error of a start that comes to nothing: one is enough, unless the fleet is tolerant; then it takes all.
func (f *fleet) judge() error {
	var errs []error
	for _, m := range f.members() {
		if m.fault != nil {
			errs = append(errs, m.fault)
		}
	}
	if f.tolerant && len(errs) < len(f.members()) {
		return nil
	}
	return errors.Join(errs...)
}

// run has all that is there serve, and returns what tells the log.
func (f *fleet) run() (tell func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var told []func()
	for _, m := range f.members() {
		if m.tunnel != nil {
			told = append(told, f.serve(m))
		} else {
			told = append(told, m.complain)
		}
	}
	return func() {
		for _, tell := range told {
			tell()
		}
	}
}

// serve has a member accept connections, and returns what tells the log. f.mu is held.
func (f *fleet) serve(m *member) (tell func()) {
	t, ln := m.tunnel, m.tunnel.listener
	m.ledger.add(t.server)
	f.running.Go(func() {
		if err := t.serve(ln); err != nil {
			f.lost(m, err)
		}
	})
	var ctx context.Context
	ctx, m.unwatch = context.WithCancel(f.ctx)
	f.watch(ctx, m)
	attrs := []any{
		"tunnel", m.config.Name, "mode", string(m.config.Mode),
		"listen", found(m.config.Listen, ln), "target", m.config.Upstream.String(),
	}
	if m.config.Upstream.IsBalanced() {
		attrs = append(attrs, "balance", string(m.config.Upstream.Balance))
	}
	if !m.config.Proxy.IsZero() {
		attrs = append(attrs, "proxy", m.config.Proxy.String())
	}
	if n := len(m.config.Routes); n > 0 {
		attrs = append(attrs, "routes", n)
	}
	return func() { f.log.Info("listening", attrs...) }
}

// watch has a part reloaded when there is something new for it, until the context ends.
func (f *fleet) watch(ctx context.Context, p part) {
	if news := p.news(); news != nil {
		f.running.Go(func() { passOn(ctx, p, news, f.changed) })
	}
}

// ledgerOf is the ledger of a name. f.mu is held, or nothing runs yet.
func (f *fleet) ledgerOf(name string) *ledger {
	l := f.ledgers[name]
	if l == nil {
		l = new(ledger)
		f.ledgers[name] = l
	}
	return l
}

// close lets go of all tunnels, whose connections have ended or been cut.
func (f *fleet) close() error {
	f.cancel()
	var errs []error
	for _, m := range f.members() {
		if m.tunnel != nil && !m.removed {
			errs = append(errs, m.tunnel.close())
		}
		errs = append(errs, m.letGo())
	}
	f.running.Wait()
	return errors.Join(errs...)
}

// place is where the tunnel listens.
func (t *tunnel) place() place {
	return place{"--listen " + t.config.Listen.String(), t.listener.Addr()}
}
