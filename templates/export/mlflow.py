"""Sends a sweep to an MLflow server over REST, an experiment with a run a trial. Reads JSON lines; needs no package."""

import json
import os
import sys
import urllib.error
import urllib.request

server = sys.argv[1].rstrip("/")
if not server.startswith(("http://", "https://")):
    sys.exit(f"`{server}` is no address of an MLflow server; write `-o http://HOST:5000`")
head = json.loads(sys.stdin.readline())
# As many as one request may carry.
METRICS, PARAMETERS, LONGEST = 1000, 100, 6000


def ask(path, body, method="POST"):
    request = urllib.request.Request(f"{server}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            problem = json.loads(text)
        except ValueError:
            problem = {}
        if problem.get("error_code") == "RESOURCE_ALREADY_EXISTS":
            return None
        sys.exit(f"{server} refused {path} ({error.code}): {problem.get('message', text[:300])}")
    except OSError as error:
        sys.exit(f"{server} can't be reached: {error}")


name = f"{head['name']} ({head['key']})"
created = ask("experiments/create", {"name": name, "tags": [{"key": "sweep", "value": str(head["sweep"])}]})
if created is None:
    quoted = urllib.request.quote(name, safe="")
    try:
        with urllib.request.urlopen(f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quoted}", timeout=60) as answer:
            experiment = json.load(answer)["experiment"]["experiment_id"]
    except OSError as error:
        sys.exit(f"{server} can't be reached: {error}")
else:
    experiment = created["experiment_id"]

# Of an export before this one: they give way to the new ones.
earlier, page = {}, None
while True:
    found = ask("runs/search", {"experiment_ids": [experiment], "max_results": 1000, **({"page_token": page} if page else {})})
    for run in found.get("runs", []):
        tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
        if "sweep.trial" in tags:
            earlier.setdefault(tags["sweep.trial"], []).append(run["info"]["run_id"])
    page = found.get("next_page_token")
    if not page:
        break



def key(name):
    """What MLflow takes as a name: all else becomes an underscore."""
    return "".join(c if c.isalnum() and c.isascii() or c in "_-. :/" else "_" for c in name)[:250]


STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "running": "RUNNING", "queued": "SCHEDULED"}
count = 0
for line in sys.stdin:
    trial = json.loads(line)
    tags = {"sweep.trial": str(trial["trial"]), "sweep.configuration": trial["configuration"], "sweep.state": trial["state"]}
    if trial["failure"]:
        tags["sweep.failure"] = trial["failure"][:LONGEST]
    run = ask("runs/create", {"experiment_id": experiment, "run_name": f"trial {trial['trial']}", "start_time": 0, "tags": [{"key": tag, "value": value} for tag, value in tags.items()]})["run"]["info"]["run_id"]
    parameters = {**trial["parameters"], "seed": trial["seed"]}
    parameters = [{"key": key(name), "value": (value if isinstance(value, str) else json.dumps(value))[:LONGEST]} for name, value in parameters.items()]
    metrics = [{"key": key(metric), "value": value, "timestamp": epoch, "step": epoch} for metric, curve in trial["curves"].items() for epoch, value in curve]
    for start in range(0, len(parameters), PARAMETERS):
        ask("runs/log-batch", {"run_id": run, "params": parameters[start:start + PARAMETERS]})
    for start in range(0, len(metrics), METRICS):
        ask("runs/log-batch", {"run_id": run, "metrics": metrics[start:start + METRICS]})
    ask("runs/update", {"run_id": run, "status": STATUS[trial["state"]], "end_time": 0})
    for old in earlier.get(str(trial["trial"]), []):
        ask("runs/delete", {"run_id": old})
    count += 1
print(f"{count} runs in experiment `{name}` of {server}")
