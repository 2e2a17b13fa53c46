package sidecar

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/proxy"
)

// Dashboards and alerts hold on to these.
func TestDenialsAreThoseOfEveryPackageThatHasASay(t *testing.T) {
	t.Parallel()
	const want = "bad_certificate crl_expired crl_invalid crl_missing expired name_mismatch no_certificate not_allowed " +
		"not_yet_valid pin_mismatch policy_denied policy_error revoked unknown_ca"
	if got := strings.Join(denials(), " "); got != want {
		t.Errorf("denials are\n%s, want\n%s", got, want)
	}
}

// docs/events.md is what operators know the reasons from.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	m := (&tunnel{config: &config.Tunnel{}, server: &proxy.Server{}}).measured()
	for _, reason := range union(append(slices.Collect(maps.Values(m.Failures)), m.Ends)...) {
		if !strings.Contains(string(page), "`"+reason+"`") {
			t.Errorf("docs/events.md does not say what %s means", reason)
		}
	}
	for stage := range m.Failures {
		if !strings.Contains(string(page), "`"+stage+"`") {
			t.Errorf("docs/events.md does not know the stage %s", stage)
		}
	}
}

func TestReasonsAreListedOnceAndWhereTheyBelong(t *testing.T) {
	t.Parallel()
	tun := &tunnel{config: &config.Tunnel{}, server: &proxy.Server{}}
	m := tun.measured()
	for _, stage := range slices.Sorted(maps.Keys(m.Failures)) {
		for _, reason := range m.Failures[stage] {
			if stage != "accept" && !slices.Contains(m.Ends, reason) {
				t.Errorf("%s fails for %s, and no connection ends for it", stage, reason)
			}
		}
	}
	for _, reason := range m.Denials {
		if !slices.Contains(m.Failures["handshake"], reason) {
			t.Errorf("a peer is denied for %s, and no handshake fails for it", reason)
		}
	}
	for _, list := range append(slices.Collect(maps.Values(m.Failures)), m.Ends, m.Denials) {
		if sorted := slices.Sorted(slices.Values(list)); len(slices.Compact(sorted)) != len(list) {
			t.Errorf("a reason is twice in %q", list)
		}
	}
}
