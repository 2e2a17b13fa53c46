package sandbox

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/net/http/httpproxy"
)

// readAlways are files that package net looks into to listen, and package time to write down the hour.
func readAlways() []string {
	return []string{"/proc/sys/net/core/somaxconn", "/etc/localtime", "/usr/share/zoneinfo"}
}

// The ports that Go's resolver uses: it asks DNS servers at the first, over UDP and TCP, and finds out by the second, where
// it sends nothing to, which of a host's addresses can be reached (RFC 6724).
const (
	dnsPort     = 53
	discardPort = 9
)

// resolverFiles are what Go's resolver reads, again and again.
func resolverFiles() []string {
	return []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/services", "/etc/protocols"}
}

// trustPlaces are where crypto/x509 looks for the CA certificates of the system: the usual places on Linux, or those that
// the environment names.
func trustPlaces() []string {
	files := []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
	dirs := []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	if list := os.Getenv("SSL_CERT_DIR"); list != "" {
		dirs = filepath.SplitList(list)
	}
	places := files
	for _, dir := range dirs {
		places = append(places, dir)
		places = append(places, leadingOut(dir)...)
	}
	return places
}

// leadingOut returns what symbolic links in a directory lead to, where that is elsewhere.
func leadingOut(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // then nothing in it can be read
	}
	var targets []string
	for _, entry := range entries {
		if entry.Type() != os.ModeSymlink {
			continue
		}
		target, err := filepath.EvalSymlinks(filepath.Join(dir, entry.Name()))
		if err == nil && filepath.Dir(target) != filepath.Clean(dir) && isFile(target) {
			targets = append(targets, target)
		}
	}
	return targets
}

// proxyPorts are those of the proxies that the environment names.
func proxyPorts() []uint16 {
	proxies := httpproxy.FromEnvironment()
	var ports []uint16
	for _, text := range []string{proxies.HTTPProxy, proxies.HTTPSProxy} {
		if port := proxyPort(text); port != 0 {
			ports = append(ports, port)
		}
	}
	return ports
}

// proxyPort is the port of a proxy as net/http reads it: a URL, of HTTP if it has no scheme. It is 0 if there is none.
func proxyPort(text string) uint16 {
	if text == "" {
		return 0
	}
	at, err := url.Parse(text)
	if err != nil || at.Scheme == "" || at.Host == "" {
		if at, err = url.Parse("http://" + text); err != nil {
			return 0
		}
	}
	switch port := at.Port(); {
	case port != "":
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return 0
		}
		return uint16(n)
	case at.Scheme == "https":
		return 443
	case at.Scheme == "socks5", at.Scheme == "socks5h":
		return 1080
	}
	return 80
}
