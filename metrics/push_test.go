package metrics

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/devpki"
)

// pushOnce pushes as the end of a process does: once.
func pushOnce(t *testing.T, m *Metrics, to string, trust *tls.Config) string {
	t.Helper()
	at, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Push(ctx, Push{URL: at, TLS: trust, Every: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil))})
	return log.String()
}

func TestPushPostsTheList(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	afternoon(m)
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var list []sample
		if err := json.Unmarshal(body, &list); err != nil || len(list) != 22 || list[3].Metric != "ghostunnel.accept.total" || list[3].Value != 7 {
			t.Errorf("%v in %s", err, body)
		}
		user, password, _ := r.BasicAuth()
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || r.URL.String() != "/in?key=1" || user+password != "mehunter2" {
			t.Errorf("%s %s by %s:%s, %v", r.Method, r.URL, user, password, r.Header)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	log := pushOnce(t, m, strings.Replace(server.URL, "//", "//me:hunter2@", 1)+"/in?key=1", nil)
	if requests != 1 || log != "" {
		t.Errorf("%d requests; log:\n%s", requests, log)
	}
}

// What goes wrong is told in a line, without what lets one in at the receiver.
func TestPushTellsWhatGoesWrongWithoutSecrets(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	answers := http.NewServeMux()
	answers.HandleFunc("/fails/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
	answers.Handle("/moves/", http.RedirectHandler("/elsewhere/", http.StatusTemporaryRedirect))
	answers.HandleFunc("/elsewhere/", func(http.ResponseWriter, *http.Request) { t.Error("a redirection was followed") })
	release := make(chan struct{})
	answers.HandleFunc("/hangs/", func(http.ResponseWriter, *http.Request) { <-release })
	server := httptest.NewServer(answers)
	defer server.Close()
	defer close(release)
	dead := httptest.NewServer(answers)
	dead.Close()
	for path, want := range map[string]string{
		server.URL + "/fails/": "the receiver answers 500 Internal Server Error",
		server.URL + "/moves/": "the receiver answers 307 Temporary Redirect",
		server.URL + "/hangs/": "context deadline exceeded",
		dead.URL + "/":         "connection refused",
	} {
		started := time.Now()
		log := pushOnce(t, m, strings.Replace(path, "//", "//me:hunter2@", 1)+"hunter2?key=hunter2", nil)
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, "metrics do not arrive") || !strings.Contains(log, want) || strings.Contains(log, "hunter2") {
			t.Errorf("%s: want one line with %q and no secret:\n%s", path, want, log)
		}
		if took := time.Since(started); took > 20*lastTimeout {
			t.Errorf("%s: took %v", path, took)
		}
	}
}

func TestPushVerifiesTheReceiver(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue(devpki.Request{CommonName: "receiver", DNSNames: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{id.TLSCertificate()}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	to := fmt.Sprintf("https://localhost:%s/", port)
	if log := pushOnce(t, m, to, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}); log != "" || requests != 1 {
		t.Errorf("%d requests; log:\n%s", requests, log)
	}
	log := pushOnce(t, m, to, &tls.Config{RootCAs: ca.Pool(), ServerName: "elsewhere"})
	if !strings.Contains(log, "not elsewhere") || requests != 1 {
		t.Errorf("%d requests; log:\n%s", requests, log)
	}
}
