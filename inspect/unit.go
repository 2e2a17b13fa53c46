package inspect

import (
	"fmt"
	"time"
)

const day = 24 * time.Hour

// span is how long d is, in one or two units.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 2*day:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/day)
}

// moment is a time as people write it, in UTC as logs do.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// size is a number of bytes, in units of 1000.
func size(n float64) string {
	unit := 0
	for units := len(sizeUnits) - 1; n >= 999.95 && unit < units; unit++ {
		n /= 1000
	}
	if unit == 0 {
		return fmt.Sprintf("%.0f %s", n, sizeUnits[unit])
	}
	return fmt.Sprintf("%.1f %s", n, sizeUnits[unit])
}

var sizeUnits = [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}

// rate is by how much a count that went from before to now grew in a second. A
// count that starts anew, since the process did, has no rate yet.
func rate(before, now float64, over time.Duration) float64 {
	if over <= 0 || now < before {
		return 0
	}
	return (now - before) / over.Seconds()
}
