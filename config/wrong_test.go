package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrongCombinations has every combination that Parse refuses, and the line
// that it says so with.
func TestWrongCombinations(t *testing.T) {
	t.Parallel()
	const (
		server = "server --listen :8443 --target localhost:8080"
		client = "client --listen localhost:8080 --target web.example.com:8443"

		needsAccess      = "nobody may connect: give --allow-all, --allow-cn, --allow-ou, --allow-dns, --allow-uri, --allow-spki-pin, --allow-policy or --disable-authentication"
		serverIdentities = "--keystore, --cert with --key, --cert with --pkcs11-module, --use-workload-api, --auto-acme-cert or --auto-tls"
		needsDuration    = "not a duration; write it like 30s, 5m or 1h30m"
	)
	tests := []struct{ line, want string }{
		// Commands and arguments
		{"serve", `no command "serve"; did you mean server?`},
		{"cert", `no command "cert"; did you mean certs?`},
		{"frobnicate", `no command "frobnicate"; see sallyport --help`},
		{"--keystore x", "no command given; start with sallyport --help"},
		{"certs", "certs: needs one of its commands; see sallyport certs --help"},
		{"certs isue d n", `no command "certs isue"; did you mean certs issue?`},
		{"certs init", "DIR: missing; it is the directory to write to; made if it is not there"},
		{"certs init ", `DIR "": not a directory's name`},
		{"certs issue d", "NAME: missing; it is the common name, and first part of the files' names"},
		{"certs issue d ca", `NAME "ca": the name of the CA itself; choose another`},
		{"certs issue d ../up", `NAME "../up": not a file's name; use letters, digits, and . _ - after the first`},
		{"certs issue d .", `NAME ".": not a file's name; use letters, digits, and . _ - after the first`},
		{"certs issue d ", `NAME "": empty name`},
		{"check ghostunnel", "check ghostunnel: say what it is: ghostunnel server, or ghostunnel client, with their flags"},
		{"check /usr/bin/ghostunnel --config f", "check ghostunnel: say what it is: ghostunnel server, or ghostunnel client, with their flags"},
		{"certs init d --dns-name 192.0.2.1", `--dns-name "192.0.2.1": an IP address, which is no DNS name; it goes with --ip`},
		{"certs init d --dns-name https://example.com", `--dns-name "https://example.com": not a DNS name; write it like shop.example.com or *.example.com`},
		{"certs init d e", `unexpected argument "e"; a value goes with its flag, in quotes if it has blanks`},
		{leastServer + " extra", `unexpected argument "extra"; a value goes with its flag, in quotes if it has blanks`},
		{"run sallyport.yaml", `unexpected argument "sallyport.yaml"; the file goes with --config`},
		{"check --skip-resolve sallyport.yaml", `unexpected argument "sallyport.yaml"; the file goes with --config`},
		{"help nonsense", `help: no command "nonsense"; see sallyport --help`},
		// Flags
		{leastServer + " --lissen :1", `unknown flag "--lissen"; did you mean --listen?`},
		{leastServer + " --frobnicate", `unknown flag "--frobnicate"; see sallyport server --help`},
		{leastServer + " --keychain-identity web", "--keychain-identity: Ghostunnel has it, for the keychains of macOS and Windows, and Sallyport has not; export certificate and key as PKCS#12, for --keystore"},
		{"--frobnicate", `unknown flag "--frobnicate"; see sallyport --help`},
		{leastServer + " -target localhost:1", `unknown flag "-target"; flags begin with two dashes: --target`},
		{leastServer + " -storepass=hunter2", `unknown flag "-storepass"; flags begin with two dashes: --storepass`},
		{leastServer + " -no-skip-resolve", `unknown flag "-no-skip-resolve"; flags begin with two dashes: --no-skip-resolve`},
		{leastServer + " -lissen :1", `unknown flag "-l"; see sallyport server --help`},
		{leastServer + " -x", `unknown flag "-x"; see sallyport server --help`},
		{leastServer + " --no-cacert", `unknown flag "--no-cacert"; did you mean --cacert?`},
		{leastServer + " --cacert", "--cacert: the value is missing; write --cacert=PATH"},
		{leastServer + " --cacert --skip-resolve", "--cacert: the value is missing; write --cacert=PATH"},
		{"--allow-dns-san", "--allow-dns-san: the value is missing; write --allow-dns-san=NAME"},
		{leastServer + " --idle-timeout -1s", `--idle-timeout "-1s": negative duration; use 0 or more`},
		{leastServer + " --use-workload-api-timeout -1s --skip-resolve", `--use-workload-api-timeout "-1s": negative duration; use 0 or more`},
		{leastServer + " --idle-timeout -s", "--idle-timeout: the value is missing, or begins with -; write --idle-timeout=DURATION"},
		{leastServer + " --max-concurrent-conns -1 --skip-resolve", `--max-concurrent-conns "-1": not a count; use a whole number from 0 to 2147483647`},
		{leastPair + " --allow-cn -1", "--allow-cn: the value is missing, or begins with -; write --allow-cn=CN"},
		{leastServer + " --storepass -1", "--storepass: the value is missing, or begins with -; write --storepass=PASS"},
		{leastPair + " --allow-cn -name", "--allow-cn: the value is missing, or begins with -; write --allow-cn=CN"},
		{leastServer + " --storepass --hunter2", "--storepass: the value is missing, or begins with -; write --storepass=PASS"},
		{leastServer + " --storepass -hunter2", "--storepass: the value is missing, or begins with -; write --storepass=PASS"},
		{leastServer + " --skip-resolve -1", `unknown flag "-1"; see sallyport server --help`},
		{leastServer + " --allow-all=true", "--allow-all: a switch takes no value; write --allow-all, or --no-allow-all to turn it off"},
		{leastServer + " --no-skip-resolve=", "--no-skip-resolve: a switch takes no value; write --skip-resolve, or --no-skip-resolve to turn it off"},
		{"certs init --force=yes", "--force: a switch takes no value; write --force, or --no-force to turn it off"},
		{"certs init d --alpn h2", "--alpn: not a flag of sallyport certs init, but of sallyport server and sallyport client"},
		{leastServer + " --listen :1", "--listen: given twice; it takes one value"},
		{leastServer + " --target LOCALHOST:8080;weight=2", "--target LOCALHOST:8080: given twice; for a larger share write LOCALHOST:8080;weight=2"},
		{leastServer + " --target localhost:1;weight=0", `--target "localhost:1;weight=0": not a weight; use 1 to 256`},
		{leastServer + " --target localhost:1,localhost:2", `--target "localhost:1,localhost:2": several in one; give each by itself`},
		{leastServer + " --target localhost:1;weight=257", `--target "localhost:1;weight=257": not a weight; use 1 to 256`},
		{leastServer + " --target unix:/s;weight=", `--target "unix:/s;weight=": not a weight; use 1 to 256`},
		{leastServer + " --target localhost:1;wieght=2", `--target "localhost:1;wieght=2": an option that is none; write HOST:PORT;weight=N`},
		{leastServer + " --target db.example.com:1", "--target db.example.com:1: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-target"},
		{leastServer + " --target :8443", "--listen and --target: both are :8443, so that connections would go round in circles; change one"},
		{leastClient + " --target unix:/run/web", "--target unix:/run/web: has no host name to verify; add --override-server-name NAME"},
		{"client --keystore k --listen localhost:80 --target 127.0.0.1:80", "--target 127.0.0.1:80: leads to --listen localhost:80, so that connections would go round in circles; change one"},
		{"client --keystore k --listen 127.0.0.1:80 --target localhost:80", "--target localhost:80: leads to --listen 127.0.0.1:80, so that connections would go round in circles; change one"},
		{"client --keystore k --listen [::1]:80 --target localhost:80", "--target localhost:80: leads to --listen [::1]:80, so that connections would go round in circles; change one"},
		{"client --keystore k --unsafe-listen --listen :80 --target [::1]:80", "--target [::1]:80: leads to --listen :80, so that connections would go round in circles; change one"},
		{"client --keystore k --unsafe-listen --listen [::]:80 --target 127.0.0.1:80", "--target 127.0.0.1:80: leads to --listen [::]:80, so that connections would go round in circles; change one"},
		{"client --keystore k --unsafe-listen --listen 0.0.0.0:80 --target 127.0.0.7:80", "--target 127.0.0.7:80: leads to --listen 0.0.0.0:80, so that connections would go round in circles; change one"},
		{leastClient + " --proxy http://p --target unix:/run/web --override-server-name web", "--target unix:/run/web: is of this machine, which no proxy can reach; write HOST:PORT, or leave out --proxy"},
		{leastClient + " --proxy http://p --resolve-interval 5s", "--resolve-interval and --proxy: the proxy looks up the target; leave out the first"},
		{leastServer + " --balance random", `--balance "random": no such balance; use round-robin, least-conn, first or source`},
		{leastServer + " --health-timeout 1s", "--health-timeout: needs --health-interval, which has targets checked"},
		{leastServer + " --health-interval 50ms", `--health-interval "50ms": too often; use 100ms or more, or 0 for no checks`},
		{leastServer + " --resolve-interval 500ms", `--resolve-interval "500ms": too often for DNS; use 1s or more`},
		{leastServer + " --protocol http --balance source", "--balance source and --protocol http: requests of many clients share a connection to a target; use least-conn"},
		{leastServer + " --slow-start 5s --balance source", "--slow-start and --balance source: who is chosen there has nothing to do with shares; leave out the first, or use round-robin or least-conn"},
		{leastServer + " --skip-resolve --skip-resolve", "--skip-resolve: given twice; it takes one value"},
		{leastServer + " --verify-cn a", "--verify-cn: not a flag of sallyport server, but of sallyport client"},
		{leastServer + " --override-server-name a", "--override-server-name: not a flag of sallyport server, but of sallyport client"},
		{leastServer + " --unsafe-listen", "--unsafe-listen: is about plaintext, and --listen speaks TLS, so that it may be on any address; leave it out"},
		{leastClient + " --allow-uri-san a", "--allow-uri-san: not a flag of sallyport client, but of sallyport server"},
		{leastClient + " --unsafe-target", "--unsafe-target: not a flag of sallyport client, but of sallyport server"},
		{leastClient + " --target-status http://a", "--target-status: not a flag of sallyport client, but of sallyport server"},
		{"--quiet all certs init d", "--quiet: not a flag of sallyport certs init, but of sallyport server, sallyport client and sallyport run"},
		{leastServer + " --protocol ftp", `--protocol "ftp": unknown protocol; use tcp or http`},
		// Without TLS
		{leastServer + " --disable-tls", "--disable-tls: needs --protocol http; bytes that nobody looks into are better sent to the target at once"},
		{leastClient + " --disable-tls", "--disable-tls: not a flag of sallyport client, but of sallyport server"},
		{leastServer + " --protocol http --disable-tls", "--disable-tls and --listen :8443: would accept plaintext from other machines; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-listen"},
		{leastFront + " --target localhost:1 --cert c --key k --allow-all --allow-cn a --crl l --starttls smtp --alpn h2", "--disable-tls and --cert, --key, --crl, --allow-all, --allow-cn, --alpn, --starttls: without TLS there are no certificates, and no handshake; give one or the other"},
		{leastFront + " --target localhost:1 --auto-tls", "--disable-tls and --auto-tls: without TLS there are no certificates, and no handshake; give one or the other"},
		{leastFront + " --target localhost:1 --use-workload-api-addr unix:///a", "--disable-tls and --use-workload-api-addr: without TLS there are no certificates, and no handshake; give one or the other"},
		{leastFront + " --target localhost:1 --status https://localhost:2", "--status https://localhost:2: HTTPS needs a certificate, and with --disable-tls there is none; write http://localhost:2"},
		{leastFront + " --target localhost:1 --status localhost:2 --status-client-ca ca", "--status-client-ca: certificates go with HTTPS, and with --disable-tls the status port has none; use --status-token-file"},
		{leastServer + " --http-max-requests 5 --http-forwarded", "--http-forwarded, --http-max-requests: needs --protocol http, whose requests it is about"},
		{leastServer + " --protocol http --starttls smtp", "--protocol and --starttls: what begins like that is not HTTP; give one or the other"},
		{leastServer + " --protocol http --proxy-protocol", "--protocol and --proxy-protocol: requests of many clients share a connection to the target, which X-Forwarded-For tells where each comes from; drop the second"},
		{leastServer + " --protocol http --proxy-protocol-mode tls", "--protocol and --proxy-protocol-mode: requests of many clients share a connection to the target, which X-Forwarded-For tells where each comes from; drop the second"},
		{leastServer + " --protocol http --alpn postgresql", `--alpn "postgresql": is not HTTP; with --protocol http, use h2 or http/1.1`},
		{leastClient + " --protocol http --http-target-h2c", "--http-target-h2c: is for a target without TLS; with TLS, HTTP/2 is agreed on by itself"},
		{leastServer + " --protocol http --http-max-header-bytes 1023", `--http-max-header-bytes "1023": no size for a header; use 1024 to 16777216`},
		{leastServer + " --protocol http --http-max-header-bytes 16777217", `--http-max-header-bytes "16777217": no size for a header; use 1024 to 16777216`},
		{leastServer + " --protocol http --http-max-body-bytes 10M", `--http-max-body-bytes "10M": not a number of bytes; use a whole number`},
		{leastServer + " --protocol http --http-max-body-bytes=-1", `--http-max-body-bytes "-1": not a number of bytes; use a whole number`},
		{leastServer + " --metrics-compat prometheus-tunnel", "--metrics-compat: needs --protocol http, whose requests it counts"},
		{leastServer + " --metrics-compat inlets", `--metrics-compat "inlets": unknown system; use prometheus-tunnel`},
		// PROXY protocol
		{leastServer + " --proxy-protocol --proxy-protocol-mode tls", "--proxy-protocol and --proxy-protocol-mode: the first is the second with conn; give one or the other"},
		{leastServer + " --proxy-protocol-mode full", `--proxy-protocol-mode "full": unknown mode; use conn, tls or tls-full`},
		{leastClient + " --proxy-protocol", "--proxy-protocol: not a flag of sallyport client, but of sallyport server"},
		{leastClient + " --proxy-protocol-mode conn", "--proxy-protocol-mode: not a flag of sallyport client, but of sallyport server"},
		{leastServer + " --proxy-protocol-in lb.example.com", `--proxy-protocol-in "lb.example.com": not a network; write it like 192.0.2.0/24, 2001:db8::/32, 192.0.2.1, or unix`},
		{leastServer + " --proxy-protocol-in 10.0.0.0/33", `--proxy-protocol-in "10.0.0.0/33": not a network; write it like 192.0.2.0/24, 2001:db8::/32, 192.0.2.1, or unix`},
		{leastServer + " --proxy-protocol-in fe80::1%eth0", `--proxy-protocol-in "fe80::1%eth0": not a network; write it like 192.0.2.0/24, 2001:db8::/32, 192.0.2.1, or unix`},
		{leastServer + " --proxy-protocol-in ", `--proxy-protocol-in "": not a network; write it like 192.0.2.0/24, 2001:db8::/32, 192.0.2.1, or unix`},
		{leastServer + " --proxy-protocol-in 10.1.2.3/8", `--proxy-protocol-in "10.1.2.3/8": an address within a network; write 10.0.0.0/8 for all of it, or 10.1.2.3`},
		{leastServer + " --proxy-protocol-in unix", "--proxy-protocol-in unix: nobody connects to :8443 over a UNIX socket; write a network or an address"},
		{"server --listen unix:/run/l --target localhost:8080 --keystore id.pem --allow-cn web --proxy-protocol-in ::/0", "--proxy-protocol-in: peers over unix:/run/l have no address; write --proxy-protocol-in unix"},
		// Addresses
		{"server", "--listen: missing; say where to accept, as HOST:PORT or unix:PATH"},
		{"client --target a:1", "--listen: missing; say where to accept, as HOST:PORT or unix:PATH"},
		{"server --listen :8443", "--target: missing; say where to forward, as HOST:PORT or unix:PATH"},
		{"server --listen localhost", `--listen "localhost": no port; write HOST:PORT, or unix:PATH for a UNIX socket`},
		{"server --listen localhost:0", `--listen "localhost:0": port 0 is out of range; use 1 to 65535`},
		{"server --target localhost:70000", `--target "localhost:70000": port 70000 is out of range; use 1 to 65535`},
		{"server --target=", `--target "": empty address; write HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{"server --target ::1:80", `--target "::1:80": more than one colon; an IPv6 address goes in brackets: [IPv6]:PORT`},
		{"server --listen unix:", `--listen "unix:": unix: without a path; write unix:PATH`},
		{"server --listen :8443 --target db.example.com:80", "--target db.example.com:80: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-target"},
		{"server --listen :8443 --target 0.0.0.0:80", "--target 0.0.0.0:80: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-target"},
		{"server --listen :8443 --target :80", "--target :80: names no host; write localhost:80"},
		{"server --listen systemd:", `--listen "systemd:": systemd: without a name; write systemd:NAME`},
		{"server --target systemd:tls", `--target "systemd:tls": a socket from systemd can be listened on, not connected to; write HOST:PORT or unix:PATH`},
		{"server --listen systemd:a --target :1 --unsafe-target --keystore k --allow-all --status systemd:a", "--listen and --status: both are systemd:a; change one"},
		{leastServer + " --status https://systemd:a", `--status "https://systemd:a": a scheme goes with HOST:PORT alone; write systemd:a without it`},
		{leastServer + " --listen-mode 0660", "--listen-mode and --listen :8443: only the file of a UNIX socket has permissions and an owner; leave the first out, or listen on unix:PATH"},
		{"server --listen systemd:a --target localhost:80 --listen-owner app", "--listen-owner and --listen systemd:a: only the file of a UNIX socket has permissions and an owner; leave the first out, or listen on unix:PATH"},
		{"server --listen unix:@a --target localhost:80 --listen-mode 600", "--listen-mode and --listen unix:@a: only the file of a UNIX socket has permissions and an owner; leave the first out, or listen on unix:PATH"},
		{leastServer + " --listen-mode 668", `--listen-mode "668": not permissions; write three octal digits, such as 0660`},
		{leastServer + " --listen-mode 1660", `--listen-mode "1660": not permissions; write three octal digits, such as 0660`},
		{leastServer + " --listen-mode 0444", `--listen-mode "0444": nobody could connect, which takes the permission to write; use 0600, 0660 or 0666`},
		{leastServer + " --listen-owner app:", `--listen-owner "app:": not an owner; write USER, USER:GROUP or :GROUP`},
		{leastServer + " --listen-owner a:b:c", `--listen-owner "a:b:c": not an owner; write USER, USER:GROUP or :GROUP`},
		{leastServer + " --keepalive 1ms", `--keepalive "1ms": systems have no such keep-alive; use 0 for none, or 1s to 9h`},
		{leastServer + " --keepalive 10h", `--keepalive "10h": systems have no such keep-alive; use 0 for none, or 1s to 9h`},
		{"client --listen :80 --target a:1", "--listen :80: would accept plaintext from other machines; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-listen"},
		{"client --listen 0.0.0.0:80 --target a:1", "--listen 0.0.0.0:80: would accept plaintext from other machines; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-listen"},
		{"server --listen localhost:80 --target localhost:http", "--listen and --target: both are localhost:80, so that connections would go round in circles; change one"},
		{"client --listen localhost:80 --target unix:/s --keystore k", "--target unix:/s: has no host name to verify; add --override-server-name NAME"},
		{"client --listen localhost:80 --target :81 --keystore k", "--target :81: has no host name to verify; add --override-server-name NAME"},
		{leastClient + " --override-server-name web:443", `--override-server-name "web:443": not a host name; write a name or an IP address without port`},
		{leastClient + " --override-server-name=", `--override-server-name "": not a host name; write a name or an IP address without port`},
		// Proxies
		{leastServer + " --proxy http://p", "--proxy: not a flag of sallyport server, but of sallyport client"},
		{leastClient + " --proxy p.example:3128", "--proxy: not a proxy; write http://[USER:PASSWORD@]HOST[:PORT], https://… or socks5://…"},
		{leastClient + " --proxy http://", "--proxy: not a proxy; write http://[USER:PASSWORD@]HOST[:PORT], https://… or socks5://…"},
		{leastClient + " --proxy http://p:0", "--proxy: not a proxy; write http://[USER:PASSWORD@]HOST[:PORT], https://… or socks5://…"},
		{leastClient + " --proxy socks4://p", "--proxy: unknown scheme; write http://, https:// or socks5://"},
		{leastClient + " --proxy http://p/x", "--proxy: a proxy has no path; write HOST:PORT and nothing behind it"},
		{leastClient + " --proxy http://p?x=y", "--proxy: a proxy has no path; write HOST:PORT and nothing behind it"},
		{leastClient + " --proxy http://:x@p", "--proxy: no user; write USER:PASSWORD"},
		{leastClient + " --proxy http://a%3Ab:x@p", "--proxy: a colon in the user, which no proxy would understand"},
		{leastClient + " --proxy http://a:b%0A@p", "--proxy: a control character in the user or the password"},
		{leastClient + " --proxy http://a:" + strings.Repeat("b", 256) + "@p", "--proxy: more than 255 bytes in the user or the password"},
		{leastClient + " --proxy-auth-file f", "--proxy-auth-file: needs --proxy, which it is about"},
		{leastClient + " --proxy-cacert f", "--proxy-cacert: needs --proxy, which it is about"},
		{leastClient + " --connect-proxy http://p --proxy-cacert f", "--proxy-cacert: needs a proxy that speaks TLS, and --connect-proxy names one at http://; write https://"},
		{leastClient + " --proxy socks5://p --proxy-cert f --proxy-key f", "--proxy-cert: needs a proxy that speaks TLS, and --proxy names one at socks5://; write https://"},
		{leastClient + " --proxy https://p --proxy-cert f", "--proxy-cert and --proxy-key: one without the other; give both"},
		{leastClient + " --proxy https://p --proxy-key f", "--proxy-cert and --proxy-key: one without the other; give both"},
		{leastClient + " --proxy http://a:b@p --proxy-auth-file f", "--proxy and --proxy-auth-file: both have a user and a password; give one or the other"},
		{leastClient + " --proxy http://p --connect-proxy http://p", "--connect-proxy: given twice; it takes one value"},
		{leastClient + " --proxy http://localhost:8080", "--listen and --proxy: both are localhost:8080, so that connections would go round in circles; change one"},
		{"client --keystore id.pem --listen localhost:8080 --target unix:/s --proxy http://p", "--target unix:/s: is of this machine, which no proxy can reach; write HOST:PORT, or leave out --proxy"},
		{"client --keystore id.pem --listen localhost:8080 --target :443 --proxy http://p", "--target :443: is of this machine, which no proxy can reach; write HOST:PORT, or leave out --proxy"},
		{"client --keystore id.pem --listen localhost:8080 --target [fe80::1%eth0]:443 --proxy http://p", "--target [fe80::1%eth0]:443: the zone means nothing to a proxy; leave out %eth0"},

		// Identity
		{server + " --allow-all", "no identity: give " + serverIdentities},
		{client, "no identity: give --keystore, --cert with --key, --cert with --pkcs11-module, --use-workload-api or --disable-authentication"},
		{server + " --disable-authentication", "no identity: give " + serverIdentities},
		{server + " --cert c", "--cert: needs --key too, or --pkcs11-module"},
		{server + " --key k", "--key: needs --cert too"},
		{client + " --key k", "--key: needs --cert too"},
		{client + " --disable-authentication --key k", "more than one identity: --key, --disable-authentication; give one of them"},
		{server + " --keystore s --cert c", "more than one identity: --keystore, --cert; give one of them"},
		{server + " --keystore s --pkcs11-module m", "more than one identity: --keystore, --pkcs11-module; give one of them"},
		{server + " --keystore s --cert c --key k", "more than one identity: --keystore, --cert with --key; give one of them"},
		{client + " --keystore s --disable-authentication", "more than one identity: --keystore, --disable-authentication; give one of them"},
		{client + " --cert c --key k --keystore s --disable-authentication", "more than one identity: --keystore, --cert with --key, --disable-authentication; give one of them"},
		{leastServer + " --storepass hunter2 --storepass-file f", "--storepass and --storepass-file: two passwords for one keystore; give one"},
		{server + " --pkcs11-module m --storepass-file f --cert c", "--storepass-file: needs --keystore or --key, which it opens"},
		{server + " --pkcs11-module m", "--pkcs11-module: needs --cert too, for the chain"},
		{server + " --pkcs11-module m --cert c --key k", "more than one identity: --cert with --key, --pkcs11-module; give one of them"},
		{leastServer + " --pkcs11-module m --cert c", "more than one identity: --keystore, --cert with --pkcs11-module; give one of them"},
		{leastServer + " --pkcs11-token-label l", "--pkcs11-token-label: needs --pkcs11-module, in which the token is"},
		{leastServer + " --use-workload-api-addr unix:///a", "more than one identity: --keystore, --use-workload-api-addr; give one of them"},
		{leastServer + " --use-workload-api", "more than one identity: --keystore, --use-workload-api; give one of them"},
		{server + " --use-workload-api", "--use-workload-api: needs an address: --use-workload-api-addr, or SPIFFE_ENDPOINT_SOCKET in the environment"},
		{leastServer + " --use-workload-api-addr /run/agent.sock", `--use-workload-api-addr "/run/agent.sock": not the address of a Workload API; write unix:///PATH or tcp://IP:PORT`},
		{leastServer + " --use-workload-api-addr tcp://localhost:80", `--use-workload-api-addr "tcp://localhost:80": not the address of a Workload API; write unix:///PATH or tcp://IP:PORT`},
		{leastServer + " --use-workload-api-addr unix://host/a", `--use-workload-api-addr "unix://host/a": not the address of a Workload API; write unix:///PATH or tcp://IP:PORT`},
		{leastServer + " --use-workload-api-timeout=-1s", `--use-workload-api-timeout "-1s": negative duration; use 0 or more`},
		{leastClient + " --use-workload-api-addr unix:///a --disable-authentication", "more than one identity: --keystore, --use-workload-api-addr, --disable-authentication; give one of them"},
		{leastServer + " --auto-tls", "more than one identity: --keystore, --auto-tls; give one of them"},
		{leastServer + " --auto-tls-san a", "--auto-tls-san: needs --auto-tls, whose certificate it is in"},
		{server + " --auto-tls --auto-tls-san a:1", `--auto-tls-san "a:1": not a host name; write a name or an IP address without port`},
		{leastServer + " --auto-acme-email a@b.example", "--auto-acme-email: needs --auto-acme-cert, the name to get a certificate for"},
		{leastServer + " --auto-acme-agree-to-tos", "--auto-acme-agree-to-tos: needs --auto-acme-cert, the name to get a certificate for"},
		{leastServer + " --auto-acme-testca https://a", "--auto-acme-testca: needs --auto-acme-cert, the name to get a certificate for"},
		{server + " --auto-acme-cert a.example", "--auto-acme-cert: needs --auto-acme-email and --auto-acme-agree-to-tos too"},
		{server + " --auto-acme-cert a.example --auto-acme-email a@b.example", "--auto-acme-cert: needs --auto-acme-agree-to-tos too"},
		{server + " --auto-acme-cert 192.0.2.1", `--auto-acme-cert "192.0.2.1": not a DNS name; write it like web.example.com`},
		{server + " --auto-acme-email ops", `--auto-acme-email "ops": not an e-mail address; write it like ops@example.com`},
		{server + " --auto-acme-ca http://ca.example", `--auto-acme-ca "http://ca.example": not the URL of an ACME directory; write https://HOST/PATH`},
		{server + " --auto-acme-alt-tls-alpn-port 0", `--auto-acme-alt-tls-alpn-port "0": not a port; use 1 to 65535`},
		{leastClient + " --auto-tls", "--auto-tls: not a flag of sallyport client, but of sallyport server"},
		{leastServer + " --crl-close-revoked", "--crl-close-revoked: needs --crl, which says who is revoked"},
		{leastServer + " --crl=", `--crl "": empty value; leave it out to set nothing`},
		{"run", "--config: missing; say which file has the tunnels, such as --config sallyport.yaml"},
		{"check", "--config: missing; say which file has the tunnels, such as --config sallyport.yaml"},
		{"check sever", `no command "check sever"; did you mean check server?`},
		{"run --listen :1 --config f", "--listen: not a flag of sallyport run; write listen into the file, for the tunnel that it is for"},
		{"check --listen :1", "--listen: not a flag of sallyport check; see sallyport check server and sallyport check client, or check a file by --config"},
		{"run --config nowhere/f", `--config "nowhere/f": no such file or directory`},
		{"check " + leastServer + " --verify-cn a", "--verify-cn: not a flag of sallyport check server, but of sallyport check client"},
		{"check " + leastClient + " --auto-tls", "--auto-tls: not a flag of sallyport check client, but of sallyport check server"},
		{"check " + leastClient + " --force", "--force: not a flag of sallyport check client, but of sallyport certs init and sallyport certs issue"},
		{"check server --listen :8443", "--target: missing; say where to forward, as HOST:PORT or unix:PATH"},
		{server + " --keystore=", `--keystore "": empty value; leave it out to set nothing`},
		{leastServer + " --cacert=", `--cacert "": empty value; leave it out to set nothing`},
		// Access
		{server + " --keystore s", needsAccess},
		{server + " --keystore s --no-allow-all", needsAccess},
		{server + " --keystore s --no-disable-authentication", needsAccess},
		{leastServer + " --allow-cn a --allow-ip ::1", "--allow-all and --allow-cn, --allow-ip: the first lets in everybody with a certificate; give one or the other"},
		{leastServer + " --allow-dns-san a", "--allow-all and --allow-dns-san: the first lets in everybody with a certificate; give one or the other"},
		{leastServer + " --disable-authentication", "--disable-authentication and --allow-all: without client certificates there is nobody to choose from; give one or the other"},
		{server + " --keystore s --disable-authentication --allow-cn a", "--disable-authentication and --allow-cn: without client certificates there is nobody to choose from; give one or the other"},
		{server + " --allow-cn=", `--allow-cn "": empty value; leave it out to set nothing`},
		{server + " --allow-uri a/**/b", `--allow-uri: URI pattern "a/**/b": ** may only be the last segment`},
		{server + " --allow-uri a*", `--allow-uri: URI pattern "a*": segment "a*" mixes * with other characters; a wildcard is a whole segment, * or **`},
		{server + " --allow-ip localhost", `--allow-ip "localhost": not an IP address; write it like 192.0.2.1 or 2001:db8::1`},
		{client + " --verify-ip fe80::1%eth0", `--verify-ip "fe80::1%eth0": not an IP address; write it like 192.0.2.1 or 2001:db8::1`},
		{client + " --verify-uri=", `--verify-uri "": empty URI pattern; ** alone matches every URI`},
		{server + " --allow-spki-pin 47DEQpj8", `--allow-spki-pin "47DEQpj8": not a pin; write sha256:BASE64, the digest of a public key`},
		{server + " --allow-spki-pin sha256:47DEQpj8", `--allow-spki-pin "sha256:47DEQpj8": the digest has 6 bytes and should have 32; write it in base64, not in hexadecimal`},
		{server + " --allow-spki-pin sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk=", `--allow-spki-pin "sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk=": no pins are made with "sha1"; use sha256, sha384 or sha512`},
		{leastServer + " --allow-spki-pin " + somePin, "--allow-all and --allow-spki-pin: the first lets in everybody with a certificate; give one or the other"},
		{server + " --keystore s --disable-authentication --allow-spki-pin " + somePin, "--disable-authentication and --allow-spki-pin: without client certificates there is nobody to choose from; give one or the other"},
		{server + " --keystore s --allow-ip ::1 --allow-cn a --allow-spki-pin " + somePin, "--allow-spki-pin and --allow-cn, --allow-ip: a pin decides alone, whatever else the certificate says; give one or the other"},
		{server + " --keystore s --allow-policy p --allow-query data.a.b --allow-spki-pin " + somePin, "--allow-spki-pin and --allow-policy, --allow-query: a pin decides alone, whatever else the certificate says; give one or the other"},
		{leastClient + " --verify-policy p --verify-query data.a.b --verify-spki-pin " + somePin, "--verify-spki-pin and --verify-policy, --verify-query: a pin decides alone, whatever else the certificate says; give one or the other"},
		{leastClient + " --verify-uri-san a --verify-spki-pin " + somePin, "--verify-spki-pin and --verify-uri-san: a pin decides alone, whatever else the certificate says; give one or the other"},
		{server + " --use-workload-api-addr unix:///a --allow-spki-pin " + somePin, "--allow-spki-pin and --use-workload-api-addr: the Workload API says whom to trust, and changes keys; use --allow-uri"},
		{client + " --use-workload-api-addr unix:///a --disable-authentication --verify-spki-pin " + somePin, "--verify-spki-pin and --use-workload-api-addr: the Workload API says whom to trust, and changes keys; use --verify-uri"},
		{server + " --keystore s --crl c --allow-spki-pin " + somePin, "--allow-spki-pin and --crl: a pin decides alone, so that nobody would look at the revocation list; give one or the other"},
		{server + " --keystore s --allow-policy p.rego", "--allow-policy: needs --allow-query, which says what to ask the policy, such as data.access.allow"},
		{server + " --keystore s --allow-query data.a.b", "--allow-query: needs --allow-policy, which says what policy to ask"},
		{server + " --keystore s --allow-policy p.rego --allow-query=", `--allow-query "": empty value; leave it out to set nothing`},
		{leastClient + " --verify-policy p.rego", "--verify-policy: needs --verify-query, which says what to ask the policy, such as data.access.allow"},
		{leastClient + " --verify-query data.a.b", "--verify-query: needs --verify-policy, which says what policy to ask"},
		{leastServer + " --allow-policy p.rego --allow-query data.a.b", "--allow-all and --allow-policy, --allow-query: the first lets in everybody with a certificate; give one or the other"},
		{server + " --keystore s --disable-authentication --allow-policy p.rego --allow-query data.a.b", "--disable-authentication and --allow-policy, --allow-query: without client certificates there is nobody to choose from; give one or the other"},
		{server + " --keystore s --allow-policy p.rego --allow-query data.a.b --allow-spki-pin " + somePin, "--allow-spki-pin and --allow-policy, --allow-query: a pin decides alone, whatever else the certificate says; give one or the other"},
		{leastClient + " --allow-spki-pin " + somePin, "--allow-spki-pin: not a flag of sallyport client, but of sallyport server"},
		// Timeouts and limits
		{leastServer + " --connect-timeout 0", `--connect-timeout "0": no time at all; use more than 0`},
		{leastServer + " --connect-timeout=-1s", `--connect-timeout "-1s": negative duration; use 0 or more`},
		{leastServer + " --close-timeout=-1s", `--close-timeout "-1s": negative duration; use 0 or more`},
		{leastServer + " --idle-timeout soon", `--idle-timeout "soon": ` + needsDuration},
		{leastServer + " --max-conn-lifetime 5", `--max-conn-lifetime "5": ` + needsDuration},
		{leastServer + " --landlock-allow certs", `--landlock-allow "certs": neither TCP ports nor a directory; write a port, two as FIRST-LAST, or an absolute path`},
		{leastServer + " --landlock-allow /", `--landlock-allow "/": the root directory would be no sandbox; name directories in it, or use --disable-landlock`},
		{leastServer + " --landlock-allow 90-80", `--landlock-allow "90-80": neither TCP ports nor a directory; write a port, two as FIRST-LAST, or an absolute path`},
		{leastServer + " --landlock-allow 0", `--landlock-allow "0": neither TCP ports nor a directory; write a port, two as FIRST-LAST, or an absolute path`},
		{leastServer + " --shutdown-delay=-5s", `--shutdown-delay "-5s": negative duration; use 0 or more`},
		{leastServer + " --shutdown-timeout=-5m", `--shutdown-timeout "-5m": negative duration; use 0 or more`},
		{leastServer + " --timed-reload 1d", `--timed-reload "1d": ` + needsDuration},
		{leastServer + " --max-concurrent-conns=-1", `--max-concurrent-conns "-1": not a count; use a whole number from 0 to 2147483647`},
		{leastServer + " --max-concurrent-conns many", `--max-concurrent-conns "many": not a count; use a whole number from 0 to 2147483647`},
		// TLS
		{leastServer + " --alpn=", `--alpn "": empty value; leave it out to set nothing`},
		{leastServer + " --alpn acme-tls/1", `--alpn "acme-tls/1": the protocol of ACME CAs, which nothing is forwarded for; --auto-acme-cert offers it where it is due`},
		{leastClient + " --alpn " + strings.Repeat("a", 256), `--alpn "` + strings.Repeat("a", 256) + `": longer than the 255 bytes that a protocol's name has`},
		{leastServer + " --session-ticket-keys=", `--session-ticket-keys "": empty value; leave it out to set nothing`},
		{leastServer + " --session-ticket-keys k --no-resumption", "--session-ticket-keys and --no-resumption: without resumption there are no tickets; give one or the other"},
		{leastClient + " --session-ticket-keys k", "--session-ticket-keys: not a flag of sallyport client, but of sallyport server"},
		{leastServer + " --starttls imap", `--starttls "imap": unknown protocol; use postgres, mysql, ldap or smtp`},
		{server + " --auto-acme-cert a.example --auto-acme-email a@b.example --auto-acme-agree-to-tos --allow-all --starttls smtp", "--starttls and --auto-acme-cert: the CA expects TLS from the first byte on --listen; name another port with --auto-acme-alt-tls-alpn-port, or get the certificate in another way"},
		{leastServer + " --starttls smtp --target-status http://localhost", "--starttls and --target-status: a target that speaks smtp answers no GET; drop the second"},
		{leastServer + " --cipher-suites AES,RC4", `--cipher-suites "AES,RC4": unknown cipher suites "RC4"; use AES, CHACHA or both, by comma`},
		{leastServer + " --cipher-suites=", `--cipher-suites: unknown cipher suites ""; use AES, CHACHA or both, by comma`},
		{leastServer + " --cipher-suites AES,UNSAFE-AZURE", "--cipher-suites: UNSAFE-AZURE needs --allow-unsafe-cipher-suites too"},
		{leastServer + " --max-tls-version TLS1.1", `--max-tls-version "TLS1.1": unknown version; use TLS1.2 or TLS1.3`},
		// Status and metrics
		{leastServer + " --enable-pprof", "--enable-pprof: needs --status, which it is about"},
		{leastServer + " --netstat", "--netstat: needs --status, which it is about"},
		{leastServer + " --enable-shutdown", "--enable-shutdown: needs --status, which it is about"},
		{leastServer + " --status-token-file t", "--status-token-file: needs --status, which it is about"},
		{leastServer + " --status-client-ca ca", "--status-client-ca: needs --status, which it is about"},
		{leastServer + " --status :6060 --status-token-file=", `--status-token-file "": empty value; leave it out to set nothing`},
		{leastServer + " --status http://:6060 --status-client-ca ca", "--status-client-ca and --status: certificates go with HTTPS, and that is plain HTTP; write --status HOST:PORT, or use --status-token-file"},
		{leastServer + " --status unix:/s --status-client-ca ca", "--status-client-ca and --status: certificates go with HTTPS, and that is plain HTTP; write --status HOST:PORT, or use --status-token-file"},
		{client + " --disable-authentication --status :6060 --status-client-ca ca", "--status-client-ca: certificates go with HTTPS, and with --disable-authentication the status port has none; use --status-token-file"},
		{leastServer + " --status http://unix:/s", `--status "http://unix:/s": a scheme goes with HOST:PORT alone; write unix:/s without it`},
		{leastServer + " --status https://localhost", `--status "https://localhost": no port; write HOST:PORT, or unix:PATH for a UNIX socket`},
		{leastServer + " --status ftp://localhost:80", `--status "ftp://localhost:80": unknown scheme; write http://HOST:PORT or https://HOST:PORT`},
		{leastServer + " --status http://localhost:6060/path", `--status "http://localhost:6060/path": port "6060/path" is neither a number nor a service known here; use 1 to 65535`},
		{leastServer + " --status localhost:6060/", `--status "localhost:6060/": port "6060/" is neither a number nor a service known here; use 1 to 65535`},
		{client + " --disable-authentication --status https://localhost:6060", "--status https://localhost:6060: HTTPS needs a certificate, and with --disable-authentication there is none; write http://localhost:6060"},
		{leastServer + " --status localhost:0", `--status "localhost:0": port 0 is out of range; use 1 to 65535`},
		{leastServer + " --status http://:8443", "--listen and --status: both are :8443; change one"},
		{leastServer + " --target-status localhost/token", "--target-status: not a URL to GET; write http://HOST/PATH or https://HOST/PATH"},
		{leastServer + " --target-status ftp://u:hunter2@a", "--target-status: not a URL to GET; write http://HOST/PATH or https://HOST/PATH"},
		{leastServer + " --metrics-graphite unix:/carbon", `--metrics-graphite "unix:/carbon": not where a carbon listens; write HOST:PORT`},
		{leastServer + " --metrics-graphite :2003", `--metrics-graphite ":2003": not where a carbon listens; write HOST:PORT`},
		{leastServer + " --metrics-graphite carbon", `--metrics-graphite "carbon": not where a carbon listens; write HOST:PORT`},
		{leastServer + " --metrics-url ftp://me:hunter2@x/", "--metrics-url: not a URL to POST to; write http://HOST/PATH or https://HOST/PATH"},
		{leastServer + " --metrics-url http://me:hunter2@:1/", "--metrics-url: not a URL to POST to; write http://HOST/PATH or https://HOST/PATH"},
		{leastServer + " --metrics-url http://me:hunter2@x:0/", "--metrics-url: has a port that is none; use 1 to 65535"},
		{leastServer + " --metrics-interval 0", `--metrics-interval "0": no time at all; use more than 0`},
		{leastServer + " --log-sample 0", `--log-sample "0": none at all; use 1 or more`},
		{leastServer + " --metrics-prefix=", `--metrics-prefix "": empty value; leave it out to set nothing`},
		// Logging
		{leastServer + " --quiet noise", `--quiet "noise": no such kind of log line; use all, conns, conn-errs or handshake-errs`},
		{leastServer + " --log-format xml", `--log-format "xml": unknown format; use text or json`},
		{leastServer + " --log-level loud", `--log-level "loud": unknown level; use debug, info, warn or error`},
		// Certificates
		{"certs init d --days 0", `--days "0": not a number of days; use 1 to 36500`},
		{"certs init d --days 36501", `--days "36501": not a number of days; use 1 to 36500`},
		{"certs init d --ip x", `--ip "x": not an IP address; write it like 192.0.2.1 or 2001:db8::1`},
		{"certs init d --uri web", `--uri "web": not a URI; write it like spiffe://example.org/web`},
		{"certs init d --ou=", `--ou "": empty value; leave it out to set nothing`},
		{"certs init d --dns-name=", `--dns-name "": empty value; leave it out to set nothing`},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			command, err := parse(tt.line)
			switch {
			case err == nil:
				t.Fatalf("accepted as %+v, want the error %q", command, tt.want)
			case err.Error() != tt.want:
				t.Errorf("error\n\t%s\nwant\n\t%s", err, tt.want)
			case command != nil:
				t.Errorf("a command came with the error: %+v", command)
			}
		})
	}
}

