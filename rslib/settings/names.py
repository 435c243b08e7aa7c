"""Names of models, the parts of a name, and who appears in which table.

A model's name is ``<architecture>-<objective>``, such as ``resnet18-adversarial``: two sections of
the settings. What differs from the objective's section may follow: ``resnet18-aligned@beta=1.0`` is
``resnet18-aligned`` trained with another weight, ``@reading=standardized,beta=1.0`` with two other
settings. ``@start=`` comes last, since what follows it names another training with changes of its
own: ``resnet18-adversarial@start=aligned@beta=1.0`` starts from ``resnet18-aligned@beta=1.0``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from rslib.settings.reading import read_yaml

#: The paper's two, and the reference model's (3.5).
ARCHITECTURES = ("resnet18", "vit_small", "alexnet")
#: The models of 4.1, in the paper's order.
BASELINES = ("resnet18-standard", "vit_small-standard")
#: The models of 4.2 and 4.5, in the paper's order.
ROBUSTNESS = (
    "resnet18-standard",
    "resnet18-adversarial",
    "vit_small-standard",
    "vit_small-adversarial",
)
#: The model that is attacked in every batch (paper 3.2.2: the claim about alternation).
PURELY_ADVERSARIAL = "resnet18-purely_adversarial"
#: The models of 4.4, in the paper's order.
ALIGNED = ("resnet18-aligned", "vit_small-aligned")
#: The models of 4.3, in the paper's order.
INTERPRETABILITY = (*ROBUSTNESS[:2], ALIGNED[0], *ROBUSTNESS[2:], ALIGNED[1])
#: The model whose corruption errors count as 1 (paper 3.5: "typically AlexNet").
REFERENCE = "alexnet-standard"
#: The teacher behind each kind of proxy masks, in the order of the halves that they are taught.
TEACHERS = {"cnn": "resnet18-teacher", "vit": "vit_small-teacher"}
#: All kinds of masks: the data set's own, each teacher's, and a user's.
MASK_SOURCES = ("exact", *TEACHERS, "own")
#: Shares of the pixels at which overlap is measured; the paper's is 0.30.
TOPS = (0.05, 0.10, 0.20, 0.30, 0.40, 0.50)
#: The data sets, and their names in a line of text.
DATASETS = {"cifar10": "CIFAR-10", "shapes": "Shapes"}

_NAME = re.compile(r"([^-]*)-?([^@]*)(?:@(.*))?", re.DOTALL)
_START = re.compile(r"(?:(.*),)?start=(.*)", re.DOTALL)


class Parts(NamedTuple):
    """The parts of a model's name."""

    architecture: str  #: such as "resnet18"
    objective: str  #: such as "aligned"
    changes: dict[str, Any]  #: what differs from the objective's settings; mostly empty


def parts(name: str) -> Parts:
    """Take a model's name apart.

    Raises:
        ValueError: what follows the ``@`` is not ``setting=value``, or more of them, with commas;
            or the name, which is also that of a folder, could lead out of where it lies.
    """
    if set(name) & set("/\\\0"):
        raise ValueError(
            f"no model {name!r}: it names a folder, so it must do without slashes, backslashes and "
            "zero bytes"
        )
    architecture, objective, written = _NAME.fullmatch(name).groups()
    start = None
    if written is not None and (found := _START.fullmatch(written)):
        written, start = found.groups()
    pairs = [] if written is None else [each.partition("=") for each in written.split(",")]
    if start == "" or not all(setting and value for setting, _, value in pairs):
        raise ValueError(
            f"no model {name!r}: after the @ come settings of {objective} training, as in "
            f"{architecture}-{objective}@beta=1.0,reading=standardized"
        )
    changes: dict[str, Any] = {}
    for setting, _, value in pairs:
        if setting in changes:
            raise ValueError(f"no model {name!r}: {setting} stands twice; keep one")
        try:
            changes[setting] = read_yaml(value, setting)
        except ValueError:
            told = f"{setting}={value} cannot be read; give a number or a word"
            raise ValueError(f"no model {name!r}: {told}") from None
    if start is not None:
        changes["start"] = start
    return Parts(architecture, objective, changes)


def architecture(name: str) -> str:
    """The architecture of a model, such as ``"resnet18"``."""
    return parts(name).architecture


def baseline(name: str) -> str:
    """The standard model of a model's architecture, which an aligned one starts from."""
    return f"{architecture(name)}-standard"


def control(name: str) -> str:
    """The model trained as an aligned one is, without the alignment term (β = 0)."""
    return f"{architecture(name)}-aligned@beta=0.0"


@cache
def layers(architecture: str, depth: int = 0) -> tuple[str, ...]:
    """The layers of ``"resnet18"`` or ``"vit_small"`` that have feature maps, or tokens."""
    if architecture == "resnet18":
        inner = ("", ".conv1", ".bn1", ".act1", ".conv2", ".bn2", ".act2")
        found = ["conv1", "bn1", "act1", "maxpool"]
        for stage in range(1, 5):
            shortcut = [f".0.downsample{part}" for part in ("", ".0", ".1")] if stage > 1 else []
            blocks = [f".{block}{part}" for block in (0, 1) for part in inner]
            found += [f"layer{stage}{part}" for part in ("", *blocks, *shortcut)]
    else:
        inner = ("", ".norm1", ".attn", ".attn.proj", ".norm2", ".mlp", ".mlp.fc1", ".mlp.fc2")
        found = ["patch_embed", "pos_drop", "blocks", "norm"]
        found += [f"blocks.{block}{part}" for block in range(depth) for part in inner]
    return tuple(f"network.{name}" for name in found)
