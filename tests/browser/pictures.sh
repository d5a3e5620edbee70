#!/usr/bin/env bash
# Runs a sweep, writes its report, and takes pictures of it and of the dashboard.
#     pictures.sh SWEEP FOLDER PICTURES    (FOLDER has node_modules; PICTURES takes the pictures)
set -euo pipefail

sweep=$(realpath "$1")
folder=$(realpath "$2")
pictures=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)
project=$(mktemp -d)
started=()
clean() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$project"
}
trap clean EXIT

unset SWEEP_COORDINATOR SWEEP_TOKEN
cp "$here"/*.yaml "$here"/*.py "$project/"
cd "$project"
# Some of its trials fail; that is part of it.
"$sweep" run pictures.yaml --quiet --cpu-slots 2 >/dev/null 2>run.log || grep -q "sweep retry" run.log || { cat run.log >&2; exit 1; }
"$sweep" report last -o report.html 2>/dev/null
"$sweep" serve >serve.out 2>serve.log &
started+=($!)
until [ -s serve.out ]; do
    kill -0 "${started[0]}" || { cat serve.log >&2; exit 1; }
    sleep 0.1
done
# It goes on until the pictures are taken.
"$sweep" submit live.yaml name=mask >/dev/null 2>&1
"$sweep" worker --sweep 2 --cpu-slots 2 >worker.log 2>&1 &
started+=($!)
NODE_PATH="$folder/node_modules" node "$here/pictures.cjs" "$(head -n 1 serve.out)" "$(cat .sweep/token)" report.html "$pictures"
