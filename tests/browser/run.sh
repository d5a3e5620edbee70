#!/usr/bin/env bash
# Runs a sweep whose names and values are full of HTML, writes its report, and looks at it and at the dashboard in Chromium.
#     run.sh SWEEP FOLDER    (FOLDER has node_modules; screenshots are left in FOLDER/screenshots)
set -euo pipefail

. "$(dirname "$0")/project.sh"
run_and_report hostile.yaml
"$sweep" results last --json >results.json 2>/dev/null
mkdir -p "$folder/screenshots"
(cd "$other" && ! "$sweep" run "$here/unfinished.yaml" --quiet --cpu-slots 2 >/dev/null 2>&1 && "$sweep" report last -o report.html 2>/dev/null)
node "$here/report.cjs" "$project/report.html" "$folder/screenshots" "$other/report.html"
serve
work_on live.yaml
timeout 200 node "$here/dashboard.cjs" "$sweep" "${started[0]}" "$(head -n 1 serve.out)" "$(cat .sweep/token)" "$project/results.json" "$folder/screenshots"
