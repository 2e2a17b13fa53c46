#!/bin/sh
# Stops what runs when the package goes; not when another version takes its place.
# Debian says so in a word, RPM by how many versions are left.
set -e

case ${1-} in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl stop sallyport.socket sallyport.service 'sallyport@*.service'
fi
