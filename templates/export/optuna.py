"""Puts a sweep into an Optuna study, which `optuna-dashboard` shows. Reads JSON lines; see docs/WATCHING.md."""

import json
import sys

try:
    import optuna
except ImportError:
    sys.exit("Optuna is not installed for this Python; `pip install optuna`, or name another one with `--python`")

optuna.logging.set_verbosity(optuna.logging.WARNING)
destination = sys.argv[1]
storage = destination if "://" in destination else f"sqlite:///{destination}"
head = json.loads(sys.stdin.readline())
metric = head["metric"]
if metric is None:
    sys.exit("an Optuna study has one objective, and the sweep has no metric; name one with `--metric`")

# A parameter with more values was drawn from a range; each trial stores all choices there are.
MOST_CHOICES = 50


def plain(value):
    """What a categorical distribution takes."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)


trials = [json.loads(line) for line in sys.stdin]
choices = {}
for trial in trials:
    for parameter in head["swept"]:
        if parameter in trial["parameters"]:
            value = plain(trial["parameters"][parameter])
            choices.setdefault(parameter, {})[(type(value), value)] = value


def distribution(values):
    kinds = {type(value) for value in values}
    if len(values) > MOST_CHOICES and kinds <= {int, float}:
        kind = optuna.distributions.IntDistribution if kinds == {int} else optuna.distributions.FloatDistribution
        return kind(min(values), max(values))
    return optuna.distributions.CategoricalDistribution(values)


distributions = {parameter: distribution(list(values.values())) for parameter, values in choices.items()}
States = optuna.trial.TrialState
states = {"succeeded": States.COMPLETE, "failed": States.FAIL, "cancelled": States.FAIL, "running": States.WAITING, "queued": States.WAITING}
added = []
for trial in trials:
    parameters = {p: plain(trial["parameters"][p]) for p in head["swept"] if p in trial["parameters"]}
    value = trial["metrics"].get(metric["name"])
    state = states[trial["state"]]
    if state == States.COMPLETE and value is None:
        state = States.FAIL
    curve = trial["curves"].get(metric["name"], [])
    attributes = {"trial": trial["trial"], "seed": trial["seed"], "configuration": trial["configuration"], "state": trial["state"]}
    attributes.update({f"metrics.{name}": number for name, number in trial["metrics"].items()})
    if trial["failure"]:
        attributes["failure"] = trial["failure"]
    added.append(optuna.trial.create_trial(
        state=state,
        params=parameters,
        distributions={p: distributions[p] for p in parameters},
        value=value if state == States.COMPLETE else None,
        intermediate_values={epoch: number for epoch, number in curve} if state != States.WAITING else {},
        user_attrs=attributes,
    ))
# The earlier one gives way only now that all is known; the key tells sweeps of other job tables apart.
name = f"{head['name']} ({head['key']})"
if name in optuna.get_all_study_names(storage):
    optuna.delete_study(study_name=name, storage=storage)
study = optuna.create_study(study_name=name, storage=storage, direction=metric["goal"])
study.set_user_attr("sweep", head["sweep"])
study.set_user_attr("spec", head["spec"])
study.add_trials(added)
print(f"study `{name}` in {storage}: {len(added)} trials; `optuna-dashboard {storage}` shows it")
