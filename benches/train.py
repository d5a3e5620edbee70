"""Images per second of the built-in trainer beside the same recipe in plain PyTorch (train_pytorch.py), in one run.

The two sides alternate, so that whatever else the machine does meets both; the figures are medians over rounds, and the
ratio is the median of the rounds' ratios. A round is one process that trains a few epochs; its rate is the best epoch's after
the first, which warms up (and is the one before a reference exists). `--quick` takes a minute.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "target" / "release"
HOME = ROOT / "target" / "bench"
DATASETS = HOME / "sweep" / "datasets"
NAME = "bench"
MASK = {
    "method": "mask", "method_start": 0, "method_every": 1, "loss_weight": 0.5,
    "mask_ratio": 0.5, "mask_mode": "s", "inv_mode": "v1",
}  # fmt: skip


def make_dataset(per_class):
    """A dataset of the first `per_class` training images of each class of the shipped sample; few, since width 40 is slow."""
    shutil.rmtree(HOME, ignore_errors=True)
    for split, count in [("train", per_class), ("test", 10)]:
        with tarfile.open(ROOT / "worker" / "assets" / f"cifar10-sample-{split}.tar.xz") as archive:
            taken = {}
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                label = Path(member.name).parent.name
                if member.isfile() and taken.setdefault(label, 0) < count:
                    taken[label] += 1
                    path = HOME / "images" / split / label / Path(member.name).name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.extractfile(member).read())
    images = HOME / "images"
    command = [BUILT / "sweep", "data", "import", NAME, "--train", images / "train", "--test", images / "test"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "XDG_DATA_HOME": str(HOME)}, cwd=HOME)


# What the agent sets for each trainer, here for both sides: threads that spin while they wait are slow on a busy machine.
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}


def ours(case):
    """Rates by epoch and peak memory in MiB of one job of `sweep-trainer`, asked for as an agent does."""
    parameters = {
        "dataset": NAME, "width": case.width, "epochs": case.epochs, "batch_size": case.batch_size, "lr_steps": [],
        "eval_every": case.epochs, "device": "cpu", "threads": case.threads, "precision": case.precision,
        **(MASK if case.method == "mask" else {"method": "ce"}),
    }  # fmt: skip
    checksum = json.loads((DATASETS / NAME / "manifest.json").read_text())["checksum"]
    request = {
        "type": "train", "parameters": parameters, "seed": 0, "dataset_checksum": checksum,
        "first_epoch": 1, "last_epoch": case.epochs,
    }  # fmt: skip
    trainer = subprocess.Popen(
        [BUILT / "sweep-trainer", "--datasets", DATASETS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    trainer.stdin.write(json.dumps(request) + "\n")
    trainer.stdin.flush()
    rates = []
    for line in trainer.stdout:
        event = json.loads(line)
        if event["type"] == "report":
            rates.append(event["metrics"]["images_per_second"])
        elif event["type"] == "failed":
            sys.exit(f"sweep-trainer: {event['message']}")
        elif event["type"] == "done":
            break
    status = Path(f"/proc/{trainer.pid}/status").read_text().splitlines()
    peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
    trainer.stdin.close()
    trainer.wait()
    return rates, peak


def pytorch(case):
    command = [
        sys.executable, ROOT / "benches" / "train_pytorch.py", "--dataset", DATASETS / NAME, "--method", case.method,
        "--width", case.width, "--epochs", case.epochs, "--batch-size", case.batch_size, "--threads", case.threads,
        "--precision", case.precision,
    ]  # fmt: skip
    command = [str(part) for part in command]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return [line["images_per_second"] for line in lines[:-1]], lines[-1]["peak_mib"]


class Case(argparse.Namespace):
    def but(self, **changes):
        return Case(**{**vars(self), **changes})


def rate(side, case):
    """Images per second of the best epoch after the first, and peak memory."""
    rates, peak = side(case)
    return max(rates[1:]), peak


def alternate(case, rounds, first, second):
    """Medians of both sides' rates, the median of the rounds' ratios first/second, and both sides' peaks."""
    rows = []
    for _ in range(rounds):
        # Who goes first is drawn, so that a machine that grows slower within a round favours nobody.
        sides = [first, second]
        random.shuffle(sides)
        found = {side: side(case) for side in sides}
        rows.append((found[first], found[second]))
    rates = [statistics.median(row[side][0] for row in rows) for side in (0, 1)]
    ratio = statistics.median(row[0][0] / row[1][0] for row in rows)
    peaks = [max(row[side][1] for row in rows) for side in (0, 1)]
    return rates, ratio, peaks


def side_by_side(case):
    """Both rates together of two processes with one thread each."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: rate(ours, case.but(threads=1)), range(2)))
    return sum(rate for rate, _ in found), max(peak for _, peak in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="width 8 and one thread only, fewer rounds")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    make_dataset(52)
    rounds = options.rounds or (2 if options.quick else 3)
    common = Case(batch_size=128, precision="fp32", epochs=3, method="ce", threads=1, width=8)

    print("images/s: sweep-trainer, PyTorch, ratio; peak MiB of each")
    for width in [8] if options.quick else [8, 40]:
        for threads in [1] if options.quick else [1, 2]:
            for method in ["ce", "mask"]:
                case = common.but(width=width, threads=threads, method=method)
                (a, b), ratio, (m, n) = alternate(case, rounds, lambda c: rate(ours, c), lambda c: rate(pytorch, c))
                print(
                    f"width {width:2}  {threads} thread{'s' if threads > 1 else ' '}  {method:4}  "
                    f"{a:7.1f} {b:7.1f}  x{ratio:.2f}   {m:6.0f} {n:6.0f}",
                    flush=True,
                )
    if options.quick:
        return
    (a, b), ratio, _ = alternate(common, rounds, side_by_side, lambda c: rate(ours, c.but(threads=2)))
    print(f"two trials with a thread each against one with two: {a:.1f} {b:.1f}  x{ratio:.2f}", flush=True)
    half = common.but(precision="bf16")
    (a, b), ratio, _ = alternate(half, rounds, lambda c: rate(ours, c), lambda c: rate(ours, common))
    print(f"bf16 against fp32, width 8, 1 thread: {a:.1f} {b:.1f}  x{ratio:.2f}", flush=True)
    (a, b), ratio, _ = alternate(half, rounds, lambda c: rate(ours, c), lambda c: rate(pytorch, c))
    print(f"bf16 in both, width 8, 1 thread: {a:.1f} {b:.1f}  x{ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
