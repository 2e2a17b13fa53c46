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

// rulesFile has the alert rules; frontRules those of a front of an exporter. Their unit
// tests, and what Kubernetes takes, are beside them.
const (
	rulesFile  = "../deploy/prometheus/sallyport.rules.yml"
	frontRules = "../deploy/prometheus/exporter-front.rules.yml"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alertNames are those of the rules in a file, in order.
func alertNames(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(readText(t, path), -1) {
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
	for _, rules := range []string{rulesFile, frontRules} {
		unitTests := strings.TrimSuffix(rules, ".yml") + ".test.yml"
		for _, args := range [][]string{{"check", "rules", filepath.Base(rules)}, {"test", "rules", filepath.Base(unitTests)}} {
			cmd := exec.Command(promtool, args...)
			cmd.Dir = filepath.Dir(rules)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("promtool %q: %v\n%s", args, err, out)
			}
		}
		tested := readText(t, unitTests)
		for _, name := range alertNames(t, rules) {
			if !strings.Contains(tested, `alertname="`+name+`"`) {
				t.Errorf("%s fires in no unit test", name)
			}
		}
	}
}

// TestEveryAlertSaysWhatToDo in its summary and description, and in a runbook of
// its own; and there are no other runbooks.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	var names []string
	for _, rules := range []string{rulesFile, frontRules} {
		names = append(names, alertNames(t, rules)...)
		sayWhatToDo(t, readText(t, rules))
	}
	var runbooks []string
	for _, match := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(readText(t, "../docs/runbooks.md"), -1) {
		runbooks = append(runbooks, match[1])
	}
	if !slices.Equal(runbooks, names) {
		t.Errorf("runbooks\n\t%q\nalerts\n\t%q", runbooks, names)
	}
}

func sayWhatToDo(t *testing.T, rules string) {
	t.Helper()
	for _, alert := range strings.Split(rules, "- alert: ")[1:] {
		name, _, _ := strings.Cut(alert, "\n")
		for _, part := range []string{"\n          severity: ", "\n          summary: ", "\n          description: ", "\n          runbook_url: docs/runbooks.md#" + strings.ToLower(name) + "\n"} {
			if !strings.Contains(alert, part) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(part))
			}
		}
	}
}

// TestKubernetesGetsTheSameRules as Prometheus does.
func TestKubernetesGetsTheSameRules(t *testing.T) {
	t.Parallel()
	for rules, object := range map[string]string{rulesFile: "prometheusrule.yaml", frontRules: "exporter-front.prometheusrule.yaml"} {
		_, got, _ := strings.Cut(readText(t, filepath.Join(filepath.Dir(rules), object)), "\nspec:\n")
		want := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(readText(t, rules), "  $1")
		if got != want {
			t.Errorf("%s is not what %s is: make rules", object, rules)
		}
	}
}