func TestErrorsNameTheVariable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line string
		env        []string
		want       string
	}{
		{"bad value", "server", []string{"SALLYPORT_LISTEN=here"}, `SALLYPORT_LISTEN "here": no port; write HOST:PORT, or unix:PATH for a UNIX socket`},
		{"bad switch", "server", []string{"SALLYPORT_SKIP_RESOLVE=perhaps"}, `SALLYPORT_SKIP_RESOLVE "perhaps": not a switch; write true or false`},
		{"half a pair", leastPair, []string{"CERT_PATH=c"}, "CERT_PATH: needs --key too, or --pkcs11-module"},
		{"two identities", leastPair + " --cert c --key k", []string{"KEYSTORE_PATH=s"}, "more than one identity: KEYSTORE_PATH, --cert with --key; give one of them"},
		{"one bad line of several", leastPair, []string{"SALLYPORT_ALLOW_URI=a\nb*"}, `SALLYPORT_ALLOW_URI: URI pattern "b*": segment "b*" mixes * with other characters; a wildcard is a whole segment, * or **`},
		{"line breaks in a value", leastPair, []string{"CERT_PATH=a\nb"}, `CERT_PATH "a\nb": control character in the value`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(strings.Fields(tt.line), environment(tt.env...), io.Discard, "v1.2.3")
			if err == nil || err.Error() != tt.want {
				t.Errorf("error\n\t%v\nwant\n\t%s", err, tt.want)
			}
		})
	}
}

