"""Images, data sets, archives and frost photographs that the tests of corruptions share."""

import numpy as np
import torch
from PIL import Image

from rslib.corruptions import NAMES
from rslib.data.datasets import Dataset

N = 12  # images of a data set
FROST = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """Images with smooth parts, edges, texture, black, white and grey: uint8 (n, 3, 32, 32)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] / 31
    images = np.empty((n, 32, 32, 3))
    for k in range(n):
        for c in range(3):
            a, b, phase = generator.uniform(-3, 3, 3)
            images[k, ..., c] = 127 + 120 * np.sin(a * x * 3 + b * y * 3 + phase)
        top, left = generator.integers(0, 20, 2)
        images[k, top : top + 12, left : left + 12] = generator.uniform(0, 255, 3)
        images[k, 24:, :8] = generator.normal(128, 50, (8, 8, 3))
        images[k, :3, 26:] = (0, 255, 128)[k % 3]
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def photographs(folder, seed: int = 0):
    """Five small textures under the names of the frost photographs (all of them lossless)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for k, name in enumerate(FROST):
        pixels = generator.integers(0, 256, (200 + 10 * k, 230, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name, "PNG")
    return folder


def channels_last(images: torch.Tensor) -> np.ndarray:
    """(n, 32, 32, 3), as NumPy code likes it."""
    return images.permute(0, 2, 3, 1).numpy()


def truncate(values: np.ndarray) -> np.ndarray:
    """Cut to whole levels; what lies a rounding error below one is lifted."""
    return (np.clip(values, 0, 255) + 1e-6).astype(np.uint8)


def dataset(n=N, *, name="cifar10", split="test", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Dataset(
        images=pictures(n, seed),
        labels=torch.randint(0, 10, (n,), generator=generator),
        classes=tuple("abcdefghij"),
        name=name,
        split=split,
        ids=torch.arange(n),
    )


def write_archive(folder, clean):
    """The official layout with the name's place and the severity written into each image."""
    folder.mkdir(parents=True)
    n = len(clean)
    for place, name in enumerate(NAMES):
        rows = np.repeat(np.arange(5, dtype=np.uint8), n)[:, None, None, None] * 20 + place
        images = np.broadcast_to(rows, (5 * n, 32, 32, 3)).copy()
        images[:, 0, 0, 0] = np.tile(np.arange(n), 5)
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(clean.labels.numpy().astype(np.uint8), 5))
