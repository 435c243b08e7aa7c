"""Random numbers that belong to an image, not to a batch.

Each number is a function of a 64-bit key and a counter: the key is a hash of the image's own bytes,
the corruption's name, the severity and the seed. Hashing is integer arithmetic, and every number is
16 bits wide and looked up in a table that is computed once in double precision, so batch, order and
device cannot change it.
"""

import functools
import hashlib
import math

import torch
from torch import Tensor

LEVELS = 1 << 16  # how many different values a draw can take
NORMAL_STEP = 1 / 4096  # normal draws are whole multiples of it; see `filters.smooth`

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # the increment of SplitMix64, as a signed integer
_STREAM = 1 << 32  # words apart: more than any corruption draws for one image


def image_keys(images: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """One 64-bit key for each of the images, uint8 (B, 3, 32, 32): int64 (B,)."""
    digest = hashlib.sha256(f"{name}/{severity}/{seed}".encode()).digest()
    salt = int.from_bytes(digest[:8], "little", signed=True)
    words = images.contiguous().flatten(1).view(torch.int64)
    position = torch.arange(1, words.shape[1] + 1, device=images.device) * _GOLDEN
    # Each word is mixed with its position before the sum: a sum alone forgets the order.
    return _mix(_mix(_mix(words + position).sum(1)) ^ salt)


class Draws:
    """The random numbers of a batch with keys int64 (B,), a sequence per image and stream.

    Two draws with the same stream give the same numbers; ``shape`` is that of one image's draws.
    """

    def __init__(self, keys: Tensor):
        self.keys = keys

    def words(self, stream: int, *shape: int) -> Tensor:
        """Whole numbers, each of 0 to 65,535 equally likely: int32 (B, *shape)."""
        count = math.prod(shape)
        packed = -(-count // 4)  # four 16-bit words come out of each hash
        bits = self._bits(stream, packed).view(torch.int16)[:, :count]
        return (bits.to(torch.int32) + LEVELS // 2).reshape(-1, *shape)

    def normal(self, stream: int, *shape: int) -> Tensor:
        """Standard normal numbers: float32 (B, *shape), multiples of 1/4096 within +-4.33."""
        words = self.words(stream, *shape)
        return _normal_table(str(words.device)).index_select(0, words.flatten()).view(words.shape)

    def uniform(self, stream: int, *shape: int) -> Tensor:
        """Uniform in (-1, 1): float32 (B, *shape), odd multiples of 2^-16."""
        return (self.words(stream, *shape) * 2 - (LEVELS - 1)).to(torch.float32) / LEVELS

    def fractions(self, stream: int, count: int) -> Tensor:
        """Uniform in [0, 1) with 53 bits: float64 (B, count), on the CPU.

        For the few numbers that steer a whole image, such as an angle.
        """
        bits = Draws(self.keys.cpu())._bits(stream, count)
        return _shift(bits, 11).to(torch.float64) * 2.0**-53

    def _bits(self, stream: int, count: int) -> Tensor:
        counter = torch.arange(1, count + 1, device=self.keys.device) + stream * _STREAM
        return _mix(self.keys[:, None] + counter * _GOLDEN)


def _mix(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), on int64 that wrap."""
    x = (x ^ _shift(x, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ _shift(x, 27)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


@functools.lru_cache(maxsize=4)
def _normal_table(device: str) -> Tensor:
    """The normal quantiles of (k + 1/2) / 65,536, rounded to the step: float32 (65536,)."""
    middle = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    quantiles = torch.special.ndtri(middle) / NORMAL_STEP
    return (quantiles.round() * NORMAL_STEP).to(torch.float32).to(device)
