package tests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/devpki"
)

// TestSoak has one process with all kinds of tunnels carry what a long time brings: transfers of all sizes, clients and targets
// that reset, hostile peers, reloads of identities and of the file, targets that go and come back, drains, scrapes. Nothing that
// was carried is wrong, no cut looks like an end, and where nothing was in the way nothing failed. When all have gone the process
// takes no more than it did after the first of it: not one descriptor, goroutine or socket in CLOSE-WAIT more, and not one object
// on the heap for every connection. A few thousand there may be in any case: histograms have up to 100 buckets each, which are
// made when a duration falls into them.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := 40 * time.Second
	if given := os.Getenv("SOAK"); given != "" {
		var err error
		if lasts, err = time.ParseDuration(given); err != nil || lasts <= 0 {
			t.Fatalf("SOAK=%s: write it like 10m", given)
		}
	} else if !full() {
		t.Skip("takes its time; make soak or make test-full runs it")
	}
	s := newSoak(t)
	s.phase(t, min(lasts/4, time.Minute)) // whatever is made once has been made by then
	before, objects := settled(t, s.process), objectsOf(t, s.process)
	connections, reloads := s.connections.Load(), s.reloads
	s.phase(t, lasts-min(lasts/4, time.Minute))
	connections, reloads = s.connections.Load()-connections, s.reloads-reloads

	eventually(t, fmt.Sprintf("descriptors, goroutines and CLOSE-WAIT are %+v again", before), func() bool {
		now := restOf(t, s.process)
		return now.descriptors <= before.descriptors && now.goroutines <= before.goroutines && now.closeWait <= before.closeWait
	})
	margin := max(int(connections), 8000)
	more := objectsOf(t, s.process) - objects
	t.Logf("%d connections, %d requests, %d reloads, %d scrapes; %+v and %d objects before, %d more after",
		connections, s.requests.Load(), reloads, s.scrapes.Load(), before, objects, more)
	if more > margin {
		t.Errorf("%d objects more than before live in the process, want at most %d after %d connections", more, margin, connections)
	}
	for _, p := range s.places {
		t.Logf("%s: %d good, %d forgiven", p.name, p.good.Load(), p.forgiven.Load())
		if p.good.Load() == 0 {
			t.Errorf("%s: no transfer came to its end", p.name)
		}
	}
	if failed := metricOf(t, s.process, `sallyport_reload_total{result="failure",tunnel=""}`); failed != 0 || s.requests.Load() == 0 || s.scrapes.Load() == 0 {
		t.Errorf("%v reloads failed; %d requests, %d scrapes", failed, s.requests.Load(), s.scrapes.Load())
	}
	s.stop(t)
}

// rest is what a process holds when nobody is connected to it.
type rest struct{ descriptors, goroutines, closeWait int }

// restOf asks a process, which has --enable-pprof.
func restOf(t *testing.T, p *process) rest {
	t.Helper()
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return rest{descriptors: len(descriptors), goroutines: p.status.goroutines(t), closeWait: closeWaits(t, p)}
}

// settled is the least that a process holds of each: a check of a target may be under way, or not.
func settled(t *testing.T, p *process) rest {
	t.Helper()
	least := restOf(t, p)
	for same := 0; same < 10; same++ {
		now := restOf(t, p)
		if now.descriptors < least.descriptors || now.goroutines < least.goroutines || now.closeWait < least.closeWait {
			same = 0
		}
		least = rest{min(least.descriptors, now.descriptors), min(least.goroutines, now.goroutines), min(least.closeWait, now.closeWait)}
	}
	return least
}

var allocations = regexp.MustCompile(`(?m)^# (?:Mallocs|Frees) = (\d+)$`)

// objectsOf is how many objects live in a process, which has --enable-pprof.
func objectsOf(t *testing.T, p *process) int {
	t.Helper()
	measure(t, p) // collects twice, so that what finalizers let go is free
	_, body := p.status.get(t, "/debug/pprof/heap?debug=1&gc=1")
	counts := allocations.FindAllStringSubmatch(body, -1)
	if len(counts) != 2 {
		t.Fatalf("/debug/pprof/heap has no %s", allocations)
	}
	objects := 0
	for i, sign := range []int{1, -1} {
		n, err := strconv.Atoi(counts[i][1])
		if err != nil {
			t.Fatal(err)
		}
		objects += sign * n
	}
	return objects
}

