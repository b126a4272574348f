#!/usr/bin/env bash
# Downloads a published release and verifies it as docs/install.md does: scripts/verify-release.sh TAG
#
# Needs gh and cosign. GITHUB_REPOSITORY names another repository than panda-deploy/panda.
set -euo pipefail

tag=${1:?usage: scripts/verify-release.sh TAG}
repository=${GITHUB_REPOSITORY:-panda-deploy/panda}
registry=ghcr.io/${repository%%/*}
# The certificate names the workflow that signed, at the tag.
signer=(--certificate-identity "https://github.com/$repository/.github/workflows/release.yml@refs/tags/$tag"
  --certificate-oidc-issuer https://token.actions.githubusercontent.com)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

gh release download "$tag" --repo "$repository"
sha256sum --check --strict SHA256SUMS
cosign verify-blob --new-bundle-format --bundle SHA256SUMS.sigstore.json "${signer[@]}" SHA256SUMS
for file in panda-*; do
  gh attestation verify "$file" --repo "$repository"
done
for name in panda charts/panda; do
  cosign verify "${signer[@]}" "$registry/$name:${tag#v}" >/dev/null
  gh attestation verify "oci://$registry/$name:${tag#v}" --repo "$repository"
done
tar --extract --gzip --file "panda-${tag#v}-$(uname -m)-unknown-linux-musl.tar.gz"
"panda-${tag#v}-$(uname -m)-unknown-linux-musl/panda" --version
