package metrics

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/internal/peertext"
)

// other stands for the values of a label that are not told apart.
const other = "other"

// methods are those of HTTP that are told apart (RFC 9110, section 9, and RFC 5789).
var methods = []string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}

// combinationsPerHost is how many combinations of method and status code a host
// may have on average before further ones are counted under other. Who sends
// requests chooses the first and has a say in the second.
const combinationsPerHost = 10

// switchingProtocols is the status code behind which a connection leaves HTTP. What
// it takes from there on is its life, and says nothing about answers.
const switchingProtocols = 101

// Requests takes down the HTTP requests of one tunnel. [Metrics.AddRequests] makes
// it. Its methods are safe for concurrent use.
type Requests struct {
	families *requestFamilies
	tunnel   string
	maxHosts int
	compat   *compatRequests // nil without

	mu    sync.Mutex
	hosts map[string]bool // that are told apart
	known map[request]*requestCounts
}

// request is what is told apart of requests.
type request struct {
	host, method string
	code         int // 0: one that is none
}

type requestCounts struct {
	total prometheus.Counter
	took  prometheus.Observer
}

// requestFamilies are the metrics of HTTP requests, which are there if a tunnel looks
// into HTTP.
type requestFamilies struct {
	total *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newRequestFamilies(registry prometheus.Registerer) *requestFamilies {
	labels := []string{"tunnel", "code", "host", "method"}
	return &requestFamilies{
		total: register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_dataplane_requests_total",
			Help: "HTTP requests that were answered; host is other beyond --metrics-max-identities, method for those that HTTP does not have.",
		}, labels)),
		took: register(registry, newDurations("http_dataplane_request_duration_seconds",
			"How long HTTP requests took from their header to the end of the answer, but for those that left HTTP (101).", quick, labels...)),
	}
}

// AddRequests has the metrics tell of the HTTP requests of a tunnel. Asked again for
// the same name, it goes on where it was.
func (m *Metrics) AddRequests(tunnel string) *Requests {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.requests[tunnel]; ok {
		return r
	}
	if m.requestFamilies == nil {
		m.requestFamilies = newRequestFamilies(m.own)
	}
	r := &Requests{
		families: m.requestFamilies,
		tunnel:   label(tunnel),
		maxHosts: m.maxIdentities,
		hosts:    make(map[string]bool),
		known:    make(map[request]*requestCounts),
	}
	if m.prometheusTunnel {
		if m.compat == nil {
			m.compat = newCompatFamilies(m.own)
		}
		r.compat = m.compat.add(m.own, r.tunnel)
	}
	m.requests[tunnel] = r
	return r
}

// RemoveRequests has the metrics tell no more of the requests of a tunnel that has
// ceased to look into HTTP, and whose connections from before have all ended.
func (m *Metrics) RemoveRequests(tunnel string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removeRequestsLocked(tunnel)
}

// removeRequestsLocked has the metrics tell no more of the requests of a tunnel, if
// they have. m.mu is held.
func (m *Metrics) removeRequestsLocked(tunnel string) {
	r, ok := m.requests[tunnel]
	if !ok {
		return
	}
	delete(m.requests, tunnel)
	of := prometheus.Labels{"tunnel": r.tunnel}
	r.families.total.DeletePartialMatch(of)
	r.families.took.DeletePartialMatch(of)
	if r.compat != nil {
		m.compat.remove(m.own, r.compat, of)
	}
}

// Answered records that a request with a Host and a method was answered with a
// status code, and that it took so long. Hosts count without their port and in lower
// case; those that come first, as many as --metrics-max-identities, are told apart.
func (r *Requests) Answered(host, method string, code int, took time.Duration) {
	if !slices.Contains(methods, method) {
		method = other
	}
	if code < 100 || code > 599 {
		code = 0
	}
	counts := r.counts(request{hostLabel(host), method, code})
	counts.total.Inc()
	if code != switchingProtocols {
		counts.took.Observe(took.Seconds())
	}
	if r.compat != nil {
		r.compat.answered(code, took)
	}
}

// counts are those of a request; of one too many, those of other hosts.
func (r *Requests) counts(of request) *requestCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	if counts, ok := r.known[of]; ok {
		return counts
	}
	tellable := r.hosts[of.host] || len(r.hosts) < r.maxHosts
	if !tellable || len(r.known) >= combinationsPerHost*r.maxHosts {
		of.host = other
		if counts, ok := r.known[of]; ok {
			return counts
		}
	} else {
		r.hosts[of.host] = true
	}
	labels := []string{r.tunnel, codeLabel(of.code), of.host, of.method}
	counts := &requestCounts{r.families.total.WithLabelValues(labels...), r.families.took.WithLabelValues(labels...)}
	r.known[of] = counts
	return counts
}

// hostLabel is the host of a Host header as a label has it.
func hostLabel(host string) string {
	if port := strings.LastIndexByte(host, ':'); port > strings.LastIndexByte(host, ']') {
		host = host[:port]
	}
	return label(peertext.Cut(strings.ToLower(host)))
}

// codeLabel is a status code as a label has it.
func codeLabel(code int) string {
	if code == 0 {
		return other
	}
	return strconv.Itoa(code)
}
