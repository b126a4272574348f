#!/usr/bin/env bash
# Stands in for kubectl: secrets are folders in $CLUSTER, which servers read as mounted files, and a restart replaces two servers one after the other.
set -euo pipefail
refuse() { echo "kubectl stand-in: $*" >&2; exit 1; }
[ "$1 $2" = "-n panda" ] || refuse "the namespace is missing: $*"
shift 2

alive() { kill -0 "$1" 2>/dev/null && ! grep -q ') Z' "/proc/$1/stat" 2>/dev/null; }
stop() {
  local pid
  pid=$(cat "$CLUSTER/pid.$1" 2>/dev/null) || return 0
  kill -TERM "$pid" 2>/dev/null || true
  while alive "$pid"; do sleep 0.05; done
}
start() {
  local address
  address=$(cat "$CLUSTER/address.$1")
  AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none nohup panda serve --listen "$address" --database-url-file "$CLUSTER/panda-database/url" \
    --key-file "$CLUSTER/panda-keys/keys" --admin-token-file "$CLUSTER/panda-admin/token" --controller-region eu-west-1 \
    < /dev/null > /dev/null 2>> "$CLUSTER/log.$1" &
  echo $! > "$CLUSTER/pid.$1"
  until curl --silent --fail --output /dev/null --max-time 2 "http://$address/readyz"; do
    alive "$(cat "$CLUSTER/pid.$1")" || { cat "$CLUSTER/log.$1" >&2; refuse "server $1 has ended"; }
    sleep 0.05
  done
}

case "$1 $2" in
  "create secret")
    [ "$3" = generic ] || refuse "secret $3"
    [[ " $* " == *" --dry-run=client -o yaml "* ]] || refuse "an existing secret cannot be created"
    echo "secret $4"
    for argument in "${@:5}"; do
      case $argument in
        --from-file=*=*) named=${argument#--from-file=}; echo "${named%%=*} $(base64 -w0 "${named#*=}")" ;;
        --from-file=*) file=${argument#--from-file=}; echo "$(basename "$file") $(base64 -w0 "$file")" ;;
        --from-literal=*=*) named=${argument#--from-literal=}; echo "${named%%=*} $(printf %s "${named#*=}" | base64 -w0)" ;;
        --dry-run=client | -o | yaml) ;;
        *) refuse "create secret: $argument" ;;
      esac
    done
    ;;
  "apply -f")
    [ "$3" = - ] || refuse "apply $3"
    read -r word name
    [ "$word" = secret ] || refuse "apply: no secret"
    mkdir -p "$CLUSTER/$name"
    while read -r key value; do
      printf %s "$value" | base64 -d > "$CLUSTER/$name/.new"
      mv "$CLUSTER/$name/.new" "$CLUSTER/$name/$key"
    done
    ;;
  "get secret")
    [[ $5 =~ ^jsonpath=\{\.data\.([a-z.]+)\}$ ]] || refuse "get secret: $5"
    base64 -w0 "$CLUSTER/$3/${BASH_REMATCH[1]}"
    ;;
  "rollout restart") for server in 1 2; do stop $server; start $server; done ;;
  "rollout status") ;;
  *) refuse "$*" ;;
esac
