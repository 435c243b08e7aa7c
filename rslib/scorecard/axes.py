"""From per-image records to the axes of a scorecard: numbers, intervals, levels, the book's models.

Every estimate is one of :mod:`rslib.metrics.estimates`, as in the book's own tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rslib import saliency
from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES, TEST15, mce
from rslib.metrics.estimates import (
    UNDEFINED,
    Estimate,
    accuracy,
    attack_success,
    calibration_error,
    mean,
    mean_difference,
    paired_difference,
    proportion,
)
from rslib.report import labels
from rslib.report.tables.saliency import mean_difference_known
from rslib.run.outcomes import Outcomes
from rslib.scorecard.card import AXES, Axis, Check, Detail, Measure, Verdict
from rslib.scorecard.compare import Peers, on_common
from rslib.scorecard.guest import Attempt, Guest
from rslib.settings.names import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

# Title, unit, and which end is the good one.
_ABOUT = {
    "clean": ("Clean accuracy", "%", "higher"),
    "ece": ("Calibration error (ECE)", "", "lower"),
    "fgsm": ("Accuracy under FGSM", "%", "higher"),
    "pgd": ("Accuracy under PGD", "%", "higher"),
    "autoattack": ("Accuracy under AutoAttack", "%", "higher"),
    "corruptions": ("Error under corruptions", "%", "lower"),
    "saliency": ("Saliency overlap (IoU)", "", "higher"),
}
# What may differ between two records of one attack: how many images, and what else was run.
_FREE = {"n", "individual"}


@dataclass(frozen=True)
class Reading:
    """Turns what was measured into parts of the document.

    Attributes:
        guest: the scored model, with the settings of its records.
        attempts: by axis.
        peers: the book's models.
    """

    guest: Guest
    attempts: dict[str, Attempt]
    peers: Peers

    @property
    def confidence(self) -> float:
        """The level of every interval."""
        return self.guest.settings.evaluation.confidence

    def axes(self) -> list[Axis]:
        """All axes but the verdict, in order, whether there is a result or not."""
        return [self._axis(name) for name in AXES if name != "reliability"]

    def verdict(self) -> Verdict:
        """The reliability of the numbers under attack."""
        attempt, chosen = self.attempts["reliability"], self.guest.settings
        about = {
            "protocol": f"checks of PGD's result with budget {labels.budget(chosen.pgd)}, "
            f"{chosen.reliability.strong_steps} steps and {chosen.reliability.queries} queries",
            "seconds": attempt.seconds,
            "compared": self.peers.verdicts(),
        }
        report = attempt.report
        if report is None:
            return Verdict(status="not available", reason=attempt.reason, **about)
        return Verdict(
            status="measured",
            n=report["images"],
            passed=report["passed"],
            failed=report["failed"],
            checks=[Check(**check) for check in report["checks"]],
            **about,
        )

    def _axis(self, name: str) -> Axis:
        attempt = self.attempts["clean" if name == "ece" else name]
        record = attempt.record
        title, unit, better = _ABOUT[name]
        about = {
            "name": name,
            "title": title,
            "unit": unit,
            "better": better,
            "protocol": self._protocol(name, record),
            "seconds": None if name == "ece" else attempt.seconds,
        }
        if record is None:
            return Axis(**about, status="not available", reason=attempt.reason)
        match name:
            case "clean":
                found = self._clean(record)
            case "ece":
                found = self._ece(record)
            case "corruptions":
                found = self._corruptions(record)
            case "saliency":
                found = self._saliency(record)
            case _:
                found = self._attacked(name, record)
        return Axis(**about, status="measured", **found)

    def _protocol(self, name: str, record: pd.DataFrame | None) -> str:
        chosen = self.guest.settings
        match name:
            case "clean":
                return "images as they are"
            case "ece":
                return f"{chosen.evaluation.ece_bins} equally wide bins of confidence"
            case "fgsm":
                return f"one step, budget {labels.budget(chosen.fgsm)}"
            case "pgd":
                return labels.pgd_phrase(chosen.pgd)
            case "autoattack":
                label = "AutoAttack" if record is None else record.attrs["notes"]["label"]
                return f"{label}, budget {labels.budget(chosen.autoattack)}"
            case "corruptions":
                what = f"{len(ALL19)} corruptions at {len(SEVERITIES)} severities"
                if record is None:
                    return what
                return f"{what}: {labels.corrupted_phrase(record.attrs['corrupted'])}"
        method = "saliency" if record is None else record.attrs["method"]
        what = f"{method}, top {saliency.overlap.TOP:.0%}"
        if isinstance(self.guest.masks, str):
            return what
        return f"{what}, {labels.mask_label(self.guest.masks.source)} masks"

    def _clean(self, record: pd.DataFrame) -> dict[str, Any]:
        return {
            "result": Measure.of(self._right(record)),
            "chance": 100 / len(self.guest.images.classes),
            "compared": self.peers.compared("clean", record, self._right, self._paired),
        }

    def _ece(self, record: pd.DataFrame) -> dict[str, Any]:
        bins = self.guest.settings.evaluation.ece_bins

        def error(record: pd.DataFrame, binning: str = "width") -> Estimate:
            return calibration_error(record, bins=bins, binning=binning, confidence=self.confidence)

        certainty = mean(100 * record["confidence"], confidence=self.confidence)
        return {
            "result": Measure.of(error(record)),
            "details": _details(
                ("ece_mass", "ECE, bins of equally many images", "", error(record, "mass")),
                ("confidence", "Mean confidence", "%", certainty),
            ),
            "compared": self.peers.compared("clean", record, error),
        }

    def _attacked(self, name: str, record: pd.DataFrame) -> dict[str, Any]:
        def share(right: pd.Series) -> Estimate:
            return accuracy(right, confidence=self.confidence)

        details = [
            ("clean", "Clean accuracy of the same images", "%", share(record["clean_correct"]))
        ]
        if "correct_last" in record:
            details.append(("last", "Last iterate alone", "%", share(record["correct_last"])))
        if name == "autoattack":
            broken_by = record["broken_by"]
            for place, stage in enumerate(record.attrs["notes"]["stages"]):
                if stage != "known":
                    left = share((broken_by < 0) | (broken_by > place))
                    title = f"Left after {'no attack' if stage == 'clean' else stage.upper()}"
                    details.append((f"after_{stage}".replace("-", "_"), title, "%", left))
        if record["clean_correct"].any():
            success = attack_success(record, confidence=self.confidence)
            details.append(("success", "Attack success", "%", success))
        protocol = _protocol(getattr(self.guest.settings, name).model_dump(exclude_defaults=True))
        compared = self.peers.compared(
            name,
            record,
            self._right,
            self._paired,
            lambda theirs: _protocol(theirs.attrs["inputs"]["attack"]) == protocol,
        )
        return {
            "result": Measure.of(self._right(record)),
            "details": _details(*details),
            "compared": compared,
        }

    def _corruptions(self, record: pd.DataFrame) -> dict[str, Any]:
        def error(record: pd.DataFrame, names: tuple[str, ...] = ALL19) -> Estimate:
            return mean(_share_wrong(record, names), confidence=self.confidence)

        def gap(ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
            return mean_difference(
                _share_wrong(ours), _share_wrong(theirs), confidence=self.confidence
            )

        details = [
            (f"error_{kind}", f"Error, {kind}", "%", error(record, names))
            for kind, names in CATEGORIES.items()
        ]
        return {
            "result": Measure.of(error(record)),
            "details": _details(*details, *self._relative(record)),
            "compared": self.peers.compared(
                "corruptions", record, error, gap, lambda theirs: _same_corruptions(theirs, record)
            ),
        }

    def _relative(self, record: pd.DataFrame) -> list[tuple[str, str, str, Estimate]]:
        """Errors divided by those of the reference model, on the images that both have seen."""
        if not self.peers.names:
            return []
        theirs = self.peers.record(REFERENCE, "corruptions")
        theirs_clean = self.peers.record(REFERENCE, "clean")
        if theirs is None or theirs_clean is None or not _same_corruptions(theirs, record):
            return []
        clean = self.attempts["clean"].record
        theirs, ours = on_common(theirs, record)
        if clean is None or not set(ours["image"]) <= set(clean["image"]):
            return []
        about = {"corrupted": record.attrs["corrupted"]}
        theirs.attrs, ours.attrs = about | {"model": REFERENCE}, about | {"model": "scored"}
        found = Outcomes.from_records(ours, clean)
        base = Outcomes.from_records(theirs, theirs_clean)

        def relative(names: tuple[str, ...]) -> tuple[mce.Score, mce.Interval]:
            return mce.score(found.errors(), base.errors(), names=names), mce.interval(
                found.wrong,
                base.wrong,
                clean_wrong=found.clean_wrong,
                reference_clean_wrong=base.clean_wrong,
                names=names,
                confidence=self.confidence,
            )

        n, digest = len(ours), base.errors().digest[:10]
        (score, ends), (score15, ends15) = relative(ALL19), relative(TEST15)
        return [
            ("mce", f"mCE (reference {digest})", "ratio", _ratio(score.mce, ends.mce, n)),
            *(
                (f"ce_{kind}", f"CE, {kind}", "ratio", _ratio(value, ends.categories[kind], n))
                for kind, value in score.categories.items()
            ),
            ("mce_test15", "mCE, 15 corruptions", "ratio", _ratio(score15.mce, ends15.mce, n)),
        ]

    def _saliency(self, record: pd.DataFrame) -> dict[str, Any]:
        images, (source, identity) = self.guest.images, self.guest.masks
        place = {image: position for position, image in enumerate(images.ids.tolist())}
        masks = images.masks[[place[image] for image in record["image"]]].cpu()
        masks = masks[masks.flatten(1).any(1)]
        center = saliency.center_prior(tuple(masks.shape[1:]), len(masks))
        chance = saliency.chance(masks)
        constant = record["degenerate"].to_numpy(bool)
        details = []
        for name, title, values in (
            ("chance", "IoU of a random map", chance),
            ("center", "IoU of the image's center", saliency.iou(center, masks)),
            ("ceiling", "Best possible IoU", saliency.ceiling(masks)),
            ("shuffled", "IoU with another image's mask", record[f"shuffled_{source}"]),
            ("mass", "Saliency inside the mask", record[f"mass_{source}"]),
            ("pointing", "Pointing game", record[f"pointing_{source}"]),
        ):
            if isinstance(values, torch.Tensor):
                values = values.to(torch.float64).numpy()
            details.append((name, title, "", mean(values, confidence=self.confidence)))
        constants = proportion(int(constant.sum()), len(constant), self.confidence)
        details.append(("degenerate", "Constant maps", "%", constants))

        def value(record: pd.DataFrame) -> Estimate:
            return mean(record[f"iou_{source}"], confidence=self.confidence)

        def gap(ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
            column = f"iou_{source}"
            return mean_difference_known(ours[column], theirs[column], self.confidence)

        def same_masks(theirs: pd.DataFrame) -> bool:
            return theirs.attrs["inputs"]["masks"].get(source) == identity

        return {
            "result": Measure.of(value(record)),
            "chance": float(chance.mean()) if len(masks) else None,
            "details": _details(*details),
            "compared": self.peers.compared("saliency", record, value, gap, same_masks),
        }

    def _right(self, record: pd.DataFrame) -> Estimate:
        return accuracy(record["correct"], confidence=self.confidence)

    def _paired(self, ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
        return paired_difference(ours["correct"], theirs["correct"], confidence=self.confidence)


def _protocol(section: dict[str, Any]) -> dict[str, Any]:
    """What two records of one attack must share to be compared."""
    return {key: value for key, value in section.items() if key not in _FREE}


def _share_wrong(record: pd.DataFrame, names: tuple[str, ...] = ALL19) -> np.ndarray:
    """The share of an image's corrupted versions that are wrong, in percent, (n,)."""
    columns = [f"{name}_{severity}" for name in names for severity in SEVERITIES]
    return 100 * (1 - record[columns].to_numpy(bool).mean(1))


def _same_corruptions(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two records' corrupted images agree wherever they show the same image."""
    first, second = one.attrs["corrupted"], other.attrs["corrupted"]
    keys = {*first, *second} - {"images", "fingerprint"}
    return all(first.get(key) == second.get(key) for key in keys)


def _ratio(value: float | None, ends: tuple[float, float] | None, n: int) -> Estimate:
    if value is None:
        return UNDEFINED
    if ends is None:
        return Estimate(value, n=n)
    return Estimate(value, *ends, n, "bootstrap")


def _details(*rows: tuple[str, str, str, Estimate]) -> list[Detail]:
    """Further numbers (name, title, unit, estimate); those that are undefined are left out."""
    return [
        Detail(name=name, title=title, unit=unit, measure=Measure.of(estimate))
        for name, title, unit, estimate in rows
        if Measure.of(estimate) is not None
    ]
