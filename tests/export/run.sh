#!/usr/bin/env bash
# Runs a sweep, hands it twice to each tool, and reads it back with the tools' own packages.
#     run.sh SWEEP PYTHON    (PYTHON has tensorboard, wandb, optuna and mlflow)
set -euo pipefail

sweep=$(realpath "$1")
python=$(realpath -s "$2")
here=$(cd "$(dirname "$0")" && pwd)
project=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$project"' EXIT

# Names and values full of HTML, quotes and slashes, shared stages, and some trials that fail.
cp "$here/../browser/hostile.yaml" "$here/../browser/trial.py" "$project/"
cd "$project"
"$sweep" run hostile.yaml --quiet --cpu-slots 2 >/dev/null 2>run.log || grep -q "sweep retry" run.log || { cat run.log >&2; exit 1; }
"$sweep" results last --json >results.json 2>/dev/null

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$(dirname "$python")/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 --backend-store-uri "sqlite:///$project/mlflow.db" --default-artifact-root "$project/mlruns" >mlflow.log 2>&1 &
server=$!
for _ in $(seq 240); do
    if "$python" -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/health', timeout=1)" 2>/dev/null; then break; fi
    kill -0 "$server" 2>/dev/null || { cat mlflow.log >&2; exit 1; }
    sleep 0.25
done

for _ in once again; do
    "$sweep" export last --to tensorboard -o tb --python "$python"
    "$sweep" export last --to optuna -o study.db --python "$python"
    "$sweep" export last --to mlflow -o "http://127.0.0.1:$port" --where loss_weight=0.9 --python "$python"
    # A run takes a second or two.
    "$sweep" export last --to wandb -o wb --where seed=1 --where loss_weight=0.9 --python "$python"
done
"$python" "$here/check.py" results.json tb study.db "http://127.0.0.1:$port" wb
