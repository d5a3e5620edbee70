"""Reads back with the tools' own packages what `sweep export` wrote, and compares it with `sweep results --json`."""

import glob
import json
import math
import os
import sys

results, tensorboard_folder, optuna_file, mlflow_server, wandb_folder = sys.argv[1:]
with open(results, encoding="utf-8") as file:
    document = json.load(file)
trials = {trial["trial"]: trial for trial in document["results"]}
name = document["name"]


def close(one, other, relative=1e-12):
    assert math.isclose(one, other, rel_tol=relative), (one, other)


# TensorBoard: a run a trial, all epochs of all metrics (in single precision), and the hyperparameters.
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folders = glob.glob(os.path.join(tensorboard_folder, "*", "trial-*"))
assert len(folders) == len(trials), len(folders)
for folder in folders:
    trial = trials[int(folder.rsplit("-", 1)[1])]
    assert len(os.listdir(folder)) == 1, "nothing is there twice"
    events = EventAccumulator(folder).Reload()
    assert set(events.Tags()["scalars"]) == set(trial["metrics"]), events.Tags()
    for metric, value in trial["metrics"].items():
        scalars = events.Scalars(metric)
        steps = [scalar.step for scalar in scalars]
        assert steps == sorted(set(steps)) and steps[0] == 1, steps
        close(scalars[-1].value, value, 1e-5)
    assert "_hparams_/session_start_info" in events.summary_metadata, list(events.summary_metadata)
print(f"tensorboard: {len(folders)} runs as they should be")

# Optuna: one study, the best trial is ours, failures are failures.
import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
storage = f"sqlite:///{optuna_file}"
summaries = optuna.get_all_study_summaries(storage)
assert len(summaries) == 1, "nothing is there twice"
study = optuna.load_study(study_name=summaries[0].study_name, storage=storage)
assert len(study.trials) == len(trials)
succeeded = [trial for trial in trials.values() if trial["state"] == "succeeded"]
close(study.best_value, max(trial["metrics"]["top1"] for trial in succeeded))
for found in study.trials:
    trial = trials[found.user_attrs["trial"]]
    assert (found.state == optuna.trial.TrialState.COMPLETE) == (trial["state"] == "succeeded")
    for parameter, value in found.params.items():
        assert trial["parameters"][parameter] == value, (parameter, value)
    if trial["state"] == "succeeded":
        close(found.intermediate_values[max(found.intermediate_values)], trial["metrics"]["top1"])
print(f"optuna: {len(study.trials)} trials as they should be")

# MLflow: one experiment, a run a trial, by a server's own client.
os.environ["MLFLOW_TRACKING_URI"] = mlflow_server
import mlflow

client = mlflow.MlflowClient(mlflow_server)
experiments = [one for one in client.search_experiments() if one.name.startswith(name)]
assert len(experiments) == 1, [one.name for one in experiments]
runs, token = [], None
while True:
    page = client.search_runs([experiments[0].experiment_id], max_results=1000, page_token=token)
    runs.extend(page)
    token = page.token
    if not token:
        break
sent = [trial for trial in trials.values() if trial["parameters"]["loss_weight"] == 0.9]
assert len(runs) == len(sent), f"{len(runs)} runs"
for run in runs:
    trial = trials[int(run.data.tags["sweep.trial"])]
    assert (run.info.status == "FINISHED") == (trial["state"] == "succeeded"), run.info.status
    assert run.data.params["mode"] == trial["parameters"]["mode"] and run.data.params["seed"] == str(trial["seed"])
    for metric, value in trial["metrics"].items():
        close(run.data.metrics[metric.replace("<", "_").replace(">", "_")], value)
history = client.get_metric_history(runs[0].info.run_id, "train_loss")
assert [point.step for point in history] == list(range(1, len(history) + 1)), history
print(f"mlflow: {len(runs)} runs as they should be")

# W&B: offline runs, whose records are its own messages in LevelDB's log format.
import struct

from wandb.proto import wandb_internal_pb2


def read_records(file):
    """Blocks of 32 KiB behind a head of seven bytes; a record may go over several blocks."""
    with open(file, "rb") as log:
        data = log.read()
    assert data[:4] == b":W&B", data[:8]
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0:
            break
        whole += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


wanted = [trial for trial in trials.values() if trial["seed"] == 1 and trial["parameters"]["loss_weight"] == 0.9]
files = glob.glob(os.path.join(wandb_folder, "wandb", "offline-run-*", "*.wandb"))
assert len(files) == len(wanted), f"{len(files)} runs, {len(wanted)} trials"
for file in files:
    run, summary, steps = None, {}, []
    for record in read_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
        elif kind == "history":
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            steps.append(row)
        elif kind == "summary":
            summary.update({".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update})
    trial = trials[int(run.run_id.rsplit("-", 1)[1])]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["mode"] == trial["parameters"]["mode"] and config["seed"] == trial["seed"], config
    assert run.run_group.startswith(name[:20]), run.run_group
    epochs = [row["epoch"] for row in steps]
    assert epochs == list(range(1, len(epochs) + 1)), epochs
    close(steps[-1]["top1"], trial["metrics"]["top1"])
print(f"wandb: {len(files)} runs as they should be")