// closeWaits is how many of a process's TCP sockets are in CLOSE-WAIT: the peer has ended, and nobody has noticed.
func closeWaits(t *testing.T, p *process) int {
	t.Helper()
	const closeWait = "08" // include/net/tcp_states.h
	waiting := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(readText(t, fmt.Sprintf("/proc/%d/net/%s", p.cmd.Process.Pid, table))) {
			if fields := strings.Fields(line); len(fields) > 9 && fields[3] == closeWait {
				waiting["socket:["+fields[9]+"]"] = true
			}
		}
	}
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, descriptor := range descriptors {
		if name, err := os.Readlink(filepath.Join(dir, descriptor.Name())); err == nil && waiting[name] { // else it was closed meanwhile
			n++
		}
	}
	return n
}

// A soak is a process and all who come to it.
type soak struct {
	*many

	identities [8][]byte // which the file at keystore has in turn
	keystore   string
	flapping   []*lone
	down       *lone // the one of these that is gone, if any
	website    *httptest.Server
	places     []*place
	web, fort  string // the listeners for HTTP and for hostile peers
	hostile    []*tls.Config
	comes      string // the listener of the tunnel that comes and goes
	target     string // who does errands
	generation int

	connections, requests, scrapes atomic.Int64
	reloads                        int

	mu     sync.Mutex
	failed []error
}

// A place is where errands are run.
type place struct {
	name, address string
	config        *tls.Config // nil: without TLS
	forgives      func(received int64) bool

	good, forgiven atomic.Int64
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	p := newPKI(t)
	s := &soak{
		many:     &many{pki: p, config: filepath.Join(p.dir, "sallyport.yaml")},
		keystore: filepath.Join(p.dir, "keystore.pem"), web: reserve(t), fort: reserve(t), comes: reserve(t),
	}
	for i := range s.identities {
		id, err := p.Issue(devpki.Request{CommonName: "server", DNSNames: []string{"localhost", "a.test", "b.test"}, IPs: loopback})
		if err != nil {
			t.Fatal(err)
		}
		s.identities[i] = id.CombinedPEM()
	}
	writeFile(t, s.keystore, s.identities[0])
	s.top = fmt.Sprintf(`watch-files: false
enable-shutdown: true
enable-pprof: true
quiet: [conns, conn-errs, handshake-errs]
defaults: {keystore: %q, cacert: %q, allow-cn: [client, server], connect-timeout: 1m}
tunnels:
`, s.keystore, p.root)
	s.target = serve(t, "tcp", s.errands).address
	for range 3 {
		s.flapping = append(s.flapping, serveLone(t, s.errands))
	}
	s.website = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil { // else the client has gone
			_, _ = w.Write(body)
		}
	}))
	t.Cleanup(s.website.Close)

	never := func(int64) bool { return false }
	// Who comes while a tunnel goes may be sent away; who has been answered is served to the end.
	unanswered := func(received int64) bool { return received == 0 }
	always := func(int64) bool { return true }
	config := s.client(t)
	named := func(name string) *tls.Config {
		config := config.Clone()
		config.ServerName = name
		return config
	}
	shops := reserve(t)
	s.places = []*place{
		{name: "in", address: reserve(t), forgives: never},
		{name: "out", address: reserve(t), config: config, forgives: never},
		{name: "spread", address: reserve(t), config: config, forgives: always},
		{name: "a", address: shops, config: named("a.test"), forgives: never},
		{name: "b", address: shops, config: named("b.test"), forgives: never},
		{name: "drained", address: reserve(t), config: config, forgives: unanswered},
		{name: "comes", address: s.comes, config: config, forgives: unanswered},
	}

	expired := devpki.Request{CommonName: "client", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	for _, id := range []files{
		newPKI(t).client(t), p.issue(t, "expired", expired), p.issue(t, "other", devpki.Request{CommonName: "other"}),
	} {
		certificate := id.TLSCertificate()
		config := p.clientConfig()
		// A client of crypto/tls holds back what the server's hints exclude.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		s.hostile = append(s.hostile, config)
	}
	s.hostile = append(s.hostile, p.clientConfig())

	s.writeTunnels(t, true)
	s.run(t)
	return s
}

