#!/usr/bin/env bash
# Runs a sweep whose names and values are full of HTML, writes its report, and looks at it and at the dashboard in Chromium.
#     run.sh SWEEP FOLDER    (FOLDER has node_modules; screenshots are left in FOLDER/screenshots)
set -euo pipefail

sweep=$(realpath "$1")
folder=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
project=$(mktemp -d)
other=$(mktemp -d)
started=()
clean() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$project" "$other"
}
trap clean EXIT

unset SWEEP_COORDINATOR SWEEP_TOKEN
cp "$here"/*.yaml "$here"/*.py "$project/"
cd "$project"
# Some of its trials fail; that is part of it.
"$sweep" run hostile.yaml --quiet --cpu-slots 2 >/dev/null 2>run.log || grep -q "sweep retry" run.log || { cat run.log >&2; exit 1; }
"$sweep" report last -o report.html 2>/dev/null
"$sweep" results last --json >results.json 2>/dev/null
mkdir -p "$folder/screenshots"
(cd "$other" && ! "$sweep" run "$here/unfinished.yaml" --quiet --cpu-slots 2 >/dev/null 2>&1 && "$sweep" report last -o report.html 2>/dev/null)
NODE_PATH="$folder/node_modules" node "$here/report.cjs" "$project/report.html" "$folder/screenshots" "$other/report.html"

"$sweep" serve >serve.out 2>serve.log &
started+=($!)
until [ -s serve.out ]; do
    kill -0 "${started[0]}" || { cat serve.log >&2; exit 1; }
    sleep 0.1
done
"$sweep" submit live.yaml >/dev/null 2>&1
"$sweep" worker --sweep 2 --cpu-slots 2 >worker.log 2>&1 &
started+=($!)
NODE_PATH="$folder/node_modules" timeout 200 node "$here/dashboard.cjs" "$sweep" "${started[0]}" "$(head -n 1 serve.out)" "$(cat .sweep/token)" "$project/results.json" "$folder/screenshots"
