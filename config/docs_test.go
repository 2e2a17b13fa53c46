package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guides are the Markdown files of the repository, by name.
func guides(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (entry.Name() == "bin" || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := fs.ReadFile(root, path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	// alone is a flag that stands by itself in running text: `--flag`, `--flag VALUE`.
	alone = regexp.MustCompile("`--([a-z0-9-]*[a-z0-9])(?:[ =][^`]*)?`")
	// invoked is a command line of sallyport, up to where another begins.
	invoked = regexp.MustCompile(`(?:^|[\s/` + "`" + `])sallyport ([^|&;#` + "`" + `\n]*)`)
	// inList is a flag in a list of arguments, as manifests and Compose have it.
	inList = regexp.MustCompile(`(?m)^\s*- "?--([a-z0-9-]+)`)
	// given is a flag in such a line.
	given = regexp.MustCompile(`(?:^|\s)--([a-z0-9-]+)`)
)

// TestGuidesNameNoFlagThatIsNotThere: those that stand alone in the text are some
// command's, and those of a command line are that command's.
func TestGuidesNameNoFlagThatIsNotThere(t *testing.T) {
	t.Parallel()
	general := func(name string) bool {
		return slices.ContainsFunc(generalFlags, func(f struct{ name, help string }) bool {
			return slices.Contains(strings.Split(f.name, ", "), "--"+name)
		})
	}
	for page, text := range guides(t) {
		for _, match := range slices.Concat(alone.FindAllStringSubmatch(text, -1), inList.FindAllStringSubmatch(text, -1)) {
			if name := match[1]; findFlag(name) == nil && !general(name) && foreign(name) == "" {
				t.Errorf("%s: %s: no command has such a flag", page, match[0])
			}
		}
		for _, match := range invoked.FindAllStringSubmatch(strings.ReplaceAll(text, "\\\n", " "), -1) {
			words, ghostunnel := withoutGhostunnel(strings.Fields(match[1]))
			var c *command
			for n := min(2, len(words)); n > 0 && c == nil; n-- {
				c = findCommand(strings.Join(words[:n], " "))
			}
			if c == nil {
				continue // a sentence, or a line without a command
			}
			for _, flag := range given.FindAllStringSubmatch(match[1], -1) {
				name := flag[1]
				s := findSetting(name, c.set)
				if plain, ok := strings.CutPrefix(name, "no-"); ok && s == nil {
					s = findSetting(plain, c.set)
				}
				if s == nil && !general(name) && (!ghostunnel || foreign(name) == "") {
					t.Errorf("%s: sallyport %s: --%s: this command has no such flag", page, strings.TrimSpace(match[1]), name)
				}
			}
		}
	}
}
