#!/usr/bin/env bash
# Runs a sweep whose names and values are full of HTML, writes its report, and looks at it in Chromium.
#     run.sh SWEEP FOLDER    (FOLDER has node_modules; screenshots are left in FOLDER/screenshots)
set -euo pipefail

sweep=$(realpath "$1")
folder=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT

cp "$here/hostile.yaml" "$here/trial.py" "$project/"
cd "$project"
# Some of its trials fail; that is part of it.
"$sweep" run hostile.yaml --quiet --cpu-slots 2 >/dev/null 2>run.log || grep -q "sweep retry" run.log || { cat run.log >&2; exit 1; }
"$sweep" report last -o report.html 2>/dev/null
mkdir -p "$folder/screenshots"
NODE_PATH="$folder/node_modules" node "$here/report.cjs" "$project/report.html" "$folder/screenshots"
