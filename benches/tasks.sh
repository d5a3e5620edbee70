#!/usr/bin/env bash
# Trials per second of `sweep run` on /bin/true, beside `xargs -P` on the same machine in the same run: the floor of
# what starting processes costs, without a table, a result or a guarantee.
set -euo pipefail
trials=${1:-1000}
sweep=$(cd "$(dirname "$0")/.." && pwd)/target/release/sweep
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export XDG_DATA_HOME="$folder"

seconds() {
    local start end
    start=$(date +%s.%N)
    "$@" >/dev/null
    end=$(date +%s.%N)
    echo "$end - $start" | bc -l
}

floor() { seq "$trials" | xargs -P "$(nproc)" -n 1 /bin/true; }
ours() { rm -rf .sweep; "$sweep" run true.yaml --quiet; }
printf 'command: [/bin/true]\nseeds: %d\nparameters: {}\n' "$trials" >true.yaml

for round in 1 2 3; do
    a=$(seconds ours)
    b=$(seconds floor)
    awk -v n="$trials" -v a="$a" -v b="$b" -v r="$round" 'BEGIN {
        printf "round %d: sweep %.0f trials/s, xargs %.0f processes/s, ratio %.2f\n", r, n / a, n / b, b / a }'
done
