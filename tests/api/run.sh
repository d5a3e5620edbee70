#!/usr/bin/env bash
# Asks a real coordinator whatever its OpenAPI document allows, and what it forbids (schemathesis, fixed seed): no 5xx, no
# status, content type or shape that the document does not name. Once with the token and once without.
#
# usage: tests/api/run.sh ST [EXAMPLES]     ST: the program `st` of schemathesis
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sweep=$here/../../target/debug/sweep
st=$(realpath -s "$1")
examples=${2:-40}

folder=$(mktemp -d)
cd "$folder"
export XDG_DATA_HOME="$folder/data"
unset SWEEP_COORDINATOR SWEEP_TOKEN
coordinator=
stop() {
    local status=$?
    if [ -n "$coordinator" ]; then
        kill "$coordinator" 2>/dev/null || true
        wait "$coordinator" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ]; then
        echo "== what the coordinator logged"
        cat coordinator.log 2>/dev/null || true
        echo "== the table, its log and the document stay in $folder"
    else
        rm -rf "$folder"
    fi
    return "$status"
}
trap stop EXIT

# A sweep that is done: its results can be asked for, and no lease request waits.
printf 'name: filled\ncommand: [/bin/true]\nparameters: {x: [1, 2]}\n' >filled.yaml
"$sweep" run filled.yaml --quiet >/dev/null
SWEEP_LOG=error "$sweep" serve >coordinator.log 2>&1 &
coordinator=$!
for _ in $(seq 600); do
    [ -e .sweep/coordinator.json ] && break
    kill -0 "$coordinator" || exit 1
    sleep 0.1
done
url=$(sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' .sweep/coordinator.json)
token=$(cat .sweep/token)
curl --silent --show-error --fail --header "Authorization: Bearer $token" "$url/v1/openapi.json" --output openapi.json

ask() {
    # Under its own configuration; a stream of events has no end that could be waited for (src/api/tests/events.rs).
    "$st" --config-file "$here/schemathesis.toml" run openapi.json --url "$url" --seed "${SEED:-1}" --no-color \
        --generation-database none --exclude-path /v1/events "$@"
}

echo "== with the token"
ask --max-examples "$examples" --header "Authorization: Bearer $token"
# What was answered so far and is no 401, without the agent's own requests and this one.
answered() {
    curl --silent --show-error --fail --header "Authorization: Bearer $token" "$url/metrics" |
        grep '^sweep_http_request_duration_seconds_count' |
        grep --invert-match --extended-regexp 'status="401"|route="/(metrics|v1/workers|v1/leases|v1/heartbeats)"' |
        sort
}
echo "== without the token"
before=$(answered)
ask --max-examples 5 --phases coverage,fuzzing --checks \
    not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
after=$(answered)
if [ "$before" != "$after" ]; then
    echo "without the token something else than 401 was answered:"
    diff <(echo "$before") <(echo "$after") || true
    exit 1
fi

if grep --quiet --extended-regexp 'ERROR|panicked' coordinator.log; then
    echo "the coordinator logged a fault of its own"
    exit 1
fi
kill -0 "$coordinator" || { echo "the coordinator did not survive"; exit 1; }
