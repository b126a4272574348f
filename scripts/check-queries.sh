#!/usr/bin/env bash
# Compares .sqlx with what a real database says about every query: scripts/check-queries.sh [--write]
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${PANDA_IN_PARTS:-}" != 1 ]; then
  PANDA_IN_PARTS=1 SQLX_OFFLINE=true exec cargo run --quiet -- parts -- scripts/check-queries.sh "$@"
fi

export SQLX_OFFLINE=false
sqlx migrate run --source migrations >/dev/null
if [ "${1:-}" = --write ]; then
  cargo sqlx prepare -- --all-targets
else
  cargo sqlx prepare --check -- --all-targets
fi
