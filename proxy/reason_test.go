package proxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReasonsAreListed reads the reasons from the source: one that is in no list would not be counted before it happens.
func TestReasonsAreListed(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	listed := slices.Concat(slices.Collect(maps.Values(Failures()))...)
	listed = append(listed, Ends()...)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "reason") || len(spec.Values) == 0 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		found++
		reason, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(listed, reason) && !slices.Contains(listed, "client_"+reason) {
			t.Errorf("%s is in no list", reason)
		}
		return true
	})
	if found < 25 {
		t.Errorf("found %d reasons", found)
	}
	if _, ok := Failures()[stageDial]; !ok || !slices.IsSorted(Ends()) {
		t.Errorf("%v, %v", Failures(), Ends())
	}
}
