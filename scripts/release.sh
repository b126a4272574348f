#!/usr/bin/env bash
# Makes the files of a release, the same bytes each time: scripts/release.sh COMMAND
#
#   check [TAG]                  all versions agree; with TAG also: it names them, is this commit, the tree is clean, CHANGELOG.md has a section
#   version                      the version in Cargo.toml
#   notes                        the section of CHANGELOG.md, for the release's page
#   build TARGET                 build the static program, and print its path
#   static BINARY                fail unless BINARY runs in an empty root
#   archive BINARY TARGET OUT    the program with licence, man pages, completions and packaging/
#   chart OUT                    the chart
#   sbom TARGET OUT              list of components of the program (CycloneDX); needs cargo-cyclonedx (scripts/install.sh release)
#   packages OUT                 the npm packages of clients/js and clients/typescript; needs their dependencies (scripts/install.sh clients)
#   sums OUT                     SHA256SUMS of all files in OUT
#   push-chart OUT REPOSITORY    push the chart to oci://REPOSITORY; prints its digest
#   push-image NAME IMAGE…       push the local IMAGEs, one an architecture, as the image NAME:VERSION; prints its digest
#   publish-packages OUT         publish the npm packages whose versions npm does not have yet; needs npm 11.5.1 or newer
#   tag-go                       make the tag by which Go finds clients/go, at GitHub; needs gh
#   dry-run BINARY OUT           everything that needs no service, with a program that is built already, twice; compares the bytes
#
# The workflow release.yml calls it. SOURCE_DATE_EPOCH, the commit's time by default, is the time of all files.
# RELEASE_PLAIN_HTTP=1 pushes to a registry without TLS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'release: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

