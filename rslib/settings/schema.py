"""What can be set: every section with its defaults, which are the paper's protocol.

Every field's description opens with the section of the paper it comes from, or with "ours".
Perturbation budgets are whole steps of an 8-bit pixel (``eps: 8`` means 8/255), because YAML reads
``8/255`` as text; they are divided by 255 in one place, :attr:`Budget.eps_unit`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from rslib.settings import extensions
from rslib.settings.names import DATASETS

MaskSource = Literal["exact", "cnn", "vit", "own"]
"""Where object masks come from: the data set, a teacher, or the user."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(_Section):
    """Which images, and how many (paper 3.1.1)."""

    name: str = Field(
        "cifar10", description="3.1.1: data set; shapes is our synthetic set with exact masks"
    )
    train_size: int | None = Field(
        None, ge=10, description="3.1.1: training images after the validation split; null = all"
    )
    test_size: int | None = Field(
        None, ge=10, description="3.1.1: class-balanced test images; null = all"
    )
    validation_size: int = Field(
        2000, ge=10, description="ours: class-balanced training images withheld for model selection"
    )
    background_correlation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="ours, Shapes only: how far the background gives the class away",
    )
    test_background_correlation: float | None = Field(
        None,
        ge=0,
        le=1,
        description="ours, Shapes only: the same for the test images; null = as in training",
    )

    @field_validator("name")
    @classmethod
    def _is_there(cls, name: str) -> str:
        known = [*DATASETS, *extensions.ADDED["dataset"]]
        if name not in known:
            raise ValueError(f"should be {' or '.join(map(repr, known))}")
        return name

    @model_serializer(mode="wrap")
    def _added_as_in_keys(
        self, whole: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        told = whole(self)
        added = extensions.ADDED["dataset"].get(self.name)
        if info.exclude_defaults and added is not None:
            told["added"] = added.digest
        return told


class ResNet18(_Section):
    """ResNet-18 with the CIFAR stem (paper 3.1.2)."""

    # Under 8, oneDNN's channels-last convolutions crash on processors without AVX-512.
    width: int = Field(64, ge=8, multiple_of=4, description="3.1.2: channels of the first stage")
    initialization: Literal["timm", "pytorch"] = Field(
        "timm",
        description="ours: initial weights; timm draws convolutions by fan-out and starts the last "
        "batch norm of each block at zero, pytorch keeps the layers' own defaults",
    )


class ViTSmall(_Section):
    """Vision Transformer (paper 3.1.2; the patch count there is read as 16 a side)."""

    dim: int = Field(384, ge=8, description="3.1.2: width of the token embedding")
    depth: int = Field(12, ge=1, description="3.1.2: transformer layers")
    heads: int = Field(6, ge=1, description="3.1.2: attention heads")
    patch: Literal[1, 2, 4, 8, 16] = Field(2, description="3.1.2: side of a patch in pixels")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> ViTSmall:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class AlexNet(_Section):
    """AlexNet for 32 x 32 images, the reference model of the corruption error (paper 3.5)."""

    width: float = Field(1.0, gt=0, le=4, description="3.5: multiplier on all channel counts")


class Recipe(_Section):
    """How one architecture is trained (paper 3.1.3)."""

    epochs: int = Field(100, ge=1, description="3.1.3: passes over the training images")
    batch_size: int = Field(128, ge=1, description="3.1.3: images a step")
    optimizer: Literal["sgd", "adamw", "muon"] = Field(
        "sgd",
        description="3.1.3: optimizer; muon steps the matrices of a transformer's blocks, and "
        "AdamW the rest",
    )
    learning_rate: float = Field(0.1, gt=0, description="3.1.3: initial (peak) learning rate")
    adamw_learning_rate: float = Field(
        1e-3, gt=0, description="ours: peak learning rate of what Muon leaves to AdamW (Muon)"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="3.1.3: momentum (SGD)")
    nesterov: bool = Field(False, description="ours: Nesterov's form of the momentum (SGD)")
    weight_decay: float = Field(5e-4, ge=0, description="3.1.3: weight decay")
    decay_positions: bool = Field(
        False,
        description="ours: whether AdamW decays position embeddings and the class token, too",
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="ours: linear warm-up before the cosine of 3.1.3"
    )
    schedule: Literal["cosine", "one_cycle", "constant"] = Field(
        "cosine",
        description="3.1.3: the way down to zero after the warm-up: a cosine, or the straight "
        "line that makes one cycle of the two; constant stays at the peak, for a first stage",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="ours: label smoothing")
    clip_norm: float | None = Field(None, gt=0, description="ours: gradient norm; null = unclipped")
    flip: float = Field(0.5, ge=0, le=1, description="3.1.3: probability of a horizontal flip")
    padding: int = Field(4, ge=0, le=16, description="3.1.3: padding of the random crop, in pixels")
    randaugment: int = Field(
        0, ge=0, le=8, description="ours: operations of RandAugment an image; 0 = none"
    )
    randaugment_magnitude: int = Field(
        9, ge=0, le=30, description="ours: strength of RandAugment, of 30"
    )
    erasing: float = Field(
        0.0, ge=0, le=1, description="ours: probability that a rectangle of an image is erased"
    )
    cutout: int = Field(
        0, ge=0, le=32, description="ours: side of the square cut out of each image, in pixels"
    )
    mixup: float | None = Field(
        None, gt=0, description="ours: mixup, by the alpha of its Beta distribution; null = none"
    )
    cutmix: float | None = Field(
        None, gt=0, description="ours: CutMix, by the alpha of its Beta distribution; null = none"
    )
    cutmix_probability: float = Field(
        0.5, ge=0, le=1, description="ours: share of batches for CutMix where both are on"
    )
    mixed_share: float = Field(
        1.0, gt=0, le=1, description="ours: share of batches that mixup or CutMix blends"
    )
    light_epochs: int = Field(
        0,
        ge=0,
        description="ours: the last epochs, which have flips and crops alone; 0 = none",
    )
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="ours: stochastic depth of ViT-Small, as the probability at its last block",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="ours: moving average of the weights (decay a step); null = none",
    )
    ema_warmup: bool = Field(
        True,
        description="ours: whether the average forgets its beginning sooner: after t steps its "
        "decay is at most (1 + t) / (10 + t)",
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="ours: of training; tf32 (convolutions alone) and bf16 (autocast) are quicker "
        "on GPUs, and bf16 on CPUs, that have them",
    )
    compile: bool = Field(False, description="ours: torch.compile while training")

    @property
    def mixes(self) -> bool:
        """Whether images are blended with one another."""
        return self.mixup is not None or self.cutmix is not None

    @model_validator(mode="after")
    def _parts_fit_the_epochs(self) -> Recipe:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}"
            )
        if self.light_epochs > self.epochs:
            raise ValueError(
                f"light_epochs {self.light_epochs} must be at most epochs {self.epochs}, of which "
                "they are the last"
            )
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
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if isinstance(value, Recipe)}

    @model_validator(mode="after")
    def _only_transformers_have_blocks(self) -> Self:
        for architecture, recipe in self.recipes.items():
            if recipe.drop_path and architecture != "vit_small":
                raise ValueError(
                    f"{architecture}: drop_path {recipe.drop_path} is for vit_small, whose blocks "
                    "can be skipped; leave it at 0 here"
                )
            if recipe.optimizer == "muon" and architecture != "vit_small":
                raise ValueError(
                    f"{architecture}: muon steps the matrices of a transformer's blocks, and this "
                    "network has none; set optimizer to sgd or adamw here"
                )
        return self

    @model_serializer(mode="wrap")
    def _recipes_as_in_keys(
        self, whole: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        told = whole(self)
        if info.exclude_defaults:
            told |= {name: each.inputs(name) for name, each in self.recipes.items() if name in told}
        return told


class FromScratch(_Recipes):
    """Training from random weights."""

    resnet18: Recipe = Field(Recipe(), description="3.1.3: ResNet-18")
    vit_small: Recipe = Field(Recipe(learning_rate=0.001), description="3.1.3: ViT-Small")


class TeacherTraining(FromScratch):
    """Models whose activation maps become proxy masks (paper 3.4.1).

    Each is trained on one half of the training images, class-balanced, and the halves share none.
    """


class Pretraining(FromScratch):
    """A first stage of standard training, kept by itself: a long training in several sittings.

    ViT-Small may have larger patches meanwhile, which cost less.
    """

    patch: Literal[1, 2, 4, 8, 16] | None = Field(
        None, description="ours: side of a patch meanwhile; null = as in vit_small"
    )
    architectures: list[Literal["resnet18", "vit_small"]] = Field(
        ["vit_small"], description="ours: the architectures that have a first stage"
    )


class StandardTraining(FromScratch):
    """Standard training of each architecture (paper 3.1.3)."""

    start: str | None = Field(
        None,
        description="ours: the training, such as pretraining, that a model starts from where that "
        "training has a recipe for its architecture; null = random weights",
    )
    alexnet: Recipe = Field(
        Recipe(learning_rate=0.01), description="3.5: the reference model; its recipe is ours"
    )


class FineTuning(_Recipes):
    """Training that starts from another model's weights (3.1.3: the baseline's, 50 epochs)."""

    start: str = Field(
        "standard",
        description="3.1.3: the training whose model of the same architecture this one starts "
        "from; may carry changes, as in aligned@beta=1.0",
    )
    resnet18: Recipe = Field(Recipe(epochs=50), description="3.1.3: ResNet-18")
    vit_small: Recipe = Field(
        Recipe(epochs=50, learning_rate=0.001), description="3.1.3: ViT-Small"
    )


class TrainingAttack(FineTuning):
    """The attack inside adversarial training (paper 3.2.2) and what is validated with it."""

    eps: int = Field(8, ge=1, le=255, description="3.2.1: budget in 255ths (8 means 8/255)")
    steps: int = Field(10, ge=1, description="3.2.2: iterations")
    step_ratio: float = Field(2.0, gt=0, description="3.2.2: step size as step_ratio * eps / steps")
    eval_mode: bool = Field(
        True, description="ours: craft with batch norm's running statistics, not the batch's"
    )
    budget_warmup_epochs: float = Field(
        0.0, ge=0, description="ours: the budget grows linearly over these epochs"
    )
    validation_images: int = Field(
        500, ge=1, description="ours: validation images attacked after each epoch"
    )

    @property
    def eps_unit(self) -> float:
        """The budget for images in [0, 1]."""
        return self.eps / 255

    @property
    def step_size(self) -> float:
        """One step for images in [0, 1]: 2 eps / 10 in the paper."""
        return self.step_ratio * self.eps_unit / self.steps


class AdversarialTraining(TrainingAttack):
    """Training on attacked batches (paper 3.2.2, equation 3)."""

    probability: float = Field(0.5, ge=0, le=1, description="3.2.2: share of attacked batches")


class Trades(TrainingAttack):
    """TRADES, the usual alternative (the paper's reference 9)."""

    beta: float = Field(6.0, gt=0, description="ours: weight of the robustness term")


class NoiseTraining(FineTuning):
    """Training on images with Gaussian noise, the base classifier of smoothing."""

    sigma: float = Field(0.25, gt=0, description="3.2.2: standard deviation, in [0, 1] units")


class AlignedTraining(FineTuning):
    """Human-guided alignment (paper 3.4.1, equations 10-13)."""

    alpha: float = Field(1.0, ge=0, description="3.4.1: weight of the classification loss")
    beta: float = Field(0.1, ge=0, description="3.4.1: weight of the alignment loss")
    layer: str = Field(
        "network.layer4", description="3.3.1: ResNet-18's layer of Grad-CAM, the last of features"
    )
    reading: Literal["as_written", "standardized"] = Field(
        "as_written",
        description="3.4.1: the sigmoid of equation 12 on the map as it is, or on the signed map "
        "standardized image by image",
    )
    through: Literal["explanation", "head"] = Field(
        "explanation",
        description="3.4.2: the map that is aligned: Grad-CAM or rollout, or that of a head of its "
        "own on the last feature map or the patch embeddings",
    )
    masks: MaskSource | None = Field(
        None,
        description="3.4.1: the masks aligned to: exact, cnn or vit (a teacher's), own; null = "
        "own where masks.own is set, exact where the data set has them, otherwise cnn",
    )
    share: float = Field(
        1.0, gt=0, le=1, description="5.5: share of the training images whose mask is used"
    )

    @model_validator(mode="after")
    def _maps_have_one_mask_and_are_seen(self) -> Self:
        for architecture, recipe in self.recipes.items():
            if recipe.mixes:
                raise ValueError(
                    f"{architecture}: mixup and cutmix blend two images, and there is no one mask "
                    "to align such an image to; set both to null"
                )
            if recipe.compile:
                raise ValueError(
                    f"{architecture}: compile leaves out the hooks through which alignment reads "
                    "a model's maps; set it to false"
                )
        return self


class RobustAlignedTraining(AdversarialTraining, AlignedTraining):
    """Adversarial training whose batches, attacked or not, also carry the alignment loss (4.6)."""


class Training(_Section):
    """One section per training objective, each with one recipe per architecture."""

    standard: StandardTraining = Field(StandardTraining(), description="3.1.3: baseline models")
    adversarial: AdversarialTraining = Field(
        AdversarialTraining(), description="3.2.2: clean and attacked batches alternate"
    )
    purely_adversarial: AdversarialTraining = Field(
        AdversarialTraining(probability=1.0), description="3.2.2: every batch attacked, to compare"
    )
    trades: Trades = Field(Trades(), description="ours: a second robust objective")
    noise: NoiseTraining = Field(NoiseTraining(), description="3.2.2: for randomized smoothing")
    aligned: AlignedTraining = Field(AlignedTraining(), description="3.4.1: saliency and masks")
    robust_aligned: RobustAlignedTraining = Field(
        RobustAlignedTraining(), description="4.6: both at once, which the paper conjectures"
    )
    teacher: TeacherTraining = Field(
        TeacherTraining(), description="3.4.1: models that proxy masks are made from"
    )
    pretraining: Pretraining = Field(
        Pretraining(), description="ours: a first stage; unused unless standard starts from it"
    )
    added: FineTuning = Field(FineTuning(), description="ours: the objectives that extensions add")

    @model_validator(mode="after")
    def _starts_lead_to_a_beginning(self) -> Training:
        known = type(self).model_fields
        for name in known:
            lineage = [name]
            while (start := getattr(getattr(self, lineage[-1]), "start", None)) is not None:
                # Of start=a@start=b, b's own beginning is what counts.
                before = start.rpartition("start=")[2].partition("@")[0]
                if before not in known:
                    raise ValueError(
                        f"{lineage[-1]}.start: no training {before!r}: {', '.join(known)}"
                    )
                lineage.append(before)
                if before in lineage[:-1]:
                    raise ValueError(f"start goes in a circle: {' from '.join(lineage)}")
        return self


class Budget(_Section):
    """A perturbation budget in whole 255ths."""

    eps: int = Field(8, ge=1, le=255, description="3.2.1: budget in 255ths (8 means 8/255)")
    n: int | None = Field(
        None, ge=1, description="3.2.1: class-balanced test images attacked; null = all"
    )

    @property
    def eps_unit(self) -> float:
        """The budget for images in [0, 1]."""
        return self.eps / 255


class FGSM(Budget):
    """Fast gradient sign method (paper 3.2.1, equation 1)."""


class PGD(Budget):
    """Projected gradient descent (paper 3.2.1, equation 2)."""

    norm: Literal["linf", "l2"] = Field("linf", description="3.2.1: geometry of the budget")
    steps: int = Field(20, ge=1, description="3.2.1: iterations")
    step_ratio: float = Field(2.0, gt=0, description="3.2.1: step size as step_ratio * eps / steps")
    restarts: int = Field(1, ge=1, description="3.2.1: random starts per image")
    random_start: bool = Field(True, description="3.2.1: start at random within the budget")
    last_iterate: bool = Field(
        True,
        description="ours: follow images to the last step even where a step before fooled the "
        "model, for the accuracy at last iterates alone; false is much faster",
    )

    @property
    def step_size(self) -> float:
        """One step for images in [0, 1]: 2 eps / 20 in the paper."""
        return self.step_ratio * self.eps_unit / self.steps


class AutoAttack(Budget):
    """AutoAttack's standard version (paper 3.2.1)."""

    batch_size: int = Field(
        250,
        ge=1,
        description="ours: images a batch; each is seeded anew, so it is part of the result",
    )
    skip_broken_by_pgd: bool = Field(
        False, description="ours: leave out images PGD broke; the result is then labelled so"
    )
    individual: bool = Field(
        False, description="ours: also run each attack by itself; up to four times the work"
    )
    steps: int | None = Field(
        None, ge=1, description="ours: iterations of APGD and FAB for quick looks; null = 100"
    )
    queries: int | None = Field(
        None, ge=1, description="ours: queries of Square for quick looks; null = 5000"
    )


class Smoothing(_Section):
    """Certification by randomized smoothing (paper 3.2.2; Cohen et al., 2019)."""

    sigma: float = Field(0.25, gt=0, description="3.2.2: noise, in [0, 1] pixel units")
    samples: int = Field(1000, ge=1, description="3.2.2: votes behind a certificate")
    selection_samples: int = Field(100, ge=1, description="ours: votes that choose the class")
    alpha: float = Field(0.001, gt=0, lt=1, description="ours: failure probability a certificate")
    n: int | None = Field(
        None, ge=1, description="3.2.2: class-balanced test images certified; null = all"
    )


class Corruptions(_Section):
    """Images under the 19 corruptions of CIFAR-10-C at 5 severities (paper 3.5)."""

    n: int | None = Field(
        None, ge=1, description="3.5: class-balanced test images under each corruption; null = all"
    )
    official: bool | None = Field(
        None,
        description="3.5: true insists on the official archive, false generates; null = the "
        "archive where it is",
    )
    seed: int = Field(
        0, ge=0, description="ours: of generated corruptions, whatever the run's seed"
    )


class Masks(_Section):
    """Object masks (paper 3.4.1)."""

    cnn_layer: str = Field(
        "network.layer3", description="3.4.1: the CNN teacher's layer whose maps become masks"
    )
    vit_layer: str | None = Field(
        None, description="3.4.1: the ViT teacher's; null = what enters its last block"
    )
    smallest: float = Field(
        0.02, ge=0, lt=1, description="ours: a mask that covers less of the image is refused"
    )
    largest: float = Field(
        0.95, gt=0, le=1, description="ours: a mask that covers more of the image is refused"
    )
    sources: list[MaskSource] | None = Field(
        None,
        min_length=1,
        description="ours: masks that overlap is measured with; null = exact where the data set "
        "has them, own where they are given, cnn and vit",
    )
    own: str | None = Field(
        None,
        min_length=1,
        description="3.4.1: your own masks: a folder with train and test in it, each a folder of "
        "PNG files (17.png) or a NumPy array (train.npy)",
    )

    @model_validator(mode="after")
    def _some_are_kept(self) -> Masks:
        if self.smallest >= self.largest:
            raise ValueError(f"smallest {self.smallest} must be below largest {self.largest}")
        return self


class Faithfulness(_Section):
    """Whether saliency maps are true to the model (ours; the paper's reference 14)."""

    n: int | None = Field(200, ge=1, description="ours: class-balanced test images; null = all")
    steps: int = Field(16, ge=2, description="ours: points of insertion and deletion curves")
    randomized_n: int = Field(50, ge=2, description="ours: images of the randomization check")


class AttackedSaliency(_Section):
    """Saliency of attacked images (ours), under PGD as set for accuracy."""

    n: int | None = Field(250, ge=1, description="ours: class-balanced test images; null = all")


class Swapped(_Section):
    """Images whose object stands before another image's background (ours)."""

    n: int | None = Field(2000, ge=20, description="ours: class-balanced test images; null = all")


class AlignmentStudy(_Section):
    """The variants of alignment that are trained beside the paper's (3.4, 5.5)."""

    variants: list[str] = Field(
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
        description="3.4.1: weights of the alignment loss (0 is the control), readings of equation "
        "12, and the head of 3.4.2; a name, then what differs from training.aligned",
    )
    shares: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [0.01, 0.05, 0.25], description="5.5: shares of the training images that have a mask"
    )
    shared: str = Field(
        "resnet18-aligned@reading=standardized,beta=1.0",
        description="5.5: the model that is trained again with masks for a share of the images",
    )
    shortcut_correlation: float = Field(
        0.95,
        ge=0,
        le=1,
        description="ours: how far the background gives the class away in the shortcut experiment",
    )
    shortcut_images: int = Field(
        4_000, ge=80, description="ours: Shapes that the shortcut experiment trains on"
    )


