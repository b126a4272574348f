#!/usr/bin/env bash
# Extracts the calls that Panda makes from GitHub's description of its REST API (github/rest-api-description, MIT, in npm's package @octokit/openapi),
# for the tests of these calls: scripts/github-openapi.sh. The whole description has 13 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
out=tests/it/clients/github/openapi.json

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$(npm pack --silent --pack-destination "$work" "@octokit/openapi@${1:-latest}")
tar xzf "$work/$package" -C "$work" package/generated/api.github.com.json
python3 - "$work/package/generated/api.github.com.json" "$package" > "$out" <<'PY'
import json, sys

CALLS = {
    "/app-manifests/{code}/conversions": ["post"],
    "/repos/{owner}/{repo}/deployments": ["get", "post"],
    "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses": ["get", "post"],
    "/repos/{owner}/{repo}/statuses/{sha}": ["post"],
    "/repos/{owner}/{repo}/commits/{ref}/statuses": ["get"],
}
whole = json.load(open(sys.argv[1]))
paths = {path: {method: whole["paths"][path][method] for method in methods} for path, methods in CALLS.items()}
components = {}


LEFT_OUT = ("example", "examples", "description", "x-github")


def without_examples(node, names=False):
    """Leaves out texts and examples; `names`: the keys are names of properties."""
    if isinstance(node, dict):
        return {key: without_examples(value, key == "properties") for key, value in node.items() if names or key not in LEFT_OUT}
    return [without_examples(value) for value in node] if isinstance(node, list) else node


def collect(node):
    if isinstance(node, list):
        return [collect(value) for value in node]
    if not isinstance(node, dict):
        return
    reference = node.get("$ref")
    if isinstance(reference, str):
        kind, name = reference.split("/")[-2:]
        if name not in components.setdefault(kind, {}) and kind != "examples":
            found = without_examples(whole["components"][kind][name])
            components[kind][name] = found
            collect(found)
    for value in node.values():
        collect(value)


paths = without_examples(paths)
collect(paths)
info = {"title": f"Excerpt of GitHub's REST API, from {sys.argv[2]}", "version": whole["info"]["version"], "license": whole["info"]["license"]}
json.dump({"openapi": whole["openapi"], "info": info, "paths": paths, "components": components}, sys.stdout, indent=1, sort_keys=True)
print()
PY
echo "$out: $(wc -c < "$out") bytes" >&2
