package tests

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The programs of wine, as Debian keeps them.
const (
	wine       = "/usr/lib/wine/wine64"
	wineServer = "/usr/lib/wine/wineserver64"
)

// prng is the one function that Go needs of Windows and that wine 8 does not
// have, made of one that it has.
const prng = `#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *into, SIZE_T size) { return RtlGenRandom(into, size); }
`

// A windows is one of wine's, with the Windows binary.
type windows struct {
	binary string
	env    []string
}

func newWindows(t *testing.T) *windows {
	t.Helper()
	program, server, compiler := need(t, wine), need(t, wineServer), need(t, "x86_64-w64-mingw32-gcc")
	dir, err := os.MkdirTemp("", "wine") // which leaves files behind as long as its server runs
	if err != nil {
		t.Fatal(err)
	}
	w := &windows{
		binary: filepath.Join(dir, "sallyport.exe"),
		env:    []string{"WINEPREFIX=" + filepath.Join(dir, "prefix"), "WINEDEBUG=-all", "HOME=" + dir},
	}
	do := func(env []string, name string, args ...string) {
		t.Helper()
		// What wine leaves running keeps what it is given for standard output:
		// a pipe would have no end.
		out, err := os.Create(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Close() }()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(out.Name())
			t.Fatalf("%s: %v: %s", cmd, err, text)
		}
	}
	t.Cleanup(func() {
		for _, what := range []string{"--kill", "--wait"} {
			end := exec.Command(server, what)
			end.Env = w.env
			_ = end.Run() // it may have ended by itself
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	do([]string{"CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64"}, "go", "build", "-o", w.binary, "sallyport")
	do(w.env, program, "wineboot", "--init")
	source := filepath.Join(dir, "prng.c")
	writeFile(t, source, []byte(prng))
	do(nil, compiler, "-shared", "-o", filepath.Join(dir, "prefix", "drive_c", "windows", "system32", "bcryptprimitives.dll"), source, "-ladvapi32")
	return w
}

// launch starts the binary.
func (w *windows) launch(t *testing.T, args ...string) *process {
	t.Helper()
	return launchSallyport(t, w.env, exec.Command(wine, append([]string{w.binary}, args...)...))
}

// TestWindowsBinaryServes on TCP, in both modes: it lets in whom it should,
// reloads, and drains. What Windows has not is an error.
func TestWindowsBinaryServes(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("builds for Windows; make test-full runs it")
	}
	w, p := newWindows(t), newPKI(t)
	listen, local := reserve(t), reserve(t)
	server := w.launch(t, append(p.server(t).flags(), "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
		"--cacert", p.root, "--allow-cn", "client", "--status", "http://"+reserve(t), "--enable-shutdown", "--timed-reload", "100ms")...)
	client := w.launch(t, append(p.client(t).flags(), "client", "--listen", local, "--target", listen,
		"--cacert", p.root, "--status", "http://"+reserve(t), "--enable-shutdown")...)
	server.waitReady(t)
	client.waitReady(t)
	through := dial(t, "tcp", local)
	if err := exchange(through, 1, 1<<20, 4096); err != nil {
		t.Errorf("through both modes: %v", err)
	}
	config := p.clientConfig(p.client(t))
	if err := attempt(t, listen, config); err != nil {
		t.Errorf("to the server: %v", err)
	}
	config.Certificates = nil
	if attempt(t, listen, config) == nil {
		t.Error("somebody without a certificate was let in")
	}
	server.waitLine(t, "error on TLS handshake", "reason=no_certificate")

	renewed := p.server(t)
	config = p.clientConfig(p.client(t))
	eventually(t, "a reload of files that were replaced", func() bool { return shown(t, listen, config).Equal(renewed.Leaf) })

	for _, process := range []*process{client, server} {
		if code := process.status.post(t, "/_shutdown"); code != http.StatusOK {
			t.Errorf("POST /_shutdown: %d", code)
		}
	}
	if err := through.Close(); err != nil {
		t.Fatal(err)
	}
	for _, process := range []*process{client, server} {
		if code := process.exit(t); code != 0 {
			t.Errorf("%s: exit code %d", process.name, code)
		}
	}

	syslog := w.launch(t, "server", "--listen", listen, "--target", local, "--auto-tls", "--allow-all", "--syslog")
	if code := syslog.exit(t); code != 2 || !strings.Contains(syslog.stderr.String(), "--syslog") {
		t.Errorf("--syslog: exit code %d, %q", code, syslog.stderr.String())
	}
}
