"""Checks around every attack: the state of the model, the inputs, and the outputs."""

import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from rslib.models import eval_mode

_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


class ProbabilityOutputWarning(UserWarning):
    """The model seems to return probabilities where logits are expected.

    Cross-entropy would then apply a second softmax: gradients shrink, and the model looks more
    robust than it is.
    """


@contextmanager
def attack_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Hold a model in the state in which it is attacked and judged, and put everything back after.

    Inside, every module is in eval mode, no parameter asks for a gradient, autocast is off on the
    model's devices, and gradients with respect to inputs are possible even where the caller had
    switched them off. After, also after an exception, each module has its own training flag back
    and each parameter its own ``requires_grad``. TF32 stays with torch's own switches.

    Raises:
        TypeError: If model is not a ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        way = "eval mode can only be ensured for modules, so wrap the function in one"
        raise TypeError(f"model is a {type(model).__name__}, not a torch.nn.Module: {way}")
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    device_types = {"cpu"} | {tensor.device.type for tensor in _tensors(model)}
    try:
        with ExitStack() as stack:
            for device_type in sorted(device_types):
                stack.enter_context(torch.autocast(device_type, enabled=False))
            # Leaving inference mode also switches gradients on.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(eval_mode(model))
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield model
    finally:
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


@contextmanager
def seeded_apart(seed: int) -> Iterator[None]:
    """Seed torch's global generators, from which randomized models draw; put them back after."""
    with ExitStack() as stack:
        cards = range(torch.cuda.device_count())
        stack.enter_context(torch.random.fork_rng(devices=cards))
        if torch.backends.mps.is_available():
            stack.enter_context(torch.random.fork_rng(devices=[0], device_type="mps"))
        torch.manual_seed(seed)
        yield


def check_inputs(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Check a batch before it is attacked, without running the model.

    Images x (B, C, H, W) have to be float32 or float64 in [0, 1], labels y (B,) int64, both on the
    device and x in the precision of the model. :func:`check_outputs` checks that labels are below
    the number of classes.

    Raises:
        TypeError: If a dtype is wrong.
        ValueError: If a shape, a range or a device is wrong, or if x is not finite.
    """
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        given = f"{type(x).__name__} and {type(y).__name__}"
        raise TypeError(f"x and y must be tensors, not {given}: use torch.as_tensor")
    if x.dtype not in (torch.float32, torch.float64):
        hint = "divide by 255" if not x.is_floating_point() else "use x.float()"
        raise TypeError(f"x has dtype {x.dtype}; images are float32 in [0, 1]: {hint}")
    if x.ndim != 4 or len(x) == 0:
        raise ValueError(f"x has shape {tuple(x.shape)}; images have (B, C, H, W) with B >= 1")
    bad = int((~x.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise ValueError(f"x holds NaN or infinite values in {bad} of {len(x)} images")
    low, high = (float(end) for end in x.detach().aminmax())
    if low < 0 or high > 1:
        hint = "normalization belongs inside the model" if low < 0 else "divide by 255"
        raise ValueError(f"x spans [{low:.4g}, {high:.4g}]; images lie in [0, 1]: {hint}")

    if y.dtype != torch.int64:
        hint = "use y.argmax(1)" if y.ndim == 2 else "use y.long()"
        raise TypeError(f"y has dtype {y.dtype}; labels are int64: {hint}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"y has shape {tuple(y.shape)}; {len(x)} images need labels ({len(x)},)")
    if y.device != x.device:
        raise ValueError(f"x is on {x.device}, y on {y.device}: use y.to(x.device)")
    if y.min() < 0:
        raise ValueError(f"y holds the label {int(y.min())}; labels count from 0")

    floating = [tensor for tensor in _tensors(model) if tensor.is_floating_point()]
    if floating and x.dtype not in {tensor.dtype for tensor in floating}:
        way = "attacks run in full precision, so use model.float() and x.float()"
        raise TypeError(f"the model computes in {floating[0].dtype}, x is {x.dtype}: {way}")
    if floating and x.device not in {tensor.device for tensor in floating}:
        raise ValueError(f"the model is on {floating[0].device}, x on {x.device}: move one of them")


def checked_logits(model: nn.Module, x: Tensor) -> Tensor:
    """Run the model on a batch and check that what comes back can be logits.

    Returns:
        Logits (B, C), C >= 2, finite, at least float32.

    Raises:
        TypeError: If the model does not return one floating-point tensor.
        ValueError: If the shape is not (B, C) with C >= 2, or if a value is not finite.
    """
    logits = model(x)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        found = str(logits.dtype) if isinstance(logits, Tensor) else type(logits).__name__
        way = "wrap it in a module that returns a float tensor of logits alone"
        raise TypeError(f"the model returned {found}: {way}")
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        found = f"shape {tuple(logits.shape)} for {len(x)} images"
        raise ValueError(
            f"the model returned {found}; logits must have one row each, at least 2 classes"
        )
    if not logits.isfinite().all():
        bad = f"{int((~logits.isfinite()).any(1).sum())} of {len(x)} images"
        way = "check its weights and its precision"
        raise ValueError(f"the model returned NaN or infinite logits for {bad}: {way}")
    # Losses and comparisons of a model that ends in half precision are made in float32.
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def check_outputs(logits: Tensor, y: Tensor) -> None:
    """Check logits (B, C) of unperturbed images against their labels (B,).

    Raises:
        ValueError: If a label is not below the number of classes.

    Warns:
        ProbabilityOutputWarning: If every row is non-negative and sums to 1.
    """
    classes = f"{logits.shape[1]} classes (0 to {logits.shape[1] - 1})"
    if int(y.max()) >= logits.shape[1]:
        raise ValueError(f"y holds the label {int(y.max())}, but the model has {classes}")
    sums = logits.detach().sum(1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-4):
        found = "the model's outputs are non-negative and sum to 1, like probabilities"
        way = "attacks need logits: remove the final softmax, or robustness is overstated"
        warnings.warn(f"{found}; {way}", ProbabilityOutputWarning, stacklevel=3)


def unlike(weights: Mapping[str, Tensor], model: nn.Module) -> str:
    """Which weights are of another kind than the model's of their names, in words; "" if none.

    All of float16, bfloat16, float32 and float64 are one kind. To turn integers, truth values,
    complex or quantized numbers into these would give another model; what is sparse or without
    values is refused as well.
    """
    found = []
    for name, like in model.state_dict().items():
        value = weights.get(name, like)
        dense = value.layout == torch.strided and not value.is_meta
        if not dense or (value.dtype != like.dtype and not {value.dtype, like.dtype} <= _FLOATS):
            form = "" if value.layout == torch.strided else f", {value.layout}"
            form += ", without values" if value.is_meta else ""
            found.append(f"{name} is {value.dtype}{form}, the model's {like.dtype}")
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return "; ".join(found[:5]) + more


def whole(name: str, value: int, least: int) -> int:
    """A whole number of at least ``least``.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be a whole number") from None
    if number < least:
        raise ValueError(f"{name}={value!r} must be at least {least}")
    return number


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
