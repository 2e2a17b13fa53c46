package sidecar

import (
	"slices"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/policy"
)

// denials are the reasons for which a tunnel may refuse a peer: those of every package that has a say in it, each once.
func denials() []string {
	reasons := slices.Concat(auth.Reasons(), certloader.Reasons(), policy.Reasons())
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// failedIn returns what tells the metrics of a connection that of a tunnel that came to nothing, and, if its peer was refused, of that too.
func (s *Sidecar) failedIn(tunnel string) func(stage, reason string) {
	reasons := denials()
	return func(stage, reason string) {
		s.metrics.Failed(stage, reason)
		if slices.Contains(reasons, reason) {
			s.metrics.Denied(tunnel, reason)
		}
	}
}
