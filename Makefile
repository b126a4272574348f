# `make help` lists the targets. Each installs what it needs first (scripts/install.sh), so that two commands are
# enough on a new machine: make demo, make test.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# rustup installs here, without a change of shell settings.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# Queries are checked against .sqlx; `make lint` checks .sqlx against a database.
export SQLX_OFFLINE := true
# Downloads for this checkout.
export PANDA_CACHE_DIR ?= $(CURDIR)/.cache
# moto, an independent AWS for tests.
export PANDA_TEST_MOTO_SERVER ?= $(PANDA_CACHE_DIR)/moto/bin/moto_server
# Independent readers of event streams for tests.
export PANDA_TEST_CLIENTS ?= $(PANDA_CACHE_DIR)/clients
# Tools for the chart: two Helms, kubernetes-validate, checkov.
export PANDA_TEST_CHART ?= $(PANDA_CACHE_DIR)/chart

# A current Docker Engine beside an older installed one; without it, the tests that need it print SKIPPED.
export PANDA_TEST_MODERN_ENGINE ?= $(PANDA_CACHE_DIR)/modern-engine/root
# Postgres of other versions and PgBouncer; without them, the tests that need them print SKIPPED.
export PANDA_TEST_DATABASES ?= $(PANDA_CACHE_DIR)/databases

# The program from before the newest migration, which tests run beside this one. A program built elsewhere needs no Git history.
BUILD_PREVIOUS := $(if $(PANDA_TEST_PREVIOUS),,scripts/previous.sh)
export PANDA_TEST_PREVIOUS ?= $(PANDA_CACHE_DIR)/previous/panda

# Tests end the program at fail points, which only exist with this feature; releases are built without it.
TESTED := --features failpoints

.PHONY: help demo up page-screenshots record-demo test docs-renew clients chart-renew chart-keep soak fuzz lint fmt build image release-dry-run bench bench-demo bench-server bench-steps bench-idle bench-recovery bench-capacity bench-fanout bench-rolling bench-page bench-pod bench-http bench-report bench-scopes bench-build bench-neighbours bench-outbox bench-aws

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Run one deployment from a Git repository to COMPLETED, on this machine; leaves nothing running
	@scripts/install.sh build rust demo
	cargo build --quiet
	cargo run --quiet -- demo

up: ## Run everything of the demo until Ctrl-C; prints what to try next
	@scripts/install.sh build rust demo
	cargo build --quiet
	cargo run --quiet -- up

page-screenshots: ## Write the documents' pictures of the web page again, docs/page-*.png, from a deployment on the sandbox
	@scripts/install.sh build rust demo test
	PANDA_WRITE_DOCS=1 cargo run --quiet $(TESTED) -- parts -- cargo nextest run $(TESTED) --test it -E 'test(/^page::pictures/)'

record-demo: ## Record the demo for the README, as docs/demo.svg
	@scripts/install.sh build rust demo
	cargo build --quiet
	scripts/record-demo.py "$${CARGO_TARGET_DIR:-target}/debug/panda"

test: ## Run all tests, on real services
	@scripts/install.sh build rust demo test
	@$(BUILD_PREVIOUS)
	cargo build --workspace --tests --bins $(TESTED)
	cargo run --quiet $(TESTED) -- parts -- cargo nextest run --workspace $(TESTED)

docs-renew: ## Write the generated documents again: configuration, .env.example, errors, OpenAPI, reports, Postgres
	@scripts/install.sh build rust demo test
	PANDA_RENEW=1 cargo nextest run $(TESTED) --lib -E 'test(/^cli::(serve::tests|generated_documents)/) | test(documented_sizing)'
	PANDA_WRITE_DOCS=1 cargo run --quiet $(TESTED) -- parts -- cargo nextest run $(TESTED) --test it -E 'test(/^(report::docs|postgres::table)/)'

