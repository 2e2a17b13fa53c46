# Sallyport and nothing else. `make docker` builds the static binary and then this
# image, from bin/image; docs/docker.md says what to do with it.
#
# BASE is what the image begins with: nothing, or a distribution for those who want
# a shell beside the program. The program needs nothing of it.
ARG BASE=scratch
FROM ${BASE}

# The architecture, as Go calls it, whose binary goes in. Builders for several
# platforms set it by themselves.
ARG TARGETARCH
ARG VERSION=unknown
ARG REVISION
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="TLS sidecar: mTLS in front of a service, and toward one" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The CAs to trust where no --cacert is given: those of the machine that built
# the image. The tunnels of the compose example trust their own CA alone.
COPY etc /etc
COPY licenses /licenses
COPY linux/${TARGETARCH}/sallyport /sallyport

# A place for certificates that the user below may write to: a volume that is
# mounted here for the first time takes on its owner.
COPY --chown=65532:65532 certs /certs

USER 65532:65532

# It looks at the port that SALLYPORT_STATUS names. Where the process has none,
# there is nothing to look at: run with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=20s --start-period=10s CMD ["/sallyport", "status"]
ENTRYPOINT ["/sallyport"]
