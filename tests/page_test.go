package tests

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// TestPage is served to everybody, and tells nothing to those without the token; a
// real browser shows with it what /_status says.
func TestPage(t *testing.T) {
	t.Parallel()
	p, token := newPKI(t), filepath.Join(t.TempDir(), "token")
	writeFile(t, token, []byte(firstToken))
	server := start(t, serverLine(t, p, reserve(t), serve(t, "tcp", echo).address,
		"--allow-all", "--status", "https://"+reserve(t), "--status-token-file", token)...)
	resp, err := server.status.do(t.Context(), http.MethodGet, "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-") {
		t.Errorf("%d, policy %q", resp.StatusCode, policy)
	}
	if full() {
		t.Run("Chromium", func(t *testing.T) {
			t.Parallel()
			b := startBrowser(t)
			t.Run("the token is asked for once and kept nowhere", func(t *testing.T) {
				t.Parallel()
				pageAsksForItsToken(t, b, server)
			})
			t.Run("the numbers are those of the status", func(t *testing.T) {
				t.Parallel()
				pageShowsTheStatus(t, b)
			})
		})
	}
}

func pageAsksForItsToken(t *testing.T, b *browser, server *process) {
	page := b.open(t, server.status.base+"/")
	asked := func() bool { return page.eval(t, "document.getElementById('ask')?.open") == "true" }
	eventually(t, "the token is asked for", asked)
	page.enter(t, "wrong-token")
	page.press(t, "Enter")
	eventually(t, "it says that the token is wrong", func() bool {
		return asked() && page.eval(t, "document.getElementById('wrong').hidden") == "false"
	})
	page.press(t, "Escape")
	if !asked() {
		t.Error("Escape shows a page without anything on it")
	}
	page.enter(t, firstToken)
	page.press(t, "Enter")
	eventually(t, "the page shows the status", func() bool { return page.text(t, "#verdict") == "ok · listening" })
	if asked() {
		t.Error("it goes on asking")
	}
	kept := page.eval(t, "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.length, document.documentElement.outerHTML])")
	if strings.Contains(kept, firstToken) {
		t.Error("the token is somewhere in the page, its address or its storage")
	}
	urls, troubles := page.noted()
	for _, url := range urls {
		if strings.Contains(url, firstToken) {
			t.Errorf("the token is in a URL: %s", url)
		}
	}
	for _, trouble := range troubles {
		if !strings.Contains(trouble, "status of 401") { // as a browser says of every such answer
			t.Errorf("in the console: %s", trouble)
		}
	}
	page.call(t, "Page.reload", nil, nil)
	eventually(t, "a page that is loaded anew asks again", asked)
}

func pageShowsTheStatus(t *testing.T, b *browser) {
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all")
	names := []string{"alice", "bob", "<img src=x onerror=alert(1)>", "spoofed\u202egnp.exe", "中間"}
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		traffic.Wait()
	})
	for i, name := range names {
		id := p.issue(t, fmt.Sprint("client", i), devpki.Request{CommonName: name})
		conn := connect(t, listen, p.clientConfig(id))
		traffic.Go(func() {
			for ctx.Err() == nil && roundTrip(conn) == nil {
			}
		})
	}
	for range 3 { // no TLS
		speakNoTLS(t, listen)
	}
	server.waitLines(t, 3, "reason=not_tls")

	page := b.open(t, server.status.base+"/")
	eventually(t, "the page shows the connections", func() bool { return len(page.texts(t, "#list tr")) == len(names) })
	_, want := server.status.report(t)
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for selector, says := range map[string]string{
		"#verdict":                   "ok · listening",
		"#host":                      hostname + " · server mode",
		"#open":                      fmt.Sprint(want.Connections.Open),
		"#tunnels td:nth-child(3)":   listen,
		"#tunnels td:nth-child(4)":   service.address,
		"#tunnels td:nth-child(5)":   "ok",
		"#tunnels td:nth-child(6)":   fmt.Sprint(want.Connections.Open),
		"#tunnels td:nth-child(7)":   fmt.Sprint(want.Connections.Total),
		"#range":                     fmt.Sprintf("1 to %d of %[1]d", len(names)),
		"#failures li :nth-child(1)": "not_tls",
		"#failures li :nth-child(2)": "0 · 3 in all",
	} {
		if got := page.text(t, selector); got != says {
			t.Errorf("%s says %q, want %q", selector, got, says)
		}
	}
	if got := page.text(t, "#accepted"); !strings.HasPrefix(got, fmt.Sprintf("of %d accepted", want.Connections.Total)) {
		t.Errorf("%q, want %d", got, want.Connections.Total)
	}
	var serials []string
	for _, c := range want.Certificates {
		serials = append(serials, c.Serial)
	}
	if got := page.texts(t, "#certificates td:nth-child(7)"); !slices.Equal(got, serials) {
		t.Errorf("certificates %q, want %q", got, serials)
	}
	shown := page.texts(t, "#list td:nth-child(2)")
	slices.Sort(shown)
	expected := []string{"<img src=x onerror=alert(1)>", "alice", "bob", `spoofed\u{202e}gnp.exe`, "中間"}
	if !slices.Equal(shown, expected) {
		t.Errorf("peers %q, want %q", shown, expected)
	}

	eventually(t, "the throughput moves", func() bool {
		return strings.HasSuffix(page.text(t, "#traffic"), "B/s") && page.text(t, "#traffic") != "0 B/s" &&
			page.eval(t, "document.querySelectorAll('#chart-traffic .line').length") == "2"
	})
	pageWorksByKeyboard(t, page)
	pageIsAccessible(t, page)
	pageHasTwoLooks(t, page)

	urls, troubles := page.noted()
	for _, url := range urls {
		if !strings.HasPrefix(url, server.status.base+"/") && !strings.HasPrefix(url, "data:image/svg+xml,") {
			t.Errorf("it asked for %s", url)
		}
	}
	for _, trouble := range troubles {
		t.Errorf("in the console: %s", trouble)
	}

	cancel()
	traffic.Wait()
	server.signal(t, syscall.SIGTERM)
	eventually(t, "the page tells of the drain", func() bool {
		return page.text(t, "#verdict") == "critical · stopping" && strings.HasPrefix(page.text(t, "#facts div:last-child dd"), "5 connections left, cut in 4 min 5")
	})
	server.signal(t, syscall.SIGTERM) // does not wait for them
	eventually(t, "the page tells that nobody answers", func() bool {
		return page.text(t, "#verdict") == "unreachable" && page.eval(t, "document.getElementById('trouble').hidden") == "false"
	})
}