class CombinationStudy(_Section):
    """Models trained to be robust and aligned (4.6, 6), which the paper proposes and leaves."""

    models: list[str] = Field(
        [
            "resnet18-robust_aligned",
            "resnet18-aligned@start=adversarial",
            "resnet18-adversarial@start=aligned",
            "vit_small-robust_aligned",
        ],
        description="4.6: both at once, alignment of a robust model, and the other order; a name, "
        "then what differs from its training's settings",
    )
    neither: str = Field(
        "resnet18-aligned@beta=0.0",
        description="4.6: the corner of the comparison that is neither robust nor aligned",
    )
    aligned: str = Field("resnet18-aligned", description="4.6: the corner that is aligned only")
    robust: str = Field("resnet18-adversarial", description="4.6: the corner that is robust only")
    both: str = Field("resnet18-robust_aligned", description="4.6: the corner that is both")


class Reliability(_Section):
    """The checks on a robustness number (ours; nothing of the kind is in the paper)."""

    n: int = Field(200, ge=10, description="ours: class-balanced test images examined")
    strong_steps: int = Field(100, ge=1, description="ours: PGD steps that must not help much")
    queries: int = Field(300, ge=1, description="ours: black-box queries an image")


class Evaluation(_Section):
    """How models are evaluated."""

    batch_size: int = Field(250, ge=1, description="ours: images a batch; also one resumable shard")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="ours: level of every interval")
    ece_bins: int = Field(15, ge=2, le=100, description="4.1: calibration bins (number is ours)")
    tf32: bool = Field(False, description="ours: TF32 in attacks and votes, on GPUs that have it")
    compile: bool = Field(False, description="ours: torch.compile of what attacks search with")