// writeTunnels puts a new generation of the tunnels into the file: some of them differ from the last one.
func (s *soak) writeTunnels(t *testing.T, comes bool) {
	t.Helper()
	s.generation++
	differs := fmt.Sprintf("idle-timeout: %dh", 1+s.generation%7)
	at := func(name string) string {
		for _, p := range s.places {
			if p.name == name {
				return p.address
			}
		}
		t.Fatalf("no place %s", name)
		return ""
	}
	tunnels := []string{
		fmt.Sprintf("- {name: in, mode: client, listen: %q, target: %q}\n", at("in"), at("out")),
		one("out", at("out"), s.target, differs),
		fmt.Sprintf("- {name: spread, mode: server, listen: %q, target: [%q, %q, %q], health-interval: 200ms}\n",
			at("spread"), s.flapping[0].address, s.flapping[1].address, s.flapping[2].address),
		one("shops", at("a"), s.target, fmt.Sprintf("routes: [{name: a, server-name: a.test, target: %q}, {name: b, server-name: b.test, target: %q}]", s.target, s.target)),
		one("web", s.web, strings.TrimPrefix(s.website.URL, "http://"), "protocol: http", differs),
		one("fort", s.fort, s.target, "connect-timeout: 1s"),
		one("drained", at("drained"), s.target, differs),
	}
	if comes {
		tunnels = append(tunnels, one("comes", s.comes, s.target))
	}
	s.write(t, tunnels...)
}

// phase has all come for a while, and returns when all have gone.
func (s *soak) phase(t *testing.T, lasts time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), lasts)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	again := func(what func(context.Context), pause time.Duration) {
		all.Go(func() {
			for ctx.Err() == nil {
				what(ctx)
				wait(ctx, rand.N(pause))
			}
		})
	}
	for _, p := range s.places {
		for range 2 {
			again(func(ctx context.Context) { s.visitPlace(ctx, p) }, 20*time.Millisecond)
		}
	}
	for range 4 {
		again(s.attack, 20*time.Millisecond)
	}
	for _, protocol := range []string{"http/1.1", "h2"} {
		config := s.client(t)
		config.NextProtos = []string{protocol}
		client := &http.Client{Timeout: 2 * patience, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocol == "h2"}}
		defer client.CloseIdleConnections()
		again(func(ctx context.Context) { s.request(ctx, client) }, 20*time.Millisecond)
	}
	again(s.scrape, 200*time.Millisecond)

	pace := time.NewTicker(200 * time.Millisecond)
	defer pace.Stop()
	for step := 0; ctx.Err() == nil && !t.Failed(); step++ {
		s.operate(t, step)
		for _, err := range s.failures() {
			t.Error(err)
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
	stop()
	all.Wait()
	for _, err := range s.failures() {
		t.Error(err)
	}

	if s.down != nil {
		s.down.again()
		s.down = nil
	}
	s.writeTunnels(t, true)
	s.reloadOnce(t)
	s.website.CloseClientConnections() // those that wait for the next request
	eventually(t, "no connection is open", func() bool {
		open := 0.0
		for _, n := range samples(t, s.process, "sallyport_connections_open") {
			open += n
		}
		return open == 0
	})
}

// operate does one of the things that operators do, and that happen to targets.
func (s *soak) operate(t *testing.T, step int) {
	t.Helper()
	switch step % 4 {
	case 0:
		s.writeTunnels(t, step%8 == 4)
		s.reloadOnce(t)
	case 1:
		next := s.keystore + ".next"
		writeFile(t, next, s.identities[step/4%len(s.identities)])
		if err := os.Rename(next, s.keystore); err != nil {
			t.Fatal(err)
		}
		s.reloadOnce(t)
	case 2:
		if s.down != nil {
			s.down.again()
			s.down = nil
			return
		}
		s.down = s.flapping[rand.N(len(s.flapping))]
		s.down.close()
	case 3:
		if code := s.status.post(t, "/_drain?tunnel=drained"); code != http.StatusOK {
			t.Errorf("POST /_drain: %d", code)
		}
	}
}

func (s *soak) reloadOnce(t *testing.T) {
	t.Helper()
	s.reload(t)
	s.reloads++
}

// wait waits, but not beyond ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *soak) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, fmt.Errorf(format, args...))
}

// failures are those that nobody has asked for yet.
func (s *soak) failures() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.failed
	s.failed = nil
	return failed
}

