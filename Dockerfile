# The image of Panda: `make image`. Works with and without BuildKit.
#
#   RUST      where the program is compiled: Debian with a Rust toolchain. By its digest, like every image that others publish: a tag can be moved
#   BASE      what the image stands on: nothing (scratch), or a static or distroless image, by its digest
#   PREBUILT  anything: the program has been put into the folder image-root already, and nothing is compiled (RUST then needs a shell only)
#   VERSION, REVISION, CREATED   for the labels
ARG RUST=docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG BASE=scratch

FROM ${RUST} AS chef
ARG PREBUILT
WORKDIR /src
RUN [ -n "$PREBUILT" ] || { apt-get update && apt-get install -y --no-install-recommends binutils cmake perl pkg-config \
      && rm -rf /var/lib/apt/lists/* && cargo install --locked cargo-chef --version '=0.1.78' && cargo install --locked cargo-cyclonedx --version '=0.5.9'; }

FROM chef AS plan
ARG PREBUILT
COPY . .
RUN [ -n "$PREBUILT" ] && touch recipe.json || cargo chef prepare --recipe-path recipe.json

FROM chef AS build
ARG PREBUILT
# Dependencies are a layer of their own: a change of Panda does not compile them again.
COPY --from=plan /src/recipe.json recipe.json
RUN [ -n "$PREBUILT" ] || cargo chef cook --release --locked --recipe-path recipe.json
COPY . .
RUN [ -n "$PREBUILT" ] || { SQLX_OFFLINE=true cargo build --release --locked --bin panda && scripts/image-root.sh target/release/panda image-root; }

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Panda" \
      org.opencontainers.image.description="Takes a git repository to a running service on AWS ECS" \
      org.opencontainers.image.source="https://github.com/panda-deploy/panda" \
      org.opencontainers.image.documentation="https://github.com/panda-deploy/panda/blob/main/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /src/image-root/ /
# Nobody in particular; the number, since Kubernetes cannot tell from a name that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/panda"]
CMD ["--help"]
