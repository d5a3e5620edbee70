"""A trial without training: curves with effects and noise, and some failures whose log has markup in it."""

import json
import math
import os
import random
import sys

parameters = json.loads(os.environ["SWEEP_PARAMS"])
seed = int(os.environ["SWEEP_SEED"])
first, last = int(os.environ["SWEEP_FIRST_EPOCH"]), int(os.environ["SWEEP_LAST_EPOCH"])
weight, ratio = parameters["loss_weight"], parameters["mask_ratio"]
shared = first == 1
if not shared and weight == 0.9 and ratio == 0.75 and seed == 1:
    print("the loss is <b>not</b> finite </pre><script>window.hacked=1</script>")
    sys.exit(3)

mode = len(parameters["mode"]) % 3
random.seed(json.dumps([seed, first] if shared else [parameters, seed, first]))
with open(os.environ["SWEEP_REPORT"], "a", encoding="utf-8") as report:
    for epoch in range(first, last + 1):
        gain = 0 if shared else 6 * weight - 14 * (ratio - 0.5) ** 2 + 0.7 * mode + 3 * weight * ratio
        top1 = 40 + 45 * (1 - math.exp(-epoch / 6)) + gain * (1 - math.exp(-(epoch - 8) / 4) if not shared else 0) + random.gauss(0, 0.35)
        line = {
            "epoch": epoch,
            "top1": top1,
            "rankme": 12 + 0.35 * top1 + random.gauss(0, 0.8),
            "cifar10.1_top1": top1 - 9 - 2 * ratio + random.gauss(0, 0.5),
            "train_loss": 2.2 * math.exp(-epoch / 7) + 0.1 * ratio + random.gauss(0, 0.01),
            "<i>gap</i>": 9 + 2 * ratio + random.gauss(0, 0.2),
        }
        print(json.dumps(line), file=report, flush=True)
if os.environ.get("SWEEP_SAVE"):
    with open(os.environ["SWEEP_SAVE"], "w", encoding="utf-8") as save:
        save.write(str(last))
