package certloader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// WorkloadAPIOptions says where a SPIFFE Workload API is, and what is wanted
// from it.
type WorkloadAPIOptions struct {
	// Address is that of the agent: unix:///PATH, tcp://IP:PORT or, on Windows,
	// npipe:NAME (SPIFFE Workload Endpoint, 4).
	Address string

	// Timeout bounds the wait for the first answer; 0 is no bound but that of
	// the context.
	Timeout time.Duration

	// TrustOnly asks for no identity. An agent may tell whom to trust even those
	// that have none.
	TrustOnly bool

	// Log is told when the agent goes away and when it is back. Nil is silence.
	Log *slog.Logger
}

// WorkloadAPI returns a Provider of the X509-SVID that a SPIFFE agent has for
// this process, the first if there are several (SPIFFE Workload API, 5.3), and
// of the bundles of its trust domain and of those that it is federated with.
// With them the rules of X509-SVIDs hold for peers: each must chain to a CA of
// the trust domain in its own ID, and host names play no part.
//
// WorkloadAPI waits for the agent's first answer. From then on the agent says
// when there is a new one, and Changed passes that on. While the agent is away,
// Load returns what it said last. An answer that cannot be used is an error of
// Load until there is a better one.
func WorkloadAPI(ctx context.Context, opts WorkloadAPIOptions) (Provider, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	closing, stop := context.WithCancel(context.Background())
	w := &workload{
		WorkloadAPIOptions: opts,
		changed:            make(chan struct{}, 1),
		answered:           make(chan struct{}),
		refused:            make(chan error, 1),
		closing:            closing,
		stop:               stop,
	}
	if err := w.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", w.origin(), err), w.Close())
	}
	return w, nil
}

// workload is a Provider that an agent talks to.
type workload struct {
	WorkloadAPIOptions
	client   *workloadapi.Client // nil if begin could not make one
	changed  chan struct{}
	answered chan struct{}   // closed with the first answer that is of use
	refused  chan error      // why there will be none
	closing  context.Context // ends when Close begins
	stop     context.CancelFunc
	watching sync.WaitGroup

	mu       sync.Mutex
	material *Material // of the latest answer that was of use; nil before the first
	unusable error     // what is wrong with the latest answer; nil if it was of use
	away     error     // what keeps the agent from answering; nil while nothing does
}

func (w *workload) origin() string { return "--use-workload-api-addr " + w.Address }

// begin has the agent watched, and waits for its first answer.
func (w *workload) begin(ctx context.Context) error {
	if err := workloadapi.ValidateAddress(w.Address); err != nil {
		return err
	}
	client, err := workloadapi.New(ctx, append(redial(), workloadapi.WithAddr(w.Address))...)
	if err != nil {
		return err
	}
	w.client = client
	w.watching.Go(w.watch)

	if w.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.Timeout, fmt.Errorf("nothing of use within --use-workload-api-timeout %v", w.Timeout))
		defer cancel()
	}
	select {
	case <-w.answered:
		return nil
	case err := <-w.refused:
		return errors.New(reasonOf(err))
	case <-ctx.Done():
		return w.gaveUp(context.Cause(ctx))
	}
}

// gaveUp is the error of a wait that has ended for that cause.
func (w *workload) gaveUp(cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.away != nil:
		return fmt.Errorf("%w: %s", cause, reasonOf(w.away))
	case w.unusable != nil:
		return fmt.Errorf("%w: %w", cause, w.unusable)
	}
	return cause
}

// watch listens to the agent until Close.
func (w *workload) watch() {
	pause := newPause()
	for {
		// go-spiffe tries again by itself, except after two errors. That the
		// agent has canceled the call is one that passes: it is about to end. That
		// it finds the call invalid is one that does not (SPIFFE Workload Endpoint,
		// 6), but an agent that took the same call before may be a better judge
		// after its next start.
		err := w.listen()
		if w.closing.Err() != nil {
			return
		}
		if status.Code(err) == codes.InvalidArgument && !w.hasAnswered() {
			w.refused <- err
			return
		}
		select {
		case <-time.After(pause.Next()):
		case <-w.closing.Done():
			return
		}
	}
}

