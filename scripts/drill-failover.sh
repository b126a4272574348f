#!/usr/bin/env bash
# Shows what a failover of the database does to running replicas: scripts/drill-failover.sh URL [URL…]
#
#   URL               address of one replica each (not of the load balancer)
#   FAILOVER_COMMAND  command that begins the failover; without it, you begin it yourself and press Enter at the same time
#   PANDA_TOKEN       token for the list of deployments, where the API requires one; the role viewer suffices
#   DRILL_SECONDS     time limit (300)
#
# Asks each replica for readiness, which needs a write of its lease, and for a list of deployments, about ten times a second, and prints per replica when it
# was first and last not ready, and the requests that failed. Exits with 1 when a replica is not ready again in time. docs/operations-recovery.md
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
limit=${DRILL_SECONDS:-300}
work=$(mktemp -d)
probes=()
# shellcheck disable=SC2317  # by the trap
finish() {
  touch "$work/stop"
  wait "${probes[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

milliseconds() { date +%s%3N; }
# In a file, because the arguments of a process are visible to all users of the machine.
: > "$work/header"
chmod 600 "$work/header"
if [ -n "${PANDA_TOKEN:-}" ]; then printf 'Authorization: Bearer %s\n' "$PANDA_TOKEN" > "$work/header"; fi
status() { curl --silent --output /dev/null --max-time 2 --header "@$work/header" --write-out '%{http_code}' "$1" || true; }
# Lines: begin and end of a round in milliseconds, status of readiness, status of the list.
probe() {
  local begun ready list
  while [ ! -e "$work/stop" ]; do
    begun=$(milliseconds)
    ready=$(status "$1/readyz")
    list=$(status "$1/api/v1/deploy?limit=1")
    echo "$begun $(milliseconds) ${ready:-000} ${list:-000}" >> "$2"
    sleep 0.05
  done
}

number=0
for url in "$@"; do
  number=$((number + 1))
  [ "$(status "$url/readyz")" = 200 ] || { echo "drill-failover: $url is not ready before the failover" >&2; exit 1; }
  [ "$(status "$url/api/v1/deploy?limit=1")" = 200 ] || { echo "drill-failover: $url refuses the list: set PANDA_TOKEN" >&2; exit 1; }
  probe "$url" "$work/$number" &
  probes+=("$!")
done
sleep 1
failover=$(milliseconds)
if [ -n "${FAILOVER_COMMAND:-}" ]; then
  bash -c "$FAILOVER_COMMAND"
else
  read -r -p 'Begin the failover now, and press Enter: ' _
fi
ended=$(milliseconds)

# All replicas answered everything for three seconds, at least five seconds after the command ended.
settled() {
  local at
  for ((at = 1; at <= number; at++)); do
    awk -v now="$(milliseconds)" -v after=$((ended + 2000)) '
      $1 >= after && $1 >= now - 3000 { rounds++; if ($3 != 200 || $4 != 200) bad = 1 } END { exit !(rounds >= 5 && !bad && now >= after + 3000) }
    ' "$work/$at" || return 1
  done
}
code=0
until settled; do
  if [ $(($(milliseconds) - failover)) -gt $((limit * 1000)) ]; then code=1; break; fi
  sleep 0.5
done

echo "the failover command took $((ended - failover)) ms"
for ((at = 1; at <= number; at++)); do
  awk -v url="${!at}" -v failover="$failover" '
    $1 < failover { next }
    { rounds++ }
    $3 != 200 { if (!first) first = $1; last = $2 }
    $4 != 200 { failed++; by[$4]++; worst = $2 }
    END {
      if (first) printf "%s: not ready from %d ms to %d ms after the begin of the failover", url, first - failover, last - failover
      else printf "%s: ready throughout", url
      printf "; requests: %d, failed: %d", rounds, failed
      if (failed) { printf " (status"; for (code in by) printf " %s: %d", code, by[code]; printf "; the last at %d ms)", worst - failover }
      print ""
    }' "$work/$at"
done
[ $code = 0 ] || echo "drill-failover: not every replica was ready again within $limit s" >&2
exit $code
