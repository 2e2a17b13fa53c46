package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheTestsThatSecurityNamesExist, so that docs/security.md promises nothing
// that is not tested.
func TestTheTestsThatSecurityNamesExist(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := os.ReadFile(path)
		code.Write(file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`").FindAllSubmatch(doc, -1)
	if len(names) < 20 {
		t.Errorf("%d names only", len(names))
	}
	for _, name := range names {
		if !strings.Contains(code.String(), "\nfunc "+string(name[1])+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}
