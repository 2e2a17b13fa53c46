package tests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A browser is Chromium without a window, driven by its DevTools protocol.
type browser struct {
	address string // of the protocol: HOST:PORT
	first   *tab   // the browser itself
}

// startBrowser starts a browser that knows nobody and remembers nothing.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command(need(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
		"--disable-background-networking", "--disable-breakpad", "--disable-dev-shm-usage", "--ignore-certificate-errors",
		"--user-data-dir="+filepath.Join(home, "profile"), "--remote-debugging-port=0", "about:blank")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its own children end with it
	var stderr output
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // however it ends
	}()
	t.Cleanup(func() {
		select {
		case <-done:
		case <-time.After(5 * time.Second): // to close by itself
		}
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
		<-done
	})
	where := regexp.MustCompile(`DevTools listening on (ws://([^/]+)/\S+)`)
	var found []string
	eventually(t, "the browser can be driven", func() bool {
		found = where.FindStringSubmatch(stderr.String())
		return found != nil
	})
	b := &browser{address: found[2]}
	b.first = newTab(t, found[1])
	t.Cleanup(func() { b.first.send("Browser.close", nil) })
	return b
}

// open opens a page in a tab of its own, 1280 by 900.
func (b *browser) open(t *testing.T, url string) *tab {
	t.Helper()
	var target struct{ TargetID string }
	b.first.call(t, "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	tab := newTab(t, "ws://"+b.address+"/devtools/page/"+target.TargetID)
	for _, domain := range []string{"Runtime", "Log", "Network", "Page", "Accessibility"} {
		tab.call(t, domain+".enable", nil, nil)
	}
	tab.call(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	tab.call(t, "Page.navigate", map[string]any{"url": url}, nil)
	return tab
}

// A tab is one session of the protocol.
type tab struct {
	conn *websocket.Conn

	mu       sync.Mutex
	last     int
	waiting  map[int]chan answer
	asked    []string // the URLs of all requests
	troubles []string // what a developer would see in red in the console
}

type answer struct {
	result json.RawMessage
	err    error
}

func newTab(t *testing.T, url string) *tab {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	tab := &tab{conn: conn, waiting: make(map[int]chan answer)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tab.receive()
	}()
	t.Cleanup(func() {
		_ = conn.CloseNow() // the browser may have done so
		<-ended
	})
	return tab
}

// receive takes answers and events until the connection ends.
func (s *tab) receive() {
	for {
		_, data, err := s.conn.Read(context.Background())
		if err != nil {
			return
		}
		var message struct {
			ID     int
			Method string
			Params json.RawMessage
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(data, &message); err != nil {
			return
		}
		s.mu.Lock()
		if waiting, ok := s.waiting[message.ID]; ok {
			delete(s.waiting, message.ID)
			a := answer{result: message.Result}
			if message.Error != nil {
				a.err = errors.New(message.Error.Message)
			}
			waiting <- a
		}
		s.note(message.Method, string(message.Params))
		s.mu.Unlock()
	}
}

// note keeps what a test wants to know of an event. s.mu is held.
func (s *tab) note(method, params string) {
	var event struct {
		Type    string // of a call of the console
		Entry   struct{ Level string }
		Request struct{ URL string }
	}
	if json.Unmarshal([]byte(params), &event) != nil {
		return
	}
	switch {
	case method == "Network.requestWillBeSent":
		s.asked = append(s.asked, event.Request.URL)
	case method == "Runtime.exceptionThrown",
		method == "Runtime.consoleAPICalled" && event.Type != "log",
		method == "Log.entryAdded" && event.Entry.Level != "verbose":
		s.troubles = append(s.troubles, params)
	}
}

// noted returns the URLs that were asked for, and what went wrong.
func (s *tab) noted() (asked, troubles []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.asked...), append([]string{}, s.troubles...)
}

// send sends a command and returns where its answer will come.
func (s *tab) send(method string, params any) <-chan answer {
	s.mu.Lock()
	s.last++
	id, got := s.last, make(chan answer, 1)
	s.waiting[id] = got
	s.mu.Unlock()
	data, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if err == nil {
		err = s.conn.Write(context.Background(), websocket.MessageText, data)
	}
	if err != nil {
		got <- answer{err: err}
	}
	return got
}

// call is send that waits, and decodes the answer into result unless that is nil.
func (s *tab) call(t *testing.T, method string, params, result any) {
	t.Helper()
	got := receive(t, "the browser's answer to "+method, s.send(method, params))
	if got.err != nil {
		t.Fatalf("%s: %v", method, got.err)
	}
	if result != nil {
		if err := json.Unmarshal(got.result, result); err != nil {
			t.Fatalf("%s: %v\n%s", method, err, got.result)
		}
	}
}

// eval is what an expression of JavaScript has for a value, as text.
func (s *tab) eval(t *testing.T, format string, args ...any) string {
	t.Helper()
	var got struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	s.call(t, "Runtime.evaluate", map[string]any{"expression": "String(" + fmt.Sprintf(format, args...) + ")", "awaitPromise": true, "returnByValue": true}, &got)
	if got.ExceptionDetails != nil {
		t.Fatalf("%s: %v", format, got.ExceptionDetails)
	}
	return fmt.Sprint(got.Result.Value)
}

// text is what the element that a selector finds says.
func (s *tab) text(t *testing.T, selector string) string {
	t.Helper()
	return s.eval(t, "document.querySelector(%q)?.textContent ?? 'no such element'", selector)
}

// texts is text of each element that a selector finds.
func (s *tab) texts(t *testing.T, selector string) []string {
	t.Helper()
	joined := s.eval(t, "[...document.querySelectorAll(%q)].map(e => e.textContent).join('\\n')", selector)
	if joined == "" {
		return nil
	}
	return strings.Split(joined, "\n")
}

// press presses a key and lets it go.
func (s *tab) press(t *testing.T, key string) {
	t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
	params := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": codes[key]}
	switch key {
	case "Enter":
		params["text"] = "\r"
	case " ":
		params["text"] = key
	}
	s.call(t, "Input.dispatchKeyEvent", params, nil)
	s.call(t, "Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": codes[key]}, nil)
}

// enter types text into what has the focus.
func (s *tab) enter(t *testing.T, text string) {
	t.Helper()
	s.call(t, "Input.insertText", map[string]any{"text": text}, nil)
}

// screenshot is what is seen, as a PNG.
func (s *tab) screenshot(t *testing.T) []byte {
	t.Helper()
	var got struct{ Data string }
	s.call(t, "Page.captureScreenshot", map[string]any{"format": "png"}, &got)
	data, err := base64.StdEncoding.DecodeString(got.Data)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
