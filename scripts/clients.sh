#!/usr/bin/env bash
# Generates the clients from clients/openapi.json, compiles and tests them: scripts/clients.sh. `scripts/install.sh clients` installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${PANDA_CACHE_DIR:-$PWD/.cache}
go=("$cache"/go/lib/python3*/site-packages/go/bin)
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOPROXY=off GOCACHE="$cache/go-build"

(cd clients/typescript && npm run --silent build && npm run --silent test)

clients/go/generate.py "$cache/openapi/bin/openapi-generator-cli" "${go[0]}/gofmt"
sha256sum clients/openapi.json | cut -d' ' -f1 >clients/go/openapi.sha256
(
  cd clients/go
  unformatted=$("${go[0]}/gofmt" -l .)
  [ -z "$unformatted" ] || { echo "gofmt would change $unformatted" >&2; exit 1; }
  "${go[0]}/go" vet ./...
  "${go[0]}/go" test ./...
)
