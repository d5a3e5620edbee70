"""Times commands on the folder of a large sweep, beside Python's sqlite3 reading the same rows, and Optuna where it is there.

    measure.py SWEEP FOLDER [OPTUNA_PYTHON]

Prints seconds (the best of three), peak memory, and the ratio to reading the rows.
"""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

LIMIT_SECONDS, LIMIT_MB = 2.0, 300
COMMANDS = {
    "results": ["results", "last"],
    "results --json": ["results", "last", "--json"],
    "results --epoch best": ["results", "last", "--epoch", "best"],
    "results --pivot": ["results", "last", "--pivot", "loss_weight,ema_ratio", "--metric", "top1,rankme"],
    "results, CSV": ["results", "last", "--format", "csv"],
    "analyze": ["analyze", "last"],
}


def read_rows(database):
    """All reports as Python's sqlite3 gives them."""
    begun = time.perf_counter()
    table = sqlite3.connect(database)
    rows = sum(1 for _ in table.execute("SELECT job_id, epoch, metric, value FROM reports"))
    return rows, time.perf_counter() - begun


def measure(program, folder, arguments):
    """Seconds, and peak memory in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen([program, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"sweep {' '.join(arguments)} failed")
    return time.perf_counter() - begun, usage.ru_maxrss / 1000


def main():
    program, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    database = folder / ".sweep" / "sweep.db"
    rows, plain = read_rows(database)
    print(f"{rows} values, {database.stat().st_size / 1e6:.0f} MB; Python's sqlite3 reads them in {plain:.2f} s")
    print(f"{'command':<24} {'seconds':>8} {'MB':>6} {'ratio':>7}   target {LIMIT_SECONDS} s, {LIMIT_MB} MB")
    for name, arguments in COMMANDS.items():
        runs = [measure(program, folder, arguments) for _ in range(3)]
        seconds, memory = min(run[0] for run in runs), max(run[1] for run in runs)
        verdict = "" if seconds <= LIMIT_SECONDS and memory <= LIMIT_MB else "   missed"
        print(f"{name:<24} {seconds:>8.2f} {memory:>6.0f} {seconds / plain:>7.3f}{verdict}")
    if len(sys.argv) > 3 and Path(sys.argv[3]).exists():
        script = Path(__file__).with_name("optuna_study.py")
        subprocess.run([sys.argv[3], script, database, folder / "optuna.db"], check=True)


main()
