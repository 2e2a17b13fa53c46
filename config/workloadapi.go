package config

import (
	"errors"
	"net/netip"
	"net/url"
	"runtime"
	"time"
)

// WorkloadAPI is the SPIFFE Workload API, which brings the trust too.
type WorkloadAPI struct {
	Use     bool
	Address string        // URI of its socket
	Timeout time.Duration // how long to wait for it at start; 0: for ever
}

// workloadAPIVariable is what the SPIFFE Workload Endpoint specification
// (section 4) calls the variable with the endpoint's address.
const workloadAPIVariable = "SPIFFE_ENDPOINT_SOCKET"

// parseWorkloadAPIAddress reads a URI as the SPIFFE Workload Endpoint
// specification, section 4, has it.
func parseWorkloadAPIAddress(text string) (string, error) {
	at, err := url.Parse(text)
	if err != nil || at.User != nil || at.RawQuery != "" || at.Fragment != "" {
		return "", errWorkloadAPIAddress
	}
	switch at.Scheme {
	case "unix":
		// unix:///PATH and, as go-spiffe has it too, unix:PATH.
		if at.Host == "" && at.Path+at.Opaque != "" {
			return text, nil
		}
	case "tcp":
		if addr, err := netip.ParseAddrPort(at.Host); err == nil && addr.Port() != 0 && at.Path == "" {
			return text, nil
		}
	case "npipe":
		if runtime.GOOS == "windows" && at.Opaque != "" {
			return text, nil
		}
	}
	return "", errWorkloadAPIAddress
}

var errWorkloadAPIAddress = errors.New("not the address of a Workload API; write unix:///PATH or tcp://IP:PORT")

// settleWorkloadAPI has an address stand for the wish to use it. The variable
// that the specification has for the address does not go against an identity
// that was asked for: an agent's operator may set it for everybody on a machine.
func (d *draft) settleWorkloadAPI() {
	api := &d.tunnel.Identity.WorkloadAPI
	source := d.from["use-workload-api-addr"]
	if _, said := d.from["use-workload-api"]; !said && api.Address != "" {
		ambient := source == workloadAPIVariable
		api.Use = !ambient || d.tunnel.Identity.IsZero() && !d.tunnel.SendsNoCertificate()
		d.from["use-workload-api"] = source
	}
	if !api.Use {
		*api = WorkloadAPI{}
		return
	}
	api.Timeout = d.workloadAPITimeout
}

// setAmbient has a tunnel of a file that wants the Workload API find it where the
// variable of the specification says, as every program does. Other variables are
// not asked: they would be for all tunnels.
func (d *draft) setAmbient(env func(string) (string, bool)) error {
	const setting = "use-workload-api-addr"
	at, _ := env(workloadAPIVariable)
	if api := &d.tunnel.Identity.WorkloadAPI; !api.Use || api.Address != "" || at == "" {
		return nil
	}
	return d.set(findSetting(setting, inTunnel), workloadAPIVariable, at)
}
