#!/usr/bin/env bash
# Compares .sqlx with a real database's description of every query, or writes it again: scripts/check-queries.sh [--write]
#
# The database is a private one (panda parts), or that of PANDA_TEST_DATABASE_URL.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${PANDA_TEST_DATABASE_URL:-}" ]; then
  # After a change of a query nothing builds until .sqlx is written; the program from before the change can start a database.
  SQLX_OFFLINE=true cargo build --quiet --bin panda \
    || echo "check-queries: this does not build yet, using the panda of an earlier build" >&2
  exec "${CARGO_TARGET_DIR:-target}/debug/panda" parts -- "$0" "$@"
fi

export DATABASE_URL=$PANDA_TEST_DATABASE_URL SQLX_OFFLINE=false
# Only the library has checked queries (db).
sqlx migrate run --source migrations >/dev/null
if [ "${1:-}" = --write ]; then
  cargo sqlx prepare -- --lib
else
  cargo sqlx prepare --check -- --lib
fi
