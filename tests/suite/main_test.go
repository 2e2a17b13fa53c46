package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		body    string // of the one test in the module
		strict  bool
		wantErr string // part of the error; empty: none
		want    []string
		last    string // how the last line begins
	}{
		{
			name: "a pass prints go test's line alone",
			body: `t.Log("quiet")`,
			last: "ok  \tplanted\t",
		},
		{
			name:    "a failure prints what the test has printed",
			body:    `t.Run("sub", func(t *testing.T) { t.Error("broken") })`,
			wantErr: "go test: exit status 1",
			want:    []string{"--- FAIL: TestPlanted (", "--- FAIL: TestPlanted/sub (", "planted_test.go:3: broken\n"},
			last:    "FAIL",
		},
		{
			name: "a skip is shown with its reason",
			body: `t.Skip("no such peer")`,
			want: []string{"--- SKIP: TestPlanted (", "no such peer\n"},
			last: "ok  \tplanted\t",
		},
		{
			name:    "a skip fails where nothing may be skipped",
			body:    `t.Run("sub", func(t *testing.T) { t.Skip("no such peer") })`,
			strict:  true,
			wantErr: "1 tests were skipped",
			want:    []string{"--- SKIP: TestPlanted/sub (", "no such peer\n"},
			last:    "ok  \tplanted\t",
		},
		{
			name:   "a skip is no failure if another run has the test",
			body:   `t.Skip("takes long; make test-full runs it")`,
			strict: true,
			want:   []string{"--- SKIP: TestPlanted (", "takes long; make test-full runs it\n"},
			last:   "ok  \tplanted\t",
		},
		{
			name:    "a panic shows where",
			body:    `panic("oops")`,
			wantErr: "go test: exit status 1",
			want:    []string{"panic: oops", "planted_test.go:3"},
			last:    "FAIL",
		},
		{
			name:    "what does not compile is shown",
			body:    `undefined()`,
			wantErr: "go test: exit status 1",
			want:    []string{"undefined: undefined", "FAIL\tplanted [build failed]"},
			last:    "FAIL",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range map[string]string{
				"go.mod":          "module planted\n",
				"planted_test.go": "package planted\nimport \"testing\"\nfunc TestPlanted(t *testing.T) { " + test.body + " }\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			s := suite{out: &out, strict: test.strict}
			err := s.run(t.Context(), dir, []string{"./..."})
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
			for _, part := range append(test.want, "\n") {
				if !strings.Contains(out.String(), part) {
					t.Errorf("output lacks %q:\n%s", part, &out)
				}
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, test.last) {
				t.Errorf("last line %q, want %q…", last, test.last)
			}
			if strings.Contains(out.String(), "=== RUN") || strings.Contains(out.String(), "quiet") {
				t.Errorf("output of -v in it:\n%s", &out)
			}
		})
	}
}
