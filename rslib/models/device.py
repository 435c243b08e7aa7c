"""The device of tensors, and the precision of computing with them."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

import torch


class DeviceError(ValueError):
    """A device that this machine does not have; the message names those it has."""


def pick(wanted: str = "auto") -> torch.device:
    """Choose ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"`` (CUDA, else MPS, else CPU).

    It then computes in full precision: torch lets convolutions on GPUs use TF32 unless it is told
    not to; from here on only :func:`tf32` does.

    Raises:
        DeviceError: the device asked for is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = [name for name, is_there in (("cuda", cuda), ("mps", mps), ("cpu", True)) if is_there]
    torch.backends.cudnn.allow_tf32 = False
    if wanted == "auto":
        return torch.device(there[0])
    if wanted not in there:
        way = f"set device to auto, or to one of {', '.join(there)}"
        raise DeviceError(f"device {wanted!r} is not available here; {way}")
    return torch.device(wanted)


def describe(device: torch.device) -> str:
    """One line for a caption, such as ``CPU, 2 threads`` or ``NVIDIA H100 80GB HBM3``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU"
    threads = torch.get_num_threads()
    return "CPU, 1 thread" if threads == 1 else f"CPU, {threads} threads"


def cpu_has_bf16() -> bool:
    """True if the processor multiplies bf16 by itself (AVX512_BF16 or AMX), as torch finds it."""
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def place(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Move a model to a device in channels-last layout, which convolutions there prefer."""
    return model.to(device=device, memory_format=torch.channels_last)


@contextlib.contextmanager
def tf32(enabled: bool, *, products: bool | None = None) -> Iterator[None]:
    """Allow or forbid TF32 (10 bits for a fraction) in convolutions, then restore what was set.

    Matrix products follow unless ``products`` says otherwise.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = enabled if products is None else products
    cudnn.allow_tf32 = enabled
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
