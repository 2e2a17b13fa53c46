#!/bin/sh
# Builds what a release consists of, into a directory that it empties first:
#
#	deploy/packages/release.sh DIR
#
# For each platform an archive and a list of what is in the binary (SBOM, in the
# format of CycloneDX), packages for Debian and RPM, the chart, and the SHA-256 of all. The
# same commit gives the same bytes, whatever the machine, the path and the time. It
# takes Go, git, jq, GNU tar, gzip and zip, and from the environment:
#
#	VERSION, REVISION  what the binary says of itself (git's, if unset)
#	PLATFORMS          os/arch or os/arch/level, by blanks (all, if unset)
#	SOURCE_DATE_EPOCH  the time of all files (that of the commit, if unset)
#	MAINTAINER         of the packages
set -eu

mkdir -p "${1:?usage: release.sh DIR}"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."

platforms=${PLATFORMS:-linux/amd64/v1 linux/amd64/v3 linux/arm64 darwin/arm64 darwin/amd64 freebsd/amd64 windows/amd64}
version=${VERSION:-$(git describe --tags --always --dirty)}
revision=${REVISION:-$(git rev-parse HEAD)}
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
export CGO_ENABLED=0 TZ=UTC LC_ALL=C

# What comes after a dash sorts before the version in packages (1.0-rc1), but for
# what git counts from a tag on (1.0-3-gabc), which comes after it.
PACKAGE_VERSION=$(echo "${version#v}" | sed -e 's/-\([0-9]*\)-g/+\1.g/' -e 's/-/~/g')
case $PACKAGE_VERSION in
[0-9]*.*) ;;
*) PACKAGE_VERSION=0.0.0+$PACKAGE_VERSION ;;
esac
export PACKAGE_VERSION
export MAINTAINER="${MAINTAINER:-Sallyport packagers <root@localhost>}"

umask 022
rm -rf "${dir:?}"/*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# build OUT: the binary for the GOOS, GOARCH and GOAMD64 of the environment.
build() {
	go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version -X main.revision=$revision" -o "$1" .
}

# settle DIR: gives what is in it the time of the release, and modes that do not
# depend on whose checkout it came from.
settle() {
	chmod -R u=rwX,go=rX "$1"
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# guides DIR: what there is to read, with all that it leads to, as it lies here.
guides() {
	cp -R LICENSE README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md config.example.yaml docs deploy docker "$1"
}

# package ARCH BINARY: a deb and an rpm.
package() {
	rm -rf "$work/package"
	mkdir -p "$work/package/guides"
	cp "$2" LICENSE deploy/packages/*.sh deploy/systemd/*.service deploy/systemd/*.socket deploy/systemd/sysusers.conf "$work/package"
	cp "$work"/man/* "$work/package"
	guides "$work/package/guides"
	settle "$work/package"
	for format in deb rpm; do
		(cd "$work/package" && ARCH=$1 "$tools/nfpm" package --config "$OLDPWD/deploy/packages/nfpm.yaml" --packager $format --target "$dir")
	done
}

# bom BINARY: which modules it is made of, without what differs each time; a path
# would be part of a digest.
bom() (
	cd "$(dirname "$1")"
	SYFT_CHECK_FOR_APP_UPDATE=false "$tools/syft" scan -q -o cyclonedx-json --source-name sallyport --source-version "$version" "file:${1##*/}" >"$work/bom"
	jq 'del(.serialNumber) | .metadata.timestamp = (env.SOURCE_DATE_EPOCH | tonumber | todate) |
		(.components[] | select(.type == "file") | .name) |= (split("/") | last)' "$work/bom"
)

# pack NAME FILE: packs the directory of that name.
pack() {
	settle "$work/$1"
	case $2 in
	*.zip) (cd "$work" && find "$1" | sort | zip -X -q -@ "$dir/$2") ;;
	*) tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=ustar -cf - "$1" | gzip -9n >"$dir/$2" ;;
	esac
}

# nfpm and syft, at the versions that are pinned there.
tests/peers-go.sh release
tools=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-peers

# What the program writes about itself, by a binary for this machine.
mkdir "$work/man"
build "$work/host"
"$work/host" --help-man | gzip -9n >"$work/man/sallyport.1.gz"
for shell in bash zsh fish; do
	"$work/host" --completion-script-$shell >"$work/man/sallyport.$shell"
done

for platform in $platforms; do
	os=${platform%%/*}
	arch=${platform#*/}
	level=${arch#*/}
	arch=${arch%/*}
	[ "$level" != "$arch" ] || level=v1
	name=sallyport-${version#v}-$os-$arch
	[ "$level" = v1 ] || name=$name$level
	echo "$name"

	binary=$work/$name/sallyport
	[ "$os" != windows ] || binary=$binary.exe
	mkdir "$work/$name"
	(
		export GOOS="$os" GOARCH="$arch"
		[ "$arch" != amd64 ] || export GOAMD64="$level"
		build "$binary"
	)
	bom "$binary" >"$dir/$name.cdx.json"
	guides "$work/$name"
	if [ "$os" = windows ]; then
		pack "$name" "$name.zip"
	else
		cp "$work"/man/* "$work/$name"
		pack "$name" "$name.tar.gz"
	fi
	if [ "$os/$level" = linux/v1 ]; then
		package "$arch" "$binary"
	fi
done

# The chart, for the image of this version.
case ${version#v} in
[0-9]*.[0-9]*.[0-9]*) chart=${version#v} ;;
*) chart=0.0.0-$version ;;
esac
cp -R deploy/helm/sallyport "$work/sallyport"
sed -i -e "s/^version: .*/version: $chart/" -e "s/^appVersion: .*/appVersion: \"$version\"/" "$work/sallyport/Chart.yaml"
pack sallyport "sallyport-chart-${version#v}.tgz"

cd "$dir"
sha256sum ./* | sed 's| \./| |' >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" .
