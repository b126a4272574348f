#!/usr/bin/env bash
# Builds the program from before the newest migration, once, for the test that runs it beside this one: scripts/previous.sh
#
# The program is in PANDA_CACHE_DIR (.cache), at previous/panda. PANDA_PREVIOUS_COMMIT names another commit. docs/decisions/0032-the-version-before.md
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${PANDA_CACHE_DIR:-$PWD/.cache}/previous
say() { printf 'previous: %s\n' "$*" >&2; }

commit_before_newest_migration() {
  local migrations newest added
  migrations=(migrations/*.sql)
  newest=${migrations[-1]}
  # On the main line, because a merged branch may be older than other migrations of the line.
  added=$(git log --first-parent -m --diff-filter=A --format=%H -1 -- "$newest")
  # A migration without a commit is newer than the newest commit.
  if [ -n "$added" ]; then git rev-parse --verify --quiet "$added^1"; else git rev-parse HEAD; fi
}

commit=${PANDA_PREVIOUS_COMMIT:-$(commit_before_newest_migration || true)}
if ! commit=$(git rev-parse --verify --quiet "$commit^{commit}"); then
  say "the previous version is built from the Git history, which is missing: fetch it (git fetch --unshallow),"
  say "or name a previous version built elsewhere in PANDA_TEST_PREVIOUS"
  exit 1
fi

if [ ! -x "$cache/$commit/panda" ]; then
  say "building the program of $(git log -1 --format='%h (%s)' "$commit") (once)"
  source=$(mktemp -d)
  trap 'rm -rf "$source"' EXIT
  git archive "$commit" | tar -x -C "$source"
  # In the same target folder, so that common dependencies are compiled once.
  target=${CARGO_TARGET_DIR:-$PWD/target}
  (cd "$source" && SQLX_OFFLINE=true CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 cargo build --quiet --bin panda)
  # Keep only this one: programs from before an older migration are not needed any more.
  rm -rf "$cache"
  mkdir -p "$cache/$commit"
  cp "$target/debug/panda" "$cache/$commit/panda"
fi
ln -sfn "$commit/panda" "$cache/panda"
