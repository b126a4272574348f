#!/usr/bin/env bash
# Renews scripts/*-requirements.txt, with versions and hashes, from scripts/*-requirements.in: scripts/lock.sh
set -euo pipefail
cd "$(dirname "$0")"

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9
for input in *-requirements.in; do
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --output-file "${input%.in}.txt" "$input"
done
