package policy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/open-policy-agent/opa/v1/rego"
)

// ask has the policy answer before the context ends. It returns nil for true
// alone.
func (p *Policy) ask(ctx context.Context, cs tls.ConnectionState, remote net.Addr) (err error) {
	// What is asked about is the peer's choice, and what answers is a large
	// library with hundreds of functions: none of it is to end the process.
	defer func() {
		if r := recover(); r != nil {
			err = p.failed(fmt.Errorf("the evaluation panicked: %v", r))
		}
	}()
	value, err := newInput(cs, remote)
	if err != nil {
		return p.failed(err)
	}
	results, err := p.current.Load().Eval(ctx, rego.EvalParsedInput(value))
	switch {
	case ctx.Err() != nil: // a late answer is none
		return p.failed(fmt.Errorf("no answer within %v: %w", p.limit, ctx.Err()))
	case err != nil:
		return p.failed(oneLine(err))
	case len(results) == 0:
		return p.denied("is undefined")
	case len(results) > 1:
		return p.failed(fmt.Errorf("%d answers; ask for one boolean", len(results)))
	case len(results[0].Expressions) != 1 || len(results[0].Bindings) > 0:
		return p.failed(errors.New("the query has variables; ask for one boolean"))
	}
	switch answer := results[0].Expressions[0].Value.(type) {
	case bool:
		if answer {
			return nil
		}
		return p.denied("is false")
	default:
		// Of a certificate, the answer could be all of it: its type has to do.
		return p.failed(fmt.Errorf("the answer is %s, not a boolean", kind(answer)))
	}
}

// kind names the type of a value as JSON has it.
func kind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case []any:
		return "an array or a set"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
