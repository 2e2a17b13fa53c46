#!/bin/sh
# Builds the peers of the tests that are Go programs and that no distribution
# packages, at the versions below, in a cache outside the repository. It does
# nothing for those that are there. One that cannot be built is told about; the
# tests that need it are then skipped.
#
#	tests/peers-go.sh          for make test
#	tests/peers-go.sh full     for make test-full too: SPIRE and syft take minutes
#	tests/peers-go.sh release  for make release, alone
set -eu

# tests/need_test.go looks here too.
bin=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-peers
mkdir -p "$bin"

# has NAME MODULE VERSION: the program is there, and of that version.
has() {
	[ -x "$bin/$1" ] && go version -m "$bin/$1" | grep -qF "	$2	$3	"
}

# install NAME MODULE VERSION [PACKAGE]: builds a command of a module.
install() {
	has "$1" "$2" "$3" && return
	echo "building $1 $3"
	CGO_ENABLED=0 GOFLAGS='' GOBIN="$bin" go install "$2${4:+/$4}@$3" || missing="$missing $1"
}

# install_spire: builds SPIRE's server and agent, with a version of one module
# that is to be had everywhere: that takes a replacement, which go install cannot
# make. The server's database is in C.
install_spire() {
	spire=github.com/spiffe/spire
	version=v1.15.3
	has spire-server $spire $version && has spire-agent $spire $version && return
	echo "building SPIRE $version"
	scratch=$(mktemp -d)
	ejbca=github.com/Keyfactor/ejbca-go-client-sdk
	(
		cd "$scratch"
		go mod init scratch
		go mod edit -require=$spire@$version -replace=$ejbca=$ejbca@v1.0.2
		CGO_ENABLED=1 GOFLAGS=-mod=mod nice -n 19 go build -trimpath -ldflags '-s -w' -o "$bin" $spire/cmd/spire-server $spire/cmd/spire-agent
	) || missing="$missing spire-server spire-agent"
	rm -rf "$scratch"
}

# install_release: builds what deploy/packages/release.sh runs.
install_release() {
	install nfpm github.com/goreleaser/nfpm/v2 v2.45.2 cmd/nfpm
	install syft github.com/anchore/syft v1.52.0 cmd/syft
}

# install_schemas: what Kubernetes and the operators that the chart has objects for
# say of their objects.
install_schemas() {
	mkdir -p "$bin/schemas"
	while read -r module version path; do
		[ ! -e "$bin/schemas/$version-${path##*/}" ] || continue
		echo "downloading ${path##*/} of $module $version"
		dir=$(cd / && go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p') &&
			cp "$dir/$path" "$bin/schemas/$version-${path##*/}" || missing="$missing ${path##*/}"
	done <<-EOF
		k8s.io/kubernetes v1.36.3 api/openapi-spec/swagger.json
		github.com/cert-manager/cert-manager v1.21.2 deploy/crds/cert-manager.io_certificates.yaml
		github.com/prometheus-operator/prometheus-operator v0.85.0 example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
		github.com/prometheus-operator/prometheus-operator v0.85.0 example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml
	EOF
}

missing=
case ${1-} in
release) install_release ;;
*)
	pebble=github.com/letsencrypt/pebble/v2
	install pebble $pebble v2.10.1 cmd/pebble
	install pebble-challtestsrv $pebble v2.10.1 cmd/pebble-challtestsrv
	;;
esac
if [ "${1-}" = full ]; then
	install_spire
	install_release
	install helm helm.sh/helm/v3 v3.22.0 cmd/helm
	install_schemas
	install kubeconform github.com/yannh/kubeconform v0.8.0 cmd/kubeconform
fi

if [ -n "$missing" ]; then
	echo "missing for some tests:$missing" >&2
fi
