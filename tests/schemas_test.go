package tests

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// schemas writes a JSON Schema for each kind of object that the chart makes, as
// KIND.json, and returns the directory. They are strict: what Kubernetes does not
// know is wrong, where it would drop it without a word.
func schemas(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sources := filepath.Join(cache, "sallyport-peers", "schemas")
	if _, err := os.Stat(sources); err != nil {
		skip(t, "the schemas of Kubernetes are missing: tests/peers-go.sh full gets them")
	}
	dir := t.TempDir()
	write := func(kind string, schema any) {
		t.Helper()
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, strings.ToLower(kind)+".json"), text)
	}

	var swagger struct{ Definitions map[string]any }
	if err := json.Unmarshal([]byte(readText(t, only(t, filepath.Join(sources, "*-swagger.json")))), &swagger); err != nil {
		t.Fatal(err)
	}
	// A string or a number, for which the document has no word.
	swagger.Definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = map[string]any{"type": []string{"string", "integer"}}
	for kind, name := range map[string]string{
		"Deployment":          "io.k8s.api.apps.v1.Deployment",
		"Service":             "io.k8s.api.core.v1.Service",
		"ServiceAccount":      "io.k8s.api.core.v1.ServiceAccount",
		"NetworkPolicy":       "io.k8s.api.networking.v1.NetworkPolicy",
		"PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
	} {
		needed := map[string]any{}
		collect(swagger.Definitions, name, needed)
		write(kind, map[string]any{"$ref": "#/definitions/" + name, "definitions": strict(needed)})
	}

	crds, err := filepath.Glob(filepath.Join(sources, "*.yaml"))
	if err != nil || len(crds) == 0 {
		t.Fatalf("%v: no definitions in %s", err, sources)
	}
	for _, path := range crds {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema any `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(readText(t, path)), &crd); err != nil || len(crd.Spec.Versions) != 1 {
			t.Fatalf("%s: %v, %d versions", path, err, len(crd.Spec.Versions))
		}
		write(crd.Spec.Names.Kind, strict(crd.Spec.Versions[0].Schema.OpenAPIV3Schema))
	}
	return dir
}

// only is the one file that a pattern is for.
func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %q", pattern, err, found)
	}
	return found[0]
}

// collect adds a definition to needed, with all that it refers to.
func collect(definitions map[string]any, name string, needed map[string]any) {
	if _, ok := needed[name]; ok {
		return
	}
	needed[name] = definitions[name]
	var follow func(any)
	follow = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if ref, ok := node["$ref"].(string); ok {
				collect(definitions, strings.TrimPrefix(ref, "#/definitions/"), needed)
			}
			for _, key := range slices.Sorted(maps.Keys(node)) {
				follow(node[key])
			}
		case []any:
			for _, item := range node {
				follow(item)
			}
		}
	}
	follow(definitions[name])
}

// strict refuses properties that a schema does not list, wherever it lists any.
func strict(node any) any {
	switch node := node.(type) {
	case map[string]any:
		out := make(map[string]any, len(node))
		for key, value := range node {
			out[key] = strict(value)
		}
		_, lists := node["properties"].(map[string]any)
		_, says := node["additionalProperties"]
		if open, _ := node["x-kubernetes-preserve-unknown-fields"].(bool); lists && !says && !open {
			out["additionalProperties"] = false
			// A custom resource says nothing of what every object has.
			if properties, ok := out["properties"].(map[string]any); ok && properties["spec"] != nil {
				for _, every := range []string{"apiVersion", "kind", "metadata"} {
					if properties[every] == nil {
						properties[every] = map[string]any{}
					}
				}
			}
		}
		return out
	case []any:
		out := make([]any, len(node))
		for i, item := range node {
			out[i] = strict(item)
		}
		return out
	}
	return node
}