// An errand is what a client asks of a target: to take so many bytes, and to send so many and the sum of what it took.
type errand struct {
	Up, Down, Seed int64
	Manner, Place  int64
}

const (
	together   = iota // both send at once
	afterwards        // the target answers when the client has ended
	targetCuts        // the target resets before it has sent all
	clientCuts        // the client does
	manners
)

// errands is the target. A cut that looked like an end to it is a failure.
func (s *soak) errands(conn net.Conn) {
	var e errand
	if binary.Read(conn, binary.BigEndian, &e) != nil {
		return // a probe, or somebody who changed his mind
	}
	answered := make(chan error, 1)
	switch e.Manner {
	case targetCuts:
		_, _ = io.CopyN(conn, noise(e.Seed), e.Down/2)
		abort(conn)
		return
	case together:
		go func() { answered <- fulfil(conn, e) }()
	default:
		answered <- nil
	}
	sum, n, err := receiveAll(conn)
	if err != nil {
		_ = conn.Close() // who answers learns of it
	}
	if err = errors.Join(err, <-answered); err != nil {
		return // the client missed it too, or meant it; of a reset the system tells but one of the two
	}
	if n != e.Up {
		s.fail("the target was told that %d of %d bytes were all: %+v", n, e.Up, e)
	}
	if e.Manner != together {
		err = fulfil(conn, e)
	}
	if err == nil {
		_, err = conn.Write(sum.Sum(nil))
	}
	if err == nil {
		_ = conn.(halfCloser).CloseWrite() // the client misses it if it fails
	}
}

// fulfil sends what a client asked for.
func fulfil(conn net.Conn, e errand) error {
	_, err := io.CopyN(conn, noise(e.Seed), e.Down)
	return err
}

// A cutNotice is the socket under a TLS session. If the session ended by close_notify, the end of the socket was not read.
type cutNotice struct {
	net.Conn

	seen bool // only whoever reads touches it
}

func (c *cutNotice) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.seen = c.seen || err == io.EOF
	return n, err
}

// visitPlace runs an errand there.
func (s *soak) visitPlace(ctx context.Context, p *place) {
	e := errand{Up: size(), Down: size(), Seed: rand.Int64(), Manner: rand.Int64N(manners), Place: int64(slices.Index(s.places, p))}
	received, err := s.runErrand(ctx, p, e)
	switch {
	case err == nil:
		p.good.Add(1)
	case errors.Is(err, errWrong) || !p.forgives(received):
		s.fail("%s: %+v: after %d bytes: %w", p.name, e, received, err)
	default:
		p.forgiven.Add(1)
	}
}

// size is one of a byte to a megabyte, small ones being as frequent as large ones.
func size() int64 { return 1 + rand.Int64N(int64(1)<<rand.IntN(21)) }

// errWrong is what nothing excuses.
var errWrong = errors.New("what came is wrong")

// runErrand returns how much came of the answer. It begins nothing when ctx has ended, and then ends what it began.
func (s *soak) runErrand(ctx context.Context, p *place, e errand) (received int64, err error) {
	raw, err := net.DialTimeout("tcp", p.address, patience)
	if err != nil {
		return 0, err
	}
	s.connections.Add(1)
	conn, cut := raw, &cutNotice{Conn: raw}
	if p.config != nil {
		config := p.config
		if e.Seed%2 == 0 { // every second one resumes no session
			config = config.Clone()
			config.ClientSessionCache = nil
		}
		conn = tls.Client(cut, config)
	}
	defer abort(raw) // what has ended on both sides is not harmed by it
	if err := conn.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		return 0, err
	}
	if err := binary.Write(conn, binary.BigEndian, e); err != nil {
		return 0, err
	}
	wait(ctx, rand.N(20*time.Millisecond))
	if e.Manner == clientCuts {
		_, _ = io.CopyN(conn, noise(e.Seed+1), e.Up/2) // the reset is what matters
		return 0, nil
	}
	sent := make(chan error, 1)
	go func() {
		_, err := send(conn, e.Seed+1, e.Up, 1+rand.IntN(int(min(e.Up, 64<<10))))
		sent <- err
	}()
	wait(ctx, rand.N(20*time.Millisecond)) // so that it has to wait for us
	got, received, err := receiveAll(conn)
	if err != nil {
		abort(raw)
	}
	sendErr := <-sent
	if e.Manner == targetCuts {
		// The system tells of a reset once. A target that is closed before it has cut itself off ends like any other.
		if err == nil && sendErr == nil && !cut.seen {
			return received, errors.New("the target was cut off, and it looks like an end")
		}
		return received, nil
	}
	if err := errors.Join(err, sendErr); err != nil {
		return received, err
	}
	if received < e.Down+sha256.Size {
		return received, io.ErrUnexpectedEOF // which a target that is killed may look like
	}
	if want := sumOf(e); received != e.Down+sha256.Size || !bytes.Equal(got.Sum(nil), want) {
		return received, fmt.Errorf("%w: %d bytes with another sum than that of %d", errWrong, received, e.Down+sha256.Size)
	}
	return received, nil
}