// pageWorksByKeyboard goes through the page with the tabulator, reads a chart, and
// pauses.
func pageWorksByKeyboard(t *testing.T, page *tab) {
	t.Helper()
	focus := func() string {
		return page.eval(t, "document.activeElement.id || document.activeElement.className || document.activeElement.closest('[id]')?.id")
	}
	var stops []string
	for range 9 {
		page.press(t, "Tab")
		stops = append(stops, focus())
	}
	for _, want := range []string{"skip", "pause", "plot"} {
		if !slices.Contains(stops, want) {
			t.Errorf("the tabulator does not stop at %s, but at %q", want, stops)
		}
	}
	page.eval(t, "document.querySelector('#chart-open .plot').focus()")
	page.press(t, "End")
	if got := page.text(t, "#chart-open .readout"); !strings.HasSuffix(got, " · 5") {
		t.Errorf("the chart reads %q at its end", got)
	}
	page.press(t, "Escape")
	page.eval(t, "document.getElementById('pause').focus()")
	for _, want := range []string{"true", "false"} {
		page.press(t, " ")
		if got := page.eval(t, "document.getElementById('pause').ariaPressed"); got != want {
			t.Errorf("pressed: %s, want %s", got, want)
		}
	}
}

// pageIsAccessible wants a name for everything that can be acted on or that is a
// picture, as those who cannot see it are told.
func pageIsAccessible(t *testing.T, page *tab) {
	t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value any }
		}
	}
	page.call(t, "Accessibility.getFullAXTree", nil, &tree)
	named := 0
	for _, node := range tree.Nodes {
		switch role := fmt.Sprint(node.Role.Value); role {
		case "button", "link", "image", "group", "textbox", "columnheader", "region", "RootWebArea":
			if name, _ := node.Name.Value.(string); !node.Ignored && strings.TrimSpace(name) == "" {
				t.Errorf("a %s without a name", role)
			}
			named++
		}
	}
	if named < 20 {
		t.Errorf("%d things with a name, which cannot be all", named)
	}
}

// pageHasTwoLooks takes a picture of each. SALLYPORT_SCREENSHOTS=DIR keeps them.
func pageHasTwoLooks(t *testing.T, page *tab) {
	t.Helper()
	backgrounds := make(map[string]bool)
	for _, scheme := range []string{"light", "dark"} {
		page.call(t, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
		backgrounds[page.eval(t, "getComputedStyle(document.body).backgroundColor")] = true
		picture := page.screenshot(t)
		if size, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || size.Width != 1280 || size.Height != 900 {
			t.Errorf("%s: %+v, %v", scheme, size, err)
		}
		if dir := os.Getenv("SALLYPORT_SCREENSHOTS"); dir != "" {
			writeFile(t, filepath.Join(dir, "page-"+scheme+".png"), picture)
		}
	}
	if len(backgrounds) != 2 {
		t.Errorf("light and dark look the same: %v", backgrounds)
	}
}
