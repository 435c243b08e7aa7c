"""The paper's two architectures (3.1.2) and the reference model of its corruption error (3.5).

Normalization is their first layer, so attacks and saliency work in pixel space.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rslib.settings.nearest import nearest

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Hold every module in eval mode, and give each its own training flag back, errors included."""
    training = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, flag in training:
            module.training = flag


class Normalize(nn.Module):
    """Subtract a per-channel mean and divide by a per-channel standard deviation.

    They are buffers, so they travel with the weights; by default CIFAR-10's over all training
    pixels (some code bases use 0.20, the mean of per-image deviations).
    """

    def __init__(
        self, mean: tuple[float, ...] = CIFAR10_MEAN, std: tuple[float, ...] = CIFAR10_STD
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] to the same, normalized."""
        return (x - self.mean) / self.std


class Classifier(nn.Module):
    """Normalization followed by a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) in [0, 1] to logits (B, C)."""
        return self.network(self.normalize(x))


def resnet18(num_classes: int = 10, *, width: int = 64, initialization: str = "timm") -> Classifier:
    """ResNet-18 with the CIFAR stem: 3 x 3 stride 1, no max-pooling (paper 3.1.2; He et al., 2016).

    Args:
        num_classes: number of logits.
        width: channels of the first stage, doubled at each of the next three; 64 in the paper.
        initialization: ``"timm"`` (convolutions normal by fan-out, the last batch norm of each
            block at zero) or ``"pytorch"`` (the layers' own defaults: about a sixth of the
            variance, with which a net trained for few epochs gets further).

    Raises:
        ValueError: another initialization.
    """
    if initialization not in ("timm", "pytorch"):
        raise ValueError(f"initialization must be 'timm' or 'pytorch', not {initialization!r}")
    from timm.models.resnet import BasicBlock, ResNet

    # timm's plain stem always has 64 channels; its "deep" stem follows stem_width, and is replaced.
    channels = tuple(width * 2**stage for stage in range(4))
    options = {"num_classes": num_classes, "stem_type": "deep", "stem_width": width // 2}
    network = ResNet(BasicBlock, layers=(2, 2, 2, 2), channels=channels, **options)
    network.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    if initialization == "pytorch":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
                layer.reset_parameters()
    return Classifier(network)


def vit_small(
    num_classes: int = 10, *, dim: int = 384, depth: int = 12, heads: int = 6, patch: int = 2
) -> Classifier:
    """ViT-Small for 32 x 32 images (paper 3.1.2; Dosovitskiy et al., 2020).

    The paper's "16 non-overlapping 2 x 2 patches" is read as 16 a side, 256 tokens and a CLS token.
    ``dim`` is the width of a token, ``heads`` are those of each of ``depth`` layers, and ``patch``
    is the side of a patch in pixels.
    """
    from timm.models.vision_transformer import VisionTransformer

    size = {"embed_dim": dim, "depth": depth, "num_heads": heads, "patch_size": patch}
    return Classifier(VisionTransformer(img_size=32, num_classes=num_classes, **size))


def alexnet(num_classes: int = 10, *, width: float = 1.0) -> Classifier:
    """AlexNet for 32 x 32 images, the reference model of the mean corruption error (paper 3.5).

    torchvision's version shrinks 32 x 32 inputs to nothing; this one keeps its five convolutions,
    two hidden layers, channel counts (times ``width``) and dropout, and replaces the large strides
    by pooling (Krizhevsky et al., 2012).
    """
    c1, c2, c3, c4, c5 = (max(1, round(width * c)) for c in (64, 192, 384, 256, 256))
    hidden = max(1, round(width * 1024))
    features = nn.Sequential(
        nn.Conv2d(3, c1, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(c1, c2, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(c5 * 4 * 4, hidden), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Linear(hidden, hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, num_classes),
    )  # fmt: skip
    return Classifier(nn.Sequential(OrderedDict(features=features, classifier=classifier)))


BUILDERS: dict[str, Callable[..., Classifier]] = {
    each.__name__: each for each in (resnet18, vit_small, alexnet)
}


def build(name: str, *, num_classes: int = 10, **size: float | str) -> Classifier:
    """Build an untrained model: images (B, 3, 32, 32) in [0, 1] to logits (B, num_classes).

    The name is ``"resnet18"``, ``"vit_small"`` or ``"alexnet"``, the size arguments those of that
    builder, such as ``width=16``.

    Raises:
        ValueError: unknown name, or a size argument the architecture does not have.
    """
    if name not in BUILDERS:
        there = f"{nearest(name, BUILDERS)} There are: {', '.join(BUILDERS)}"
        raise ValueError(f"no architecture {name!r}{there}")
    try:
        return BUILDERS[name](num_classes, **size)
    except TypeError as error:
        raise ValueError(f"{name} cannot be built with {size}: {error}") from None


def set_drop_path(model: nn.Module, probability: float) -> None:
    """Let a vision transformer skip its blocks at random while it trains (Huang et al., 2016).

    The probability, for an image, grows linearly from 0 at the first block to this at the last.
    """
    from timm.layers import DropPath, calculate_drop_path_rates

    blocks = model.network.blocks
    rates = calculate_drop_path_rates(probability, len(blocks))
    for block, rate in zip(blocks, rates, strict=True):
        block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters (buffers not counted)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
