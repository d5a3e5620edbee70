"""The same study in Optuna's own SQLite storage, and how long Optuna takes to load it.

    optuna_study.py SWEEP_DB OPTUNA_DB

Optuna keeps one value an epoch; that is top1. The study is made once and loaded as often as this runs.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

source, target = sys.argv[1:]
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = f"sqlite:///{target}"
SWEPT = ("loss_weight", "ema_ratio", "mask_ratio", "mask_mode")


def make():
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
    optuna.create_study(storage=storage, study_name="synthetic", direction="maximize").add_trials(trials)


if not Path(target).exists():
    make()
begun = time.perf_counter()
study = optuna.load_study(storage=storage, study_name="synthetic")
frame = study.trials_dataframe()
print(f"Optuna loads the study ({len(frame)} trials, top1 only) in {time.perf_counter() - begun:.2f} s")
