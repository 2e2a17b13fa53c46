package config

import (
	"testing"
)

func TestTargetsThatExpand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"db.example.com:1":         true,
		"localhost:1":              false,
		"LOCALHOST.:1":             false,
		"web.localhost:1":          false,
		"notlocalhost:1":           true,
		"127.0.0.1:1":              false,
		"[::1]:1":                  false,
		":1":                       false,
		"unix:/run/db.example.com": false,
	} {
		target, err := parseTarget(text)
		if err != nil || target.Expands() != want {
			t.Errorf("%s: expands is %t, error %v; want %t", text, target.Expands(), err, want)
		}
	}
}

// FuzzTarget: what is read as a target is written so that it reads the same.
func FuzzTarget(f *testing.F) {
	for _, text := range []string{
		"localhost:80", "localhost:80;weight=2", "[::1]:1;weight=256", "unix:/a;b;weight=3", "unix:/a;weight=x;weight=3", "unix:@a;weight=1", "unix:/a;weight=5;weight=1",
		"a:1;weight=0", "a:1;weight=+1", "a:1;weight=2;weight=3", ";weight=2", ":1;weight=9", "a:1;", "unix:;weight=1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		target, err := parseTarget(text)
		if err != nil {
			return
		}
		if target.Weight < 1 || target.Weight > maxWeight {
			t.Fatalf("%q: weight %d", text, target.Weight)
		}
		again, err := parseTarget(target.String())
		if err != nil || again != target {
			t.Fatalf("%q is %+v, and written as %q %+v, %v", text, target, target.String(), again, err)
		}
	})
}
