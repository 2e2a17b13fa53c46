package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// playVariable has this program, run once more, play a part in a comparison: a playOrder.
const playVariable = "SALLYPORT_BENCH_PLAY"

// A playOrder says which part, and where.
type playOrder struct {
	Part           string // copyloop, relay or storm
	Client         bool
	Listen, Target string
	Certs          string
}

func (o playOrder) env() []string {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and a bool
	}
	return []string{playVariable + "=" + string(text)}
}

// play plays the part that the environment says. It returns false if that says none.
func play(ctx context.Context, in io.Reader, out io.Writer) (bool, error) {
	text, ok := os.LookupEnv(playVariable)
	if !ok {
		return false, nil
	}
	var o playOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return true, fmt.Errorf("%s: %w", playVariable, err)
	}
	certs, err := loadCertificates(o.Certs)
	if err != nil {
		return true, err
	}
	switch o.Part {
	case "relay":
		return true, runRelay(ctx, o, relayPlain)
	case "copyloop":
		return true, runRelay(ctx, o, copyLoop(o.Client, certs))
	case "storm":
		return true, runStorm(ctx, o, certs, in, out)
	}
	return true, fmt.Errorf("%s: no part %q", playVariable, o.Part)
}
