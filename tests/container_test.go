package tests

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An engine is podman with images and containers of one test's own.
type engine struct {
	command []string // podman and the flags that say so
}

// newEngine sets one up that lasts as long as the test.
func newEngine(t *testing.T) *engine {
	t.Helper()
	podman := need(t, "podman")
	need(t, "runc")
	if os.Getuid() != 0 {
		skip(t, "containers without a user namespace take root")
	}
	// Not t.TempDir, for two reasons: what podman mounts there goes before the
	// directory can, and it takes paths of no more than 50 characters.
	dir, err := os.MkdirTemp("", "podman-")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{[]string{
		podman, "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
		"--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs",
	}}
	t.Cleanup(func() {
		// podman may have let go of it by itself.
		if err := unix.Unmount(filepath.Join(dir, "root", "overlay"), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return e
}

// try runs podman to its end and returns all that it prints.
func (e *engine) try(args ...string) (string, error) {
	cmd := exec.Command(e.command[0], append(e.command[1:], args...)...)
	// No systemd runs here that would ask for health again and again: tests ask.
	cmd.Env = append(os.Environ(), "DISABLE_HC_SYSTEMD=true", "BUILDAH_FORMAT=docker")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do is try for what must not fail.
func (e *engine) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.try(args...)
	if err != nil {
		t.Fatalf("podman %q: %v\n%s", args, err, out)
	}
	return out
}

// confined are the flags of containers as they should be run: nothing can be
// written, and nothing is allowed that the program does not need.
var confined = []string{
	"--pull", "never", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges",
	"--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096",
}

// start starts a container in the background. It ends with the test, which shows its
// log if it has failed.
func (e *engine) start(t *testing.T, name string, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := e.try("logs", name) // whatever there is
			t.Logf("%s:\n%s", name, out)
		}
		e.do(t, "rm", "--force", "--ignore", "--time", "0", "--volumes", name)
	})
	e.do(t, append(append([]string{"run", "--detach", "--name", name}, confined...), args...)...)
}

// inspect reads what podman knows of a container, as the Go template says.
func (e *engine) inspect(t *testing.T, name, template string) string {
	t.Helper()
	return strings.TrimSpace(e.do(t, "inspect", "--format", template, name))
}

// inside runs a program of this machine in the network of a container.
func (e *engine) inside(t *testing.T, name, program string, args ...string) (string, error) {
	t.Helper()
	nsenter := []string{"--net", "--target", e.inspect(t, name, "{{.State.Pid}}"), need(t, program)}
	out, err := exec.Command(need(t, "nsenter"), append(nsenter, args...)...).CombinedOutput()
	return string(out), err
}

// healthy waits until a container's own health check says that all is well.
func (e *engine) healthy(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" is healthy", func() bool {
		_, err := e.try("healthcheck", "run", name)
		return err == nil
	})
}

// build runs make docker with this engine; more are settings of make.
func (e *engine) build(t *testing.T, more ...string) {
	t.Helper()
	args := append([]string{"-C", "..", "docker", "DOCKER=" + strings.Join(e.command, " "), "IMAGE_FILES=" + t.TempDir()}, more...)
	if out, err := exec.Command(need(t, "make"), args...).CombinedOutput(); err != nil {
		t.Fatalf("make %q: %v\n%s", args, err, out)
	}
}

// An image is what podman knows of one.
type image struct {
	Size         int64
	Architecture string
	Os           string
	User         string
	Labels       map[string]string
	Healthcheck  struct{ Test []string }
}

func (e *engine) image(t *testing.T, name string) image {
	t.Helper()
	var images []image
	out := e.do(t, "image", "inspect", name)
	if err := json.Unmarshal([]byte(out), &images); err != nil || len(images) != 1 {
		t.Fatalf("image inspect %s: %v\n%s", name, err, out)
	}
	return images[0]
}

// maxImageSize is what the image may take, in bytes.
const maxImageSize = 40_000_000

