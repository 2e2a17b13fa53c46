# make          builds ./bin/sallyport
# make demo     shows it at work
# make test     installs what the tests need and runs them all
# make check    formatting, vet, lint, module files, scripts, other systems
# make help     the rest

# The version is what git calls this commit. Without git it says so; a package
# builder sets it: make build VERSION=1.2.3
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# A static binary by default: one file that runs on any distribution and in an
# empty container, with Go's own resolver, which is also what the tests run on.
# Private keys in an HSM need C: make build CGO_ENABLED=1
CGO_ENABLED ?= 0

# The commit, for the status port.
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)

LDFLAGS = -s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)

# Linters are pinned here, beside the only rules that run them, so that they
# add nothing to what the module requires.
GOLANGCI_LINT = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCHSTAT = go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK = go run golang.org/x/vuln/cmd/govulncheck@v1.8.0

# Systems beside this one that the binary must build for.
PLATFORMS = linux/arm64 darwin/arm64 freebsd/amd64 windows/amd64

IMAGE ?= sallyport:$(VERSION)
DOCKER ?= docker

# How long each fuzz target runs, if not as long as the rule has it.
FUZZTIME ?=

.PHONY: help
.DEFAULT_GOAL := build

.PHONY: build
build: ## build ./bin/sallyport
	CGO_ENABLED=$(CGO_ENABLED) go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sallyport .

.PHONY: demo
demo: build ## show a service behind two tunnels until Ctrl-C (DEMO_ONCE=1: once)
	go build -o bin/demo ./tests/demo
	@./bin/demo ./bin/sallyport

# -count=1: go test would take the result of tests/ from its cache when only
# the binary that they build has changed.
.PHONY: test
test: peers ## run every test with the race detector
	go run ./tests/suite -race -count=1 -timeout 30m ./...

.PHONY: test-full
test-full: peers ## run the long variants of the tests, and the fuzz targets
	tests/peers.sh full
	tests/peers-go.sh full
	SALLYPORT_FULL=1 go run ./tests/suite -race -count=1 -timeout 1h ./tests/...
	tests/fuzz.sh $(or $(FUZZTIME),5s)

.PHONY: cover
cover: ## say how much of each room its own tests reach; what those of tests/ do of the binary is not in it
	go test -count=1 -cover $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep -v ^sallyport/tests)

.PHONY: soak
soak: ## run mixed traffic, and all that disturbs it, for a while and see what is left of it (SOAK=10m: for that, else for 5m)
	SOAK='$(or $(SOAK),5m)' go test -count=1 -timeout 0 -v -run '^TestSoak$$' ./tests

.PHONY: fuzz
fuzz: ## run every fuzz target for a minute (FUZZTIME=10s: for that)
	tests/fuzz.sh $(or $(FUZZTIME),60s)

.PHONY: schema
schema: ## write docs/config.schema.json anew, from the settings
	go run . --config-schema > docs/config.schema.json

.PHONY: peers
peers: ## install the programs that the tests run against (as root, with apt-get)
	tests/peers.sh
	tests/peers-go.sh

.PHONY: check
check: check-format check-module check-scripts vet lint check-platforms ## run every static check

.PHONY: check-format
check-format:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi

.PHONY: check-module
check-module:
	go mod tidy -diff
	go mod verify

