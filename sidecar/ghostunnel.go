package sidecar

import (
	"fmt"
	"io"
	"slices"

	"sallyport/config"
)

// CompareWithGhostunnel tells out what cfg, which Ghostunnel's flags have made, does here that it would not do there.
// Whatever it does not name is the same.
func CompareWithGhostunnel(cfg *config.Sidecar, out io.Writer) error {
	some := func(has func(config.Tunnel) bool) bool { return slices.ContainsFunc(cfg.Tunnels, has) }
	fromFiles := some(func(t config.Tunnel) bool {
		return t.Identity.Cert != "" || t.Identity.Keystore != "" || t.CACert != ""
	})
	status := !cfg.Status.Listen.IsZero()
	differences := []struct {
		applies bool
		text    string
	}{
		{true, "flags        every one of these is taken, with the same meaning"},
		{cfg.WatchFiles && fromFiles, "reload       files that change are loaded by themselves, all or nothing; SIGHUP and --timed-reload work as ever, --no-watch-files leaves it at them"},
		{unconfined(cfg) == "", "sandbox      what is not named by a flag cannot be reached; the directories of the files can be read, so that renewals are found (--disable-landlock runs without)"},
		{true, "sessions     resumed TLS sessions are judged anew, so a reload that takes trust away counts for them too"},
		{some(func(t config.Tunnel) bool { return t.Access.Policy != config.Policy{} }), "policy       a function in it that fails refuses, where Ghostunnel goes on with an undefined value"},
		{
			some(func(t config.Tunnel) bool { return t.Identity.WorkloadAPI.Use }),
			"spiffe       of peers of federated trust domains the URI alone counts, for --allow-uri and --verify-uri; names and units count in the tunnel's own trust domain",
		},
		{some(func(t config.Tunnel) bool { return t.MaxHandshakes > 0 }), "handshakes   2048 of them at once unless --max-handshakes says otherwise; the rest wait to be accepted"},
		{status, "status       the same documents with more in them; the port answers until the drain has ended"},
		{status || !cfg.Metrics.Graphite.IsZero() || cfg.Metrics.URL != nil, "metrics      the same names, and sallyport_* for Prometheus beside them"},
		{true, "log          lines of key=value with the same words, \"opening pipe\" for one; what reads them by columns has to be changed"},
		{cfg.Log.Syslog, "syslog       messages are in the format of RFC 5424, which systemd's journal does not take apart; under systemd leave --syslog out"},
		{true, "exit code    2 for flags that cannot be used, 1 for all other failures"},
	}
	if _, err := fmt.Fprintln(out, "beside Ghostunnel"); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	for _, d := range differences {
		if !d.applies {
			continue
		}
		if _, err := fmt.Fprintln(out, "  "+d.text); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}
