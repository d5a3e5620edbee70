#!/usr/bin/env bash
# Runs a sweep, writes its report, and takes pictures of it, of the dashboard, and of what commands show on a terminal.
#     pictures.sh SWEEP FOLDER PICTURES    (FOLDER has node_modules; PICTURES takes the pictures)
set -euo pipefail

pictures=$(realpath "$3")
. "$(dirname "$0")/project.sh"
[ -e "$NODE_PATH/@xterm/xterm" ] || npm install --silent --no-audit --no-fund --no-save --prefix "$folder" "@xterm/xterm@5.5.0" "playwright-core@1.65.1" >/dev/null
COLUMNS_SHOWN=118

# What a command writes to a terminal of that width, its own words first.
on_terminal() {
    printf '\033[1m$ sweep %s\033[0m\r\n' "$2" >"$1.terminal"
    script -qefc "stty cols $COLUMNS_SHOWN rows 45; '$sweep' $2" /dev/null >>"$1.terminal" </dev/null
}

# Names that a person would give.
sed -i 's#<i>gap</i>#gap#g' ./*.yaml ./*.py
# The live view in the middle of the run.
script -qefc "stty cols $COLUMNS_SHOWN rows 45; '$sweep' run pictures.yaml --cpu-slots 2" run.terminal >/dev/null </dev/null &
running=$!
until grep -qE "[3-6][0-9]/81" run.terminal 2>/dev/null; do
    kill -0 "$running"
    sleep 0.05
done
cp run.terminal run-shown.terminal
wait "$running" || grep -q "sweep retry" run.terminal
run_and_report pictures.yaml
on_terminal results "results kd-ema --top 8 --metric top1,cifar10.1_top1,rankme"
on_terminal pivot "results kd-ema --pivot mode,loss_weight --metric top1 --where mask_ratio=0.5"
on_terminal analyze "analyze kd-ema"
on_terminal explain "explain kd-ema 74"
serve
# It goes on until the pictures are taken.
work_on live.yaml name=mask
node "$here/pictures.cjs" "$(head -n 1 serve.out)" "$(cat .sweep/token)" report.html "$pictures"
on_terminal status "status"

node "$here/terminal.cjs" "$pictures" "$COLUMNS_SHOWN" terminal-results=results.terminal terminal-pivot=pivot.terminal \
    terminal-analyze=analyze.terminal terminal-explain=explain.terminal terminal-status=status.terminal terminal-run=run-shown.terminal