.PHONY: check-scripts
check-scripts:
	@for script in .ci/run tests/*.sh deploy/packages/*.sh; do sh -n "$$script" || exit 1; done

.PHONY: vet
vet:
	go vet ./...

.PHONY: lint
lint: ## run the linters of .golangci.yml
	$(GOLANGCI_LINT) run ./...

# Not part of make check, which must say the same tomorrow and without a network:
# this asks a database what has become known since. GOVULNDB names a mirror of it.
.PHONY: vulncheck
vulncheck: ## look for known vulnerabilities in what the binary calls (asks vuln.go.dev)
	@found=$$($(GOVULNCHECK) ./... 2>&1); status=$$?; echo "$$found"; \
	case $$found in *"fetching vulnerabilities"*) \
		echo "NOT CHECKED: the vulnerability database cannot be reached; GOVULNDB=URL names a mirror" >&2 ;; \
	esac; exit $$status

.PHONY: check-platforms
check-platforms: ## build and link for the other systems, as make release does
	@for platform in $(PLATFORMS); do \
		echo "building for $$platform"; \
		export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		go build -trimpath ./... && go build -trimpath -o /dev/null . || exit 1; \
	done

# What bench compares the benchmarks with: those of the last release. They say
# what machine they are of, and only there they mean something; BENCH_BASE names
# a file of one's own.
BENCH_BASE ?= bench/release.txt
BENCH_COUNT ?= 6

# The rooms whose benchmarks these are; those of tests/ compare by themselves.
BENCHMARKED = ./proxy ./metrics ./netstat ./policy ./status

.PHONY: bench
bench: ## run the Go benchmarks of the rooms and compare them with the last release's (BENCH_COUNT=6, BENCH_BASE=file)
	@mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) $(BENCHMARKED) >bin/bench.txt || { cat bin/bench.txt; exit 1; }
	$(BENCHSTAT) $(BENCH_BASE) bin/bench.txt

.PHONY: bench-release
bench-release: ## keep the last run of make bench as the release's
	{ echo "# $$(git describe --tags --always), $$(nproc) processors, $$(uname -sr), $$(go version)"; cat bin/bench.txt; } >bench/release.txt

.PHONY: bench-peers
bench-peers: build ## compare what the work costs with other proxies (GHOSTUNNEL=path, BASELINE=another sallyport, BENCHFLAGS='-rows bulk-up -quick')
	tests/peers.sh bench
	go run ./bench -sallyport bin/sallyport $(if $(BASELINE),-other $(BASELINE)) $(if $(GHOSTUNNEL),-ghostunnel $(GHOSTUNNEL)) $(BENCHFLAGS)

# Images are docker's format, which alone has a health check; podman and buildah
# would write another.
export BUILDAH_FORMAT = docker

# The architecture of the images, and what they begin with: debian:13-slim or
# alpine:3.22 for one with a shell in it.
ARCH ?= $(shell go env GOARCH)
BASE ?= scratch

# What they are made of.
IMAGE_FILES ?= bin/image

.PHONY: docker
docker: image-files ## build the container images (DOCKER=podman, ARCH=arm64, BASE=debian:13-slim)
	$(DOCKER) build --platform linux/$(ARCH) --build-arg TARGETARCH=$(ARCH) --build-arg BASE=$(BASE) \
		--build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' \
		--tag '$(IMAGE)' --tag sallyport:latest --file Dockerfile '$(IMAGE_FILES)'
	$(DOCKER) build --platform linux/$(ARCH) --build-arg TARGETARCH=$(ARCH) \
		--tag sallyport-hello --file docker/hello/Dockerfile '$(IMAGE_FILES)'

.PHONY: image-files
image-files: ## build what the images are made of, in bin/image (ARCH='amd64 arm64' for both)
	rm -rf '$(IMAGE_FILES)' && mkdir -p $(IMAGE_FILES)/certs $(IMAGE_FILES)/etc/ssl/certs $(IMAGE_FILES)/licenses
	cp -L /etc/ssl/certs/ca-certificates.crt $(IMAGE_FILES)/etc/ssl/certs/ || \
		echo "no CA certificates here: the image trusts nobody without --cacert" >&2
	cp LICENSE $(IMAGE_FILES)/licenses/
	for arch in $(ARCH); do \
		export CGO_ENABLED=0 GOOS=linux GOARCH=$$arch; \
		go build -trimpath -ldflags '$(LDFLAGS)' -o $(IMAGE_FILES)/linux/$$arch/sallyport . || exit 1; \
		go build -trimpath -ldflags '-s -w' -o $(IMAGE_FILES)/linux/$$arch/hello ./docker/hello || exit 1; \
	done

.PHONY: release
release: ## build archives, packages, SBOMs and checksums of a release in bin/release (PLATFORMS='linux/amd64/v1 …')
	deploy/packages/release.sh bin/release

# Rules as an object of Kubernetes are the rules, behind its first lines.
RULES = sallyport.rules.yml:prometheusrule.yaml exporter-front.rules.yml:exporter-front.prometheusrule.yaml

.PHONY: rules
rules: ## write the alert rules for Prometheus Operator, and the chart's, anew from those for Prometheus
	cd deploy/prometheus && for pair in $(RULES); do \
		sed -i -e '/^spec:/q' "$${pair#*:}" && \
		sed -e 's/^\(.\)/  \1/' "$${pair%:*}" >>"$${pair#*:}" && \
		cp "$${pair%:*}" ../helm/sallyport/files/ || exit 1; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
