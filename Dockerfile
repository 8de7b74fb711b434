# The program and nothing else. It is built before:
#
#     RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --target x86_64-unknown-linux-gnu
#     docker build --tag outlast:0.1.0 .          (or: buildah bud, podman build)
#
# x86-64 alone: an arm64 program is neither built nor tried here. One that was built elsewhere is put at
# target/TRIPLE/dist/outlast and taken with --build-arg BINARY=target/TRIPLE/dist/outlast. The system's certificate
# authorities are not in the image: upstreams within TLS need `tls CA`. Nor is iptables: Dockerfile.iptables has it.
FROM scratch
ARG BINARY=target/x86_64-unknown-linux-gnu/dist/outlast
# NodeLocal DNSCache's manifest has its pidfile there.
WORKDIR /tmp
WORKDIR /
COPY ${BINARY} /outlast
# Folders of hosts that are mounted are root's; capabilities are what the manifests leave.
USER 0:0
ENTRYPOINT ["/outlast"]
