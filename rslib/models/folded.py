"""A faster twin of a model to search with: the same logits up to rounding, in less time.

What a search finds is judged by the model itself; a twin only says where to look.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rslib.models import eval_mode
from rslib.models.device import tf32
from rslib.models.memory import Pieces

LARGEST_DIFFERENCE = 1e-5
"""A folded model whose logits differ by more, beside logits of 1 or more, is not used."""

_SIZES = 6
_SMALLEST = 16


class Twins:
    """The twins of the models that one evaluation attacks, each made once.

    With ``compiled_for`` they are compiled, a minute or so each, for attacks that start from so
    many images.
    """

    def __init__(self, compiled_for: int | None = None) -> None:
        self._sizes = None if compiled_for is None else sizes(compiled_for)
        self._made: dict[nn.Module, nn.Module] = {}

    def of(self, model: nn.Module, x: Tensor) -> nn.Module:
        """The twin of a model: :func:`folded`, and :class:`Bucketed` where twins are compiled."""
        if isinstance(model, Pieces):
            return Pieces(self.of(model.model, x[: model.size]), model.size)
        if model not in self._made:
            with tf32(False):
                twin = folded(model, x[:_SMALLEST])
            self._made[model] = Bucketed(twin, self._sizes) if self._sizes else twin
        return self._made[model]


@torch.no_grad()
def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy with each batch norm folded into the convolution before it, for eval mode only.

    In eval mode batch norm is an affine map of each channel, and so is the weight of a convolution
    that absorbs it (Jacob et al., arXiv:1712.05877, section 3.2).

    Returns:
        The copy; the model itself where there is nothing to fold, where its code cannot be traced,
        or where the copy's logits of x, a few images (B, C, H, W), differ by more than
        ``LARGEST_DIFFERENCE``.
    """
    from torch.fx.experimental.optimization import fuse

    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return model
    with eval_mode(model):
        try:
            copy = fuse(model).eval()
            apart = (copy(x) - model(x)).abs() / model(x).abs().clamp_min(1)
        except Exception:  # a model of any origin, traced by a tracer that not all code suits
            return model
    return copy if float(apart.max()) <= LARGEST_DIFFERENCE else model


def sizes(largest: int) -> tuple[int, ...]:
    """Up to 6 batch sizes, each half of the next (rounded up), from 16 at least to ``largest``."""
    chosen = [largest]
    while len(chosen) < _SIZES and chosen[-1] > _SMALLEST:
        chosen.append(-(-chosen[-1] // 2))
    return tuple(reversed(chosen))


class Bucketed(nn.Module):
    """A compiled model that only ever sees batches of a few sizes, in rising order.

    It is compiled for them alone, not for every size of an attack's shrinking batch: batches are
    padded with black images, whose logits are dropped, and larger batches are cut.
    """

    def __init__(
        self, model: nn.Module, sizes: Sequence[int], *, backend: str = "inductor"
    ) -> None:
        super().__init__()
        self.model = model
        self.sizes = tuple(sizes)
        self._compiled = torch.compile(model, dynamic=False, backend=backend)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        # Each size comes with and without a gradient. Past its limit the compiler would go on
        # uncompiled without a word.
        limits = {"recompile_limit": 4 * len(self.sizes), "fail_on_recompile_limit_hit": True}
        with torch._dynamo.config.patch(**limits), warnings.catch_warnings():
            # A padded batch is no leaf of the graph; the compiler looks at its gradient in vain.
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not")
            return torch.cat([self._padded(part) for part in x.split(self.sizes[-1])])

    def _padded(self, x: Tensor) -> Tensor:
        size = next(size for size in self.sizes if size >= len(x))
        filler = x.new_zeros(size - len(x), *x.shape[1:])
        # One layout for every size and batch, since another one would be compiled anew.
        whole = torch.cat([x, filler]).contiguous(memory_format=torch.channels_last)
        return self._compiled(whole)[: len(x)]
