package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// schemaFlag asks for the schema of configuration files.
const schemaFlag = "config-schema"

func schemaPage(out io.Writer, _ string) error { return printed(out, configSchema()) }

// object is a JSON object.
type object map[string]any

// configSchema is the JSON Schema (draft 2020-12) of configuration files. It says
// what each key takes; what keys say together is for sallyport check to judge.
func configSchema() string {
	process := keyProperties(inRun)
	process[keyDefaults] = object{
		"description":          "What tunnels have that do not say otherwise.",
		"type":                 "object",
		"properties":           keyProperties(inTunnel),
		"additionalProperties": false,
	}
	process[keyTunnels] = object{
		"description": "The tunnels, each one listener with what it forwards to.",
		"type":        "array",
		"minItems":    1,
		"maxItems":    maxTunnels,
		"items":       object{"$ref": "#/$defs/tunnel"},
	}
	schema := object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Sallyport",
		"description":          "A configuration file of sallyport run --config.",
		"type":                 "object",
		"properties":           process,
		"required":             []string{keyTunnels},
		"additionalProperties": false,
		"$defs": object{
			"tunnel":    tunnelSchema(),
			"route":     routeSchema(),
			"identity":  object{"type": "object", "properties": keyProperties(inIdentity), "additionalProperties": false},
			"reference": object{"description": "A value that takes something from the environment.", "type": "string", "pattern": `\$\{`},
			"text":      object{"type": []string{"string", "number"}},
			"switch":    object{"anyOf": []object{{"type": "boolean"}, schemaReference}},
			"count":     object{"anyOf": []object{{"type": "integer", "minimum": 0}, schemaReference}},
			"duration": object{"anyOf": []object{
				{"type": "string", "pattern": `^(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`, "examples": []string{"30s", "5m", "1h30m"}},
				{"const": 0},
				schemaReference,
			}},
		},
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		panic(fmt.Sprintf("encoding the schema of configuration files: %v", err)) // of strings, numbers and maps
	}
	return b.String()
}

// tunnelSchema is that of one tunnel, which has the keys of its mode alone.
func tunnelSchema() object {
	keys := make(object)
	keys[keyName] = object{"description": "What logs and metrics call it; no two are called the same.", "anyOf": []object{{"type": "string", "pattern": tunnelName.String()}, schemaReference}}
	keys[keyMode] = object{"description": "Where TLS is: server accepts it, client speaks it to the target.", "anyOf": []object{{"enum": []Mode{Server, Client}}, schemaReference}}
	for name := range keyProperties(inTunnel) {
		key := object{"$ref": "#/properties/" + keyDefaults + "/properties/" + name}
		keys[name] = object{"anyOf": []object{key, {"type": "null"}}} // which takes a default away
	}
	keys[keyRoutes] = object{
		"description": "What becomes of clients that ask for certain names, where it is not what the tunnel does with all.",
		"type":        "array", "minItems": 1, "items": object{"$ref": "#/$defs/route"},
	}
	keys[keyIdentities] = identitiesSchema()
	return object{
		"type":                 "object",
		"properties":           keys,
		"required":             []string{keyName, keyMode},
		"additionalProperties": false,
		"allOf":                []object{modeSchema(Server, inServer, inClient), modeSchema(Client, inClient, inServer)},
	}
}

// routeSchema is that of one route.
func routeSchema() object {
	keys := keyProperties(inRoute)
	for _, name := range []string{"cacert", "crl"} {
		keys[name] = object{"anyOf": []any{keys[name], object{"type": "null"}}} // which takes the tunnel's away
	}
	keys[keyName] = object{"description": "What logs and metrics call it; no two of a tunnel are called the same.", "anyOf": []object{{"type": "string", "pattern": tunnelName.String()}, schemaReference}}
	keys[keyIdentities] = identitiesSchema()
	return object{
		"type":                 "object",
		"properties":           keys,
		"required":             []string{keyName, "server-name"},
		"additionalProperties": false,
	}
}

func identitiesSchema() object {
	return object{
		"description": "Further identities; each client is shown one that fits it.",
		"type":        "array", "minItems": 1, "items": object{"$ref": "#/$defs/identity"},
	}
}

// modeSchema leaves out of a tunnel what only the other mode has.
func modeSchema(mode Mode, own, other commandSet) object {
	foreign := make(object)
	if mode == Client {
		foreign[keyRoutes], foreign[keyIdentities] = false, false
	}
	for name := range keyProperties(other) {
		if findKey(name, own) == nil {
			foreign[name] = false
		}
	}
	return object{
		"if":   object{"properties": object{keyMode: object{"const": mode}}, "required": []string{keyMode}},
		"then": object{"properties": foreign},
	}
}

// keyProperties are the keys of commands, with what each takes.
func keyProperties(commands commandSet) object {
	keys := make(object)
	for i := range settings {
		s := &settings[i]
		if s.commands&commands == 0 {
			continue
		}
		switch key := findKey(s.name, commands); key {
		case nil:
		case s:
			keys[s.name] = s.schema()
		default: // what the key means in the other mode
			both := s.schema()
			both["description"] = fmt.Sprintf("server mode: %s; client mode: %s", inKeys(key.help), inKeys(s.help))
			keys[s.name] = both
		}
	}
	return keys
}

// schema is what a setting takes in a file.
func (s *setting) schema() object {
	one := object{"$ref": "#/$defs/text"}
	switch {
	case s.isSwitch():
		one = object{"$ref": "#/$defs/switch"}
	case len(s.choices) > 0:
		one = object{"anyOf": []object{{"enum": s.choices}, schemaReference}}
	case s.value == "DURATION":
		one = object{"$ref": "#/$defs/duration"}
	case s.value == "N" || s.value == "PORT" || s.value == "BYTES":
		one = object{"$ref": "#/$defs/count"}
	}
	if s.repeats {
		one = object{"anyOf": []object{one, {"type": "array", "items": one}}}
	}
	one["description"] = inKeys(s.help)
	if s.initial != "" {
		one["default"] = s.initial
		if json.Valid([]byte(s.initial)) { // true, or a number
			one["default"] = json.RawMessage(s.initial)
		}
	}
	return one
}

// schemaReference is a value that the environment has a part of.
var schemaReference = object{"$ref": "#/$defs/reference"}
