"""Trials a second of `sweep run`, end to end, beside what the same machine does without it, in one run. `make bench-tasks`.

A trial is a process of /bin/true; one node, every result on the disk before it counts. Beside it: `xargs -P`, the floor of what
starting processes costs, without a table, a result or a guarantee; and Optuna with a study on SQLite and as many worker processes,
each of which calls subprocess.run(["/bin/true"]). The three alternate, so that whatever else the machine does meets all of them;
figures are medians over rounds, and a ratio is the median of the rounds' ratios.

Then two things that a rate hides: whether a slot waits between short jobs (trials that sleep, beside xargs again), and whether
`sweep submit` returns before the first trial starts, whatever the size of the sweep.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ROOT / "target" / "release" / "sweep"
OPTUNA_PYTHON = ROOT / "target" / "optuna-venv" / "bin" / "python"
HOME = ROOT / "target" / "bench-tasks"
ENVIRONMENT = {**os.environ, "XDG_DATA_HOME": str(HOME), "NO_COLOR": "1"}
SLOTS = os.cpu_count() or 1
# A coordinator and a worker are there within a second; a machine that takes longer than this has another problem.
PATIENCE_SECONDS = 60


def fresh(name):
    """An empty folder on the disk that holds the repository."""
    folder = HOME / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".sweep").mkdir(parents=True)
    return folder


def spec(folder, command, trials):
    """A sweep of so many trials of a command."""
    path = folder / f"{trials}.yaml"
    path.write_text(f"name: bench\ncommand: {command}\nseeds: {trials}\nparameters: {{}}\n".replace("'", '"'))
    return path


def seconds(command, **options):
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    return time.perf_counter() - begun


def sweep_rate(command, trials):
    folder = fresh("run")
    # It ends with an error unless every trial has succeeded.
    run = [SWEEP, "run", spec(folder, command, trials), "--quiet", "--cpu-slots", str(SLOTS)]
    return trials / seconds(run, cwd=folder, env=ENVIRONMENT)


def xargs_rate(command, trials):
    numbers = "".join(f"{number}\n" for number in range(trials))
    # The number would be an argument of the command; `-I` lets it vanish.
    run = ["xargs", "-P", str(SLOTS), "-n", "1", *command]
    if command != ["/bin/true"]:
        run = ["xargs", "-P", str(SLOTS), "-I", "{}", *command]
    return trials / seconds(run, input=numbers.encode())


def optuna_rate(trials):
    """The workers import and connect before the clock starts."""
    storage = f"sqlite:///{fresh('optuna')}/study.db"
    program = [OPTUNA_PYTHON, Path(__file__).with_name("tasks_optuna.py"), storage]
    subprocess.run([*program, "create"], check=True)
    share = trials // SLOTS
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*program, str(share)], **pipes) for _ in range(SLOTS)]
    for worker in workers:
        worker.stdout.readline()
    begun = time.perf_counter()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    if any([worker.wait() for worker in workers]):
        sys.exit("a worker of Optuna's failed")
    return share * SLOTS / (time.perf_counter() - begun)


def compare(title, rounds, sides):
    """Runs the sides in turn; a side is a name and a function that gives a rate. The first one is ours."""
    print(f"\n{title}")
    rates = {name: [] for name, _ in sides}
    for number in range(1, rounds + 1):
        for name, rate in sides:
            rates[name].append(rate())
        line = ", ".join(f"{name} {values[-1]:,.1f}" for name, values in rates.items())
        print(f"  round {number}: {line} a second", flush=True)
    ours, *others = [name for name, _ in sides]
    print(f"  median: {', '.join(f'{name} {statistics.median(values):,.1f}' for name, values in rates.items())} a second")
    for other in others:
        ratio = statistics.median(a / b for a, b in zip(rates[ours], rates[other]))
        print(f"  {ours} / {other}: {ratio:.2f}", flush=True)


def wait_until(holds, what):
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > give_up_at:
            sys.exit(f"waited in vain for {what}")
        time.sleep(0.001)


def first_trial(trials):
    """Submits to a coordinator with an idle worker. Prints when submit returned and when the first trial began."""
    folder = fresh("submit")
    begun_at = folder / "begun"
    # The first trial makes the folder; the others find it and leave its time as it is.
    path = spec(folder, ["mkdir", "-p", str(begun_at)], trials)
    options = {"cwd": folder, "env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    services = [subprocess.Popen([SWEEP, "serve"], **options)]
    try:
        wait_until((folder / ".sweep" / "coordinator.json").exists, "the coordinator")
        services.append(subprocess.Popen([SWEEP, "worker", "--cpu-slots", str(SLOTS)], **options))
        status = [SWEEP, "status", "--json"]
        has_worker = lambda: b'"host"' in subprocess.run(status, cwd=folder, env=ENVIRONMENT, capture_output=True).stdout
        wait_until(has_worker, "the worker")
        begun = time.time()
        subprocess.run([SWEEP, "submit", path], check=True, **options)
        returned = time.time()
        wait_until(begun_at.exists, "the first trial")
        first = begun_at.stat().st_mtime
        order = "after" if first > returned else "BEFORE"
        print(
            f"  {trials:>7,} trials: submit returned after {returned - begun:.2f} s; the first trial began "
            f"{abs(first - returned) * 1000:.0f} ms {order} that",
            flush=True,
        )
    finally:
        # A worker that is asked twice does not wait for its trials.
        for service in reversed(services):
            service.send_signal(signal.SIGTERM)
            service.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--optuna-trials", type=int, default=200, help="fewer, since it is slow")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    true = ["/bin/true"]
    sides = [("sweep", lambda: sweep_rate(true, args.trials)), ("xargs", lambda: xargs_rate(true, args.trials))]
    if OPTUNA_PYTHON.exists():
        sides.append(("Optuna", lambda: optuna_rate(args.optuna_trials)))
    else:
        print("Optuna is not there: `make bench-tasks` installs it")
    compare(
        f"{args.trials:,} trials of /bin/true, {SLOTS} at a time (Optuna: {args.optuna_trials}, random search, SQLite)",
        args.rounds,
        sides,
    )
    for millis, trials in [(5, 1000), (50, 200)]:
        sleep = ["sleep", f"{millis / 1000}"]
        compare(
            f"{trials:,} trials that sleep for {millis} ms, {SLOTS} at a time",
            args.rounds,
            [("sweep", lambda: sweep_rate(sleep, trials)), ("xargs", lambda: xargs_rate(sleep, trials))],
        )
    print("\nSubmitting to a coordinator with an idle worker")
    for trials in [5000, 100_000]:
        first_trial(trials)


if __name__ == "__main__":
    main()
