package tests

import (
	"fmt"
	"path/filepath"
	"testing"
)

// startTinyproxy starts a tinyproxy, with more lines of its configuration, and
// returns where it is. It waits until it accepts connections.
func startTinyproxy(t *testing.T, lines string) string {
	t.Helper()
	need(t, "tinyproxy")
	address := reserve(t)
	conf := filepath.Join(t.TempDir(), "tinyproxy.conf")
	writeFile(t, conf, fmt.Appendf(nil, "Listen 127.0.0.1\nPort %s\nTimeout 600\n%s\n", port(t, address), lines))
	startPeer(t, "tinyproxy", "-d", "-c", conf)
	accepting(t, "tcp", address)
	return address
}

func TestTinyproxyIsOnTheWayToTheTarget(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	proxy := startTinyproxy(t, "")
	client := startClient(t, p, listen, service.address, "--proxy", "http://"+proxy)
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	client.stop(t)
}
