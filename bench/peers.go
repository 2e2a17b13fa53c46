package main

import (
	"fmt"
	"net"
	"os"
)

// What others are told: TLS 1.3 with AES-128-GCM, a certificate asked for and verified on either side, one process or thread
// that works, nothing logged for each connection, and for the rest what they do by themselves. Hitch has no client mode.

// haproxy has buffers of so many bytes; 0 is what it takes by itself.
func haproxy(name string, buffer int) *contestant {
	what, tune := "HAProxy", ""
	if buffer > 0 {
		what, tune = fmt.Sprintf("HAProxy with buffers of %d KiB", buffer>>10), fmt.Sprintf("tune.bufsize %d", buffer)
	}
	return &contestant{
		name: name, what: what, program: "haproxy", asksVersion: "-v", only: buffer > 0,
		args: func(p post) ([]string, error) {
			identity := fmt.Sprintf("ssl crt %s-combined.pem ca-file %s verify required", p.identity(), p.authority())
			front, back := " "+identity, ""
			if p.client {
				front, back = "", " "+identity+" sni str(localhost) verifyhost localhost"
			}
			path, err := p.write("haproxy.cfg", fmt.Sprintf(`global
    nbthread 1
    maxconn 8192
    %s
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-server-options ssl-min-ver TLSv1.3
    ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen tunnel
    bind %s%s
    server target %s%s
`, tune, p.listen, front, p.target, back))
			return []string{"-db", "-f", path}, err
		},
	}
}

// nginx has buffers of so many bytes; 0 is what it takes by itself.
func nginx(name string, buffer int) *contestant {
	what, tune := "nginx stream", ""
	if buffer > 0 {
		what, tune = fmt.Sprintf("nginx stream with buffers of %d KiB", buffer>>10), fmt.Sprintf("proxy_buffer_size %d;", buffer)
	}
	return &contestant{
		name: name, what: what, program: "nginx", asksVersion: "-v", only: buffer > 0,
		args: func(p post) ([]string, error) {
			secure, tls := " ssl", fmt.Sprintf(`
        ssl_certificate %s.pem;
        ssl_certificate_key %[1]s-key.pem;
        ssl_client_certificate %s;
        ssl_verify_client on;
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;`, p.identity(), p.authority())
			if p.client {
				secure, tls = "", fmt.Sprintf(`
        proxy_ssl on;
        proxy_ssl_certificate %s.pem;
        proxy_ssl_certificate_key %[1]s-key.pem;
        proxy_ssl_trusted_certificate %s;
        proxy_ssl_verify on;
        proxy_ssl_name localhost;
        proxy_ssl_server_name on;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;`, p.identity(), p.authority())
			}
			path, err := p.write("nginx.conf", fmt.Sprintf(`load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid %s/nginx.pid;
error_log stderr error;
events { worker_connections 8192; }
stream {
    server {
        listen %s%s;
        proxy_pass %s;
        proxy_timeout 1h;
        %s%s
    }
}
`, p.dir, p.listen, secure, p.target, tune, tls))
			return []string{"-c", path, "-p", p.dir, "-e", "stderr"}, err
		},
	}
}

func stunnel() *contestant {
	return &contestant{
		name: "stunnel", what: "stunnel", program: "stunnel4",
		args: func(p post) ([]string, error) {
			client := "no"
			if p.client {
				client = "yes\nsni = localhost\ncheckHost = localhost"
			}
			path, err := p.write("stunnel.conf", fmt.Sprintf(`foreground = yes
pid =
debug = err
syslog = no
[tunnel]
accept = %s
connect = %s
cert = %s.pem
key = %[3]s-key.pem
CAfile = %s
verifyChain = yes
requireCert = yes
sslVersion = TLSv1.3
ciphersuites = TLS_AES_128_GCM_SHA256
client = %s
`, p.listen, p.target, p.identity(), p.authority(), client))
			return []string{path}, err
		},
	}
}

func hitch() *contestant {
	return &contestant{
		name: "hitch", what: "hitch", program: "hitch", asksVersion: "--version", serverOnly: true,
		args: func(p post) ([]string, error) {
			host, port, err := net.SplitHostPort(p.listen)
			if err != nil {
				return nil, err
			}
			targetHost, targetPort, err := net.SplitHostPort(p.target)
			if err != nil {
				return nil, err
			}
			user := ""
			if os.Geteuid() == 0 {
				user = `user = "nobody"` // its workers do not run as root
			}
			path, err := p.write("hitch.conf", fmt.Sprintf(`frontend = "[%s]:%s"
backend = "[%s]:%s"
pem-file = "%s-combined.pem"
client-verify = required
client-verify-ca = "%s"
tls-protos = TLSv1.3
ciphersuites = "TLS_AES_128_GCM_SHA256"
workers = 1
daemon = off
log-level = 0
%s
`, host, port, targetHost, targetPort, p.identity(), p.authority(), user))
			return []string{"--config=" + path}, err
		},
	}
}
