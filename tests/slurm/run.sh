#!/usr/bin/env bash
# Runs the tests that need Slurm: each brings up one of its own on this host, and whatever is left of them is taken down here.
#
# usage: tests/slurm/run.sh [TEST]     KEEP_LOGS=1 leaves the daemons' logs behind
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
take_down() {
    for cluster in "$folder"/*/; do
        [ ! -d "$cluster" ] || "$here/cluster" down "$cluster"
    done
    [ -n "${KEEP_LOGS:-}" ] || rm -rf "$folder"
}
trap take_down EXIT
export SWEEP_TEST_CLUSTERS=$folder SLURM_CLUSTER_KEEP_LOGS=${KEEP_LOGS:-}
cd "$here/../.."
# They mostly wait.
cargo test --locked --workspace --test slurm -- --ignored --test-threads 4 "$@"
