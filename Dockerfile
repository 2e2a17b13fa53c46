# Sallyport and nothing else. `make docker` builds the static binary and then
# this image, from bin/image.
FROM scratch
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="TLS sidecar: mTLS in front of a service, and toward one" \
      org.opencontainers.image.licenses="Apache-2.0"

# The CAs to trust where no --cacert is given: those of the machine that built
# the image. The tunnels of the compose example trust their own CA alone.
COPY etc /etc

COPY sallyport /sallyport

# A place for certificates that the user below may write to: a volume that is
# mounted here for the first time takes on its owner.
COPY --chown=65532:65532 certs /certs

USER 65532:65532
ENTRYPOINT ["/sallyport"]
