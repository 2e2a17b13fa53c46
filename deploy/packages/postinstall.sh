#!/bin/sh
# Makes the user that the units run as, lets it read its directory, and has systemd
# see the units. What runs goes on with the binary that it was started with.
set -e

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers sallyport.conf
elif ! grep -q '^sallyport:' /etc/passwd; then
	useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sallyport
fi
chgrp sallyport /etc/sallyport
chmod 750 /etc/sallyport

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
