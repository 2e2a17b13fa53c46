package status

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const theToken = "s3cr3t-T0ken_of.this~test+a/b=="

// newToken makes a Token in a file.
func newToken(t *testing.T, content string) (token *Token, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "token")
	write(t, path, content)
	token, err := LoadToken(path)
	if err != nil {
		t.Fatal(err)
	}
	return token, path
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// logLines is a log to look into.
type logLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func TestTokenFileIsOneWord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content, token string
		fault                string // in the error; "": none
	}{
		{"word", theToken, theToken, ""},
		{"line", theToken + "\n", theToken, ""},
		{"line of Windows", theToken + "\r\n", theToken, ""},
		{"blanks around", "  " + theToken + "\t\n\n", theToken, ""},
		{"as long as may be", strings.Repeat("x", maxTokenBytes), strings.Repeat("x", maxTokenBytes), ""},
		{"empty", "", "", "no token in it"},
		{"line break", "\n", "", "no token in it"},
		{"two lines", theToken + "\n" + theToken, "", "not a token"},
		{"two words", theToken + " " + theToken, "", "not a token"},
		{"padding alone", "==", "", "not a token"},
		{"padding in the middle", "s3cr3t=T0ken", "", "not a token"},
		{"header", "Bearer: s3cr3t-T0ken", "", "not a token"},
		{"other letters", "s3cr3t-T0ken-ä", "", "not a token"},
		{"binary", "s3cr3t-T0ken\x00", "", "not a token"},
		{"too long", strings.Repeat("x", maxTokenBytes+1), "", "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "token")
			write(t, path, c.content)
			token, err := LoadToken(path)
			if c.fault != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "--status-token-file "+path+": ") || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("error %v, want one that names flag and file, and %q", err, c.fault)
				}
				if strings.Contains(err.Error(), "s3cr3t") {
					t.Errorf("the error shows the token: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !token.is(c.token) {
				t.Error("is not what the file holds")
			}
			for _, other := range []string{"", c.token + "x", c.token[1:], strings.ToUpper(c.token), c.token + "\n"} {
				if other != c.token && token.is(other) {
					t.Errorf("is %q too", other)
				}
			}
		})
	}
}

func TestTokenStaysWhenItsFileIsDamaged(t *testing.T) {
	t.Parallel()
	token, path := newToken(t, theToken)
	check := func(now, before string) {
		t.Helper()
		if !token.is(now) || token.is(before) {
			t.Errorf("%q: %t, %q: %t", now, token.is(now), before, token.is(before))
		}
	}
	write(t, path, "two words")
	if err := token.Reload(); err == nil {
		t.Error("no error for two words")
	}
	check(theToken, "two words")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := token.Reload(); err == nil || strings.Count(err.Error(), path) != 1 {
		t.Errorf("%v, want an error that names the file once", err)
	}
	check(theToken, "")
	write(t, path, "another")
	if err := token.Reload(); err != nil {
		t.Error(err)
	}
	check("another", theToken)
}

// guardedPort is a status port with everything switched on, and a token.
func guardedPort(t *testing.T) (url string, log *logLines, path string, token *Token, shutdowns func() int64) {
	t.Helper()
	o, count := everything(t)
	log = new(logLines)
	o.Token, path = newToken(t, theToken)
	o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return served(t, o), log, path, o.Token, count.Load
}

func TestWhatNeedsAToken(t *testing.T) {
	t.Parallel()
	url, _, _, _, shutdowns := guardedPort(t)
	for _, c := range []struct {
		method, path  string
		without, with int
	}{
		{"GET", "/livez", 200, 200},
		{"GET", "/readyz", 200, 200},
		{"HEAD", "/readyz", 200, 200},
		{"POST", "/livez", 405, 405},
		{"GET", "/healthz", 401, 200},
		{"GET", "/version", 401, 200},
		{"GET", "/_status", 401, 200},
		{"HEAD", "/_status", 401, 200},
		{"POST", "/_status", 401, 405},
		{"GET", "/_metrics", 401, 200},
		{"GET", "/_metrics?format=prometheus", 401, 200},
		{"GET", "/_metrics/json", 401, 200},
		{"GET", "/_metrics/prometheus", 401, 200},
		{"GET", "/metrics", 401, 200},
		{"GET", "/debug/pprof/", 401, 200},
		{"GET", "/debug/pprof/cmdline", 401, 200},
		{"GET", "/debug/pprof/heap", 401, 200},
		{"GET", "/debug/pprof/goroutine?debug=1", 401, 200},
		{"GET", "/_shutdown", 401, 405},
		{"OPTIONS", "/_shutdown", 401, 405},
		{"GET", "/_connections", 401, 200},
		{"GET", "/nothing", 401, 404},
		{"GET", "/", 200, 200},
		{"GET", "/?/_status", 200, 200},
		{"POST", "/", 405, 405},
		// Ways around what is asked for.
		{"GET", "/livez/", 401, 404},
		{"GET", "//livez", 401, 307},
		{"GET", "/livez/../_status", 401, 307},
		{"GET", "/livez/..%2f_status", 401, 404},
		{"GET", "/livez;/_status", 401, 404},
		{"GET", "/LIVEZ", 401, 404},
		{"GET", "/livez?/_status", 200, 200},
		{"GET", "/_status?/livez", 401, 200},
		{"GET", "/_status?access_token=" + theToken, 401, 200},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			response, body := ask(t, c.method, url+c.path)
			if response.StatusCode != c.without {
				t.Errorf("without a token: %d %.80q, want %d", response.StatusCode, body, c.without)
			}
			if challenge := response.Header.Get("WWW-Authenticate"); (challenge == `Bearer realm="sallyport"`) != (c.without == 401) {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if response, body := ask(t, c.method, url+c.path, "Authorization", "Bearer "+theToken); response.StatusCode != c.with || response.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("with the token: %d %.80q, want %d", response.StatusCode, body, c.with)
			}
		})
	}
	t.Cleanup(func() {
		if got := shutdowns(); got != 0 {
			t.Errorf("%d shutdowns", got)
		}
	})
}

