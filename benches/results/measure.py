"""Times what looks at a large sweep: commands, and the routes of a coordinator that pages ask.

    measure.py SWEEP FOLDER [OPTUNA_PYTHON]

Prints seconds (the best of three) and peak memory of each command beside its target, and how long Python's sqlite3 takes to read the
same rows; the size of the report; then seconds and size of each route's answer, where playwright-core is in NODE_PATH how long
Chromium takes for the pages, and the peak memory of the coordinator over all of that. With OPTUNA_PYTHON also what Optuna takes.
"""

import http.client
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

LIMIT_SECONDS, LIMIT_MB, REPORT_LIMIT_MB = 2.0, 300, 20
REPORT = "report.html"
COMMANDS = {
    "results": ["results", "last"],
    "results --json": ["results", "last", "--json"],
    "results --epoch best": ["results", "last", "--epoch", "best"],
    "results --pivot": ["results", "last", "--pivot", "loss_weight,ema_ratio", "--metric", "top1,rankme"],
    "results, CSV": ["results", "last", "--format", "csv"],
    "analyze": ["analyze", "last"],
    "report": ["report", "last", "-o", REPORT],
    "status": ["status", "last"],
}
# Without a target of its own: it writes every value that there is.
LINES = {"export --to jsonl": ["export", "last", "--to", "jsonl", "-o", "lines.jsonl"]}
ROUTES = {
    "status": "/v1/status",
    "progress": "/v1/sweeps/1/progress",
    "results": "/v1/sweeps/1/results",
    "results, best epoch": "/v1/sweeps/1/results?epoch=best",
    "curves of 240 trials": "/v1/sweeps/1/curves?trials=" + ",".join(map(str, range(1, 241))),
    "stages": "/v1/sweeps/1/stages",
    "a trial": "/v1/sweeps/1/trials/7777",
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
    process = subprocess.Popen(
        [program, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"sweep {' '.join(arguments)} failed")
    return time.perf_counter() - begun, usage.ru_maxrss / 1000


def verdict(seconds, memory):
    return "" if seconds <= LIMIT_SECONDS and memory <= LIMIT_MB else "   missed"


def measure_commands(program, folder, plain):
    print(f"{'command':<24} {'seconds':>8} {'MB':>6} {'ratio':>7}   target {LIMIT_SECONDS} s, {LIMIT_MB} MB")
    for name, arguments in {**COMMANDS, **LINES}.items():
        runs = [measure(program, folder, arguments) for _ in range(3)]
        seconds, memory = min(run[0] for run in runs), max(run[1] for run in runs)
        word = "" if name in LINES else verdict(seconds, memory)
        print(f"{name:<24} {seconds:>8.2f} {memory:>6.0f} {seconds / plain:>7.3f}{word}")
    for file in (REPORT, "lines.jsonl"):
        size = (folder / file).stat().st_size / 1e6
        target = f" (target {REPORT_LIMIT_MB} MB){'   missed' if size > REPORT_LIMIT_MB else ''}" if file == REPORT else ""
        print(f"{file}: {size:.1f} MB{target}")


def ask(url, token, route):
    """Seconds to the last byte of an answer, and its size in MB."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", route, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    size = len(answer.read())
    if answer.status != 200:
        sys.exit(f"{route}: {answer.status}")
    return time.perf_counter() - begun, size / 1e6


def measure_pages(url, token, folder):
    if not any(Path(place, "playwright-core").exists() for place in os.environ.get("NODE_PATH", "").split(":")):
        print("pages are not timed: there is no playwright-core in NODE_PATH")
        return
    script = Path(__file__).with_name("pages.cjs")
    subprocess.run(["node", script, url, token, folder / REPORT], check=True)


def measure_routes(program, folder):
    with tempfile.TemporaryFile("w+") as said:
        service = subprocess.Popen([program, "serve"], cwd=folder, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            url = service.stdout.readline().strip()
            token = (folder / ".sweep" / "token").read_text().strip()
            print(f"{'route':<24} {'seconds':>8} {'MB':>6}   target {LIMIT_SECONDS} s")
            for name, route in ROUTES.items():
                runs = [ask(url, token, route) for _ in range(3)]
                seconds, size = min(run[0] for run in runs), runs[0][1]
                print(f"{name:<24} {seconds:>8.2f} {size:>6.1f}{verdict(seconds, 0)}")
            measure_pages(url, token, folder)
        finally:
            service.send_signal(signal.SIGINT)
            _, _, usage = os.wait4(service.pid, 0)
    print(f"the coordinator's peak memory: {usage.ru_maxrss / 1000:.0f} MB (target {LIMIT_MB} MB){verdict(0, usage.ru_maxrss / 1000)}")


def main():
    program, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    database = folder / ".sweep" / "sweep.db"
    rows, plain = read_rows(database)
    print(f"{rows} values, {database.stat().st_size / 1e6:.0f} MB; Python's sqlite3 reads them in {plain:.2f} s")
    measure_commands(program, folder, plain)
    measure_routes(program, folder)
    if len(sys.argv) > 3 and Path(sys.argv[3]).exists():
        script = Path(__file__).with_name("optuna_study.py")
        subprocess.run([sys.argv[3], script, database, folder / "optuna.db"], check=True)


main()
