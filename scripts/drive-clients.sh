#!/usr/bin/env bash
# Drives a deployment with the examples of the compiled clients, against `panda up`: scripts/drive-clients.sh PANDA
set -euo pipefail
panda=$(realpath "$1")
cd "$(dirname "$0")/.."

cache=${PANDA_CACHE_DIR:-$PWD/.cache}
go=("$cache"/go/lib/python3*/site-packages/go/bin/go)
folder=$(mktemp -d)
# Postgres runs as another user when this runs as root.
chmod 0711 "$folder"
: >"$folder/log"
"$panda" up --data-dir "$folder/data" --listen 127.0.0.1:0 --lang en >"$folder/log" 2>&1 &
up=$!
trap 'kill -INT "$up" 2>/dev/null || true; wait "$up" || true; rm -rf "$folder"' EXIT
for ((seconds = 0; ; seconds++)); do
  PANDA_SERVER=$(sed -n 's/^Panda is at \([^ ]*\).*/\1/p' "$folder/log")
  [ -z "$PANDA_SERVER" ] || break
  if [ "$seconds" -ge 300 ] || ! kill -0 "$up" 2>/dev/null; then
    cat "$folder/log" >&2
    exit 1
  fi
  sleep 1
done
PANDA_TOKEN=$(cat "$folder/data/admin-token")
export PANDA_SERVER PANDA_TOKEN

node clients/typescript/build/deploy.js panda/hello
(cd clients/go && GOTOOLCHAIN=local GOPROXY=off GOCACHE="$cache/go-build" "${go[0]}" run ./examples/deploy panda/hello)
