package peertext_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"sallyport/internal/peertext"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTextIsMadeFitToBeShown(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", peertext.Limit)
	tests := []struct {
		name, text, cut, printable string
	}{
		{"nothing", "", "", ""},
		{"a name", "CN=Müller, O=例", "CN=Müller, O=例", "CN=Müller, O=例"},
		{"as long as may be", long, long, long},
		{"longer", long + "b", long + "…", long + "…"},
		{"a character across the limit", long[1:] + "ü", long[1:] + "…", long[1:] + "ü"},
		{"a second line", "a\nlevel=INFO", "a\nlevel=INFO", "a\ufffdlevel=INFO"},
		{"an escape sequence", "\x1b[2J", "\x1b[2J", "\ufffd[2J"},
		{"text that runs backwards", "a\u202eb", "a\u202eb", "a\ufffdb"},
		{"no UTF-8", "a\xffb", "a\xffb", "a\ufffdb"},
		{"no UTF-8, and long", "\xff" + long, long[1:] + "…", "\ufffd" + long[1:] + "…"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := peertext.Cut(test.text); got != test.cut {
				t.Errorf("Cut: %q, want %q", got, test.cut)
			}
			if got := peertext.Printable(test.text); got != test.printable {
				t.Errorf("Printable: %q, want %q", got, test.printable)
			}
		})
	}
}

func FuzzPeerText(f *testing.F) {
	for _, text := range []string{"", "alice", "\x1b[2J\n", "\xff\xfe", strings.Repeat("ü", 200), strings.Repeat("\xf0\x9f", 200)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cut := peertext.Cut(text)
		if len(cut) > peertext.Limit+len("…") {
			t.Errorf("Cut: %d bytes", len(cut))
		}
		if again := peertext.Cut(cut); again != cut {
			t.Errorf("Cut again: %q, want %q", again, cut)
		}
		if utf8.ValidString(text) && !utf8.ValidString(cut) {
			t.Errorf("Cut: %q is no UTF-8", cut)
		}
		printable := peertext.Printable(text)
		// What is not printed becomes three bytes, at worst each byte of it.
		if len(printable) > 3*peertext.Limit+len("…") {
			t.Errorf("Printable: %d bytes", len(printable))
		}
		if i := strings.IndexFunc(printable, func(r rune) bool { return r != unicode.ReplacementChar && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("Printable: %q is not at %d", printable, i)
		}
	})
}
