# The image of Panda: `make image`. Works with and without BuildKit.
#
#   RUST      image that compiles the program: Debian with a Rust toolchain. Named by digest, like every third-party image, because a tag can be moved
#   BASE      base of the image: nothing (scratch), or a static or distroless image, by its digest
#   PREBUILT  if set, the program is in the folder image-root already, and nothing is compiled (RUST then needs only a shell)
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
# Dependencies are a separate layer, so that a change of Panda does not compile them again.
COPY --from=plan /src/recipe.json recipe.json
COPY assets assets
# Kernels of arm64 have pages of 4, 16 or 64 KiB, and jemalloc would support those of the building machine only.
RUN [ -n "$PREBUILT" ] || { [ "$(uname -m)" != aarch64 ] || export JEMALLOC_SYS_WITH_LG_PAGE=16; \
      cargo chef cook --release --locked --no-default-features --recipe-path recipe.json; }
COPY . .
# Equal functions become one (2 MB), where Rust's own linker is the default.
RUN [ -n "$PREBUILT" ] || { [ "$(uname -m)" != aarch64 ] || export JEMALLOC_SYS_WITH_LG_PAGE=16; \
      [ "$(uname -m)" != x86_64 ] || icf="-C link-arg=-Wl,--icf=all"; \
      SQLX_OFFLINE=true cargo rustc --release --locked --no-default-features --bin panda -- -C link-arg=-Wl,-z,pack-relative-relocs $icf \
      && scripts/image-root.sh target/release/panda image-root; }

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Panda" \
      org.opencontainers.image.description="Deploys Git repositories to AWS ECS, blue/green" \
      org.opencontainers.image.source="https://github.com/panda-deploy/panda" \
      org.opencontainers.image.documentation="https://github.com/panda-deploy/panda/blob/main/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /src/image-root/ /
# An unprivileged user, by number, because Kubernetes cannot verify by a name that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/panda"]
CMD ["--help"]
