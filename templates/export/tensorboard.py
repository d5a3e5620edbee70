"""Writes a sweep as TensorBoard's event files, a run a trial, with its hyperparameters. Reads JSON lines; see docs/WATCHING.md."""

import glob
import json
import os
import sys

try:
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.plugins.hparams import summary_v2 as hp
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ImportError:
    sys.exit("TensorBoard is not installed for this Python; `pip install tensorboard`, or name another one with `--python`")

destination = os.path.abspath(sys.argv[1])
head = json.loads(sys.stdin.readline())
# What may stand in a folder's name everywhere, and how much of it. The key tells sweeps of other job tables apart.
safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in head["name"]).encode()[:100].decode(errors="ignore")
folder = os.path.join(destination, f"{head['key']}-{safe}")


def plain(value):
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value)


count = 0
for line in sys.stdin:
    trial = json.loads(line)
    own = os.path.join(folder, f"trial-{trial['trial']}")
    # Of an export before this one: the same run is written once.
    for earlier in glob.glob(os.path.join(glob.escape(own), "events.out.tfevents.*")):
        os.remove(earlier)
    writer = EventFileWriter(own)

    def write(summary, step):
        # A time that is the epoch's: exports of the same trial are the same but for the file's name.
        writer.add_event(event_pb2.Event(summary=summary, step=step, wall_time=float(step)))

    # A parameter that is called like the trial's seed is named as in selectors.
    parameters = {"parameters.seed" if name == "seed" else name: plain(value) for name, value in trial["parameters"].items()}
    parameters["seed"] = trial["seed"]
    write(hp.hparams_pb(parameters, trial_id=f"{head['key']}-{trial['trial']}", start_time_secs=0.0), 0)
    write(text_pb("outcome", f"{trial['state']}: {trial['failure']}" if trial["failure"] else trial["state"]), 0)
    for metric, curve in trial["curves"].items():
        for epoch, value in curve:
            write(summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=metric, simple_value=value)]), epoch)
    writer.close()
    count += 1
print(f"{count} runs in {folder}; `tensorboard --logdir {destination}` shows them")
