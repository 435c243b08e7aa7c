"""What can be set: every section with its defaults, which are the paper's protocol.

A field's description opens with the section of the paper it comes from, or with "ours". Budgets are
whole 255ths (``eps: 8`` means 8/255), because YAML reads ``8/255`` as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, SerializationInfo

from rslib.settings import extensions
from rslib.settings.environment import NAME
from rslib.settings.names import DATASETS, layers
from rslib.settings.nearest import nearest

#: Where object masks come from: the data set, a teacher, or the user.
MaskSource = Literal["exact", "cnn", "vit", "own"]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Layers = str | Annotated[list[str], Field(min_length=1)]
Patch = Literal[1, 2, 4, 8, 16]


def _field(default: Any, description: str, **limits: Any) -> Any:
    return Field(default, description=description, **limits)


def _layer(
    name: Layers, known: Sequence[str] = layers("resnet18"), of: str = "ResNet-18"
) -> Layers:
    """A layer's name, or several; ValueError where the network has no such feature maps."""
    for one in [name] if isinstance(name, str) else name:
        if one not in known:
            raise ValueError(f"no layer {one!r} of {of} with feature maps{nearest(one, known)}")
    return name


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Attack(_Section):
    """Budget and step in units of images in [0, 1]; the step is 2 eps / steps in the paper."""

    @property
    def eps_unit(self) -> float:
        """The budget for images in [0, 1]."""
        return self.eps / 255

    @property
    def step_size(self) -> float:
        """One step of an iterative attack, for images in [0, 1]."""
        return self.step_ratio * self.eps_unit / self.steps


class Data(_Section):
    """Which images, and how many (paper 3.1.1); training images are those beside the validation's.

    A correlation says how far the background of Shapes gives the class away; for the test images,
    null means as in training.
    """

    name: str = _field("cifar10", "3.1.1: data set; shapes is our synthetic set with exact masks")
    train_size: int | None = _field(None, "3.1.1: training images; null = all", ge=10)
    test_size: int | None = _field(None, "3.1.1: class-balanced test images; null = all", ge=10)
    validation_size: int = _field(2000, "ours: class-balanced validation images", ge=10)
    background_correlation: Share = _field(0.0, "ours: of Shapes' backgrounds with classes")
    test_background_correlation: Share | None = _field(None, "ours: in testing")

    @pydantic.field_validator("name")
    @classmethod
    def _is_there(cls, name: str) -> str:
        known = [*DATASETS, *extensions.ADDED["dataset"]]
        if name not in known:
            near = nearest(name, known).removesuffix(".")
            raise ValueError(f"should be {' or '.join(map(repr, known))}{near}")
        return name

    @pydantic.model_serializer(mode="wrap")
    def _added_as_in_keys(self, whole: Any, info: SerializationInfo) -> dict[str, Any]:
        told = whole(self)
        added = extensions.ADDED["dataset"].get(self.name)
        if info.exclude_defaults and added is not None:
            told["added"] = added.digest
        return told


class ResNet18(_Section):
    """ResNet-18 with the CIFAR stem (paper 3.1.2).

    ``timm`` draws convolutions by fan-out and starts the last batch norm of each block at zero;
    ``pytorch`` keeps the layers' own defaults.
    """

    # Under 8, oneDNN's channels-last convolutions crash on processors without AVX-512.
    width: int = _field(64, "3.1.2: channels of the first stage", ge=8, multiple_of=4)
    initialization: Literal["timm", "pytorch"] = _field("timm", "ours: initial weights")


class ViTSmall(_Section):
    """Vision Transformer (paper 3.1.2; the patch count there is read as 16 a side)."""

    dim: int = _field(384, "3.1.2: width of the token embedding", ge=8)
    depth: Count = _field(12, "3.1.2: transformer layers")
    heads: Count = _field(6, "3.1.2: attention heads")
    patch: Patch = _field(2, "3.1.2: side of a patch in pixels")

    @pydantic.model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class AlexNet(_Section):
    """AlexNet for 32 x 32 images, the reference model of the corruption error (paper 3.5)."""

    width: Positive = _field(1.0, "3.5: multiplier on all channel counts", le=4)


