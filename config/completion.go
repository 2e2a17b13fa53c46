package config

import (
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// completionPage is a script for a shell, from kingpin's template. The script
// runs sallyport --completion-bash WORD... for every list of candidates.
func completionPage(template string) page {
	return func(out io.Writer, _ string) error {
		app := kingpin.New("sallyport", "").UsageWriter(out)
		context, err := app.ParseContext(nil)
		if err != nil {
			return err
		}
		if err := app.UsageForContextWithTemplate(context, 0, template); err != nil {
			return err
		}
		return ErrHelp
	}
}

// fishFlag asks for the script for fish, for which kingpin has no template.
const fishFlag = "completion-script-fish"

// fishScript completes files where sallyport has no candidates.
const fishScript = `function __sallyport_candidates
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    sallyport --completion-bash $words[2..-1] (commandline --current-token --cut-at-cursor)
end
complete --command sallyport --condition 'test -n "$(__sallyport_candidates)"' --no-files
complete --command sallyport --arguments '(__sallyport_candidates)'
`

func fishPage(out io.Writer, _ string) error { return printed(out, fishScript) }

// completionRequest gives the words of a line that is being typed, the last of
// which may be unfinished, if that is what args are.
func completionRequest(args []string) ([]string, bool) {
	if len(args) == 0 || args[0] != "--completion-bash" {
		return nil, false
	}
	return args[1:], true
}

// completions lists what can stand in the place of the last word, one a line.
// The shell keeps those that begin like it.
func completions(words []string) string {
	// Where a flag and its value are one word to us, they are three to bash.
	words = slices.DeleteFunc(slices.Clone(words), func(word string) bool { return word == "=" })
	var last, previous string
	if n := len(words); n > 0 {
		last = words[n-1]
		if n > 1 {
			previous = words[n-2]
		}
		words = words[:n-1]
	}
	name := commandOf(words)
	among := everyCommand
	if c := findCommand(name); c != nil {
		among = c.set
	}
	var candidates []string
	switch s := findSetting(strings.TrimPrefix(previous, "--"), among); {
	case strings.HasPrefix(previous, "--") && s != nil && !s.isSwitch():
		candidates = s.choices
	case strings.HasPrefix(last, "-"):
		for _, s := range settings {
			if s.commands&among != 0 && !s.hidden {
				candidates = append(candidates, "--"+s.name)
			}
		}
		candidates = append(candidates, "--help")
	default:
		candidates = nextWords(name)
	}
	if len(candidates) == 0 {
		return ""
	}
	return strings.Join(slices.Compact(candidates), "\n") + "\n"
}

// commandOf is the command that words name so far: all of it, the first of two
// words, or "".
func commandOf(words []string) string {
	name := ""
	for i, word := range words {
		if i > 0 && takesNextArgument(words[i-1]) {
			continue
		}
		if longer := strings.TrimSpace(name + " " + word); isTopic(longer) {
			name = longer
		}
	}
	return name
}

// nextWords are the words that can follow the beginning of a command's name.
func nextWords(name string) []string {
	var words []string
	for _, c := range commands {
		rest, ok := strings.CutPrefix(c.name, name)
		if word, _, _ := strings.Cut(strings.TrimSpace(rest), " "); ok && word != "" {
			words = append(words, word)
		}
	}
	return words
}

// isTopic tells whether text is the name of a command, or the first words of
// one; "" is the beginning of all.
func isTopic(text string) bool {
	return slices.ContainsFunc(commands, func(c command) bool {
		return text == "" || c.name == text || strings.HasPrefix(c.name, text+" ")
	})
}
