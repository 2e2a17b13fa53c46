package config

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// schemaFile is where editors find the schema.
const schemaFile = "../docs/config.schema.json"

// exampleFile has every key.
const exampleFile = "../config.example.yaml"

func TestSchemaIsThatOfTheSettings(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(file) != helpOf(t, "--config-schema") {
		t.Errorf("%s is not what sallyport --config-schema prints; make schema", schemaFile)
	}
}

// compiled is the schema, ready to judge.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(configSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// judged is what a schema says of a YAML text, as an editor would.
func judged(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	var value any
	if err := yaml.Load([]byte(text), &value); err != nil {
		return err
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(strings.NewReader(string(plain)))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(instance)
}

func TestSchemaAcceptsWhatIsRight(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	schema := compiled(t)
	for name, text := range map[string]string{
		"the example": string(example),
		"the least":   leastFile,
		"variables":   server("allow-all: ${YES}", "max-handshakes: ${N}", "idle-timeout: ${T}", "protocol: ${P}", "crl: ['${A}', '${B}']"),
		"numbers":     server("allow-cn: 7", "max-handshakes: 7", "idle-timeout: 0", "listen-mode: 0660"),
		"nothing":     server("allow-all: true", "idle-timeout: ~", "crl: []"),
	} {
		if err := judged(t, schema, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaRefusesWhatItCanSee has the schema judge every fault that a file can
// have. Listed are those that it is blind to: what keys say together, what is in
// the environment, and values whose form is more than a type.
func TestSchemaRefusesWhatItCanSee(t *testing.T) {
	t.Parallel()
	blind := []string{
		"a name twice", "a tag", "no value", "no value of a switch",
		"a variable that is not set", "one that is empty", "one without a name", "with a default, as shells have", "one that holds something else", "in a name",
		"a part of an address", "a part of a pin", "a part of a pattern",
		"half an identity", "two identities", "one by default", "what excludes each other", "a target elsewhere",
		"a switch that is on by default", "one address of two tunnels", "and of the status port", "what needs a status port", "HTTPS without an identity",
		"what is missing", "from a wrong value", "from a wrong default",
		"two routes of one name", "a name of two routes", "a server name that is none", "a route to elsewhere", "a route with two identities",
		"a route that lets in everybody and somebody", "a route without a target", "a route with further identities alone", "an identity with two", "half a further identity", "routes without TLS",
		"a further identity that is none", "too many routes and identities", "a route whose clients nobody says whom to trust for",
	}
	schema := compiled(t)
	for _, tt := range fileFaults() {
		err := judged(t, schema, tt.text)
		if sees := err != nil; sees == slices.Contains(blind, tt.name) {
			t.Errorf("%s: the schema says %v", tt.name, err)
		}
	}
}

// TestSchemaKnowsTheTypes has each setting that is a number, a duration or a choice to the
// schema be one to the process, too.
func TestSchemaKnowsTheTypes(t *testing.T) {
	t.Parallel()
	for i := range settings {
		s := &settings[i]
		if s.commands&inProcess == 0 || s.flagOnly {
			continue
		}
		text, err := json.Marshal(s.schema())
		if err != nil {
			t.Fatal(err)
		}
		var good string
		bad := "\x00"
		switch {
		case strings.Contains(string(text), "#/$defs/count"):
			good, bad = "7", "seven"
		case strings.Contains(string(text), "#/$defs/duration"):
			good, bad = "7s", "seven"
		case strings.Contains(string(text), "#/$defs/switch"):
			good, bad = "true", "yes"
		case len(s.choices) > 0:
			good = s.choices[0]
		default:
			continue
		}
		if s.name == "http-max-header-bytes" {
			good = "8192"
		}
		d := newDraft(findCommand(string(Client)))
		if err := s.set(d, good); err != nil {
			t.Errorf("%s: %q: %v", s.name, good, err)
		}
		if err := s.set(d, bad); err == nil {
			t.Errorf("%s: %q is accepted", s.name, bad)
		}
	}
}

// TestExampleHasEveryKey keeps the example complete, and one that can be read.
func TestExampleHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse([]string{"run", "--config", exampleFile}, environment("PUSH_TOKEN=a", "API_KEYSTORE_PASSWORD=b", "HSM_PIN=1"), &strings.Builder{}, "v1.2.3"); err != nil {
		t.Errorf("%s: %v", exampleFile, err)
	}
	var example struct {
		Process  map[string]any   `yaml:",inline"`
		Defaults map[string]any   `yaml:"defaults"`
		Tunnels  []map[string]any `yaml:"tunnels"`
	}
	if err := yaml.Load(text, &example); err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for _, m := range append(example.Tunnels, example.Process, example.Defaults) {
		for name, value := range m {
			has[name] = has[name] || value != nil
		}
	}
	for _, name := range slices.Concat(keyNames(inRun), keyNames(inTunnel)) {
		if !has[name] && name != keyDefaults && name != keyTunnels {
			t.Errorf("%s has no %s; show it there, with a comment that says what it is for", exampleFile, name)
		}
	}
}
