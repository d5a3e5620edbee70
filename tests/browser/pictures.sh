#!/usr/bin/env bash
# Runs a sweep, writes its report, and takes pictures of it and of the dashboard.
#     pictures.sh SWEEP FOLDER PICTURES    (FOLDER has node_modules; PICTURES takes the pictures)
set -euo pipefail

pictures=$(realpath "$3")
. "$(dirname "$0")/project.sh"
run_and_report pictures.yaml
serve
# It goes on until the pictures are taken.
work_on live.yaml name=mask
node "$here/pictures.cjs" "$(head -n 1 serve.out)" "$(cat .sweep/token)" report.html "$pictures"