version=$(awk -F '"' '/^version/ { print $2; exit }' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# --- checks ----------------------------------------------------------------------------------------------------------------------

# Prints each version that differs from Cargo.toml's.
other_versions() {
  local file key
  for file in crates/*/Cargo.toml benches/Cargo.toml; do
    [ "$(awk -F '"' '/^version/ { print $2; exit }' "$file")" = "$version" ] || echo "$file: version"
  done
  for key in version appVersion; do
    [ "$(awk -v key="$key:" '$1 == key { print $2 }' helm/panda/Chart.yaml)" = "$version" ] || echo "helm/panda/Chart.yaml: $key"
  done
  [ "$(package_field clients/typescript version)" = "$version" ] || echo "clients/typescript/package.json: version"
  awk -v version="\"$version\"" '
    /^name = / { name = $3 } /^version = / && (name == "\"panda\"" || name ~ /^"panda-/) && $3 != version { print "Cargo.lock: " name }' Cargo.lock
}

# A field of a package.json that is a text.
package_field() {
  awk -F '"' -v field="$2" '$2 == field { print $4; exit }' "$1/package.json"
}

# The text below a heading of CHANGELOG.md, up to the next one of its level.
section() {
  awk -v heading="## [$1]" 'index($0, "## [") == 1 { inside = index($0, heading) == 1; next } inside' CHANGELOG.md
}

check() {
  local tag=${1:-} wrong=() other
  while read -r other; do wrong+=("$other is not $version, the version in Cargo.toml"); done < <(other_versions)
  if [ -n "$tag" ]; then
    [[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || wrong+=("the tag must be vMAJOR.MINOR.PATCH: $tag")
    [ "$tag" = "v$version" ] || wrong+=("the tag $tag is not v$version, for the version in Cargo.toml")
    check_tagged_tree "$tag"
    if ! grep -qE "^## \[${version//./\\.}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md; then
      wrong+=("CHANGELOG.md has no heading ## [$version] - YYYY-MM-DD: name [Unreleased] so")
    elif ! grep -q '[^[:space:]]' < <(section "$version"); then
      wrong+=("CHANGELOG.md has nothing below ## [$version]")
    fi
  fi
  for other in "${wrong[@]}"; do say "$other"; done
  [ ${#wrong[@]} -eq 0 ] || die "${#wrong[@]} problems: no release"
  say "version $version agrees everywhere"
}

# The files of a release must be those of its commit, which must be on main.
check_tagged_tree() {
  local tag=$1 commit changed
  changed=$(git status --porcelain | head -n 5)
  [ -z "$changed" ] || wrong+=("the tree is not as committed: ${changed//$'\n'/, }")
  if ! commit=$(git rev-parse --verify --quiet "refs/tags/$tag^{commit}"); then
    wrong+=("there is no tag $tag: git tag --annotate $tag")
  elif [ "$commit" != "$(git rev-parse HEAD)" ]; then
    wrong+=("$tag is the commit ${commit:0:12}, and this is $(git rev-parse --short=12 HEAD): git checkout $tag")
  elif git rev-parse --verify --quiet origin/main >/dev/null && ! git merge-base --is-ancestor "$commit" origin/main; then
    wrong+=("$tag is not on main, whose commits are tested")
  fi
}

notes() {
  local text
  text=$(section "$version")
  if ! grep -q '[^[:space:]]' <<<"$text"; then
    say "CHANGELOG.md has no section for $version yet: these are the notes of [Unreleased]"
    text=$(section Unreleased)
  fi
  sed -e '/./,$!d' <<<"$text"
}

# --- the program -----------------------------------------------------------------------------------------------------------------

build() {
  local target=$1 name
  case $target in
    x86_64-unknown-linux-musl) ;;
    # Kernels with pages of 64 KiB exist: jemalloc otherwise supports the pages of the building machine only. musl has no outlined atomics.
    aarch64-unknown-linux-musl) export JEMALLOC_SYS_WITH_LG_PAGE=16 CFLAGS_aarch64_unknown_linux_musl=-mno-outline-atomics ;;
    *) die "no release for $target: use x86_64-unknown-linux-musl or aarch64-unknown-linux-musl, on such a machine" ;;
  esac
  have musl-gcc || die "musl-gcc is missing: apt-get install musl-tools"
  name=${target//-/_}
  rustup target add "$target" >&2
  # Paths of the building machine in the program would change its bytes.
  env "CC_$name=musl-gcc" SQLX_OFFLINE=true CARGO_INCREMENTAL=0 \
    RUSTFLAGS="--remap-path-prefix=$PWD=/src --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --locked --target "$target" --bin panda "${profile[@]}" >&2
  echo "${CARGO_TARGET_DIR:-target}/$target/$folder/panda"
}

# A profile other than release is for trying this out.
profile=(--release) folder=release
[ -z "${RELEASE_DEBUG:-}" ] || profile=() folder=debug

static() {
  local binary=$1 root
  if readelf --program-headers "$binary" | grep -q INTERP || readelf --dynamic "$binary" | grep -q NEEDED; then
    die "$binary needs a loader or libraries: $(readelf --dynamic "$binary" | awk '/NEEDED/ { print $NF }' | tr '\n' ' ')"
  fi
  root=$(mktemp -d)
  # shellcheck disable=SC2064 # the path is meant to be filled in now
  trap "rm -rf '$root'" EXIT
  install -m 0755 "$binary" "$root/panda"
  [ "$(in_root "$root" --version)" = "panda $version" ] || die "$binary does not run in an empty root"
  # Random numbers, encryption and output, without one file of the system.
  in_root "$root" keys generate | grep -q ':' || die "$binary makes no keys in an empty root"
  say "$binary is static and runs in an empty root: $(stat --format %s "$binary") bytes"
}

in_root() {
  local root=$1
  shift
  if [ "$(id -u)" -eq 0 ]; then
    env -i "$(command -v chroot)" "$root" /panda "$@"
  elif sudo -n true 2>/dev/null; then
    sudo -n env -i "$(command -v chroot)" "$root" /panda "$@"
  else
    env -i "$(command -v unshare)" --user --map-root-user --root="$root" /panda "$@"
  fi
}

# --- files -----------------------------------------------------------------------------------------------------------------------

# Writes a folder as a tar.gz: members in order, one time, no owner, no name of this machine.
pack() {
  local folder=$1 name=$2 out=$3
  tar --create --directory "$folder" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' "$name" \
    | gzip --no-name "-${RELEASE_GZIP_LEVEL:-9}" >"$out"
  say "$out: $(stat --format %s "$out") bytes"
}

archive() {
  local binary=$1 target=$2 out=$3 work shell name="panda-$version-$2"
  work=$(mktemp -d)
  mkdir -p "$out" "$work/$name/completions" "$work/$name/man/man1"
  strip --output-file "$work/$name/panda" "$binary"
  chmod 0755 "$work/$name/panda"
  # No variable of this machine becomes a default in the pages.
  for shell in bash elvish fish powershell zsh; do
    env -i "$binary" completion "$shell" >"$work/$name/completions/panda.$shell"
  done
  env -i "$binary" man --dir "$work/$name/man/man1"
  cp LICENSE README.md CHANGELOG.md docs/install.md .env.example "$work/$name/"
  mv "$work/$name/.env.example" "$work/$name/panda.env.example"
  cp -r packaging "$work/$name/packaging"
  [ ! -e "$out/$name.cdx.json" ] || cp "$out/$name.cdx.json" "$work/$name/sbom.cdx.json"
  pack "$work" "$name" "$out/$name.tar.gz"
  rm -rf "$work"
}

# Helm's own archives contain the time of packaging. Left out is what Helm leaves out.
chart() {
  local out=$1 work ignored
  work=$(mktemp -d)
  mkdir -p "$out" "$work/panda"
  mapfile -t ignored < <(grep -v '^#' helm/panda/.helmignore)
  (cd helm/panda && git ls-files -z --cached --others --exclude-standard -- . "${ignored[@]/#/:(exclude)}" | tar --create --null --files-from=-) \
    | tar --extract --directory "$work/panda"
  pack "$work" panda "$out/panda-$version.tgz"
  rm -rf "$work"
}

sbom() {
  local target=$1 out=$2 made=panda-sbom-$$
  cargo cyclonedx --version >/dev/null 2>&1 || die "cargo-cyclonedx is missing: scripts/install.sh release"
  mkdir -p "$out"
  cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "$target" --override-filename "$made"
  # The list must not show the path of the checkout.
  sed "s#path+file://$PWD#path+file:///src#g" "$made.json" >"$out/panda-$version-$target.cdx.json"
  rm "$made.json" benches/"$made.json" crates/*/"$made.json"
}

# Packs copies: compiling writes files into a package's folder, where tests may read them.
packages() {
  local out=$1 work client
  out=$(mkdir -p "$out" && cd "$out" && pwd)
  work=$(mktemp -d)
  cp clients/openapi.json "$work/openapi.json"
  for client in js typescript; do
    [ -d "clients/$client/node_modules" ] || die "clients/$client has no dependencies: scripts/install.sh clients"
    mkdir "$work/$client"
    git ls-files -z --cached --others --exclude-standard -- "clients/$client" | tar --create --null --files-from=- | tar --extract --directory "$work" --strip-components=1
    ln -s "$PWD/clients/$client/node_modules" "$work/$client/node_modules"
    (cd "$work/$client" && npm pack --silent --pack-destination "$out" >/dev/null)
  done
  rm -rf "$work"
  for client in "$out"/panda-deploy-*.tgz; do say "$client: $(stat --format %s "$client") bytes"; done
}

sums() {
  local out=$1 files
  rm -f "$out/SHA256SUMS"
  # The list is complete before the file exists.
  mapfile -t files < <(cd "$out" && find . -maxdepth 1 -type f -printf '%P\n' | LC_ALL=C sort)
  (cd "$out" && sha256sum --binary -- "${files[@]}" >SHA256SUMS && sha256sum --check --quiet SHA256SUMS)
  say "$out/SHA256SUMS: ${#files[@]} files"
}

# --- registries ------------------------------------------------------------------------------------------------------------------

push_chart() {
  local out=$1 repository=$2 said options=()
  [ -z "${RELEASE_PLAIN_HTTP:-}" ] || options=(--plain-http)
  said=$(helm push "$out/panda-$version.tgz" "oci://$repository" "${options[@]}" 2>&1) || die "helm push: $said"
  awk '$1 == "Digest:" { print $2; found = 1 } END { exit !found }' <<<"$said" || die "helm push printed no digest: $said"
}

push_image() {
  local name=$1 image architecture options=() parts=()
  shift
  [ -z "${RELEASE_PLAIN_HTTP:-}" ] || options=(--insecure)
  for image in "$@"; do
    architecture=$(docker image inspect --format '{{ .Architecture }}' "$image")
    [[ " ${parts[*]} " != *"-$architecture "* ]] || die "two images are of $architecture: $*"
    parts+=("$name:$version-$architecture")
    docker tag "$image" "$name:$version-$architecture"
    docker push --quiet "$name:$version-$architecture" >&2
  done
  docker manifest create "${options[@]}" "$name:$version" "${parts[@]}" >&2
  docker manifest push --purge "${options[@]}" "$name:$version" | tail -n 1
}

publish_packages() {
  local out=$1 client name number file options
  for client in js typescript; do
    name=$(package_field "clients/$client" name) number=$(package_field "clients/$client" version)
    file=${name#@}
    file=$out/${file/\//-}-$number.tgz
    [ -f "$file" ] || die "$file is missing: scripts/release.sh packages $out"
    # clients/js has versions of its package alone, and is released when its version is new.
    if [ "$(npm view "$name@$number" version 2>/dev/null)" = "$number" ]; then
      say "npm has $name $number already"
      continue
    fi
    options=(--access public --provenance)
    [[ $number != *-* ]] || options+=(--tag next)
    npm publish "$file" "${options[@]}"
  done
}

tag_go() {
  local repository=${GITHUB_REPOSITORY:?the repository at GitHub, OWNER/REPO} tag=clients/go/v$version commit
  commit=$(git rev-parse HEAD)
  if [ "$(gh api "repos/$repository/git/matching-refs/tags/$tag" --jq ".[] | select(.ref == \"refs/tags/$tag\") | .object.sha")" = "$commit" ]; then
    say "$tag exists already"
    return
  fi
  gh api "repos/$repository/git/refs" --field "ref=refs/tags/$tag" --field "sha=$commit" --silent
}

# --- all of it -------------------------------------------------------------------------------------------------------------------

dry_run() {
  local binary=$1 out=$2 target run
  target=$(uname -m)-unknown-linux-musl
  check ""
  for run in "$out" "$out.again"; do
    rm -rf "$run"
    mkdir -p "$run"
    if cargo cyclonedx --version >/dev/null 2>&1; then sbom "$target" "$run"; else say "SKIPPED: the list of components; cargo-cyclonedx is not installed"; fi
    archive "$binary" "$target" "$run"
    chart "$run"
    if [ -d clients/typescript/node_modules ] && have npm; then packages "$run"; else say "SKIPPED: the npm packages; scripts/install.sh clients"; fi
    sums "$run"
  done
  diff "$out/SHA256SUMS" "$out.again/SHA256SUMS" >&2 || die "the same commit gave two sets of bytes"
  rm -rf "$out.again"
  notes >"$out/NOTES.md"
  say "the same bytes twice. SKIPPED: the static build, images, signatures and provenance, which the workflow makes"
}

command=${1:-}
shift || true
case $command in
  version) echo "$version" ;;
  check | notes | build | static | archive | chart | packages | sbom | sums) "$command" "$@" ;;
  push-chart) push_chart "$@" ;;
  push-image) push_image "$@" ;;
  publish-packages) publish_packages "$@" ;;
  tag-go) tag_go ;;
  dry-run) dry_run "$@" ;;
  *) die "unknown command \"$command\": see the first lines of scripts/release.sh" ;;
esac