class Recipe(_Section):
    """How one architecture is trained (paper 3.1.3).

    Muon steps the matrices of a transformer's blocks and leaves the rest to AdamW. After the
    warm-up, ``cosine`` and ``one_cycle`` (a straight line) go down to zero; ``constant`` stays at
    the peak, for a first stage. With ``ema_warmup`` the decay after t steps is at most
    (1 + t) / (10 + t). ``tf32`` is for convolutions alone; ``bf16`` is autocast.
    """

    epochs: Count = _field(100, "3.1.3: passes over the training images")
    batch_size: Count = _field(128, "3.1.3: images a step")
    optimizer: Literal["sgd", "adamw", "muon"] = _field("sgd", "3.1.3: optimizer")
    learning_rate: Positive = _field(0.1, "3.1.3: initial (peak) learning rate")
    adamw_learning_rate: Positive = _field(1e-3, "ours: peak rate of what Muon leaves to AdamW")
    momentum: float = _field(0.9, "3.1.3: momentum (SGD)", ge=0, lt=1)
    nesterov: bool = _field(False, "ours: Nesterov's form of the momentum (SGD)")
    weight_decay: float = _field(5e-4, "3.1.3: weight decay", ge=0)
    decay_positions: bool = _field(False, "ours: AdamW decays positions and class token, too")
    warmup_epochs: float = _field(0.0, "ours: linear warm-up before the cosine of 3.1.3", ge=0)
    schedule: Literal["cosine", "one_cycle", "constant"] = _field("cosine", "3.1.3: learning rate")
    label_smoothing: float = _field(0.0, "ours: label smoothing", ge=0, lt=1)
    clip_norm: Positive | None = _field(None, "ours: gradient norm; null = unclipped")
    flip: Share = _field(0.5, "3.1.3: probability of a horizontal flip")
    padding: int = _field(4, "3.1.3: padding of the random crop, in pixels", ge=0, le=16)
    randaugment: int = _field(0, "ours: RandAugment's operations an image; 0 = none", ge=0, le=8)
    randaugment_magnitude: int = _field(9, "ours: strength of RandAugment, of 30", ge=0, le=30)
    erasing: Share = _field(0.0, "ours: probability that a rectangle of an image is erased")
    cutout: int = _field(0, "ours: side of the square cut out of an image, in pixels", ge=0, le=32)
    mixup: Positive | None = _field(None, "ours: alpha of mixup's Beta distribution; null = none")
    cutmix: Positive | None = _field(None, "ours: alpha of CutMix's Beta distribution; null = none")
    cutmix_probability: Share = _field(0.5, "ours: share of batches for CutMix where both are on")
    mixed_share: Part = _field(1.0, "ours: share of batches that mixup or CutMix blends")
    light_epochs: int = _field(0, "ours: last epochs, with flips and crops alone; 0 = none", ge=0)
    drop_path: float = _field(0.0, "ours: stochastic depth of ViT-Small's last block", ge=0, lt=1)
    ema_decay: Positive | None = _field(None, "ours: decay of averaged weights; null = none", lt=1)
    ema_warmup: bool = _field(True, "ours: whether the average forgets its beginning sooner")
    precision: Literal["fp32", "tf32", "bf16"] = _field("fp32", "ours: of training")
    compile: bool = _field(False, "ours: torch.compile while training")

    @property
    def mixes(self) -> bool:
        """Whether images are blended with one another."""
        return self.mixup is not None or self.cutmix is not None

    @pydantic.model_validator(mode="after")
    def _parts_fit_the_epochs(self) -> Self:
        warmup, light, epochs = self.warmup_epochs, self.light_epochs, self.epochs
        if warmup >= epochs:
            raise ValueError(f"warmup_epochs {warmup} must be below epochs {epochs}")
        if light > epochs:
            raise ValueError(f"light_epochs {light} must be at most epochs {epochs}: the last ones")
        return self

    def inputs(self, architecture: str) -> dict[str, Any]:
        """What decides a training, as it enters keys.

        Averages without a warm-up, and AdamW that decays position embeddings, are the way of
        earlier editions, whose keys stay: today's way is the one that keys name.
        """
        told = self.model_dump(exclude_defaults=True, exclude={"ema_warmup", "decay_positions"})
        if self.ema_decay is not None and self.ema_warmup:
            told["ema_warmup"] = True
        if architecture == "vit_small" and self.optimizer == "adamw" and not self.decay_positions:
            told["decay_positions"] = False
        return told


