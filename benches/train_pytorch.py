"""The trainer's recipe in plain PyTorch: the baseline of `make bench-train` and of docs/RESULTS.md.

The same network, data, augmentation, optimizer and losses as the built-in trainer's methods `ce` and `mask` (mask mode `s`,
inverse `v1`, frozen reference taken after the first epoch and then after each), written as a PyTorch user would who cares
for speed: channels-last memory, in-place ReLU, `fused=True` SGD, images as bytes in memory, one gather a batch. Prints a JSON
line per epoch, then one with the process's peak memory.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)
PAD = 4


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet18(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        blocks, cin = [], 64
        for stage in range(4):
            cout = width * 2**stage
            blocks += [Block(cin, cout, 1 if stage == 0 else 2), Block(cout, cout, 1)]
            cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(cin, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Block):
                nn.init.zeros_(module.bn2.weight)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def features(self, images):
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        return self.blocks(x).float().mean((2, 3))


class Split:
    """A split of an imported dataset: bytes `[N * H * W, 3]` with `pad` black pixels on each side of an image."""

    def __init__(self, path, pad):
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header, data = json.loads(raw[8 : 8 + length]), bytearray(raw[8 + length :])

        def tensor(name, kind):
            begin, end = header[name]["data_offsets"]
            return torch.frombuffer(data[begin:end], dtype=kind).view(header[name]["shape"])

        images = F.pad(tensor("images", torch.uint8), (pad, pad, pad, pad))
        self.count, _, self.side, _ = images.shape
        self.pad = pad
        self.pixels = images.permute(0, 2, 3, 1).reshape(-1, 3).contiguous()
        self.labels = tensor("labels", torch.int64)

    def batch(self, samples, top, left, mirrored, kind):
        size = self.side - 2 * self.pad
        places = torch.arange(size)
        rows = top[:, None] + places
        columns = left[:, None] + torch.where(mirrored[:, None], size - 1 - places, places)
        index = ((samples[:, None] * self.side + rows) * self.side)[:, :, None] + columns[:, None, :]
        pixels = self.pixels.index_select(0, index.view(-1)).view(-1, size, size, 3).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        return ((pixels.float() - mean) / std).to(kind), self.labels[samples]

    def training_batch(self, samples, kind):
        n = len(samples)
        top, left = torch.randint(0, 2 * PAD + 1, (2, n))
        return self.batch(samples, top, left, torch.rand(n) < 0.5, kind)


def kd(student, target, temperature=2.0):
    target = F.softmax(target / temperature, 1)
    return -(target * F.log_softmax(student / temperature, 1)).sum(1).mean()


def masked_loss(model, features, target, token, ratio):
    """Mask mode `s`, inverse `v1`."""
    n, d = features.shape
    removed = torch.zeros(n, d, dtype=torch.bool)
    removed.scatter_(1, torch.rand(n, d).argsort(1)[:, d - int(d * ratio) :], True)
    student = model.fc(torch.where(removed, token, features))
    with torch.no_grad():
        inverse = model.fc(torch.where(removed, features, token))
    return kd(student + inverse, target)


@torch.no_grad()
def top1(model, split, kind):
    model.eval()
    hits = 0
    for samples in torch.arange(split.count).split(256):
        nothing = torch.zeros_like(samples)
        images, labels = split.batch(samples, nothing, nothing, nothing.bool(), kind)
        hits += (model.fc(model.features(images)).argmax(1) == labels).sum().item()
    model.train()
    return 100 * hits / split.count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="folder of an imported dataset")
    parser.add_argument("--method", choices=["ce", "mask"], default="ce")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr-steps", type=lambda text: [int(part) for part in text.split(",") if part], default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(options.seed)
    kind = torch.bfloat16 if options.precision == "bf16" else torch.float32
    train = Split(options.dataset / "train.safetensors", PAD)
    test = Split(options.dataset / "test.safetensors", 0)
    classes = len(json.loads((options.dataset / "manifest.json").read_text())["classes"])
    model = ResNet18(options.width, classes).to(memory_format=torch.channels_last)
    reference, token = None, torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    autocast = torch.autocast("cpu", kind, enabled=kind != torch.float32)
    for epoch in range(1, options.epochs + 1):
        started = time.perf_counter()
        loss_sum = 0.0
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.1 ** sum(epoch > step for step in options.lr_steps)
        if options.method == "mask" and epoch > 1:
            if reference is None:
                optimizer.add_param_group({"params": [token], "lr": optimizer.param_groups[0]["lr"]})
            reference = ResNet18(options.width, classes).to(memory_format=torch.channels_last).eval()
            reference.load_state_dict(model.state_dict())
        for samples in torch.randperm(train.count).split(options.batch_size):
            images, labels = train.training_batch(samples, torch.float32)
            with autocast:
                features = model.features(images)
                with torch.no_grad():
                    target = None if reference is None else reference.features(images)
            loss = F.cross_entropy(model.fc(features), labels)
            if reference is not None:
                with torch.no_grad():
                    target = reference.fc(target)
                loss = loss + 0.5 * masked_loss(model, features, target, token, 0.5)
            loss_sum += loss.item() * len(samples)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        line = {"epoch": epoch, "train_loss": loss_sum / train.count, "images_per_second": train.count / (time.perf_counter() - started)}
        if epoch == options.epochs:
            with autocast:
                line["top1"] = top1(model, test, torch.float32)
        print(json.dumps(line), flush=True)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM")).split()[1]
    print(json.dumps({"peak_mib": int(peak) / 1024}), flush=True)


if __name__ == "__main__":
    main()