// TestImage is about what `make docker` builds.
func TestImage(t *testing.T) { //nolint:tparallel // each builds under the same names
	t.Parallel()
	if !full() {
		t.Skip("builds a binary without the race detector, and images; make test-full runs it")
	}
	e := newEngine(t)
	e.build(t, "VERSION=v1.2.3", "REVISION=0123abcd")

	t.Run("says what it is", func(t *testing.T) {
		i := e.image(t, "sallyport:latest")
		if i.Size >= maxImageSize {
			t.Errorf("%d bytes, want less than %d", i.Size, maxImageSize)
		}
		t.Logf("%d bytes", i.Size)
		if i.Architecture != runtime.GOARCH || i.Os != "linux" || i.User != "65532:65532" {
			t.Errorf("%s/%s, user %q", i.Os, i.Architecture, i.User)
		}
		if got := strings.Join(i.Healthcheck.Test, " "); got != "CMD /sallyport status" {
			t.Errorf("health check %q", got)
		}
		for label, want := range map[string]string{
			"title": "Sallyport", "version": "v1.2.3", "revision": "0123abcd", "licenses": "Apache-2.0",
		} {
			if got := i.Labels["org.opencontainers.image."+label]; got != want {
				t.Errorf("label %s: %q, want %q", label, got, want)
			}
		}
		if out := e.do(t, append(append([]string{"run", "--rm", "--network", "none"}, confined...), "sallyport:latest", "--version")...); !strings.Contains(out, "v1.2.3") {
			t.Errorf("--version: %q", out)
		}
	})

	t.Run("runs and is healthy", func(t *testing.T) {
		e.start(t, "hello", "--network", "none", "sallyport-hello")
		e.startServer(t, newPKI(t), "server", "sallyport:latest", "hello")
		e.healthy(t, "server")
		if got := e.inspect(t, "server", "{{.State.Health.Status}}"); got != "healthy" {
			t.Errorf("health %q", got)
		}
		e.do(t, "kill", "hello")
		eventually(t, "no target is no health", func() bool {
			_, err := e.try("healthcheck", "run", "server")
			return err != nil
		})
		e.do(t, "stop", "server")
		if code := e.inspect(t, "server", "{{.State.ExitCode}}"); code != "0" {
			t.Errorf("exit code %s after SIGTERM", code)
		}
	})

	t.Run("has the CAs of its builder", func(t *testing.T) {
		dir := t.TempDir()
		e.do(t, "create", "--name", "unpacked", "sallyport:latest")
		t.Cleanup(func() { e.do(t, "rm", "unpacked") })
		e.do(t, "cp", "unpacked:/etc/ssl/certs/ca-certificates.crt", dir)
		text, err := os.ReadFile(filepath.Join(dir, "ca-certificates.crt"))
		if err != nil || !strings.Contains(string(text), "-----BEGIN CERTIFICATE-----") {
			t.Errorf("%v, %d bytes", err, len(text))
		}
	})

	t.Run("for another architecture", func(t *testing.T) {
		arch := map[string]string{"amd64": "arm64"}[runtime.GOARCH]
		if arch == "" {
			arch = "amd64"
		}
		e.build(t, "ARCH="+arch, "IMAGE=sallyport:other")
		if i := e.image(t, "sallyport:other"); i.Architecture != arch {
			t.Errorf("%s, want %s", i.Architecture, arch)
		}
	})

	// What Debian's and Alpine's images bring cannot be had without a registry; this
	// one brings as little as they have in common, a shell.
	t.Run("on another image", func(t *testing.T) {
		dir := t.TempDir()
		shell, err := os.ReadFile(need(t, "busybox"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "sh"), shell)
		writeFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY --chmod=755 sh /bin/sh\n"))
		e.do(t, "build", "--tag", "localhost/base", dir)
		e.build(t, "BASE=localhost/base", "IMAGE=sallyport:shell", "VERSION=v1.2.3")
		out := e.do(t, append(append([]string{"run", "--rm", "--network", "none"}, confined...), "--entrypoint", "sh", "sallyport:shell",
			"-c", "/sallyport --version; id -u; ls /etc/ssl/certs")...)
		for _, want := range []string{"v1.2.3", "65532", "ca-certificates.crt"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in %q", want, out)
			}
		}
	})
}

// startServer starts a container in server mode in front of the port of hello,
// whose network it shares.
func (e *engine) startServer(t *testing.T, p *pki, name, image, hello string) {
	t.Helper()
	id := p.server(t)
	e.start(t, name, "--network", "container:"+hello, "--volume", readableDir(t, map[string]string{
		"cert.pem": id.cert, "key.pem": id.key, "ca.pem": p.root,
	})+":/certs:ro", "--env", "SALLYPORT_STATUS=http://127.0.0.1:6060", image,
		"server", "--listen=127.0.0.1:8443", "--target=127.0.0.1:8080", "--cert=/certs/cert.pem", "--key=/certs/key.pem", "--cacert=/certs/ca.pem", "--allow-all")
}

// imageUser is who the images run as.
const imageUser = 65532

// readableDir returns a directory with copies of files, under the names of the map, that belong to
// the images' user.
func readableDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name), data)
		if err := os.Chown(filepath.Join(dir, name), imageUser, imageUser); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, imageUser, imageUser); err != nil {
		t.Fatal(err)
	}
	return dir
}
