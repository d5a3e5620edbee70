"""The same study in Optuna's own SQLite storage, and how long Optuna and optuna-dashboard take to load it.

    optuna_study.py SWEEP_DB OPTUNA_DB

Optuna keeps one value an epoch; that is top1. The study is made once (ten minutes) and loaded as often as this runs.
"""

import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

source, target = sys.argv[1], Path(sys.argv[2])
optuna.logging.set_verbosity(optuna.logging.ERROR)
SWEPT = ("loss_weight", "ema_ratio", "mask_ratio", "mask_mode")
NAME = "synthetic"


def address(path):
    return f"sqlite:///{path}"


def make(path):
    table = sqlite3.connect(source)
    curves = {}
    query = "SELECT job_id, epoch, value FROM reports WHERE metric = 'top1'"
    for job, epoch, value in table.execute(query):
        curves.setdefault(job, {})[epoch] = value
    trials = []
    for text, job in table.execute("SELECT parameters, job_id FROM trials"):
        parameters = {name: json.loads(text)[name] for name in SWEPT}
        space = {
            name: CategoricalDistribution(["s", "sgf"]) if isinstance(value, str) else FloatDistribution(0, 1000)
            for name, value in parameters.items()
        }
        curve = curves[job]
        trials.append(
            optuna.trial.create_trial(
                params=parameters, distributions=space, intermediate_values=curve, value=curve[max(curve)]
            )
        )
    optuna.create_study(storage=address(path), study_name=NAME, direction="maximize").add_trials(trials)


def time_load():
    begun = time.perf_counter()
    trials = optuna.load_study(storage=address(target), study_name=NAME).get_trials(deepcopy=False)
    print(f"Optuna loads the study ({len(trials)} trials, top1 only) in {time.perf_counter() - begun:.2f} s")


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def time_dashboard():
    """What its page asks for first: the list of studies, then the study with all its trials."""
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        print("optuna-dashboard is not there: `rm -r target/optuna-venv` has it installed")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api/studies"
    service = subprocess.Popen(
        [program, address(target), "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                begun = time.perf_counter()
                studies = json.loads(fetch(url))["study_summaries"]
                break
            except urllib.error.URLError:
                if service.poll() is not None:
                    sys.exit("optuna-dashboard has ended")
                time.sleep(0.1)
        [study] = [study["study_id"] for study in studies if study["study_name"] == NAME]
        for which in ("first", "second"):
            if which == "second":
                begun = time.perf_counter()
            size = len(fetch(f"{url}/{study}?after=0"))
            seconds = time.perf_counter() - begun
            print(f"optuna-dashboard answers with the study in {seconds:.2f} s ({size / 1e6:.1f} MB; the {which} time)")
    finally:
        service.terminate()
        service.wait()


def main():
    if not target.exists():
        # One that was begun and not finished would be loaded the next time.
        unfinished = target.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        make(unfinished)
        unfinished.rename(target)
    time_load()
    time_dashboard()


main()
