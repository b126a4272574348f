#!/usr/bin/env bash
# Puts the contents of the image into a folder: scripts/image-root.sh BINARY FOLDER
#
# The program, its shared libraries, authorities' certificates, a user, a folder for temporary files, and the list of components
# (SBOM, CycloneDX) when cargo-cyclonedx is installed. No shell, no package manager.
set -euo pipefail

binary=$1
root=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

rm -rf "$root"
mkdir -p "$root"/usr/local/bin "$root"/usr/share/doc/panda "$root"/etc/ssl/certs
mkdir -m 1777 "$root"/tmp
strip --output-file "$root/usr/local/bin/panda" "$binary"
chmod 0755 "$root/usr/local/bin/panda"

# Each library, including the loader, goes to the path that the program uses. A static program has none.
{ ldd "$binary" 2>/dev/null || true; } | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
  install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done

install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\npanda:x:65532:65532:Panda:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\npanda:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
[ ! -e "$here/LICENSE" ] || install -m 0644 "$here/LICENSE" "$root/usr/share/doc/panda/LICENSE"

if cargo cyclonedx --version >/dev/null 2>&1; then
  # The tool writes beside each Cargo.toml; another run may be doing the same.
  list=panda-sbom-$$
  (cd "$here" && cargo cyclonedx --quiet --format json --no-build-deps --no-default-features --override-filename "$list")
  # The image must not show the path of the checkout.
  sed "s#path+file://$here#path+file:///src#g" "$here/$list.json" >"$root/usr/share/doc/panda/sbom.cdx.json"
  rm "$here/$list.json" "$here/benches/$list.json" "$here"/crates/*/"$list.json"
fi
