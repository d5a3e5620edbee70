"""Sends a sweep to an MLflow server over REST, an experiment with a run a trial. Reads JSON lines; needs no package."""

import http.client
import json
import os
import posixpath
import sys
import urllib.parse

server = sys.argv[1].rstrip("/")
place = urllib.parse.urlsplit(server)
if place.scheme not in ("http", "https") or not place.hostname:
    sys.exit(f"`{server}` is no address of an MLflow server; write `-o http://HOST:5000`")
head = json.loads(sys.stdin.readline())
# As many as one request may carry.
TOGETHER, PARAMETERS, LONGEST = 1000, 100, 6000
kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
connection = kind(place.hostname, place.port, timeout=60)


def ask(path, body=None):
    """Asks the server; nothing where what shall be made is there already."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    for attempt in range(2):
        try:
            connection.request("GET" if body is None else "POST", f"{place.path}/api/2.0/mlflow/{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            break
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # A server may end a connection between two requests; then it did not see this one.
            connection.close()
            if attempt:
                sys.exit(f"{server} ends its connections")
        except OSError as error:
            sys.exit(f"{server} can't be reached: {error}")
    try:
        document = json.loads(text)
    except ValueError:
        document = {}
    if answer.status == 200:
        return document
    if document.get("error_code") == "RESOURCE_ALREADY_EXISTS":
        return None
    sys.exit(f"{server} refused {path.split('?')[0]} ({answer.status}): {document.get('message', text[:300])}")


name = f"{head['name']} ({head['key']})"
created = ask("experiments/create", {"name": name, "tags": [{"key": "sweep", "value": str(head["sweep"])}]})
if created is None:
    found = ask(f"experiments/get-by-name?experiment_name={urllib.parse.quote(name, safe='')}")
    experiment = found["experiment"]["experiment_id"]
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


LONGEST_KEY = 250


def cleaned(name):
    """What MLflow takes as a name: all else becomes an underscore. It is a path there, and only in its shortest form."""
    name = "".join(c if c.isalnum() and c.isascii() or c in "_-. :/" else "_" for c in name)[:LONGEST_KEY]
    path = posixpath.normpath(name)
    if path != name or path == "." or path.startswith(("..", "/")):
        name = name.replace("/", "_").replace(".", "_")
    return name or "_"


def keys(names, taken=()):
    """A key for each name, and never the same one for two: it is numbered then. Names that need no change keep their own."""
    found, taken = {}, set(taken)
    for name in sorted(names, key=lambda name: (cleaned(name) != name, name)):
        key, number = cleaned(name), 2
        while key in taken:
            key, number = f"{cleaned(name)[:LONGEST_KEY - 1 - len(str(number))]}-{number}", number + 1
        taken.add(key)
        found[name] = key
    return found


# All trials' names are looked at before the first is sent: what a key means must not differ from run to run.
parameter_names, metric_names = set(), set()
for line in sys.stdin:
    trial = json.loads(line)
    parameter_names.update(trial["parameters"])
    metric_names.update(trial["curves"])
sys.stdin.seek(0)
sys.stdin.readline()
# The seed of a trial; a parameter that a sweep calls so is another thing.
SEED = "seed"
parameter_keys, metric_keys = keys(parameter_names, {SEED}), keys(metric_names)

STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "running": "RUNNING", "queued": "SCHEDULED"}
count = 0
for line in sys.stdin:
    trial = json.loads(line)
    tags = {"sweep.trial": str(trial["trial"]), "sweep.configuration": trial["configuration"], "sweep.state": trial["state"]}
    if trial["failure"]:
        tags["sweep.failure"] = trial["failure"][:LONGEST]
    run = ask("runs/create", {"experiment_id": experiment, "run_name": f"trial {trial['trial']}", "start_time": 0, "tags": [{"key": tag, "value": value} for tag, value in tags.items()]})["run"]["info"]["run_id"]
    parameters = {SEED: trial["seed"], **{parameter_keys[name]: value for name, value in trial["parameters"].items()}}
    parameters = [{"key": key, "value": (value if isinstance(value, str) else json.dumps(value))[:LONGEST]} for key, value in parameters.items()]
    metrics = [{"key": metric_keys[metric], "value": value, "timestamp": epoch, "step": epoch} for metric, curve in trial["curves"].items() for epoch, value in curve]
    # The first request takes some of both.
    room = TOGETHER - min(PARAMETERS, len(parameters))
    ask("runs/log-batch", {"run_id": run, "params": parameters[:PARAMETERS], "metrics": metrics[:room]})
    for start in range(PARAMETERS, len(parameters), PARAMETERS):
        ask("runs/log-batch", {"run_id": run, "params": parameters[start:start + PARAMETERS]})
    for start in range(room, len(metrics), TOGETHER):
        ask("runs/log-batch", {"run_id": run, "metrics": metrics[start:start + TOGETHER]})
    ask("runs/update", {"run_id": run, "status": STATUS[trial["state"]], "end_time": 0})
    for old in earlier.get(str(trial["trial"]), []):
        ask("runs/delete", {"run_id": old})
    count += 1
print(f"{count} runs in experiment `{name}` of {server}")
for kind, names in (("parameter", parameter_keys), ("metric", metric_keys)):
    for name, key in sorted(names.items()):
        if key != name:
            print(f"{kind} `{name}` is called `{key}` there")