// leastPair lacks an identity alone.
const leastPair = "server --listen :8443 --target localhost:8080 --allow-all"

func TestArgumentFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", "# comment\nserver\n--listen=:8443\n\n--target\nlocalhost:8080\n")
	loop := filepath.Join(dir, "loop")
	write("loop", "@"+loop)

	_, tunnel := mustParse(t, []string{"@" + good, "--keystore", "@x", "--allow-all", "--skip-resolve"})
	if tunnel.Listen.String() != ":8443" || tunnel.Upstream.String() != "localhost:8080" || tunnel.Identity.Keystore != "@x" {
		t.Errorf("got %+v", tunnel)
	}

	tests := []struct {
		name string
		args []string
		want string
	}{
		{"not there", []string{"@" + dir + "/none"}, `argument file "` + dir + `/none": no such file or directory`},
		{"a directory", []string{"@" + dir}, `argument file "` + dir + `": is a directory`},
		{"a file that names itself", []string{"@" + loop}, `argument file "` + loop + `": names another argument file; give both on the command line`},
		{"a line without end", []string{"@" + write("long", strings.Repeat("x", 1<<17))}, `argument file "` + dir + `/long": bufio.Scanner: token too long`},
		{"after --", []string{"server", "--", "@" + good}, `unexpected argument "@` + good + `"; a value goes with its flag, in quotes if it has blanks`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(tt.args, environment(), io.Discard, "v1.2.3")
			if err == nil || err.Error() != tt.want {
				t.Errorf("error\n\t%v\nwant\n\t%s", err, tt.want)
			}
		})
	}
}

func TestNoCommandIsAnErrorAfterAnOrientation(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	_, err := Parse(nil, environment(), &out, "v1.2.3")
	if err == nil || errors.Is(err, ErrHelp) || err.Error() != "no command given; start with sallyport --help" {
		t.Errorf("error %v", err)
	}
	for _, c := range commands {
		if !strings.Contains(out.String(), "  "+c.name+" ") {
			t.Errorf("the orientation leaves out %s:\n%s", c.name, out.String())
		}
	}
}
