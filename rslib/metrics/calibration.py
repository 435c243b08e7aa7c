"""Calibration: how far confidence lies from accuracy, and the temperature that mends it.

Beside the calibration error stand scores that no choice of bins enters, and what confidence is good
for: to leave out the images that the model is likely to get wrong (selective prediction).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rslib.metrics._checks import array, whole

if TYPE_CHECKING:
    import torch


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> float:
    """Mean gap between confidence and accuracy, over bins of confidence (paper 4.1), in [0, 1].

    ECE = sum over bins of (share of images) ``|accuracy - mean confidence|``, where confidence
    is the largest probability. The value depends on the bins, so two kinds are offered: ``"width"``
    divides [0, 1] into equal parts and gives a confidence of exactly 1 a bin of its own (Naeini,
    Cooper and Hauskrecht, AAAI 2015; Guo et al., ICML 2017, arXiv:1706.04599), ``"mass"`` into
    parts with equally many images (Nguyen and O'Connor, EMNLP 2015, arXiv:1508.05154). Where a run
    of equal confidences straddles two equal-mass bins, its correct images are spread evenly over
    it, so that the value does not depend on the order of images. Probabilities are (n, classes),
    rows in [0, 1] that sum to 1; labels (n,), whole numbers below the number of classes.

    Raises:
        ValueError: if shapes, ranges, bins or binning are wrong, or if logits were given.
    """
    p, y = _checked(probabilities, labels)
    if whole("bins", bins) < 1:
        raise ValueError(f"bins={bins} must be at least 1")
    confidence, right = p.max(1), (p.argmax(1) == y).astype(float)
    if binning == "width":
        # In single precision, summed in eight lanes: so the published values were made.
        confidence = confidence.astype(np.float32)
        place = confidence_bins(confidence, bins, "width")
        images = np.bincount(place, minlength=bins + 1).astype(np.float32)
        sums = np.zeros((2, bins + 1), np.float32)
        np.add.at(sums[0], place, confidence)
        np.add.at(sums[1], place, right)
        certainty, accuracy = sums / np.maximum(images, 1)
        gaps = np.abs(accuracy - certainty) * (images / images.sum())
        lanes = np.pad(gaps, (0, -len(gaps) % 8)).reshape(-1, 8).sum(0)
        return float(np.cumsum(lanes)[-1])
    place = confidence_bins(confidence, bins, binning)
    # Images of equal confidence share their accuracy, so that a bin's edge may cut through them.
    _, group, size = np.unique(confidence, return_inverse=True, return_counts=True)
    right = (np.bincount(group, weights=right) / size)[group]
    gaps = np.bincount(place, weights=confidence - right)
    return float(np.abs(gaps).sum() / len(confidence))


def profile(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15, risk: float = 0.05
) -> dict[str, float]:
    """Calibration beyond the ECE: five numbers, lower is better but for the last.

    - ``nll``: negative log-likelihood, the mean of -log p_y, in nats; infinite where a p_y is 0.
    - ``brier``: the mean of sum_k (p_k - [y = k])^2, in [0, 2] (Brier, Monthly Weather Review 78
      (1950) 1-3).
    - ``classwise_ece``: :func:`classwise_calibration_error`.
    - ``aurc``: the area under the curve of risk against coverage, the mean over k of the error rate
      among the k images of largest confidence (Geifman, Uziel and El-Yaniv, ICLR 2019,
      arXiv:1805.08206); 0 only if nothing is wrong. Images of equal confidence share their errors.
    - ``coverage``: the largest share of the images, the most confident first, whose error rate is
      at most ``risk``; 0 where there is none. Images of equal confidence come in together. The
      threshold is chosen on the images it is reported on (Geifman and El-Yaniv, NeurIPS 2017,
      arXiv:1705.08500), so it is optimistic.

    Probabilities, labels and bins are those of :func:`expected_calibration_error`;
    :func:`rslib.metrics.estimates.calibration_profile` gives these numbers of a record, with
    intervals.

    Raises:
        ValueError: if risk is not in [0, 1), or what :func:`expected_calibration_error` refuses.
    """
    p, y = _checked(probabilities, labels)
    ranks = Ranks.of(p, y)
    with np.errstate(divide="ignore"):
        nll = float(-np.log(p[np.arange(len(p)), y]).mean())
    return {
        "nll": nll,
        "brier": float(squared_errors(p, y).mean()),
        "classwise_ece": classwise_calibration_error(p, y, bins=bins),
        "aurc": ranks.area(),
        "coverage": ranks.coverage(risk),
    }


def squared_errors(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each image's part of the Brier score (n,), of probabilities (n, classes) and labels (n,)."""
    return ((p - np.eye(p.shape[1])[y]) ** 2).sum(1)


def classwise_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15
) -> float:
    """The calibration error of every class's probability, averaged over classes, in [0, 1].

    For each class k its probability p_k, not only the largest one, is set against how often the
    label is k, in equally wide bins (Kull et al., NeurIPS 2019, arXiv:1910.12656). Arguments and
    errors are those of :func:`expected_calibration_error`.
    """
    place, gap = classwise_gaps(*_checked(probabilities, labels), bins)
    return float(np.abs(np.bincount(place.ravel(), weights=gap.ravel())).sum() / gap.size)


