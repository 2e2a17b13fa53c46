package sandbox

import "testing"

func TestProxyPortIsTheOneOfNetHTTP(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint16{
		"":                               0,
		"proxy.example":                  80,
		"proxy.example:3128":             3128,
		"http://proxy.example":           80,
		"http://user:pass@proxy.example": 80,
		"https://proxy.example/":         443,
		"https://proxy.example:8443":     8443,
		"socks5://[::1]":                 1080,
		"socks5h://proxy.example:9050":   9050,
		"http://proxy.example:70000":     0,
	} {
		if got := proxyPort(text); got != want {
			t.Errorf("%q: port %d, want %d", text, got, want)
		}
	}
}
