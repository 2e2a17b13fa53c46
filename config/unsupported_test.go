package config

import "testing"

func TestUnsupportedFlagsAreNoSettings(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, name := range unsupported {
		if findFlag(name) != nil {
			t.Errorf("--%s: has a row in settings; it is supported", name)
		}
		if seen[name] {
			t.Errorf("--%s: listed twice", name)
		}
		seen[name] = true
		_, err := parse(leastServer + " --" + name)
		want := "--" + name + ": not supported by this version; see sallyport server --help"
		if err == nil || err.Error() != want {
			t.Errorf("error\n\t%v\nwant\n\t%s", err, want)
		}
	}
}
