package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
)

const (
	v0 = "package access\n\ndefault allow = false\n\nallow { input.certificate.Subject.CommonName == \"alice\" }\n"
	v1 = "package access\n\ndefault allow := false\n\nallow if input.certificate.Subject.CommonName in data.people\n"

	people = `{"people": ["alice"]}`
	query  = "data.access.allow"
)

func TestEveryFormLetsInAliceAlone(t *testing.T) {
	t.Parallel()
	directory := func(t *testing.T, files map[string]string) string {
		dir := t.TempDir()
		write(t, dir, files)
		return dir
	}
	for _, test := range []struct {
		name string
		path func(*testing.T) string
	}{
		{"file in v0", func(t *testing.T) string { return file(t, v0) }},
		{"file that imports v1", func(t *testing.T) string {
			return file(t, strings.Replace(v0, "allow {", "import rego.v1\nallow if {", 1))
		}},
		{"directory", func(t *testing.T) string {
			return directory(t, map[string]string{"access.rego": v1, "data.json": people})
		}},
		{"directory of others", func(t *testing.T) string {
			return directory(t, map[string]string{"a/b/access.rego": v1, "data.json": people})
		}},
		{"directory by a symbolic link", func(t *testing.T) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(directory(t, map[string]string{"access.rego": v1, "data.json": people}), link); err != nil {
				t.Fatal(err)
			}
			return link
		}},
		{"directory as Kubernetes mounts it", func(t *testing.T) string {
			dir := directory(t, map[string]string{"..2026_11_20/access.rego": v1, "..2026_11_20/data.json": people})
			for link, target := range map[string]string{"..data": "..2026_11_20", "access.rego": "..data/access.rego", "data.json": "..data/data.json"} {
				if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}},
		{"directory in v0, as its manifest tells", func(t *testing.T) string {
			return directory(t, map[string]string{"access.rego": v0, ".manifest": `{"rego_version": 0}`})
		}},
		{"archive", func(t *testing.T) string {
			return archive(t, map[string]string{"/access.rego": v1, "/data.json": people})
		}},
		{"archive in v0, as its manifest tells", func(t *testing.T) string {
			return archive(t, map[string]string{"/access.rego": v0, "/.manifest": `{"rego_version": 0}`})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := load(t, test.path(t), query)
			if err := p.Authorizer(from)(peer(t, alice)); err != nil {
				t.Errorf("alice: %v", err)
			}
			bob := alice
			bob.CommonName = "bob"
			if got := reason(t, p.Authorizer(from)(peer(t, bob))); got != policy.ReasonDenied {
				t.Errorf("bob: reason %q", got)
			}
		})
	}
}

func TestWhatCannotBeAskedDoesNotLoad(t *testing.T) {
	t.Parallel()
	empty, incomplete, dangling := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, target := range map[string]string{incomplete: empty, dangling: filepath.Join(empty, "none")} {
		write(t, dir, map[string]string{"access.rego": v1})
		if err := os.Symlink(target, filepath.Join(dir, "more.rego")); err != nil {
			t.Fatal(err)
		}
	}
	endless := file(t, "")
	if err := os.Truncate(endless, 17<<20); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, path, query, want string }{
		{"more than anybody writes", endless, query, "larger than 16 MiB"},
		{"no file", filepath.Join(empty, "none.rego"), query, "no such file"},
		{"an empty directory", empty, query, "a bundle without a .rego file"},
		{"an empty file", file(t, ""), query, "empty module"},
		{"a comment", file(t, "# nothing\n"), query, "empty module"},
		{"an empty file in a bundle", archive(t, map[string]string{"/access.rego": ""}), query, "empty module"},
		{"not Rego", file(t, "package access\nallow {"), query, "access.rego:2"},
		{"v1 in a file", file(t, v1), query, "a .rego file is read as Rego v0"},
		{"v0 in a bundle", archive(t, map[string]string{"/access.rego": v0}), query, "access.rego:5"},
		{"an unknown function", file(t, "package access\nallow { nothing.like(it) }"), query, "undefined function"},
		{"an archive that is none", archiveOf(t, "hello"), query, "neither a .rego file nor a bundle"},
		{"an archive without rules", archive(t, map[string]string{"/data.json": people}), query, "a bundle without a .rego file"},
		{"a directory that is not all there", incomplete, query, "a symbolic link to a directory"},
		{"a link that leads nowhere", dangling, query, "no such file"},
		{"an archive that was cut", archiveOf(t, "\x1f\x8b\x08"), query, "unexpected EOF"},
		{"a query that is none", file(t, v0), "data.access.", `query "data.access."`},
		{"an empty query", file(t, v0), "", `query ""`},
		{"a query of two", file(t, v0), "data.access.allow; true", "has to be one expression"},
		{"a query for an unbound variable", file(t, v0), "allow", "unsafe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Load(t.Context(), test.path, test.query, patience)
			if err == nil {
				t.Fatal("loads")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error\n\t%v\nwant one line with\n\t%s", err, test.want)
			}
		})
	}
}

func TestReloadIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	path := file(t, v0)
	p := load(t, path, query)
	state := peer(t, alice)
	ongoing := p.Authorizer(from) // of a handshake that has begun before
	for _, step := range []struct {
		name, content string
		loads, allow  bool
	}{
		{"damaged", "package access\nallow {", false, true},
		{"denying", "package access\ndefault allow = false", true, false},
		{"damaged again", "", false, false},
		{"allowing", v0, true, true},
	} {
		write(t, filepath.Dir(path), map[string]string{"access.rego": step.content})
		if err := p.Reload(t.Context()); (err == nil) != step.loads {
			t.Errorf("%s: Reload = %v", step.name, err)
		}
		if err := p.Authorizer(from)(state); (err == nil) != step.allow {
			t.Errorf("%s: %v", step.name, err)
		}
		if err := ongoing(state); (err == nil) != step.allow {
			t.Errorf("%s, for a handshake in progress: %v", step.name, err)
		}
	}
}

// archiveOf makes a file that is called an archive.
func archiveOf(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"bundle.tar.gz": content})
	return filepath.Join(dir, "bundle.tar.gz")
}
