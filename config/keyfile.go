package config

import (
	"fmt"
	"strings"
)

// keyLine is one line of a key file.
type keyLine struct {
	number     int // from 1
	key, value string
}

// setKeyFile fills in what a file has, if one was named.
func (d *draft) setKeyFile() error {
	if d.keyFile == "" {
		return nil
	}
	text, err := readFile(d.keyFile)
	if err != nil {
		return fmt.Errorf("%s %q: %w", d.name("conf"), d.keyFile, errnoOf(err))
	}
	lines := make(map[*setting]int)
	for _, line := range parseKeyFile(string(text)) {
		place := fmt.Sprintf("%s:%d", d.keyFile, line.number)
		s := d.findKey(line.key)
		if s == nil {
			return fmt.Errorf("%s: %w", place, d.unknownKey(line.key))
		}
		if first, again := lines[s]; again {
			return fmt.Errorf("%s: %s: given twice; line %d has it too", place, line.key, first)
		}
		lines[s] = line.number
		if line.value == "" {
			return fmt.Errorf("%s: %s: the value is missing; write %s %s", place, line.key, s.name, s.placeholder())
		}
		if _, set := d.from[s.name]; set {
			continue // by a flag or a variable
		}
		if err := d.set(s, place+": "+line.key, line.value); err != nil {
			return err
		}
	}
	return nil
}

// parseKeyFile takes a file apart that has a key and its value on each line,
// with blanks between them. Lines that are empty or start with # are skipped.
func parseKeyFile(text string) []keyLine {
	var lines []keyLine
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value := line, ""
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			key, value = line[:i], strings.TrimSpace(line[i:])
		}
		lines = append(lines, keyLine{number, key, value})
	}
	return lines
}

// findKey is the setting that a key stands for: a flag's name, or that of a
// variable. It is nil if there is none.
func (d *draft) findKey(key string) *setting {
	name := strings.ReplaceAll(strings.ToLower(key), "_", "-")
	if name == "conf" {
		return nil // one file does not lead to another
	}
	return findSetting(name, d.command.set)
}

func (d *draft) unknownKey(key string) error {
	var names []string
	for _, s := range settings {
		if s.commands&d.command.set != 0 && s.name != "conf" {
			names = append(names, s.name)
		}
	}
	if name := nearest(strings.ToLower(key), names); name != "" {
		return fmt.Errorf("no key %q; did you mean %s?", key, name)
	}
	return fmt.Errorf("no key %q; use %s", key, either(names))
}

// placeholder stands for the value of a setting in a file.
func (s *setting) placeholder() string {
	if s.isSwitch() {
		return "true or false"
	}
	return s.value
}
