#!/bin/sh
# Installs the programs that the tests run against: as root with apt-get;
# elsewhere it says what is missing. It does nothing when all is there.
#
#	tests/peers.sh       for make test
#	tests/peers.sh full  for make test-full too
#	tests/peers.sh bench for make bench-peers
set -eu

PATH="$PATH:/usr/sbin"

# What each test dependency is found by (a command, or a file), and the Debian
# and Ubuntu package that brings it.
peers='
gcc                                       gcc
/usr/include/stdlib.h                     libc6-dev
git                                       git
jq                                        jq
python3                                   python3
socat                                     socat
curl                                      curl
ip                                        iproute2
ss                                        iproute2
ps                                        procps
prometheus                                prometheus
prometheus-node-exporter                  prometheus-node-exporter
openssl                                   openssl
nginx                                     nginx-light
haproxy                                   haproxy
varnishd                                  varnish
/usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream
redis-server                              redis-server
redis-cli                                 redis-tools
softhsm2-util                             softhsm2
pkcs11-tool                               opensc
keytool                                   default-jre-headless
systemd-socket-activate                   systemd
tinyproxy                                 tinyproxy
squid                                     squid-openssl
danted                                    dante-server
syslog-ng                                 syslog-ng-core
unshare                                   util-linux
dnsmasq                                   dnsmasq-base
microsocks                                microsocks
/usr/lib/postgresql                       postgresql
psql                                      postgresql-client
slapd                                     slapd
ldapsearch                                ldap-utils
wrk                                       wrk
h2load                                    nghttp2-client
'
if [ "${1-}" = full ]; then
	peers="$peers
testssl                                   testssl.sh
mariadbd                                  mariadb-server
mariadb                                   mariadb-client
postfix                                   postfix
/usr/lib/wine/wine64                      wine64
x86_64-w64-mingw32-gcc                    gcc-mingw-w64-x86-64
carbon-cache                              graphite-carbon
stunnel4                                  stunnel4
chromium                                  chromium
podman                                    podman
runc                                      runc
busybox                                   busybox-static
zip                                       zip
jq                                        jq
rpm                                       rpm
"
fi

if [ "${1-}" = bench ]; then
	peers='
haproxy                                   haproxy
nginx                                     nginx-light
/usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream
stunnel4                                  stunnel4
hitch                                     hitch
'
fi

missing=$(echo "$peers" | while read -r sign package; do
	case $sign in
	'') continue ;;
	/*) [ -e "$sign" ] || echo "$package" ;;
	*) command -v "$sign" >/dev/null || echo "$package" ;;
	esac
done)
[ -n "$missing" ] || exit 0

# One line, in the order above.
missing=$(echo "$missing" | tr '\n' ' ')

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing for some tests: $missing" >&2
	echo "install these packages (names of Debian and Ubuntu); until then those tests are skipped" >&2
	exit 0
fi

# The servers are wanted as programs, not as services of this machine: a
# policy that forbids it (invoke-rc.d's exit code 101) keeps them from starting.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi

echo "installing $missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# shellcheck disable=SC2086 # several words
apt-get -q install -y --no-install-recommends $missing