// listen passes what the agent says to the On… methods.
func (w *workload) listen() error {
	if w.TrustOnly {
		return w.client.WatchX509Bundles(w.closing, w)
	}
	return w.client.WatchX509Context(w.closing, w)
}

func (w *workload) hasAnswered() bool {
	select {
	case <-w.answered:
		return true
	default:
		return false
	}
}

// OnX509ContextUpdate takes an answer of the agent.
func (w *workload) OnX509ContextUpdate(answer *workloadapi.X509Context) {
	w.take(answer.DefaultSVID(), answer.Bundles)
}

// OnX509BundlesUpdate takes an answer of the agent to those that want no
// identity.
func (w *workload) OnX509BundlesUpdate(bundles *x509bundle.Set) { w.take(nil, bundles) }

// OnX509ContextWatchError takes what keeps the agent's answers away.
func (w *workload) OnX509ContextWatchError(err error) { w.fail(err) }

// OnX509BundlesWatchError takes what keeps the agent's answers away.
func (w *workload) OnX509BundlesWatchError(err error) { w.fail(err) }

// take keeps an answer.
func (w *workload) take(svid *x509svid.SVID, bundles *x509bundle.Set) {
	material, err := w.newMaterial(svid, bundles)
	if err != nil {
		w.reject(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back()
	// An agent repeats itself to those that connect anew.
	repeated := w.unusable == nil && sameMaterial(w.material, material)
	w.unusable = nil
	if repeated {
		return
	}
	w.material = material
	if !w.hasAnswered() {
		close(w.answered) // whoever waits for this is going to Load
		return
	}
	w.tell()
}

// agentHint is what may help against an agent that gives nothing.
const agentHint = "is the agent running, and is this process registered with it?"

// reject takes note of an answer that cannot be used.
func (w *workload) reject(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back()
	w.unusable = fmt.Errorf("the agent's answer cannot be used: %w", err)
	if w.hasAnswered() {
		w.tell()
		return
	}
	w.Log.Warn("waiting for the Workload API", "address", w.Address, "error", w.unusable, "hint", agentHint)
}

// tell has the Source load.
func (w *workload) tell() {
	select {
	case w.changed <- struct{}{}:
	default: // it has not got round to the last time
	}
}

// fail takes note of an error: in the connection to the agent or, if it is not
// one of gRPC's, in the answer.
func (w *workload) fail(err error) {
	if w.closing.Err() != nil {
		return
	}
	if _, ok := status.FromError(err); !ok && !errors.Is(err, io.EOF) {
		w.reject(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// What has been logged is not again, for as long as it stays the same.
	level := slog.LevelWarn
	if w.away != nil && status.Code(w.away) == status.Code(err) {
		level = slog.LevelDebug
	}
	w.away = err
	text := "the Workload API is away; what it said last stays in use"
	if !w.hasAnswered() {
		text = "waiting for the Workload API"
	}
	w.Log.Log(w.closing, level, text, "address", w.Address, "error", reasonOf(err), "hint", agentHint)
}

// back takes note that the agent has answered.
func (w *workload) back() {
	if w.away != nil {
		w.Log.Info("the Workload API answers", "address", w.Address)
	}
	w.away = nil
}

// reasonOf is what an error of gRPC's says, without the noise around it.
func reasonOf(err error) string {
	if errors.Is(err, io.EOF) {
		return "the agent ended the stream"
	}
	return status.Convert(err).Message()
}

// Load returns the agent's latest answer.
func (w *workload) Load(context.Context) (*Material, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unusable != nil {
		return nil, fmt.Errorf("%s: %w", w.origin(), w.unusable)
	}
	return w.material, nil
}

// Changed receives when the agent has said something new.
func (w *workload) Changed() <-chan struct{} { return w.changed }

// Close stops listening to the agent.
func (w *workload) Close() error {
	w.stop()
	w.watching.Wait()
	if w.client == nil {
		return nil
	}
	if err := w.client.Close(); err != nil {
		return fmt.Errorf("%s: closing: %w", w.origin(), err)
	}
	return nil
}
