#!/usr/bin/env bash
# Builds the program of the newest release, once, for the test that runs it beside this one: scripts/previous.sh
#
# The program is in PANDA_CACHE_DIR (.cache), at previous/panda. Before the first release (v0.2.0) there is none, and the test runs this program as
# both versions. PANDA_PREVIOUS_COMMIT names another commit. docs/decisions/0048-one-baseline-schema.md
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${PANDA_CACHE_DIR:-$PWD/.cache}/previous
say() { printf 'previous: %s\n' "$*" >&2; }

# The newest tag of a release whose commit precedes this one. Programs from before 0.2.0 have another schema.
newest_release() {
  local head tag
  head=$(git rev-parse --verify --quiet HEAD) || return 0
  git tag --list 'v[0-9]*' --merged HEAD --sort=-version:refname | while read -r tag; do
    case $tag in v0.[01].*) continue ;; esac
    [ "$(git rev-parse "$tag^{commit}")" = "$head" ] || { echo "$tag"; break; }
  done
}

wanted=${PANDA_PREVIOUS_COMMIT:-$(newest_release)}
if [ -z "$wanted" ]; then
  say "no release yet: the test runs this program as both versions"
  rm -rf "$cache"
  exit 0
fi
if ! commit=$(git rev-parse --verify --quiet "$wanted^{commit}"); then
  say "$wanted is not in the Git history: fetch it (git fetch --unshallow --tags), or name a program built elsewhere in PANDA_TEST_PREVIOUS"
  exit 1
fi

if [ ! -x "$cache/$commit/panda" ]; then
  say "building the program of $wanted ($(git log -1 --format='%h' "$commit"), once)"
  source=$(mktemp -d)
  trap 'rm -rf "$source"' EXIT
  git archive "$commit" | tar -x -C "$source"
  # In the same target folder, so that common dependencies are compiled once.
  target=${CARGO_TARGET_DIR:-$PWD/target}
  (cd "$source" && SQLX_OFFLINE=true CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 cargo build --quiet --bin panda)
  # Keep only this one: programs of older releases are not needed any more.
  rm -rf "$cache"
  mkdir -p "$cache/$commit"
  cp "$target/debug/panda" "$cache/$commit/panda"
fi
ln -sfn "$commit/panda" "$cache/panda"
