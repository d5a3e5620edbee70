"""A worker process of Optuna's, for `tasks.py`: `STORAGE create` makes the study, `STORAGE N` runs N trials once it hears "go"."""

import subprocess
import sys

import optuna

storage, what = sys.argv[1:]
optuna.logging.set_verbosity(optuna.logging.ERROR)
if what == "create":
    optuna.create_study(storage=storage, study_name="bench")
    sys.exit()


def objective(trial):
    number = trial.suggest_int("number", 0, 1_000_000)
    subprocess.run(["/bin/true"], check=True)
    return number


# The cheapest sampler there is.
study = optuna.load_study(storage=storage, study_name="bench", sampler=optuna.samplers.RandomSampler())
print("ready", flush=True)
sys.stdin.readline()
study.optimize(objective, n_trials=int(what))
