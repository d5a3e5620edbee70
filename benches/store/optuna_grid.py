"""Trials a second of Optuna's GridSampler on SQLite, with an objective that costs nothing."""

import sys
import time

import optuna

path, trials = sys.argv[1], int(sys.argv[2])
optuna.logging.set_verbosity(optuna.logging.ERROR)
space = {"lr": [0.001 * n for n in range(1, 26)], "momentum": [0.01 * n for n in range(1, trials // 25 + 1)]}

begun = time.perf_counter()
study = optuna.create_study(storage=f"sqlite:///{path}", sampler=optuna.samplers.GridSampler(space))
study.optimize(lambda trial: trial.suggest_float("lr", 0, 1) + trial.suggest_float("momentum", 0, 10), n_trials=trials)
print(trials / (time.perf_counter() - begun))
