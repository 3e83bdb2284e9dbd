#!/usr/bin/env bash
# A small `motorpool` of two programs, buf and jq: motorpool.sh nodes | deploy NAME MODEL | explain NAME | delete NAME
# No protos and nothing generated: buf asks the controller for its API (gRPC reflection).
set -euo pipefail

usage="usage: motorpool.sh nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME"
: "${MOTORPOOL_SERVER:?is not set}" "${MOTORPOOL_CA_FILE:?is not set}" "${MOTORPOOL_TOKEN:?is not set}"

# The token goes by a file of its own: other users of the machine see command lines.
umask 077
headers=$(mktemp)
watch=
trap 'rm -f "$headers"; [ -z "$watch" ] || kill -KILL "$watch" 2> /dev/null' EXIT
printf 'authorization: Bearer %s\n' "$MOTORPOOL_TOKEN" > "$headers"
curl=(buf curl --protocol grpc --cacert "$MOTORPOOL_CA_FILE" --header "@$headers" --reflect-header '*')

call() { # call SERVICE METHOD REQUEST: prints the answer, or the error on standard error
  "${curl[@]}" --data "$3" "https://$MOTORPOOL_SERVER/motorpool.v1.$1Service/$2"
}

nodes() {
  local page='{}'
  while :; do
    page=$(call Node ListNodes "$(jq -c '{pageToken: (.nextPageToken // "")}' <<< "$page")")
    jq -r '.nodes[]? | "\(.name) \(.state | sub("^NODE_STATE_"; "")) " +
      "\((.host.memoryBytes // "0" | tonumber) / 1073741824 * 10 | round / 10) GiB, " +
      "\(.devices // [] | length) devices"' <<< "$page"
    jq -e '.nextPageToken' <<< "$page" > /dev/null || return 0
  done
}

deploy() { # deploy NAME MODEL: returns when all instances run
  local bookmark created name uid change answers changes status
  bookmark=$(call Deployment ListDeployments '{"pageSize": 1}' | jq -r .resumeToken)
  created=$(call Deployment CreateDeployment \
    "$(jq -nc --arg id "$1" --arg path "$2" '{deploymentId: $id, deployment: {spec: {model: {localPath: $path}}}}')")
  read -r name uid < <(jq -r '"\(.name) \(.uid)"' <<< "$created")
  echo "$name is accepted"
  while :; do
    # From before it was made on, and after a break from the last change that was seen: nothing is missed.
    exec {answers}< <(exec "${curl[@]}" "https://$MOTORPOOL_SERVER/motorpool.v1.WatchService/Watch" --data "$(
      jq -nc --arg name "$name" --arg token "$bookmark" \
        '{kinds: ["deployments", "instances"], deployment: $name, resumeToken: $token}'
    )")
    watch=$!
    exec {changes}< <(exec jq --unbuffered -c . <&"$answers")
    while read -r change <&"$changes"; do
      bookmark=$(jq -r --arg last "$bookmark" '.resumeToken // $last' <<< "$change")
      jq -r '.instance // empty | "\(.name) \(.state | sub("^INSTANCE_STATE_"; ""))"' <<< "$change"
      if jq -e '.instance.state == "INSTANCE_STATE_ERROR"' <<< "$change" > /dev/null; then
        jq -r '"error: \(.instance.name) failed: \(.instance.lastFailure.message)"' <<< "$change" >&2
        return 1
      elif jq -e --arg name "$name" '.deleted == $name' <<< "$change" > /dev/null; then
        echo "error: $name was deleted by someone else while it came up" >&2
        return 1
      elif jq -e --arg uid "$uid" \
        '.deployment | .uid == $uid and .state == "DEPLOYMENT_STATE_AVAILABLE"' <<< "$change" > /dev/null; then
        call Deployment GetDeploymentCredentials "{\"name\": \"$name\"}" | jq -r '"answers at " + (.endpoints | join(", "))'
        return 0
      fi
    done
    exec {answers}<&- {changes}<&-
    status=0
    wait "$watch" || status=$? # buf exits with 8 times gRPC's code
    case $status in
      0 | $((8 * 13)) | $((8 * 14))) echo "the watch broke off, and goes on at its bookmark" >&2 ;; # cut off, unavailable
      $((8 * 11))) bookmark= ;; # out of range: away for longer than changes are kept; begin anew with all that exists
      *) return 1 ;;
    esac
    sleep 1
  done
}

explain() {
  call Deployment ExplainDeployment "{\"name\": \"deployments/$1\"}" | jq -r '.instances[]? |
    "\(.instance) \(.state | sub("^INSTANCE_STATE_"; "")) \(.verdict)", (.refusals[]? | "  \(.reason): \(.message)")'
}

delete() { # delete NAME: returns when nothing of it is left
  local name uid found
  read -r name uid < <(call Deployment DeleteDeployment "{\"name\": \"deployments/$1\"}" | jq -r '"\(.name) \(.uid)"')
  while found=$(call Deployment GetDeployment "{\"name\": \"$name\"}" 2>&1); do
    [ "$(jq -r .uid <<< "$found")" = "$uid" ] || break
    sleep 0.2
  done
  jq -e '.uid // .code == "not_found"' <<< "$found" > /dev/null || { echo "$found" >&2; return 1; }
  echo "$name is gone"
}

case "${1:-} $#" in
  "nodes 1" | "deploy 3" | "explain 2" | "delete 2") "$@" ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
