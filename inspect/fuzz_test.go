package inspect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDocument wants every document to be shown without a control character, and
// to be passed through without a change in what it means.
func FuzzDocument(f *testing.F) {
	f.Add(document(f, "status.json"))
	f.Add(document(f, "connections-2.json"))
	f.Add([]byte(`{"tunnels":[{"name":"\u001b","certificates":[{"subject":"\ud83d\ude00"}]}],"connections":null,"draining":{}}`))
	f.Add([]byte("{\"hostname\":\"\u009b\U000e0041\",\n\"last_reload\":\"2026-11-20T12:00:00Z\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p page
		s := sight{raw: [][]byte{data}}
		if json.Unmarshal(data, &s.report) != nil || json.Unmarshal(data, &p) != nil {
			return
		}
		s.pages = []page{p}
		before := s
		for _, text := range []string{s.text(style{}, nil), s.text(style{}, &before)} {
			if at := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), isHidden); at >= 0 {
				t.Errorf("%q is shown", text)
			}
		}
		var want, got any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(s.documents()), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// FuzzTraffic wants sums that can be shown, whatever metrics say.
func FuzzTraffic(f *testing.F) {
	f.Add("sallyport_bytes_total{direction=\"in\",tunnel=\"a\"} 12\nsallyport_bytes_total{direction=\"out\",tunnel=\"a\"} 1e3\n")
	f.Add("sallyport_bytes_total{direction=\"in\"} NaN\nsallyport_bytes_total{direction=\"in\"} -1")
	f.Fuzz(func(t *testing.T, text string) {
		if sum := parseTraffic(text); sum != nil && (!(sum.in >= 0) || !(sum.out >= 0)) {
			t.Errorf("%+v", *sum)
		}
	})
}
