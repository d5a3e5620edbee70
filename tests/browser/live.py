"""Reports two epochs, waits for the file `go`, or the one that the parameter `go` names, reports two more."""

import json
import os
import time

project, parameters = os.environ["SWEEP_PROJECT"], json.loads(os.environ["SWEEP_PARAMS"])
go = os.path.join(project, parameters.get("go", "go"))
with open(os.environ["SWEEP_REPORT"], "a", encoding="utf-8") as report:
    for epoch in range(1, 5):
        while epoch == 3 and not os.path.exists(go):
            time.sleep(0.05)
        print(f"epoch {epoch} <em>done</em>", flush=True)
        print(json.dumps({"epoch": epoch, "top1": 50 + 10 * epoch + parameters["lr"]}), file=report, flush=True)
