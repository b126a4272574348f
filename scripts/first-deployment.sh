#!/usr/bin/env bash
# Measures the first deployment on a machine that has only the release's archive: scripts/first-deployment.sh ARCHIVE|BINARY [SECONDS]
#
# Runs `panda demo` in an empty home, without cargo, caches or settings, and prints the time from its start to COMPLETED and to its end. Fails beyond
# SECONDS (60). As root, the real home and this checkout are hidden as well. Postgres, the Docker engine and the registry are this machine's; what is
# missing is downloaded, which counts.
set -euo pipefail

given=$(readlink -f "${1:?usage: scripts/first-deployment.sh ARCHIVE|BINARY [SECONDS]}")
limit=${2:-60}
checkout=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")
# All users may enter it: Postgres does not run as root.
folder=$(mktemp -d /var/tmp/panda-first.XXXXXX)
chmod 0711 "$folder"
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/home" "$folder/tmp"
chmod 1777 "$folder/tmp"
case $given in
  *.tar.gz) tar --extract --gzip --file "$given" --directory "$folder" --strip-components 1 ;;
  *) install -m 0755 "$given" "$folder/panda" ;;
esac

clean=(env -i "PATH=/usr/sbin:/usr/bin:/sbin:/bin" "HOME=$folder/home" "TMPDIR=$folder/tmp" LANG=C.UTF-8 PANDA_LANG=en)
hidden=()
if [ "$(id -u)" -eq 0 ]; then
  # shellcheck disable=SC2016 # the inner shell expands these
  hidden=(unshare --mount bash -euc 'for hidden in "$1" "$2"; do [ ! -d "$hidden" ] || mount -t tmpfs none "$hidden"; done; cd /; shift 2; exec "$@"' - "$HOME" "$checkout")
fi

began=${EPOCHREALTIME/./} completed=
while IFS= read -r line; do
  since=$(((${EPOCHREALTIME/./} - began) / 1000))
  printf '%6d ms  %s\n' "$since" "$line"
  [[ $line != *COMPLETED* ]] || completed=${completed:-$since}
done < <("${hidden[@]}" "${clean[@]}" "$folder/panda" demo 2>&1)
[ -n "$completed" ] || { echo "no deployment was COMPLETED" >&2; exit 1; }
printf '{"bench": "first_deployment", "completed_ms": %d, "ended_ms": %d, "limit_ms": %d}\n' "$completed" "$(((${EPOCHREALTIME/./} - began) / 1000))" "$((limit * 1000))"
[ "$completed" -le "$((limit * 1000))" ]
