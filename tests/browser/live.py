"""Reports two epochs, waits for the file `go`, reports two more."""

import json
import os
import time

project, lr = os.environ["SWEEP_PROJECT"], json.loads(os.environ["SWEEP_PARAMS"])["lr"]
with open(os.environ["SWEEP_REPORT"], "a", encoding="utf-8") as report:
    for epoch in range(1, 5):
        while epoch == 3 and not os.path.exists(os.path.join(project, "go")):
            time.sleep(0.05)
        print(f"epoch {epoch} <em>done</em>", flush=True)
        print(json.dumps({"epoch": epoch, "top1": 50 + 10 * epoch + lr}), file=report, flush=True)