clients: ## Generate the TypeScript and Go clients from clients/openapi.json, compile and test them
	@scripts/install.sh clients
	scripts/clients.sh

chart-renew: ## Write the generated files of the chart again: schema, README, goldens
	@scripts/install.sh build rust test
	PANDA_RENEW=1 cargo nextest run $(TESTED) --test it -E 'test(/^chart::options::chart_options__config_covers/)'
	PANDA_RENEW=1 cargo nextest run $(TESTED) --test it -E 'test(/^chart::(golden|readme)::/)'
	git --no-pager diff --stat -- helm tests/it/chart

chart-keep: ## Keep this version of the chart, as committed, for comparison with later ones. Then raise `version` in helm/panda/Chart.yaml
	@version=$$(awk '$$1 == "version:" { print $$2 }' helm/panda/Chart.yaml); kept=tests/it/chart/previous.txt; \
	! grep -q "^$$version " "$$kept" || { echo "$$kept has $$version: raise version in helm/panda/Chart.yaml" >&2; exit 1; }; \
	echo "$$version $$(git rev-parse HEAD)" >> "$$kept"

soak: ## Inject random kills, pauses, stops and cuts for PANDA_SOAK_MINUTES (10); PANDA_SOAK_SEED repeats a run
	@scripts/install.sh build rust demo test
	cargo build --all-targets $(TESTED)
	cargo run --quiet $(TESTED) -- parts -- cargo nextest run --profile soak $(TESTED)

fuzz: ## Fuzz history, events, ids, refs, configuration and cron for PANDA_FUZZ_SECONDS (60) each, with a nightly Rust
	@scripts/install.sh build rust fuzz
	@cd fuzz && for target in history events ids refs configuration cron; do \
	  cargo +nightly fuzz run "$$target" -- -max_total_time=$${PANDA_FUZZ_SECONDS:-60} -timeout=10 -print_final_stats=1 -verbosity=0; \
	done

