#!/bin/sh
# Runs every fuzz target of the module for as long as the argument says, one
# after another: go test takes one at a time.
set -eu

duration=${1:-10s}
packages=$(go list ./...)
for package in $packages; do
	# In an assignment, and not in the loop's head, a failure ends the script.
	listed=$(go test -list '^Fuzz' "$package")
	for target in $(echo "$listed" | grep '^Fuzz'); do
		echo "fuzzing $target in $package for $duration"
		# Without a bound, making the first new input small takes a minute.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 100x "$package"
	done
done
