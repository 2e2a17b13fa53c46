package config

// nearest is the one of names that text most likely was meant to be, or ""
// when none is close: a third of the letters may be wrong.
func nearest(text string, names []string) string {
	best, least := "", len(text)/3+1
	for _, name := range names {
		if len(name) > len(text)+least || len(text) > len(name)+least {
			continue
		}
		if n := distance(text, name); n < least {
			best, least = name, n
		}
	}
	return best
}

// distance is how many bytes must be inserted, removed or replaced to make b
// of a (Levenshtein).
func distance(a, b string) int {
	// row[j] is the distance of what has been read of a to b[:j].
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
