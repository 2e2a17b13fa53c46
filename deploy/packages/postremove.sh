#!/bin/sh
# Has systemd forget the units. Certificates and flags in /etc/sallyport are not the
# package's, and neither is the user, who may own files elsewhere: both stay.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
