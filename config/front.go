package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// PrometheusTunnel is the one system whose names --metrics-compat knows.
const PrometheusTunnel = "prometheus-tunnel"

// The variables of a front of a Prometheus exporter, as prometheus-tunnel has them.
const (
	frontServerIP    = "SERVER_IP"    // where the exporter is
	frontServerPort  = "SERVER_PORT"  // its port
	frontMetricsPort = "METRICS_PORT" // where the front serves its own metrics and health
	frontDebug       = "DEBUG"        // a switch
)

// isFront tells whether the command is the front of an exporter, which is said by
// listening in the clear or by asking for the metrics of one.
func (d *draft) isFront() bool {
	t := &d.tunnel
	return d.command.set&inServer != 0 && t.Protocol == HTTP && (t.DisableTLS || d.sidecar.Metrics.Compat != "")
}

// setFront fills in, for the front of an exporter alone, what its variables have and
// nothing else gave. Their names are such as any program may have.
func (d *draft) setFront(env func(string) (string, bool)) error {
	if !d.isFront() {
		return nil
	}
	variable := func(name string) string {
		text, _ := env(name)
		if isServiceLink(name, text) {
			return ""
		}
		return strings.TrimSpace(text)
	}
	fill := func(name, source, value string) error {
		if _, given := d.from[name]; given {
			return nil
		}
		return d.set(findSetting(name, d.command.set), source, value)
	}
	if err := d.setFrontTarget(variable(frontServerIP), variable(frontServerPort), fill); err != nil {
		return err
	}
	if port := variable(frontMetricsPort); port != "" {
		if _, err := parsePort(port); err != nil {
			return fmt.Errorf("%s %q: %w", frontMetricsPort, port, err)
		}
		if err := fill("status", frontMetricsPort, "http://:"+port); err != nil {
			return err
		}
	}
	debug := variable(frontDebug)
	if debug == "" {
		return nil
	}
	on, err := parseSwitch(debug)
	if err != nil {
		return fmt.Errorf("%s %q: %w", frontDebug, debug, err)
	}
	if !on {
		return nil
	}
	return fill("log-level", frontDebug, "debug")
}

// setFrontTarget makes a target of two variables. Without the first it is on this
// machine.
func (d *draft) setFrontTarget(ip, port string, fill func(name, source, value string) error) error {
	switch {
	case ip == "" && port == "":
		return nil
	case port == "":
		if _, given := d.from["target"]; given {
			return nil
		}
		return errors.New(frontServerIP + ": needs " + frontServerPort + " too, the port of the exporter")
	case ip == "":
		return fill("target", frontServerPort, net.JoinHostPort("localhost", port))
	}
	host := strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]") // as IPv6 is written before a port
	return fill("target", frontServerIP+" with "+frontServerPort, net.JoinHostPort(host, port))
}

// checkCompat wants requests where metrics of requests are asked for.
func (d *draft) checkCompat(tunnels []*draft) error {
	counted := slices.ContainsFunc(tunnels, func(t *draft) bool { return t.tunnel.Protocol == HTTP })
	if d.sidecar.Metrics.Compat != "" && len(tunnels) > 0 && !counted {
		return fmt.Errorf("%s: needs --protocol http, whose requests it counts", d.name("metrics-compat"))
	}
	return nil
}

func parseCompat(text string) (string, error) {
	if text != PrometheusTunnel {
		return "", errors.New("unknown system; use " + PrometheusTunnel)
	}
	return text, nil
}