func TestShutdownNeedsTheToken(t *testing.T) {
	t.Parallel()
	url, _, _, _, shutdowns := guardedPort(t)
	for _, header := range [][]string{nil, {"Authorization", "Bearer wrong"}} {
		if response, _ := ask(t, "POST", url+"/_shutdown", header...); response.StatusCode != 401 || shutdowns() != 0 {
			t.Errorf("%v: %d and %d shutdowns", header, response.StatusCode, shutdowns())
		}
	}
	if response, _ := ask(t, "POST", url+"/_shutdown", "Authorization", "Bearer "+theToken); response.StatusCode != 200 || shutdowns() != 1 {
		t.Errorf("with the token: %d and %d shutdowns", response.StatusCode, shutdowns())
	}
}

func TestCredentials(t *testing.T) {
	url, log, _, _, _ := guardedPort(t)
	for _, c := range []struct {
		name   string
		values []string
		code   int
		wrong  bool // a token was there, and was not it
	}{
		{"the token", []string{"Bearer " + theToken}, 200, false},
		{"scheme in other case", []string{"bEARER " + theToken}, 200, false},
		{"more blanks", []string{"Bearer   " + theToken}, 200, false},
		{"none", nil, 401, false},
		{"empty", []string{""}, 401, false},
		{"scheme alone", []string{"Bearer"}, 401, false},
		{"token alone", []string{theToken}, 401, false},
		{"other scheme", []string{"Basic " + theToken}, 401, false},
		{"scheme that begins so", []string{"BearerX " + theToken}, 401, false},
		{"tab for a blank", []string{"Bearer\t" + theToken}, 401, false},
		{"token twice", []string{"Bearer " + theToken, "Bearer " + theToken}, 401, false},
		{"wrong before right", []string{"Bearer x", "Bearer " + theToken}, 401, false},
		{"a list", []string{"Bearer " + theToken + ", Bearer " + theToken}, 401, true},
		{"wrong", []string{"Bearer wrong"}, 401, true},
		{"too short", []string{"Bearer " + theToken[:len(theToken)-1]}, 401, true},
		{"too long", []string{"Bearer " + theToken + "x"}, 401, true},
		{"other case", []string{"Bearer " + strings.ToUpper(theToken)}, 401, true},
		{"very long", []string{"Bearer " + strings.Repeat("x", 8<<10)}, 401, true},
	} {
		t.Run(c.name, func(t *testing.T) { // one after another: the log tells of this one alone
			before := strings.Count(log.String(), "\n")
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/version", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header["Authorization"] = c.values
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != c.code {
				t.Errorf("%d %q, want %d", response.StatusCode, body, c.code)
			}
			if got := strings.Contains(response.Header.Get("WWW-Authenticate"), `error="invalid_token"`); got != c.wrong {
				t.Errorf("WWW-Authenticate %q; a wrong token: %t", response.Header.Get("WWW-Authenticate"), c.wrong)
			}
			lines := strings.Split(log.String(), "\n")[before:]
			if logged := len(lines) == 2 && strings.Contains(lines[0], "level=WARN") && strings.Contains(lines[0], "reason=wrong_token"); logged != c.wrong {
				t.Errorf("logged %q; a wrong token: %t", lines, c.wrong)
			}
		})
	}
	if strings.Contains(log.String(), theToken[:8]) || strings.Contains(log.String(), "xxxx") {
		t.Errorf("the log has a token:\n%s", log)
	}
}

func TestNewTokenCountsAtOnce(t *testing.T) {
	t.Parallel()
	url, _, path, token, _ := guardedPort(t)
	check := func(text string, code int) {
		t.Helper()
		if response, _ := ask(t, "GET", url+"/version", "Authorization", "Bearer "+text); response.StatusCode != code {
			t.Errorf("%s: %d, want %d", text, response.StatusCode, code)
		}
	}
	check(theToken, 200)
	write(t, path, "another")
	check(theToken, 200)
	if err := token.Reload(); err != nil {
		t.Fatal(err)
	}
	check(theToken, 401)
	check("another", 200)
}
