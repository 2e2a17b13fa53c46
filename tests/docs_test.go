package tests

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A page is a Markdown file of the repository.
type page struct {
	name   string // from the root
	lines  []string
	blocks []block
}

// A block is what stands between two fences of a page. The first word of its info
// string says what it is:
//
//	console  commands, each behind "$ ", and what they print: both are tested
//	log      lines that the commands before it have logged
//	(other)  nothing that a test could run
//
// Behind console there may be "full", if make test-full alone runs it, or "not run:"
// with the reason.
type block struct {
	line    int // of its opening fence, from 1
	section int // which of the page's ## sections it is in
	info    string
	lines   []string
	elided  string   // what … stands for in its commands
	before  []string // commands that set its scene, which readers do not see
	file    string   // the file that it shows, if it does
}

// commands tells whether the block has commands that run here.
func (b *block) commands() bool {
	kind, note, _ := strings.Cut(b.info, " ")
	return kind == "console" && b.runs(note)
}

// runs tells whether a block with this note takes part here.
func (b *block) runs(note string) bool { return note == "" || note == "full" && full() }

// readPage takes a page apart, which has that name from root.
//
// Comments may stand before a block: <!-- … = FLAGS --> says what an ellipsis in its
// commands stands for, <!-- run: COMMANDS --> what runs before it, and
// <!-- file: PATH --> that what it shows is that file.
func readPage(t *testing.T, root, name string) *page {
	t.Helper()
	p := &page{name: name, lines: strings.Split(readText(t, filepath.Join(root, name)), "\n")}
	var open, next block
	inBlock, section := false, 0
	comment := ""
	for i, line := range p.lines {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case inBlock && isFence:
			p.blocks, inBlock = append(p.blocks, open), false
		case inBlock:
			open.lines = append(open.lines, line)
		case isFence:
			open, next, inBlock = next, block{}, true
			open.line, open.section, open.info = i+1, section, strings.TrimSpace(fence)
		case strings.HasPrefix(line, "## "):
			section++
		case comment != "" || strings.HasPrefix(line, "<!--"):
			comment += line + "\n"
			text, closed := strings.CutSuffix(strings.TrimSpace(comment), "-->")
			if !closed {
				continue
			}
			text, comment = strings.TrimSpace(strings.TrimPrefix(text, "<!--")), ""
			if flags, ok := strings.CutPrefix(text, "… ="); ok {
				next.elided = strings.TrimSpace(flags)
			}
			if commands, ok := strings.CutPrefix(text, "run:"); ok {
				next.before = append(next.before, strings.TrimSpace(commands))
			}
			if path, ok := strings.CutPrefix(text, "file:"); ok {
				next.file = strings.TrimSpace(path)
			}
		}
	}
	if inBlock || comment != "" {
		t.Errorf("%s: a block or a comment has no end", name)
	}
	return p
}

// pages are all pages of the repository.
func pages(t *testing.T) []*page { return pagesBelow(t, "..") }

// pagesBelow are all pages in root, and in the directories in it.
func pagesBelow(t *testing.T, root string) []*page {
	t.Helper()
	var all []*page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (name == "bin" || name == "testdata" || strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case filepath.Ext(name) == ".md":
			all = append(all, readPage(t, root, strings.TrimPrefix(path, root+"/")))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPagesSayWhatTheirBlocksAre: one with commands is a console block, so that
// none is left out of what is run without a word.
func TestPagesSayWhatTheirBlocksAre(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			commands := slices.ContainsFunc(b.lines, func(line string) bool { return strings.HasPrefix(line, "$ ") })
			kind, note, _ := strings.Cut(b.info, " ")
			switch {
			case commands != (kind == "console"):
				t.Errorf("%s:%d: a block of commands (lines that begin with $) is ```console, and no other is", p.name, b.line)
			case kind == "console" && note != "" && note != "full" && (!strings.HasPrefix(note, "not run: ") || note == "not run: "):
				t.Errorf("%s:%d: ```console is followed by nothing, by full, or by not run: and the reason", p.name, b.line)
			}
		}
	}
}

// anchors are the fragments by which links reach the headings of a page, as
// GitHub makes them.
func (p *page) anchors() []string {
	var all []string
	inBlock := false
	for _, line := range p.lines {
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
		}
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if inBlock || !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		title = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(title, "$1")
		title = regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		anchor := strings.ReplaceAll(title, " ", "-")
		for n, same := 1, anchor; slices.Contains(all, anchor); n++ {
			anchor = fmt.Sprintf("%s-%d", same, n)
		}
		all = append(all, anchor)
	}
	return all
}

// TestLinksLeadSomewhere: those between the pages, and from them to other files.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	followLinks(t, "..")
}

// followLinks looks for what the pages in root link to.
func followLinks(t *testing.T, root string) {
	t.Helper()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	all := make(map[string]*page)
	for _, p := range pagesBelow(t, root) {
		all[p.name] = p
	}
	for _, p := range all {
		inBlock := false
		for i, line := range p.lines {
			if strings.HasPrefix(line, "```") {
				inBlock = !inBlock
			}
			if inBlock {
				continue
			}
			line = regexp.MustCompile("`[^`]*`").ReplaceAllString(line, "")
			for _, match := range link.FindAllStringSubmatch(line, -1) {
				target := match[1]
				if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				path, fragment, hasFragment := strings.Cut(target, "#")
				name := p.name
				if path != "" {
					name = filepath.Join(filepath.Dir(p.name), path)
				}
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s:%d: %s: no such file", p.name, i+1, target)
					continue
				}
				if other := all[name]; hasFragment && (other == nil || !slices.Contains(other.anchors(), fragment)) {
					t.Errorf("%s:%d: %s: no such heading", p.name, i+1, target)
				}
			}
		}
	}
}

// TestEveryGuideCanBeFound from the README, which lists them all.
func TestEveryGuideCanBeFound(t *testing.T) {
	t.Parallel()
	readme := readText(t, "../README.md")
	for _, p := range pages(t) {
		if strings.HasPrefix(p.name, "docs/") && !strings.Contains(readme, "]("+p.name+")") {
			t.Errorf("README.md does not lead to %s", p.name)
		}
	}
	if n := strings.Count(readme, "\n"); n >= 250 {
		t.Errorf("README.md has %d lines; what is more than 250 belongs in docs/", n)
	}
}
