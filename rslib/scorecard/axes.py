"""From per-image records to the axes of a scorecard: numbers, intervals, levels, the book's models.

Every estimate is one of :mod:`rslib.metrics.estimates`, as in the book's own tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
        report = attempt.report or {}
        return Verdict(
            status="measured" if report else "not available",
            reason=attempt.reason,
            protocol=f"checks of PGD's result with budget {labels.budget(chosen.pgd)}, "
            f"{chosen.reliability.strong_steps} steps and {chosen.reliability.queries} queries",
            n=report.get("images"),
            passed=report.get("passed"),
            failed=report.get("failed", []),
            checks=[Check(**check) for check in report.get("checks", [])],
            seconds=attempt.seconds,
            compared=self.peers.verdicts(),
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

    def _measured(
        self,
        evaluated: str,
        record: pd.DataFrame,
        value: Callable[[pd.DataFrame], Estimate],
        gap: Callable[[pd.DataFrame, pd.DataFrame], Estimate] | None = None,
        fits: Callable[[pd.DataFrame], bool] | None = None,
        details: Sequence[tuple[str, str, str, Estimate]] = (),
    ) -> dict[str, Any]:
        """An axis's result, its further numbers (name, title, unit, estimate), and the peers'."""
        found = [(*about, Measure.of(estimate)) for *about, estimate in details]
        return {
            "result": Measure.of(value(record)),
            "details": [
                Detail(name=name, title=title, unit=unit, measure=measure)
                for name, title, unit, measure in found
                if measure is not None
            ],
            "compared": self.peers.compared(evaluated, record, value, gap, fits),
        }

    def _clean(self, record: pd.DataFrame) -> dict[str, Any]:
        chance = 100 / len(self.guest.images.classes)
        return self._measured("clean", record, self._right, self._paired) | {"chance": chance}

    def _ece(self, record: pd.DataFrame) -> dict[str, Any]:
        bins = self.guest.settings.evaluation.ece_bins

        def error(record: pd.DataFrame, binning: str = "width") -> Estimate:
            return calibration_error(record, bins=bins, binning=binning, confidence=self.confidence)

        details = [
            ("ece_mass", "ECE, bins of equally many images", "", error(record, "mass")),
            ("confidence", "Mean confidence", "%", self._mean(100 * record["confidence"])),
        ]
        return self._measured("clean", record, error, details=details)

    def _attacked(self, name: str, record: pd.DataFrame) -> dict[str, Any]:
        chosen = getattr(self.guest.settings, name).model_dump(exclude_defaults=True)
        shares = [("clean", "Clean accuracy of the same images", record["clean_correct"])]
        if "correct_last" in record:
            shares.append(("last", "Last iterate alone", record["correct_last"]))
        if name == "autoattack":
            broken_by = record["broken_by"]
            for place, stage in enumerate(record.attrs["notes"]["stages"]):
                if stage != "known":
                    left = (broken_by < 0) | (broken_by > place)
                    what = "no attack" if stage == "clean" else stage.upper()
                    shares.append((f"after_{stage.replace('-', '_')}", f"Left after {what}", left))
        details = [
            (short, title, "%", accuracy(right, confidence=self.confidence))
            for short, title, right in shares
        ]
        if record["clean_correct"].any():
            success = attack_success(record, confidence=self.confidence)
            details.append(("success", "Attack success", "%", success))

        def fits(theirs: pd.DataFrame) -> bool:
            return _essential(theirs.attrs["inputs"]["attack"]) == _essential(chosen)

        return self._measured(name, record, self._right, self._paired, fits, details)

    def _corruptions(self, record: pd.DataFrame) -> dict[str, Any]:
        def error(record: pd.DataFrame, names: tuple[str, ...] = ALL19) -> Estimate:
            return self._mean(_share_wrong(record, names))

        def gap(ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
            return mean_difference(
                _share_wrong(ours), _share_wrong(theirs), confidence=self.confidence
            )

        def fits(theirs: pd.DataFrame) -> bool:
            return _same_corruptions(theirs, record)

        details = [
            (f"error_{kind}", f"Error, {kind}", "%", error(record, names))
            for kind, names in CATEGORIES.items()
        ]
        details += self._relative(record)
        return self._measured("corruptions", record, error, gap, fits, details)

    def _relative(self, record: pd.DataFrame) -> list[tuple[str, str, str, Estimate]]:
        """Errors divided by those of the reference model, on the images that both have seen."""
        if not self.peers.names:
            return []
        clean = self.attempts["clean"].record
        theirs = self.peers.record(REFERENCE, "corruptions")
        theirs_clean = self.peers.record(REFERENCE, "clean")
        if clean is None or theirs is None or theirs_clean is None:
            return []
        same = _same_corruptions(theirs, record)
        theirs, ours = on_common(theirs, record)
        if not same or not set(ours["image"]) <= set(clean["image"]):
            return []
        for frame, name in ((ours, "scored"), (theirs, REFERENCE)):
            frame.attrs = {"model": name, "corrupted": record.attrs["corrupted"]}
        found = Outcomes.from_records(ours, clean)
        base = Outcomes.from_records(theirs, theirs_clean)
        n, reference, details = len(ours), base.errors(), []
        for name, title, names in (
            ("mce", f"mCE (reference {reference.digest[:10]})", ALL19),
            ("mce_test15", "mCE, 15 corruptions", TEST15),
        ):
            score = mce.score(found.errors(), reference, names=names)
            ends = mce.interval(
                found.wrong,
                base.wrong,
                clean_wrong=found.clean_wrong,
                reference_clean_wrong=base.clean_wrong,
                names=names,
                confidence=self.confidence,
            )
            details.append((name, title, "ratio", _ratio(score.mce, ends.mce, n)))
            if name == "mce":
                for kind, value in score.categories.items():
                    ratio = _ratio(value, ends.categories[kind], n)
                    details.append((f"ce_{kind}", f"CE, {kind}", "ratio", ratio))
        return details

    def _saliency(self, record: pd.DataFrame) -> dict[str, Any]:
        images, (source, identity) = self.guest.images, self.guest.masks
        column = f"iou_{source}"
        place = {image: position for position, image in enumerate(images.ids.tolist())}
        masks = images.masks[[place[image] for image in record["image"]]].cpu()
        masks = masks[masks.flatten(1).any(1)]
        chance = saliency.chance(masks)
        center = saliency.iou(saliency.center_prior(tuple(masks.shape[1:]), len(masks)), masks)
        constant = record["degenerate"].to_numpy(bool)
        levels = [
            ("chance", "IoU of a random map", chance.double().numpy()),
            ("center", "IoU of the image's center", center.double().numpy()),
            ("ceiling", "Best possible IoU", saliency.ceiling(masks).double().numpy()),
            ("shuffled", "IoU with another image's mask", record[f"shuffled_{source}"]),
            ("mass", "Saliency inside the mask", record[f"mass_{source}"]),
            ("pointing", "Pointing game", record[f"pointing_{source}"]),
        ]
        details = [(name, title, "", self._mean(values)) for name, title, values in levels]
        constants = proportion(int(constant.sum()), len(constant), self.confidence)
        details.append(("degenerate", "Constant maps", "%", constants))

        def value(record: pd.DataFrame) -> Estimate:
            return self._mean(record[column])

        def gap(ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
            return self._mean(ours[column].to_numpy(float) - theirs[column].to_numpy(float))

        def fits(theirs: pd.DataFrame) -> bool:
            return theirs.attrs["inputs"]["masks"].get(source) == identity

        found = self._measured("saliency", record, value, gap, fits, details)
        return found | {"chance": float(chance.mean()) if len(masks) else None}

    def _right(self, record: pd.DataFrame) -> Estimate:
        return accuracy(record["correct"], confidence=self.confidence)

    def _paired(self, ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
        return paired_difference(ours["correct"], theirs["correct"], confidence=self.confidence)

    def _mean(self, values: Iterable[float]) -> Estimate:
        return mean(values, confidence=self.confidence)


def _essential(section: dict[str, Any]) -> dict[str, Any]:
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