// sumOf is the sum of the whole answer to an errand.
func sumOf(e errand) []byte {
	up, all := sha256.New(), sha256.New()
	_, _ = io.CopyN(up, noise(e.Seed+1), e.Up) // neither can fail
	_, _ = io.CopyN(all, noise(e.Seed), e.Down)
	all.Write(up.Sum(nil))
	return all.Sum(nil)
}

// request sends a body and has it back, or goes away meanwhile.
func (s *soak) request(ctx context.Context, client *http.Client) {
	body := make([]byte, size())
	_, _ = io.ReadFull(noise(rand.Int64()), body) // it does not end
	asking, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	impatient := rand.IntN(8) == 0
	if impatient {
		defer time.AfterFunc(rand.N(10*time.Millisecond), cancel).Stop()
	}
	request, err := http.NewRequestWithContext(asking, http.MethodPost, "https://"+strings.Replace(s.web, "127.0.0.1", "localhost", 1), bytes.NewReader(body))
	if err != nil {
		s.fail("%w", err)
		return
	}
	request.Header.Set("Idempotency-Key", "any") // the client may send it again where the connection ended just before
	var got []byte
	response, err := client.Do(request)
	if err == nil {
		got, err = io.ReadAll(response.Body)
		_ = response.Body.Close() // all was read
	}
	switch {
	case err != nil && impatient:
	case err != nil:
		s.fail("a request of %d bytes: %w", len(body), err)
	case response.StatusCode != http.StatusOK || !bytes.Equal(got, body):
		s.fail("a request of %d bytes: %s with %d bytes", len(body), response.Status, len(got))
	default:
		s.requests.Add(1)
	}
	if rand.IntN(8) == 0 {
		client.CloseIdleConnections()
	}
}

// attack is what somebody does who should not get through.
func (s *soak) attack(ctx context.Context) {
	conn, err := net.DialTimeout("tcp", s.fort, patience)
	if err != nil {
		s.fail("fort: %w", err)
		return
	}
	defer conn.Close()
	s.connections.Add(1)
	_ = conn.SetDeadline(time.Now().Add(patience))      // it is open
	start := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // of a hello
	switch rand.IntN(8) {
	case 0: // silence, until it is cut off
		_, _ = conn.Write(start)
		_, _ = io.Copy(io.Discard, conn)
	case 1: // a hello that takes for ever
		for _, b := range append(start, make([]byte, 300)...) {
			if _, err := conn.Write([]byte{b}); err != nil || ctx.Err() != nil {
				return
			}
			wait(ctx, 20*time.Millisecond)
		}
	case 2: // half a hello, and gone
		_, _ = conn.Write(start)
	case 3: // garbage
		_, _ = io.CopyN(conn, noise(rand.Int64()), size())
	default:
		session := tls.Client(conn, s.hostile[rand.IntN(len(s.hostile))])
		if session.HandshakeContext(ctx) == nil && echoes(session) == nil {
			s.fail("somebody was let in who should not be")
		}
		if rand.IntN(2) == 0 {
			abort(conn)
		}
	}
}

// scrape asks the status port for all there is.
func (s *soak) scrape(context.Context) {
	for _, path := range []string{"/_metrics", "/metrics", "/_status", "/_connections"} {
		response, err := s.status.do(context.Background(), http.MethodGet, path)
		if err != nil {
			s.fail("GET %s: %w", path, err)
			return
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()                                                     // all was read
		if err != nil || response.StatusCode != http.StatusOK && path != "/_status" { // which may have a tunnel that drains to tell of
			s.fail("GET %s: %s, %w", path, response.Status, err)
		}
		s.scrapes.Add(1)
	}
}
