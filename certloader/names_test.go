package certloader_test

import (
	"strings"
	"testing"

	"sallyport/certloader"
)

func TestAVeryNameGoesBeforeAWildcard(t *testing.T) {
	t.Parallel()
	var names certloader.Names[string]
	if _, ok := names.Find("example.com"); ok {
		t.Error("no name was set, and one is known")
	}
	for _, name := range []string{"Shop.example.com", "*.example.com", "*.eu.example.com", "localhost"} {
		names.Set(name, strings.ToLower(name))
	}
	for asked, want := range map[string]string{
		"shop.example.com":     "shop.example.com",
		"SHOP.Example.COM":     "shop.example.com",
		"pears.example.com":    "*.example.com",
		"Pears.EXAMPLE.com":    "*.example.com",
		"pears.eu.example.com": "*.eu.example.com",
		"eu.example.com":       "*.example.com",
		"localhost":            "localhost",
		"example.com":          "",
		"a.b.example.com":      "",
		".example.com":         "",
		"*.example.com":        "*.example.com", // one label like any, as which no client may have it
		"":                     "",
		".":                    "",
		"shop.example.com.":    "", // crypto/tls lets no such name in (RFC 6066, 3)
	} {
		if got, ok := names.Find(asked); got != want || ok != (want != "") {
			t.Errorf("%q finds %q, %t; want %q", asked, got, ok, want)
		}
	}
	names.Set("shop.example.com", "moved")
	if got, _ := names.Find("shop.example.com"); got != "moved" {
		t.Errorf("what was set last is %q", got)
	}
}

// FuzzNames: what is found was set for that name, or for the wildcard that it is
// one label below, whatever else there is.
func FuzzNames(f *testing.F) {
	f.Add("shop.example.com", "*.example.com", "pears.example.com")
	f.Add("*.", "*", "x.")
	f.Fuzz(func(t *testing.T, first, second, asked string) {
		var names certloader.Names[string]
		names.Set(first, first)
		names.Set(second, second)
		got, ok := names.Find(asked)
		if !ok {
			if low := strings.ToLower(asked); !strings.HasPrefix(asked, "*") && (low == strings.ToLower(first) || low == strings.ToLower(second)) {
				t.Errorf("%q is not found", asked)
			}
			return
		}
		label, rest, _ := strings.Cut(asked, ".")
		wildcard := label != "" && strings.ToLower(got) == "*."+strings.ToLower(rest)
		if !strings.EqualFold(got, asked) && !wildcard {
			t.Errorf("%q finds %q", asked, got)
		}
	})
}