class Settings(_Section):
    """Everything a run needs except its seed."""

    profile: str = Field(
        "paper",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
        description="ours: name of the profile, and of its run directory",
    )
    extensions: list[str] = Field(
        [],
        description="ours: modules of your own that add corruptions, attacks, objectives, data "
        "sets or saliency methods; names, or paths of .py files, from the working directory",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="ours: where to run")
    data: Data = Field(Data(), description="3.1.1")
    resnet18: ResNet18 = Field(ResNet18(), description="3.1.2")
    vit_small: ViTSmall = Field(ViTSmall(), description="3.1.2")
    alexnet: AlexNet = Field(AlexNet(), description="3.5")
    training: Training = Field(Training(), description="3.1.3")
    weights: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="ours: the precision that a trained model's weights are rounded to before "
        "anything is evaluated; the file of fp16 is half as large",
    )
    extra_models: list[str] = Field(
        ["resnet18-trades"],
        description="ours: models trained and compared under attack beside the paper's",
    )
    stages: list[str] | None = Field(
        None,
        min_length=1,
        description="ours: models in the order in which train --all trains them, each after what "
        "it needs; null = all, in the order of the notebooks",
    )
    seeded: list[str] | None = Field(
        None,
        min_length=1,
        description="ours: models that are trained under the further seeds of a run, too, with "
        "what they need, and evaluated by the first seed's notebooks; null = all, by notebooks of "
        "their own",
    )
    fgsm: FGSM = Field(FGSM(), description="3.2.1")
    pgd: PGD = Field(PGD(), description="3.2.1")
    autoattack: AutoAttack = Field(AutoAttack(), description="3.2.1")
    smoothing: Smoothing = Field(Smoothing(), description="3.2.2")
    corruptions: Corruptions = Field(Corruptions(), description="3.5")
    reliability: Reliability = Field(Reliability(), description="ours")
    masks: Masks = Field(Masks(), description="3.4.1")
    faithfulness: Faithfulness = Field(Faithfulness(), description="ours")
    attacked_saliency: AttackedSaliency = Field(AttackedSaliency(), description="ours")
    swapped: Swapped = Field(Swapped(), description="ours")
    alignment: AlignmentStudy = Field(AlignmentStudy(), description="3.4")
    combination: CombinationStudy = Field(CombinationStudy(), description="4.6, 6")
    evaluation: Evaluation = Field(Evaluation(), description="3.3, 4.1")
