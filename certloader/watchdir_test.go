package certloader_test

import (
	"log/slog"
	"testing"

	"sallyport/certloader"
)

func TestWatchSeesWhatChangesInADirectory(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"policy", "link"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			v := volume{t, t.TempDir()}
			v.write("policy/a.rego", "1")
			v.link("policy", "link")
			provider := certloader.NewWatcher(slog.New(slog.DiscardHandler)).Watch(&anything{}, []string{v.path(path)})
			defer provider.Close()
			for _, change := range []func(){
				func() { v.write("policy/a.rego", "2") },
				func() { v.write("policy/b.rego", "") },
				func() { v.remove("policy/a.rego") },
				func() { v.write("policy/deep/down/c.rego", "1") },
				func() { v.write("policy/deep/down/c.rego", "2") },
				func() { v.rename("policy/deep/down/c.rego", "policy/deep/down/d.rego") },
				func() { v.write("next/a.rego", "1"); v.rename("policy", "old"); v.rename("next", "policy") },
				func() { v.write("policy/a.rego", "2") },
			} {
				if _, err := provider.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				change()
				wantChanged(t, provider)
			}
		})
	}
}
