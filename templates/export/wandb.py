"""Writes a sweep as offline runs of W&B, a run a trial, ready for `wandb sync`. Reads JSON lines; see docs/WATCHING.md."""

import glob
import json
import os
import shutil
import sys

try:
    import wandb
except ImportError:
    sys.exit("W&B is not installed for this Python; `pip install wandb`, or name another one with `--python`")

destination = os.path.abspath(sys.argv[1])
os.makedirs(destination, exist_ok=True)
os.environ.setdefault("WANDB_SILENT", "true")
head = json.loads(sys.stdin.readline())
group = f"{head['name']} ({head['sweep']})"
# What may stand in a project's name there.
project = "".join(c if c.isalnum() or c in "-_." else "-" for c in head["name"])[:100]
count = 0
for line in sys.stdin:
    trial = json.loads(line)
    identifier = f"sweep-{head['key']}-{trial['trial']}"
    # Of an export before this one: the same run is written once.
    for earlier in glob.glob(os.path.join(glob.escape(destination), "wandb", f"offline-run-*-{identifier}")):
        shutil.rmtree(earlier)
    # A parameter that is called like the trial's seed is named as in selectors.
    parameters = {"parameters.seed" if name == "seed" else name: value for name, value in trial["parameters"].items()}
    run = wandb.init(
        mode="offline", dir=destination, project=project, group=group, job_type=trial["configuration"], id=identifier, name=f"trial {trial['trial']}",
        config={**parameters, "seed": trial["seed"]}, tags=[trial["state"]], reinit="finish_previous",
        settings=wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False),
    )
    by_epoch = {}
    for metric, curve in trial["curves"].items():
        for epoch, value in curve:
            by_epoch.setdefault(epoch, {})[metric] = value
    for epoch in sorted(by_epoch):
        run.log({"epoch": epoch, **by_epoch[epoch]}, step=epoch)
    # Metrics last: one that is called `state` is a result, and the state is also a tag.
    run.summary.update({"state": trial["state"], **({"failure": trial["failure"]} if trial["failure"] else {}), **trial["metrics"]})
    run.finish(exit_code=0 if trial["state"] == "succeeded" else 1)
    count += 1
print(f"{count} runs of project `{project}` in {os.path.join(destination, 'wandb')}; `wandb sync {os.path.join(destination, 'wandb')}/offline-run-*` sends them")
