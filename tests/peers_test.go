package tests

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// peerOutput runs a peer to its end, with input, and returns what it prints.
func peerOutput(t *testing.T, input string, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), need(t, program), args...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, &stderr)
	}
	return string(out)
}

// curl is peerOutput of a curl that fails on what is not 2xx and waits for
// nothing too long.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	return peerOutput(t, "", "curl", append([]string{"--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60"}, args...)...)
}

// startNginx starts an nginx with the blocks (http, stream) of a configuration
// and waits until it accepts connections at address.
func startNginx(t *testing.T, address, blocks string) {
	t.Helper()
	need(t, "nginx")
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	writeFile(t, conf, []byte(`
		load_module /usr/lib/nginx/modules/ngx_stream_module.so;
		daemon off;
		master_process off;
		error_log stderr;
		pid pid;
		events {}
	`+blocks))
	startPeer(t, "nginx", "-p", dir, "-c", conf, "-e", "stderr")
	accepting(t, "tcp", address)
}

// httpBlock is an http block with one server, which keeps its files in the
// directory that -p names.
func httpBlock(format string, args ...any) string {
	return fmt.Sprintf(`
		http {
			access_log off;
			client_body_temp_path body;
			fastcgi_temp_path fastcgi;
			proxy_temp_path proxy;
			scgi_temp_path scgi;
			uwsgi_temp_path uwsgi;
			server { %s }
		}
	`, fmt.Sprintf(format, args...))
}

// startRedis starts a Redis that keeps nothing, with more of its flags.
func startRedis(t *testing.T, flags ...string) {
	t.Helper()
	startPeer(t, "redis-server", append([]string{"--save", "", "--dir", t.TempDir(), "--bind", "127.0.0.1"}, flags...)...)
}

func TestCurlReachesNginxBehindServerMode(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	page := make([]byte, 5<<20)
	if _, err := io.ReadFull(noise(1), page); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(files, "page"), page)
	backend := reserve(t)
	startNginx(t, backend, httpBlock("listen %s; root %s;", backend, files))

	p := newPKI(t)
	listen := reserve(t)
	server := startServer(t, p, listen, backend, "--allow-cn", "client")
	identity := p.client(t)
	tls := []string{"--cacert", p.root, "--cert", identity.cert, "--key", identity.key}

	got := filepath.Join(files, "got")
	for _, version := range [][]string{{"--tlsv1.3"}, {"--tls-max", "1.2"}} {
		curl(t, slices.Concat(version, tls, []string{"--output", got, "https://" + listen + "/page"})...)
		data, err := os.ReadFile(got)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, page) {
			t.Errorf("curl %s got %d bytes, not the %d of the page", version, len(data), len(page))
		}
	}

	// Without a certificate curl is refused, and nginx never hears of it.
	cmd := exec.CommandContext(t.Context(), need(t, "curl"), "--silent", "--show-error", "--noproxy", "*", "--cacert", p.root, "https://"+listen+"/page")
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("curl without a certificate was answered: %.80q", out)
	}
	server.waitLine(t, "no_certificate")
	server.stop(t)
}

func TestOpenSSLReachesRedisBehindServerMode(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "redis")
	startRedis(t, "--port", "0", "--unixsocket", socket)
	accepting(t, "unix", socket)

	p := newPKI(t)
	listen := reserve(t)
	server := startServer(t, p, listen, "unix:"+socket, "--allow-cn", "client")
	identity := p.client(t)
	for _, version := range []string{"-tls1_3", "-tls1_2"} {
		out := peerOutput(t, "PING\r\nQUIT\r\n", "openssl", "s_client", "-quiet", version,
			"-connect", listen, "-CAfile", p.root, "-verify_return_error", "-verify_hostname", "localhost",
			"-cert", identity.cert, "-key", identity.key)
		if out != "+PONG\r\n+OK\r\n" {
			t.Errorf("openssl s_client %s: %q", version, out)
		}
	}
	server.stop(t)
}

func TestRedisCLIReachesRedisThroughClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	redis, identity := reserve(t), p.server(t)
	startRedis(t, "--port", "0", "--tls-port", port(t, redis), "--tls-auth-clients", "yes",
		"--tls-cert-file", identity.cert, "--tls-key-file", identity.key, "--tls-ca-cert-file", p.root)
	accepting(t, "tcp", redis)

	listen := reserve(t)
	args := []string{"client", "--listen", listen, "--target", redis, "--cacert", p.root, "--status", "http://" + reserve(t)}
	client := start(t, append(args, p.client(t).flags()...)...)
	value := strings.Repeat("sallyport ", 100_000)
	if out := peerOutput(t, value, "redis-cli", "-p", port(t, listen), "-x", "set", "key"); out != "OK\n" {
		t.Errorf("redis-cli set: %.80q", out)
	}
	if out := peerOutput(t, "", "redis-cli", "-p", port(t, listen), "get", "key"); out != value+"\n" {
		t.Errorf("redis-cli get: %d bytes, want %d", len(out), len(value)+1)
	}
	client.stop(t)
}

func TestCurlReachesNginxThroughClientMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	backend, identity := reserve(t), p.server(t)
	startNginx(t, backend, httpBlock(`
		listen %s ssl;
		ssl_certificate %s;
		ssl_certificate_key %s;
		ssl_client_certificate %s;
		ssl_protocols TLSv1.3;
		ssl_verify_client on;
		location / { return 200 "$ssl_client_s_dn over $ssl_protocol to $ssl_server_name\n"; }
	`, backend, identity.cert, identity.key, p.root))

	socket := filepath.Join(t.TempDir(), "listen")
	args := []string{
		"client", "--listen", "unix:" + socket, "--target", backend, "--override-server-name", "localhost",
		"--cacert", p.root, "--status", "http://" + reserve(t),
	}
	client := start(t, append(args, p.client(t).flags()...)...)
	if got, want := curl(t, "--unix-socket", socket, "http://nginx/"), "CN=client over TLSv1.3 to localhost\n"; got != want {
		t.Errorf("nginx saw %q, want %q", got, want)
	}
	client.stop(t)
}

func TestNginxStreamReachesServerMode(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	listen, front := reserve(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-cn", "client")
	identity := p.client(t)
	startNginx(t, front, fmt.Sprintf(`
		stream {
			server {
				listen %s;
				proxy_pass %s;
				proxy_ssl on;
				proxy_ssl_certificate %s;
				proxy_ssl_certificate_key %s;
				proxy_ssl_trusted_certificate %s;
				proxy_ssl_verify on;
				proxy_ssl_name localhost;
				proxy_ssl_protocols TLSv1.2 TLSv1.3;
			}
		}
	`, front, listen, identity.cert, identity.key, p.root))
	// nginx does not pass a half-close on, so the echo is read to its length.
	conn := dial(t, "tcp", front)
	sent := make([]byte, 1<<20)
	if _, err := io.ReadFull(noise(2), sent); err != nil {
		t.Fatal(err)
	}
	writing := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		writing <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Error(err)
	}
	if err := <-writing; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("what came back is not what was sent")
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	server.stop(t)
}