lint: ## Check formatting, language, clippy, queries, documentation, dependencies and scripts
	@scripts/install.sh build rust demo lint
	cargo fmt --all --check
	scripts/language.py
	cargo clippy --workspace --all-targets $(TESTED) -- -D warnings
	cargo clippy --no-default-features -- -D warnings
	cd fuzz && cargo check --quiet --bins --locked
	scripts/check-queries.sh
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo deny --log-level error check bans licenses sources
	scripts/advisories.sh
	shellcheck scripts/*.sh .ci/run

fmt: ## Format code
	cargo fmt --all

build: ## Build the release binary, in target/release
	@scripts/install.sh build rust
	cargo build --release

# `make image` compiles in a container on public images. Where no image registry can be reached, either name local images
# (IMAGE_RUST, IMAGE_BASE), or compile here: make image IMAGE_PREBUILT=1, which only needs an image with a shell, and makes one (busybox:1) from
# this machine's busybox if necessary.
IMAGE ?= panda:$(shell awk -F '"' '/^version/ { print $$2; exit }' Cargo.toml)
IMAGE_PREBUILT ?=
IMAGE_RUST ?= $(if $(IMAGE_PREBUILT),busybox:1,$(shell awk -F '=' '$$1 == "ARG RUST" { print $$2 }' Dockerfile))
IMAGE_BASE ?= scratch
IMAGE_NETWORK ?= default
# Packed relocations take 0.1 MB instead of 2.7 MB. They need glibc 2.36, which the image contains.
# Equal functions, of which generic code has many, become one (2 MB). Only the linker of Rust for x86-64 can do that.
comma := ,
IMAGE_LINK := -C link-arg=-Wl,-z,pack-relative-relocs $(if $(filter x86_64,$(shell uname -m)),-C link-arg=-Wl$(comma)--icf=all)
# 55 MB, by the engine's count.
IMAGE_MAX := 55000000

image: ## Build the image, as $(IMAGE)
ifneq ($(IMAGE_PREBUILT),)
	@scripts/install.sh build rust image
	cargo rustc --release --no-default-features --bin panda -- $(IMAGE_LINK)
	scripts/image-root.sh "$${CARGO_TARGET_DIR:-target}/release/panda" image-root
	@case "$(IMAGE_RUST)" in busybox:*) docker image inspect "$(IMAGE_RUST)" >/dev/null 2>&1 || docker pull --quiet "$(IMAGE_RUST)" \
	  || scripts/busybox-image.sh "$(IMAGE_RUST)" ;; esac
endif
	DOCKER_BUILDKIT=0 docker build --network "$(IMAGE_NETWORK)" --tag "$(IMAGE)" --build-arg RUST="$(IMAGE_RUST)" --build-arg BASE="$(IMAGE_BASE)" \
	  --build-arg PREBUILT="$(IMAGE_PREBUILT)" --build-arg VERSION="$(lastword $(subst :, ,$(IMAGE)))" \
	  --build-arg REVISION="$$(git rev-parse HEAD)" --build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" .
	@rm -rf image-root
	@size=$$(docker image inspect --format '{{ .Size }}' "$(IMAGE)"); echo "$(IMAGE): $$size bytes"; \
	[ "$$size" -le $(IMAGE_MAX) ] || { echo "more than $(IMAGE_MAX)" >&2; exit 1; }

release-dry-run: ## Make the files of a release from a debug build, in dist, and compare two runs; publishes nothing
	@scripts/install.sh build rust release
	cargo build --quiet
	scripts/release.sh dry-run "$${CARGO_TARGET_DIR:-target}/debug/panda" dist

bench: bench-demo bench-server bench-steps bench-idle bench-recovery bench-capacity bench-fanout bench-rolling bench-page bench-pod bench-http bench-report bench-scopes bench-build bench-neighbours bench-outbox bench-aws ## Run all of the following (docs/performance.md); on an idle machine, if the figures matter

bench-demo: ## The first deployment of the release program on a machine without caches and settings
	@scripts/install.sh build rust demo
	cargo build --quiet --release
	scripts/first-deployment.sh "$${CARGO_TARGET_DIR:-target}/release/panda"

bench-server: ## Start, memory and processor at rest, an event's latency to a reader
	@scripts/install.sh build rust demo bench
	cargo build --quiet
	cargo run --quiet -- parts -- cargo bench -p panda-benches --bench server

bench-steps: ## Durable steps a second, beside two job queues
bench-idle: ## Cost of waiting deployments
bench-recovery: ## Takeover of 5,000 deployments of a killed replica
bench-capacity: ## 10,000 followed executions for PANDA_BENCH_SECONDS (60; the target is for 600)
bench-fanout: ## Event streams, beside nchan and better-sse
bench-rolling: ## A rolling update of two replicas with the chart's settings, under 1,000 streams and 200 deployments
bench-page: ## The web page in Chromium: 50,000 lines, frames, memory, search, an event's way to the screen
bench-pod: ## Start, memory and size of the image's container, with the chart's settings
bench-http: ## Cost of authentication for a request
bench-aws: ## Polls of AWS within its quotas: calls, detection, fairness
bench-outbox: ## Deliveries to 20 webhooks by two replicas, one of them killed
bench-neighbours: ## Reports, replays and invalid tokens beside 2,000 followed executions
bench-build: ## Builds and fetches beside docker buildx and git, on a current engine
bench-scopes: ## Lists, current and the audit log of scoped tokens, with a million deployments (3 GB of disk)
bench-report: ## Reports, pages and retention with 100,000 deployments and 5 million events (6 GB of disk)
bench-steps bench-idle bench-recovery bench-capacity bench-fanout bench-rolling bench-page bench-pod bench-http bench-report bench-scopes bench-build bench-neighbours bench-outbox bench-aws: bench-%:
	@scripts/install.sh build rust demo bench
	cargo bench -p panda-benches --bench $*