def classwise_gaps(p: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins (n, classes), other ones for each class, and probability less [y = k] (n, classes)."""
    if whole("bins", bins) < 1:
        raise ValueError(f"bins={bins} must be at least 1")
    place = confidence_bins(p, bins, "width") + (bins + 1) * np.arange(p.shape[1])
    return place, p - np.eye(p.shape[1])[y]


class Ranks(NamedTuple):
    """Images in the order of their confidence, the surest first, ready to be drawn anew.

    Attributes:
        group: the place of each image's confidence among all different ones, int (n,).
        wrong: 1 where the prediction is wrong, else 0, (n,).
    """

    group: np.ndarray
    wrong: np.ndarray

    @classmethod
    def of(cls, p: np.ndarray, y: np.ndarray) -> Ranks:
        """Rank images by their largest probabilities (n, classes); labels are (n,)."""
        group = np.unique(-p.max(1), return_inverse=True)[1]
        return cls(group, (p.argmax(1) != y).astype(float))

    def drawn(self, places: np.ndarray) -> Ranks:
        """The images at these places, which may repeat."""
        return Ranks(self.group[places], self.wrong[places])

    def area(self) -> float:
        """The area under the curve of risk against coverage (see :func:`profile`)."""
        images, errors = self._counted()
        shared = np.repeat(errors / images, images)
        return float((shared.cumsum() / np.arange(1, len(shared) + 1)).mean())

    def coverage(self, risk: float = 0.05) -> float:
        """The largest share of the images whose error rate is at most a risk, in [0, 1)."""
        if not 0 <= risk < 1:
            raise ValueError(f"risk={risk!r} must be at least 0 and below 1, e.g. 0.05")
        images, errors = (each.cumsum() for each in self._counted())
        within = errors <= risk * images + 1e-9  # as floats, 0.07 * 100 is not 7
        return float(images[within].max(initial=0) / images[-1])

    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and errors of each confidence that occurs."""
        images = np.bincount(self.group)
        there = images > 0
        return images[there], np.bincount(self.group, weights=self.wrong)[there]


def confidence_bins(confidence: np.ndarray, bins: int, binning: str) -> np.ndarray:
    """The bin of each of n images by its largest probability: (n,) from 0 to bins - 1.

    ``binning`` is ``"width"`` (bins equally wide; a confidence of exactly 1 is in bin ``bins``) or
    ``"mass"`` (bins with equally many images), else a ValueError.
    """
    if binning == "width":
        return np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="right") - 1
    if binning == "mass":
        place = np.empty(len(confidence), dtype=int)
        order = np.argsort(confidence, kind="stable")
        for number, part in enumerate(np.array_split(order, bins)):
            place[part] = number
        return place
    raise ValueError(f"binning={binning!r} is unknown: use 'width' or 'mass'")


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature whose division of logits (N, C) gives the least cross-entropy.

    The images are ones the model was not trained on, with labels int64 (N,). It is within 0.01 and
    100; over 1 the model was overconfident. It changes no prediction, and no ranking of a saliency
    map either. Source: Guo, Pleiss, Sun and Weinberger, ICML 2017, arXiv:1706.04599, section 4.2.

    Raises:
        ValueError: if there is no image, or a logit is NaN or infinite.
    """
    from scipy.optimize import minimize_scalar
    from torch.nn.functional import cross_entropy

    if len(logits) == 0 or not logits.isfinite().all():
        raise ValueError("a temperature needs finite logits of at least one image")
    logits, labels = logits.detach().double().cpu(), labels.cpu()

    def loss(exponent: float) -> float:
        return cross_entropy(logits / math.exp(exponent), labels).item()

    bounds = (math.log(1e-2), math.log(1e2))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def scaled(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities (N, C) of logits (N, C) at a temperature over 0."""
    return (logits.detach() / temperature).softmax(1)


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, float (n, classes), and labels, whole numbers (n,), or a ValueError."""
    p, y = array("probabilities", probabilities).astype(float), array("labels", labels)
    if p.ndim != 2 or p.shape[0] == 0 or p.shape[1] < 2:
        raise ValueError(f"probabilities has shape {p.shape}; (n, classes) is needed")
    if not ((p >= -1e-6) & (p <= 1 + 1e-6)).all() or not (np.abs(p.sum(1) - 1) < 1e-3).all():
        raise ValueError(
            "probabilities must lie in [0, 1] with rows that sum to 1: apply softmax first"
        )
    if y.shape != (len(p),) or y.dtype.kind not in "iu":
        raise ValueError(
            f"labels has shape {y.shape} and dtype {y.dtype}; {len(p)} whole numbers are needed"
        )
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels span {y.min()} to {y.max()}; there are {p.shape[1]} classes")
    return p.clip(0, 1), y
