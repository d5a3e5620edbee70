# What looks at pages begins with: a project in which a sweep was run, and which is served. To be sourced, with the program `sweep`
# as $1 and the folder of node_modules as $2.
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
export NODE_PATH="$folder/node_modules"
cp "$here"/*.yaml "$here"/*.py "$project/"
cd "$project"

# Runs a spec, some of whose trials fail, which is part of it; and writes its report.
run_and_report() {
    "$sweep" run "$1" --quiet --cpu-slots 2 >/dev/null 2>run.log || grep -q "sweep retry" run.log || { cat run.log >&2; exit 1; }
    "$sweep" report last -o report.html 2>/dev/null
}

# Starts a coordinator, which is the first of `started`; its address is the first line of serve.out.
serve() {
    "$sweep" serve >serve.out 2>serve.log &
    started+=($!)
    until [ -s serve.out ]; do
        kill -0 "${started[0]}" || { cat serve.log >&2; exit 1; }
        sleep 0.1
    done
}

# Submits a spec as sweep 2, and works on it until the end.
work_on() {
    "$sweep" submit "$@" >/dev/null 2>&1
    "$sweep" worker --sweep 2 --cpu-slots 2 >worker.log 2>&1 &
    started+=($!)
}
