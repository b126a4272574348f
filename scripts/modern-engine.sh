#!/usr/bin/env bash
# Unpacks a current Docker Engine beside an older installed one, for tests: Debian's packages of a newer release in a folder.
#
#   scripts/modern-engine.sh install             make the folder (once), in PANDA_CACHE_DIR (.cache), at modern-engine/root
#   scripts/modern-engine.sh run ROOT DIR ARGS   run its dockerd with ARGS in a mount namespace; DIR is the same inside and outside
#
# Needs root and a Debian mirror. When the folder cannot be made, `install` prints why and succeeds; tests that need it then print SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."

RELEASE=trixie
root=${PANDA_CACHE_DIR:-$PWD/.cache}/modern-engine/root
say() { printf 'modern engine: %s\n' "$*" >&2; }
skip() { say "$*; tests on a current Docker Engine will be skipped"; exit 0; }

# The mirror that this machine's own packages come from.
mirror() {
  local found
  found=$(awk '$1 == "URIs:" { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  [ -n "$found" ] || found=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' /etc/apt/sources.list 2>/dev/null || true)
  printf '%s' "$found"
}

install_root() {
  [ ! -e "$root/.complete" ] || return 0
  grep -qx 'ID=debian' /etc/os-release 2>/dev/null || skip "this is not Debian"
  [ "$(id -u)" -eq 0 ] || skip "not root"
  unshare --mount true 2>/dev/null || skip "mount namespaces are not allowed here"
  if ! command -v debootstrap >/dev/null; then
    env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends debootstrap >/dev/null \
      || skip "debootstrap cannot be installed"
  fi
  local from
  from=$(mirror)
  [ -n "$from" ] || skip "no Debian mirror is configured"
  say "unpacking Docker Engine of Debian $RELEASE into $root (once)"
  rm -rf "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase --include=docker.io,docker-cli,docker-buildx,ca-certificates,iptables "$RELEASE" "$root" "$from" \
    >"$root/../debootstrap.log" 2>&1 || skip "debootstrap failed (see $(dirname "$root")/debootstrap.log)"
  touch "$root/.complete"
}

# Uses pivot_root, because runc has to remount `/`, which a plain chroot does not allow.
run_engine() {
  local root=$1 dir=$2
  shift 2
  # shellcheck disable=SC2016 # filled in by the inner shell
  exec unshare --mount bash -c '
    set -e
    root=$1 dir=$2
    shift 2
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/run"
    cp /etc/resolv.conf /etc/hosts "$root/run/"
    mkdir -p "$root$dir" "$root/.old"
    mount --bind "$dir" "$root$dir"
    cd "$root"
    pivot_root . .old
    exec chroot . sh -c "umount -l /.old; exec dockerd \"\$@\"" sh "$@"
  ' bash "$root" "$dir" "$@"
}

case ${1:-} in
  install) install_root ;;
  run)
    shift
    run_engine "$@"
    ;;
  *)
    say "use install or run"
    exit 2
    ;;
esac
