package sidecar

import (
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/metrics"
)

func TestEveryDenialIsCountedFromTheStartAndNothingElse(t *testing.T) {
	t.Parallel()
	m := metrics.New("ghostunnel")
	defer m.Close()
	m.AddTunnel(metrics.Tunnel{Name: "web", Denials: denials()})
	failed := (&Sidecar{metrics: m}).observer("web").Failed
	for _, reason := range []string{"timeout", "client_abort", "connection_refused", "error"} {
		failed("handshake", reason)
	}
	samples := func(value string) []string {
		answer := httptest.NewRecorder()
		m.Prometheus().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		var reasons []string
		for line := range strings.Lines(answer.Body.String()) {
			rest, ours := strings.CutPrefix(line, `sallyport_authorization_denied_total{reason="`)
			reason, ours2 := strings.CutSuffix(rest, "\",tunnel=\"web\"} "+value+"\n")
			if ours && ours2 {
				reasons = append(reasons, reason)
			}
		}
		return reasons
	}
	// In order, as Prometheus has them. Dashboards and alerts hold on to these.
	const want = "bad_certificate crl_expired crl_invalid crl_missing expired name_mismatch no_certificate not_allowed " +
		"not_yet_valid pin_mismatch policy_denied policy_error revoked unknown_ca"
	if got := strings.Join(samples("0"), " "); got != want {
		t.Errorf("at 0 there are\n%s, want\n%s", got, want)
	}
	for reason := range strings.FieldsSeq(want) {
		failed("handshake", reason)
	}
	if got := strings.Join(samples("1"), " "); got != want {
		t.Errorf("at 1 there are\n%s, want\n%s", got, want)
	}
}
