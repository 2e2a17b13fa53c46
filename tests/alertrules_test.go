package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rulesFile has the alert rules; its unit tests, and what Kubernetes takes, are beside it.
const rulesFile = "../deploy/prometheus/sallyport.rules.yml"

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alertNames are those of the rules, in order.
func alertNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(readText(t, rulesFile), -1) {
		names = append(names, match[1])
	}
	if len(names) == 0 {
		t.Fatal("no alerts")
	}
	return names
}

// TestAlertRulesDoWhatTheirUnitTestsSay about which alerts fire when, and no others.
func TestAlertRulesDoWhatTheirUnitTestsSay(t *testing.T) {
	t.Parallel()
	promtool := need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", "sallyport.rules.test.yml"}} {
		cmd := exec.Command(promtool, args...)
		if args[0] == "test" {
			cmd.Dir = filepath.Dir(rulesFile)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	tested := readText(t, filepath.Join(filepath.Dir(rulesFile), "sallyport.rules.test.yml"))
	for _, name := range alertNames(t) {
		if !strings.Contains(tested, `alertname="`+name+`"`) {
			t.Errorf("%s fires in no unit test", name)
		}
	}
}

// TestEveryAlertSaysWhatToDo in its summary and description, and in a runbook of
// its own; and there are no other runbooks.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	text := readText(t, rulesFile)
	_, alerts, _ := strings.Cut(text, "- name: sallyport.alerts\n")
	for _, alert := range strings.Split(alerts, "- alert: ")[1:] {
		name, _, _ := strings.Cut(alert, "\n")
		for _, part := range []string{"\n          severity: ", "\n          summary: ", "\n          description: ", "\n          runbook_url: docs/runbooks.md#" + strings.ToLower(name) + "\n"} {
			if !strings.Contains(alert, part) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(part))
			}
		}
	}
	var runbooks []string
	for _, match := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(readText(t, "../docs/runbooks.md"), -1) {
		runbooks = append(runbooks, match[1])
	}
	if names := alertNames(t); !slices.Equal(runbooks, names) {
		t.Errorf("runbooks\n\t%q\nalerts\n\t%q", runbooks, names)
	}
}

// TestKubernetesGetsTheSameRules as Prometheus does.
func TestKubernetesGetsTheSameRules(t *testing.T) {
	t.Parallel()
	_, got, _ := strings.Cut(readText(t, filepath.Join(filepath.Dir(rulesFile), "prometheusrule.yaml")), "\nspec:\n")
	want := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(readText(t, rulesFile), "  $1")
	if got != want {
		t.Error("prometheusrule.yaml is not what sallyport.rules.yml is: make rules")
	}
}
