#!/usr/bin/env bash
# Builds the program from before the newest migration, once, for the test that runs it beside this one: scripts/previous.sh
#
# It stands in PANDA_CACHE_DIR (.cache), at previous/panda. PANDA_PREVIOUS_COMMIT names another commit. docs/decisions/0032-the-version-before.md
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${PANDA_CACHE_DIR:-$PWD/.cache}/previous
say() { printf 'previous: %s\n' "$*" >&2; }

commit_before_newest_migration() {
  local migrations newest added
  migrations=(migrations/*.sql)
  newest=${migrations[-1]}
  # On the main line: a branch that was merged may be older than other migrations of the line.
  added=$(git log --first-parent -m --diff-filter=A --format=%H -1 -- "$newest")
  # One that is not committed yet was made after the newest commit.
  if [ -n "$added" ]; then git rev-parse --verify --quiet "$added^1"; else git rev-parse HEAD; fi
}

commit=${PANDA_PREVIOUS_COMMIT:-$(commit_before_newest_migration || true)}
if ! commit=$(git rev-parse --verify --quiet "$commit^{commit}"); then
  say "the version before is built from the history, which is not here: clone the repository whole (git fetch --unshallow),"
  say "or name the version before, built elsewhere, in PANDA_TEST_PREVIOUS"
  exit 1
fi

if [ ! -x "$cache/$commit/panda" ]; then
  say "building the program of $(git log -1 --format='%h (%s)' "$commit") (once)"
  source=$(mktemp -d)
  trap 'rm -rf "$source"' EXIT
  git archive "$commit" | tar -x -C "$source"
  # In the same target folder, so that what both depend on is not compiled twice.
  target=${CARGO_TARGET_DIR:-$PWD/target}
  (cd "$source" && SQLX_OFFLINE=true CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 cargo build --quiet --bin panda)
  # Only one is kept: the one before the last migration is of no use any more.
  rm -rf "$cache"
  mkdir -p "$cache/$commit"
  cp "$target/debug/panda" "$cache/$commit/panda"
fi
ln -sfn "$commit/panda" "$cache/panda"
