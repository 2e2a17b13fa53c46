package status

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// askAs asks a port by a name, which need not be one that leads there.
func askAs(t *testing.T, method, url, host string, header ...string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// A page whose name has come to lead to 127.0.0.1 is of the port's own origin to the browser that shows it.
func TestBrowsersFindAnOpenPortByNamesOfThisMachineAlone(t *testing.T) {
	t.Parallel()
	o, shutdowns := everything(t)
	url := served(t, o)
	port := url[strings.LastIndexByte(url, ':'):]
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	for _, path := range []string{"/", "/_status", "/_connections", "/metrics", "/livez", "/nothing"} {
		for _, c := range []struct {
			host    string
			header  []string
			refused bool
		}{
			{"evil.example" + port, []string{"User-Agent", firefox}, true},
			{"evil.example", []string{"User-Agent", "x", "Accept-Language", "en"}, true}, // Firefox lets pages choose the one
			{"localhost.evil.example" + port, []string{"User-Agent", firefox}, true},
			{"127.0.0.1.evil.example" + port, []string{"User-Agent", firefox}, true},
			{"evil.example" + port, []string{"Sec-Fetch-Site", "same-origin"}, true},
			{"localhost" + port, []string{"User-Agent", firefox}, false},
			{"LOCALHOST.", []string{"User-Agent", firefox}, false},
			{"web.localhost" + port, []string{"User-Agent", firefox}, false},
			{"127.0.0.1" + port, []string{"User-Agent", firefox}, false},
			{"[::1]" + port, []string{"User-Agent", firefox}, false},
			{"[::1]", []string{"User-Agent", firefox}, false},
			{hostname + port, []string{"User-Agent", firefox}, false},
			{"sallyport.monitoring.svc" + port, []string{"User-Agent", "Prometheus/3.0.0"}, false},
			{"evil.example" + port, nil, false}, // Go's client, and not a browser
		} {
			if code := askAs(t, "GET", url+path, c.host, c.header...); (code == http.StatusMisdirectedRequest) != c.refused {
				t.Errorf("GET %s of %s, %q: %d, want refused: %t", path, c.host, c.header, code, c.refused)
			}
		}
	}
	code := askAs(t, "POST", url+"/_shutdown", "evil.example"+port, "Origin", "http://evil.example"+port)
	if code != http.StatusMisdirectedRequest || shutdowns.Load() != 0 {
		t.Errorf("POST /_shutdown of a page: %d, %d shutdowns", code, shutdowns.Load())
	}
}

func TestTokenLetsBrowsersComeByAnyName(t *testing.T) {
	t.Parallel()
	o, _ := everything(t)
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("word"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.Token, err = LoadToken(path); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": 200, "/version": 200} {
		if code := askAs(t, "GET", served(t, o)+path, "ops.example", "User-Agent", "Mozilla/5.0", "Authorization", "Bearer word"); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

func TestPagesOfOtherSitesGetNothingButLinks(t *testing.T) {
	t.Parallel()
	o, _ := everything(t)
	url := served(t, o)
	for _, c := range []struct {
		method, path string
		header       []string
		code         int
	}{
		{"GET", "/debug/pprof/profile", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		{"GET", "/_status", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 403},
		{"GET", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"POST", "/_shutdown", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 403},
		{"GET", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"GET", "/_status", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 200},
		{"GET", "/_status", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
	} {
		if response, _ := ask(t, c.method, url+c.path, c.header...); response.StatusCode != c.code {
			t.Errorf("%s %s %q: %d, want %d", c.method, c.path, c.header, response.StatusCode, c.code)
		}
	}
}
