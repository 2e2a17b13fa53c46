#!/bin/sh
# Runs every fuzz target of the module for as long as the argument says, one
# after another: go test takes one at a time.
set -eu

duration=${1:-10s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz PACKAGE TARGET: as go test has it, but for one thing. When the time is up
# while it talks to a worker, it may take the deadline of its own clock for that
# worker's failure: internal/fuzz compares the error with that of a context which
# learns of it a moment later. It has found nothing then, and says so alone.
fuzz() {
	# Without a bound, making the first new input small takes a minute.
	if go test -run '^$' -fuzz "^$2\$" -fuzztime "$duration" -fuzzminimizetime 100x "$1" >"$log" 2>&1; then
		cat "$log"
		return
	fi
	cat "$log"
	if grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input written to' "$log"; then
		echo "the time was up; no failing input was found"
		return
	fi
	return 1
}

packages=$(go list ./...)
for package in $packages; do
	# In an assignment, and not in the loop's head, a failure ends the script.
	listed=$(go test -list '^Fuzz' "$package")
	for target in $(echo "$listed" | grep '^Fuzz'); do
		echo "fuzzing $target in $package for $duration"
		fuzz "$package" "$target"
	done
done
