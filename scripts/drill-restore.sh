#!/usr/bin/env bash
# Restores a backup of a running Panda beside it, compares both, and drops the copy: scripts/drill-restore.sh
#
#   OWNER_URL       address of Panda's database, as the owner of its tables
#   ADMIN_URL       address of a database of the same server, as a role that may create databases and is a member of the owner
#   PANDA_KEY_FILE  copy of the keys that a restore would use
#   DRILL_DATABASE  name of the copy (panda_drill); must not exist
#   DRILL_DUMP      an existing dump to restore instead of a new one; its rows are then not compared
#
# Needs psql, pg_dump and pg_restore, as new as the server, and panda. Changes nothing in Panda's database. docs/operations-recovery.md
set -euo pipefail
: "${OWNER_URL:?address of the database, as its owner}" "${ADMIN_URL:?address of an administrator}" "${PANDA_KEY_FILE:?copy of the keys}"
drill=${DRILL_DATABASE:-panda_drill}
if [[ ! $drill =~ ^[a-z_][a-z0-9_]{0,62}$ ]]; then
  echo "drill-restore: DRILL_DATABASE must consist of lower-case letters, digits and _: $drill" >&2
  exit 2
fi
export PANDA_KEY_FILE
work=$(mktemp -d)
created=
finish() {
  if [ -n "$created" ]; then admin --command="DROP DATABASE IF EXISTS $drill" || echo "drill-restore: drop the database $drill yourself" >&2; fi
  rm -rf "$work"
}
trap finish EXIT

sql() { psql --quiet --no-psqlrc --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"; }
admin() { sql --dbname="$ADMIN_URL" "$@"; }
milliseconds() { date +%s%3N; }
# The address with the copy's name in place of the database's: it is the path, before a query.
copy_url() {
  local address=${OWNER_URL%%\?*} query=
  if [[ $OWNER_URL == *\?* ]]; then query="?${OWNER_URL#*\?}"; fi
  echo "${address%/*}/$drill$query"
}
# Tables that a running server changes all the time, and expiring ones, are left out.
rows() {
  sql --dbname="$1" <<'SQL'
SELECT format('SELECT %L || '' '' || count(*) FROM %I.%I;', relname, nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname = 'public'
  AND relname NOT IN ('replicas', 'leases', 'api_budgets', 'sessions', 'stream_tickets', 'log_filter', 'idempotency_keys', 'status_event_regions', 'write_probe')
ORDER BY relname COLLATE "C"
\gexec
SQL
}

owner=$(sql --dbname="$OWNER_URL" --command='SELECT quote_ident(current_user)')
restored=$(copy_url)
begun=$(milliseconds)
dump=${DRILL_DUMP:-}
if [ -z "$dump" ]; then
  dump=$work/panda.dump
  pg_dump --format=custom --file="$dump" "$OWNER_URL"
fi
dumped=$(milliseconds)
admin --command="CREATE DATABASE $drill OWNER $owner"
created=yes
pg_restore --no-owner --no-acl --exit-on-error --dbname="$restored" "$dump"
loaded=$(milliseconds)
panda migrate --database-url "$restored" > "$work/migrate"
panda keys check --database-url "$restored"
checked=$(milliseconds)

if [ -z "${DRILL_DUMP:-}" ]; then
  rows "$restored" > "$work/restored"
  rows "$OWNER_URL" > "$work/present"
  # Deployments that progressed meanwhile have more rows now; none may have fewer.
  awk 'NR == FNR { has[$1] = $2; next }
       { if (!($1 in has) || has[$1] > $2) { print "drill-restore: " $1 " has " has[$1] " rows, restored of " $2; wrong = 1 } total += has[$1] }
       END { if (wrong) exit 1; print "tables: " FNR ", rows restored: " total }' "$work/restored" "$work/present"
fi
printf 'dump: %d ms, %d bytes; restore: %d ms; migrate and check keys: %d ms; in all: %d ms\n' \
  $((dumped - begun)) "$(stat --format=%s "$dump")" $((loaded - dumped)) $((checked - loaded)) $((checked - begun))
