package inspect

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 0: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min 0 s", 3599 * time.Second: "59 min 59 s",
		time.Hour: "1 h 0 min", 47*time.Hour + 59*time.Minute: "47 h 59 min", 48 * time.Hour: "2 days", 365 * day: "365 days",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1234: "1.2 kB", 999949: "999.9 kB", 999951: "1.0 MB", 1e9: "1.0 GB", 1e21: "1000.0 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%v) = %q, want %q", n, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, now float64
		over        time.Duration
		want        float64
	}{
		{0, 10, 2 * time.Second, 5},
		{10, 3, time.Second, 0}, // it was started anew
		{0, 10, 0, 0},
		{0, 10, -time.Second, 0},
	} {
		if got := rate(c.before, c.now, c.over); got != c.want {
			t.Errorf("rate(%v, %v, %v) = %v, want %v", c.before, c.now, c.over, got, c.want)
		}
	}
}

func TestColumnsAreThoseOfATerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "中間": 4, "ｱ": 1, "Ａ": 2, "→…": 2} {
		if got := columns(text); got != want {
			t.Errorf("columns(%q) = %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]string{"abcd": "abcd", "abcde": "abc…", "中間認": "中…", "": ""} {
		if got := cut(text, 4); got != want {
			t.Errorf("cut(%q, 4) = %q, want %q", text, got, want)
		}
	}
}

func TestFittedLinesKeepTheirColours(t *testing.T) {
	t.Parallel()
	line := "ab\x1b[32mcdef\x1b[0mgh"
	for most, want := range map[int]string{3: "ab\x1b[32mc\x1b[0m", 8: line, 80: line, 0: "\x1b[32m\x1b[0m"} {
		if got := fitted(line, most); got != want {
			t.Errorf("fitted to %d: %q, want %q", most, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"CN=web, O=中":      "CN=web, O=中",
		"\x1b[2J":          `\x1b[2J`,
		"a\r\nb\tc":        `a\r\nb\tc`,
		"\u009b31m":        `\u009b31m`,
		"\u202egnp.exe":    `\u202egnp.exe`,
		"\x7f\xff\u00a0":   `\x7f` + "\ufffd" + `\u00a0`,
		"\U000e0041 space": `\U000e0041 space`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
}