class _Recipes(_Section):
    """A training with one recipe per architecture."""

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The recipes by architecture."""
        return {name: value for name, value in self if isinstance(value, Recipe)}

    @pydantic.model_validator(mode="after")
    def _only_transformers_have_blocks(self) -> Self:
        for architecture, recipe in self.recipes.items():
            if architecture == "vit_small":
                continue
            if recipe.drop_path:
                told = f"drop_path {recipe.drop_path} is for vit_small, whose blocks can be skipped"
                raise ValueError(f"{architecture}: {told}; leave it at 0 here")
            if recipe.optimizer == "muon":
                told = (
                    "muon steps the matrices of a transformer's blocks, and this network has none"
                )
                raise ValueError(f"{architecture}: {told}; set optimizer to sgd or adamw here")
        return self

    @pydantic.model_serializer(mode="wrap")
    def _recipes_as_in_keys(self, whole: Any, info: SerializationInfo) -> dict[str, Any]:
        told = whole(self)
        if info.exclude_defaults:
            told |= {name: each.inputs(name) for name, each in self.recipes.items() if name in told}
        return told


class FromScratch(_Recipes):
    """Training from random weights."""

    resnet18: Recipe = Recipe()  # 3.1.3: ResNet-18
    vit_small: Recipe = _field(Recipe(learning_rate=0.001), "3.1.3: ViT-Small")


class TeacherTraining(FromScratch):
    """Models whose activation maps become proxy masks (paper 3.4.1).

    Each is trained on one half of the training images, class-balanced, and the halves share none.
    """


class Pretraining(FromScratch):
    """A first stage of standard training, kept by itself: a long training in several sittings.

    Only ``architectures`` have one. ViT-Small may have larger patches meanwhile, which cost less.
    """

    patch: Patch | None = _field(None, "ours: side of a patch meanwhile; null = as in vit_small")
    architectures: list[Literal["resnet18", "vit_small"]] = _field(["vit_small"], "ours")


class StandardTraining(FromScratch):
    """Standard training of each architecture (paper 3.1.3).

    It starts from ``start``, such as pretraining, where that has a recipe for the architecture.
    """

    start: str | None = _field(None, "ours: the training it starts from; null = random weights")
    alexnet: Recipe = _field(Recipe(learning_rate=0.01), "3.5: the reference; recipe ours")


class FineTuning(_Recipes):
    """Training that starts from another model's weights (3.1.3: the baseline's, 50 epochs)."""

    start: str = _field("standard", "3.1.3: training it starts from, such as aligned@beta=1.0")
    resnet18: Recipe = _field(Recipe(epochs=50), "3.1.3: ResNet-18")
    vit_small: Recipe = _field(Recipe(epochs=50, learning_rate=0.001), "3.1.3: ViT-Small")


class TrainingAttack(FineTuning, _Attack):
    """The attack inside adversarial training (paper 3.2.2) and what is validated with it."""

    eps: Count = _field(8, "3.2.1: budget in 255ths (8 means 8/255)", le=255)
    steps: Count = _field(10, "3.2.2: iterations")
    step_ratio: Positive = _field(2.0, "3.2.2: step size as step_ratio * eps / steps")
    eval_mode: bool = _field(True, "ours: craft with batch norm's running statistics")
    budget_warmup_epochs: float = _field(0.0, "ours: epochs in which the budget grows", ge=0)
    validation_images: Count = _field(500, "ours: validation images attacked after each epoch")


class AdversarialTraining(TrainingAttack):
    """Training on attacked batches (paper 3.2.2, equation 3)."""

    probability: Share = _field(0.5, "3.2.2: share of attacked batches")


class Trades(TrainingAttack):
    """TRADES, the usual alternative (the paper's reference 9)."""

    beta: Positive = _field(6.0, "ours: weight of the robustness term")


class NoiseTraining(FineTuning):
    """Training on images with Gaussian noise, the base classifier of smoothing."""

    sigma: Positive = _field(0.25, "3.2.2: standard deviation, in [0, 1] units")


class AlignedTraining(FineTuning):
    """Human-guided alignment (paper 3.4.1, equations 10-13).

    ``standardized`` reads equation 12 on the signed map, standardized image by image. The map that
    is aligned is Grad-CAM or rollout, or that of a ``head`` of its own on the last feature map or
    the patch embeddings, or a transformer's ``gradient_rollout``.
    """

    alpha: float = _field(1.0, "3.4.1: weight of the classification loss", ge=0)
    beta: float = _field(0.1, "3.4.1: weight of the alignment loss", ge=0)
    layer: str = _field("network.layer4", "3.3.1: ResNet-18's layer of Grad-CAM, its last features")
    reading: Literal["as_written", "standardized"] = _field("as_written", "3.4.1: of equation 12")
    through: Literal["explanation", "head", "gradient_rollout"] = _field(
        "explanation", "3.4.2: the map aligned"
    )
    masks: MaskSource | None = _field(None, "3.4.1: null = the first of own, exact, cnn there is")
    share: Part = _field(1.0, "5.5: share of the training images whose mask is used")

    _layer_is_there = pydantic.field_validator("layer")(_layer)

    @pydantic.model_validator(mode="after")
    def _maps_have_one_mask_and_are_seen(self) -> Self:
        for architecture, recipe in self.recipes.items():
            if recipe.mixes:
                raise ValueError(
                    f"{architecture}: mixup and cutmix blend two images, and there is no one mask "
                    "to align such an image to; set both to null"
                )
            if recipe.compile:
                told = "compile leaves out the hooks through which alignment reads a model's maps"
                raise ValueError(f"{architecture}: {told}; set it to false")
        return self


class RobustAlignedTraining(AdversarialTraining, AlignedTraining):
    """Adversarial training whose batches, attacked or not, also carry the alignment loss (4.6)."""


class Training(_Section):
    """One section per training objective, each with one recipe per architecture."""

    standard: StandardTraining = StandardTraining()  # 3.1.3: baseline models
    adversarial: AdversarialTraining = AdversarialTraining()  # 3.2.2: every other batch
    purely_adversarial: AdversarialTraining = AdversarialTraining(probability=1.0)  # 3.2.2: always
    trades: Trades = Trades()  # ours: a second robust objective
    noise: NoiseTraining = NoiseTraining()  # 3.2.2: for randomized smoothing
    aligned: AlignedTraining = AlignedTraining()  # 3.4.1: saliency and masks
    robust_aligned: RobustAlignedTraining = RobustAlignedTraining()  # 4.6: the paper's conjecture
    teacher: TeacherTraining = TeacherTraining()  # 3.4.1: models behind proxy masks
    pretraining: Pretraining = Pretraining()  # ours: a first stage, if standard starts there
    added: FineTuning = FineTuning()  # ours: the objectives that extensions add

    @pydantic.model_validator(mode="after")
    def _starts_lead_to_a_beginning(self) -> Self:
        known = type(self).model_fields
        for name in known:
            lineage = [name]
            while (start := getattr(getattr(self, lineage[-1]), "start", None)) is not None:
                # Of start=a@start=b, b's own beginning is what counts.
                before = start.rpartition("start=")[2].partition("@")[0]
                if before not in known:
                    told = f"{lineage[-1]}.start: no training {before!r}: {', '.join(known)}"
                    raise ValueError(told)
                lineage.append(before)
                if before in lineage[:-1]:
                    raise ValueError(f"start goes in a circle: {' from '.join(lineage)}")
        return self


class Budget(_Attack):
    """A perturbation budget in whole 255ths."""

    eps: Count = _field(8, "3.2.1: budget in 255ths (8 means 8/255)", le=255)
    n: Count | None = _field(None, "3.2.1: class-balanced test images attacked; null = all")


class FGSM(Budget):
    """Fast gradient sign method (paper 3.2.1, equation 1)."""


class PGD(Budget):
    """Projected gradient descent (paper 3.2.1, equation 2).

    Without ``last_iterate``, which is much faster, an image is left as soon as a step fools the
    model; then the accuracy at last iterates is not known.
    """

    norm: Literal["linf", "l2"] = _field("linf", "3.2.1: geometry of the budget")
    steps: Count = _field(20, "3.2.1: iterations")
    step_ratio: Positive = _field(2.0, "3.2.1: step size as step_ratio * eps / steps")
    restarts: Count = _field(1, "3.2.1: random starts per image")
    random_start: bool = _field(True, "3.2.1: start at random within the budget")
    last_iterate: bool = _field(True, "ours: follow fooling images to the last step")


class Budgets(_Section):
    """Accuracy against the budget, under FGSM and PGD, the latter else as set (paper 3.2.1)."""

    eps: list[Annotated[float, Field(gt=0, le=255)]] = _field(
        [0.5, 1, 2, 3, 4, 6, 8, 12, 16], "ours: budgets in 255ths, rising", min_length=1
    )
    n: Count | None = _field(1000, "ours: class-balanced test images attacked; null = all")

    @pydantic.field_validator("eps")
    @classmethod
    def _rise(cls, eps: list[float]) -> list[float]:
        if eps != sorted(set(eps)):
            raise ValueError("budgets must rise, each given once, such as [1, 2, 4, 8]")
        return eps


class AutoAttack(Budget):
    """AutoAttack's standard version (paper 3.2.1)."""

    batch_size: Count = _field(250, "ours: images a batch, each seeded anew: part of the result")
    skip_broken_by_pgd: bool = _field(False, "ours: leave out images PGD broke, and say so")
    individual: bool = _field(False, "ours: each attack by itself, too; up to four times the work")
    steps: Count | None = _field(None, "ours: quick looks' APGD and FAB iterations; null = 100")
    queries: Count | None = _field(None, "ours: quick looks' Square queries; null = 5000")


class Smoothing(_Section):
    """Certification by randomized smoothing (paper 3.2.2; Cohen et al., 2019)."""

    sigma: Positive = _field(0.25, "3.2.2: noise, in [0, 1] pixel units")
    samples: Count = _field(1000, "3.2.2: votes behind a certificate")
    selection_samples: Count = _field(100, "ours: votes that choose the class")
    alpha: Positive = _field(0.001, "ours: failure probability a certificate", lt=1)
    n: Count | None = _field(None, "3.2.2: class-balanced test images certified; null = all")


class Corruptions(_Section):
    """Images under the 19 corruptions of CIFAR-10-C at 5 severities (paper 3.5).

    ``official: true`` insists on the official archive, ``false`` generates, ``null`` takes the
    archive where it is there.
    """

    n: Count | None = _field(None, "3.5: class-balanced test images a corruption; null = all")
    official: bool | None = _field(None, "3.5: the official archive; null = if there")
    seed: int = _field(0, "ours: of generated corruptions, whatever the run's seed", ge=0)


class Masks(_Section):
    """Object masks (paper 3.4.1).

    Overlap is measured with ``sources``, by default exact where the data set has them, own where
    they are given, cnn and vit. ``own`` is a folder with train and test in it, each a folder of PNG
    files (17.png) or a NumPy array (train.npy).
    """

    cnn_layer: Layers = _field("network.layer3", "3.4.1: the CNN teacher's, or several, averaged")
    vit_layer: Layers | None = _field(None, "3.4.1: the ViT teacher's; null = into its last blocks")
    vit_blocks: Count = _field(1, "3.4.1: of these so many, averaged")
    flips: bool = _field(False, "ours: average the maps of an image and of its mirror image")
    refine: Literal["colors"] | None = _field(None, "ours: fit maps to the images' colors")
    smallest: float = _field(0.02, "ours: the least share a mask may cover", ge=0, lt=1)
    largest: Part = _field(0.95, "ours: the largest share a mask may cover")
    sources: list[MaskSource] | None = _field(None, "ours: for overlap; null = all", min_length=1)
    own: str | None = _field(None, "3.4.1: the folder of your own masks", min_length=1)

    _layer_is_there = pydantic.field_validator("cnn_layer")(_layer)

    @pydantic.model_validator(mode="after")
    def _some_are_kept(self) -> Self:
        if self.smallest >= self.largest:
            raise ValueError(f"smallest {self.smallest} must be below largest {self.largest}")
        return self


class Faithfulness(_Section):
    """Whether saliency maps are true to the model (ours; the paper's reference 14)."""

    n: Count | None = _field(200, "ours: class-balanced test images; null = all")
    steps: int = _field(16, "ours: points of insertion and deletion curves", ge=2)
    randomized_n: int = _field(50, "ours: images of the randomization check", ge=2)


class AttackedSaliency(_Section):
    """Saliency of attacked images (ours), under PGD as set for accuracy."""

    n: Count | None = _field(250, "ours: class-balanced test images; null = all")


class Swapped(_Section):
    """Images whose object stands before another image's background (ours)."""

    n: int | None = _field(2000, "ours: class-balanced test images; null = all", ge=20)


class AlignmentStudy(_Section):
    """The variants of alignment that are trained beside the paper's (3.4, 5.5).

    Weights of the alignment loss (0 is the control), readings of equation 12, and the head of
    3.4.2: a name, then what differs from ``training.aligned``. ``shared`` is trained again with
    masks for each of the ``shares``.
    """

    variants: list[str] = _field(
        [
            "resnet18-aligned@beta=0.0",
            "resnet18-aligned@beta=1.0",
            "resnet18-aligned@reading=standardized",
            "resnet18-aligned@reading=standardized,beta=1.0",
            "resnet18-aligned@reading=standardized,beta=10.0",
            "resnet18-aligned@through=head",
            "vit_small-aligned@beta=0.0",
            "vit_small-aligned@reading=standardized,beta=1.0",
            "vit_small-aligned@through=head",
        ],
        "3.4.1: models trained beside the paper's aligned ones",
    )
    shares: list[Part] = _field([0.01, 0.05, 0.25], "5.5: of training images with a mask")
    shared: str = _field("resnet18-aligned@reading=standardized,beta=1.0", "5.5: with few masks")
    shortcut_correlation: Share = _field(0.95, "ours: background_correlation of the shortcut")
    shortcut_images: int = _field(4_000, "ours: training images of the shortcut", ge=80)


class CombinationStudy(_Section):
    """Models trained to be robust and aligned (4.6), and the corners they are compared with."""

    models: list[str] = _field(
        [
            "resnet18-robust_aligned",
            "resnet18-aligned@start=adversarial",
            "resnet18-adversarial@start=aligned",
            "vit_small-robust_aligned",
        ],
        "4.6: a name, then what differs from its training's settings",
    )
    neither: str = _field("resnet18-aligned@beta=0.0", "4.6: neither robust nor aligned")
    aligned: str = _field("resnet18-aligned", "4.6: aligned only")
    robust: str = _field("resnet18-adversarial", "4.6: robust only")
    both: str = _field("resnet18-robust_aligned", "4.6: both")


class Reliability(_Section):
    """The checks on a robustness number (ours; nothing of the kind is in the paper)."""

    n: int = _field(200, "ours: class-balanced test images examined", ge=10)
    strong_steps: Count = _field(100, "ours: PGD steps that must not help much")
    queries: Count = _field(300, "ours: black-box queries an image")


class Evaluation(_Section):
    """How models are evaluated."""

    batch_size: Count = _field(250, "ours: images a batch; also one resumable shard")
    confidence: float = _field(0.95, "ours: level of every interval", gt=0.5, lt=1)
    ece_bins: int = _field(15, "4.1: calibration bins (number is ours)", ge=2, le=100)
    tf32: bool = _field(False, "ours: TF32 in attacks and votes, on GPUs that have it")
    compile: bool = _field(False, "ours: torch.compile of what attacks search with")


class Settings(_Section):
    """Everything a run needs except its seed.

    ``extensions`` are modules of your own, or paths of .py files from the working directory.
    ``stages`` are models in the order in which ``train --all`` trains them, each after what it
    needs (null: all, in the order of the notebooks). ``seeded`` are models of the further seeds,
    with what they need, evaluated by the first seed's notebooks (null: all, by notebooks of their
    own). Trained models' ``weights`` are rounded before anything is evaluated; fp16 halves files.
    """

    profile: str = _field("paper", "ours: also names its run directory", pattern=f"^{NAME}$")
    extensions: list[str] = _field([], "ours: that add corruptions, attacks, data sets and more")
    device: Literal["auto", "cpu", "cuda", "mps"] = _field("auto", "ours: where to run")
    data: Data = Data()  # 3.1.1
    resnet18: ResNet18 = ResNet18()  # 3.1.2
    vit_small: ViTSmall = ViTSmall()  # 3.1.2
    alexnet: AlexNet = AlexNet()  # 3.5
    training: Training = Training()  # 3.1.3
    weights: Literal["fp32", "fp16"] = _field("fp32", "ours: precision of trained models")
    extra_models: list[str] = _field(["resnet18-trades"], "ours: also trained and attacked")
    autoattacked: list[str] | None = _field(
        None, "ours: under AutoAttack beside 4.2's; null = other robust and the aligned ones"
    )
    stages: list[str] | None = _field(None, "ours: the order of train --all", min_length=1)
    seeded: list[str] | None = _field(None, "ours: models of further seeds", min_length=1)
    fgsm: FGSM = FGSM()  # 3.2.1
    pgd: PGD = PGD()  # 3.2.1
    budgets: Budgets = Budgets()  # 3.2.1
    autoattack: AutoAttack = AutoAttack()  # 3.2.1
    smoothing: Smoothing = Smoothing()  # 3.2.2
    corruptions: Corruptions = Corruptions()  # 3.5
    reliability: Reliability = Reliability()  # ours
    masks: Masks = Masks()  # 3.4.1
    faithfulness: Faithfulness = Faithfulness()  # ours
    attacked_saliency: AttackedSaliency = AttackedSaliency()  # ours
    swapped: Swapped = Swapped()  # ours
    alignment: AlignmentStudy = AlignmentStudy()  # 3.4
    combination: CombinationStudy = CombinationStudy()  # 4.6, 6
    evaluation: Evaluation = Evaluation()  # 3.3, 4.1

    @pydantic.model_validator(mode="after")
    def _masks_can_be_had(self) -> Self:
        depth, layer = self.vit_small.depth, self.masks.vit_layer
        if layer is not None:
            try:
                _layer(layer, layers("vit_small", depth), f"ViT-Small of depth {depth}")
            except ValueError as error:
                raise ValueError(f"masks.vit_layer {layer!r}: {error}") from None
        asked = {"masks.sources": self.masks.sources or ()}
        for name in ("aligned", "robust_aligned"):
            asked[f"training.{name}.masks"] = (getattr(self.training, name).masks,)
        for key, sources in asked.items():
            if "own" in sources and self.masks.own is None:
                raise ValueError(f"{key} asks for 'own', and masks.own names no folder: give one")
            if "exact" in sources and self.data.name == "cifar10":
                told = f"{key} asks for 'exact', and cifar10 has no exact masks"
                raise ValueError(f"{told}: choose among cnn, vit and own")
        return self
