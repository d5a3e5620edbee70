#!/usr/bin/env python3
"""Makes the sample data of this folder from CIFAR-10 as JPEG files: SOURCE/{train,test}/CLASS/*.jpg.

    make_sample.py SOURCE [OUTPUT]

Needs Pillow. The same source and the same version of Pillow give the same bytes: images are chosen evenly spaced from
the sorted names, archives have no times or owners, and the noise is a fixed pattern. README.md says what it is for.
"""

import hashlib
import io
import lzma
import sys
import tarfile
from pathlib import Path

from PIL import Image, ImageChops, ImageEnhance, ImageFilter

TRAIN_PER_CLASS = 200
TEST_PER_CLASS = 100
SHIFTED_PER_CLASS = 50
SMOKE_PER_CLASS = 8

# The shift, in this order.
CONTRAST = 0.6  # around the image's mean grey
BRIGHTNESS = 1.25
BLUR_RADIUS = 0.6  # Gaussian, in pixels
NOISE_AMPLITUDE = 12  # uniform in -12 ... 12, per channel and pixel
JPEG_QUALITY = 75


def main() -> None:
    source = Path(sys.argv[1])
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    train = choose(source / "train", lambda names: evenly(names, TRAIN_PER_CLASS))
    test = choose(source / "test", lambda names: evenly(names, TEST_PER_CLASS))
    smoke = choose(source / "test", lambda names: evenly(names, TEST_PER_CLASS)[:SMOKE_PER_CLASS])
    others = choose(source / "test", lambda names: evenly(without(names, TEST_PER_CLASS), SHIFTED_PER_CLASS))
    write(output / "cifar10-sample-train.tar.xz", {name: path.read_bytes() for name, path in train.items()})
    write(output / "cifar10-sample-test.tar.xz", {name: path.read_bytes() for name, path in test.items()})
    write(output / "cifar10-smoke.tar.xz", {name: path.read_bytes() for name, path in smoke.items()})
    write(output / "cifar10-sample-shifted.tar.xz", {name: shift(name, path) for name, path in others.items()})


def choose(folder: Path, chosen) -> dict[str, Path]:
    """Files of every class by `CLASS/FILE`, as `chosen` picks them from the sorted ones."""
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    return {f"{c.name}/{path.name}": path for c in classes for path in chosen(sorted(c.iterdir()))}


def evenly(items: list, count: int) -> list:
    return [items[i * len(items) // count] for i in range(count)]


def without(items: list, count: int) -> list:
    """What `evenly(items, count)` leaves, so that no image is in both sets."""
    taken = set(evenly(items, count))
    return [item for item in items if item not in taken]


def shift(name: str, path: Path) -> bytes:
    image = Image.open(path).convert("RGB")
    image = ImageEnhance.Contrast(image).enhance(CONTRAST)
    image = ImageEnhance.Brightness(image).enhance(BRIGHTNESS)
    image = image.filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
    # Pixels have no sign: the noise is 0 ... 2 * NOISE_AMPLITUDE, and the offset centres it.
    noise = Image.frombytes("RGB", image.size, noise_bytes(name, image.width * image.height * 3))
    image = ImageChops.add(image, noise, offset=-NOISE_AMPLITUDE)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def noise_bytes(name: str, count: int) -> bytes:
    """Numbers 0 ... 2 * NOISE_AMPLITUDE from a hash of the image's name, so that they are the same everywhere."""
    stream = hashlib.shake_256(name.encode()).digest(2 * count)
    values = (int.from_bytes(stream[2 * i : 2 * i + 2], "big") for i in range(count))
    return bytes(value % (2 * NOISE_AMPLITUDE + 1) for value in values)


def write(path: Path, files: dict[str, bytes]) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)  # time, user and group are 0
            entry.size = len(data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
    path.write_bytes(lzma.compress(archive.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {len(files)} images, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
