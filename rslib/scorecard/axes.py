"""From per-image records to the axes of a scorecard: numbers, intervals, levels, the book's models.

Every estimate is one of :mod:`rslib.metrics.estimates`, as in the book's own tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import saliency
from rslib.attacks import Report
from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES, TEST15, mce
from rslib.metrics.estimates import (
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
from rslib.scorecard import compare
from rslib.scorecard.card import AXES, Axis, Check, Detail, Measure, Verdict
from rslib.scorecard.compare import Shelf
from rslib.scorecard.masks import Masks
from rslib.scorecard.measure import Bench, Outcome
from rslib.settings.names import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

TITLES = {
    "clean": "Clean accuracy",
    "ece": "Calibration error (ECE)",
    "fgsm": "Accuracy under FGSM",
    "pgd": "Accuracy under PGD",
    "autoattack": "Accuracy under AutoAttack",
    "corruptions": "Error under corruptions",
    "saliency": "Saliency overlap (IoU)",
    "reliability": "Reliability verdict",
}
"""The axes' names for reading."""

_RATIO = "ratio"


@dataclass(frozen=True)
class Reading:
    """What turns records into axes.

    Attributes:
        bench: model, images and settings.
        outcomes: by axis, of :func:`rslib.scorecard.measure.evaluate`.
        shelf: records of the book's models; None if there are none.
    """

    bench: Bench
    outcomes: dict[str, Outcome]
    shelf: Shelf | None

    @property
    def confidence(self) -> float:
        """The level of every interval."""
        return self.bench.settings.evaluation.confidence

    def axes(self) -> list[Axis]:
        """All axes but the verdict, in order, whether there is a result or not."""
        made = {
            "clean": self._clean,
            "ece": self._ece,
            "fgsm": self._fgsm,
            "pgd": self._pgd,
            "autoattack": self._autoattack,
            "corruptions": self._corruptions,
            "saliency": self._saliency,
        }
        return [self._axis(name, made[name]) for name in AXES if name in made]

    def verdict(self) -> Verdict:
        """The reliability of the numbers under attack."""
        found, chosen = self.outcomes["reliability"], self.bench.settings
        protocol = (
            f"checks of PGD's result with budget {labels.budget(chosen.pgd)}, "
            f"{chosen.reliability.strong_steps} steps and {chosen.reliability.queries} queries"
        )
        if found.report is None:
            return Verdict(
                status="not available", reason=found.reason, protocol=protocol,
                seconds=found.seconds, compared=compare.verdicts(self.shelf),
            )  # fmt: skip
        report: Report = found.report
        return Verdict(
            status="measured",
            protocol=protocol,
            n=report.images,
            passed=report.passed,
            failed=list(report.failed),
            checks=[
                Check(name=c.name, passed=c.passed, meaning=c.meaning, evidence=c.evidence)
                for c in report
            ],
            seconds=found.seconds,
            compared=compare.verdicts(self.shelf),
        )

    def _axis(self, name: str, made: Any) -> Axis:
        found = self.outcomes["clean" if name == "ece" else name]
        about = {
            "name": name,
            "title": TITLES[name],
            "unit": "" if name in {"ece", "saliency"} else "%",
            "better": "lower" if name in {"ece", "corruptions"} else "higher",
            "protocol": self._protocol(name, found),
            "seconds": None if name == "ece" else found.seconds,
        }
        if found.frame is None:
            return Axis(**about, status="not available", reason=found.reason)
        return Axis(**about, status="measured", **made(found))

    def _protocol(self, name: str, found: Outcome) -> str:
        chosen = self.bench.settings
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
                return (
                    f"{found.facts.get('label', 'AutoAttack')}, budget "
                    f"{labels.budget(chosen.autoattack)}"
                )
            case "corruptions":
                where = found.facts.get("corrupted")
                origin = f": {labels.corrupted_phrase(where)}" if where else ""
                return f"{len(ALL19)} corruptions at {len(SEVERITIES)} severities{origin}"
        masks = self.bench.masks
        kind = f", {labels.mask_label(masks.source)} masks" if isinstance(masks, Masks) else ""
        return f"{found.facts.get('method', 'saliency')}, top {saliency.overlap.TOP:.0%}{kind}"

    def _clean(self, found: Outcome) -> dict[str, Any]:
        frame = found.frame
        return {
            "result": Measure.of(self._right(frame)),
            "chance": 100 / len(self.bench.images.classes),
            "compared": compare.compared(self.shelf, "clean", frame, self._right, self._paired),
        }

    def _ece(self, found: Outcome) -> dict[str, Any]:
        bins = self.bench.settings.evaluation.ece_bins

        def error(record: pd.DataFrame, binning: str = "width") -> Estimate:
            return calibration_error(record, bins=bins, binning=binning, confidence=self.confidence)

        by_mass = error(found.frame, "mass")
        certainty = mean(100 * found.frame["confidence"], confidence=self.confidence)
        return {
            "result": Measure.of(error(found.frame)),
            "details": _details(
                ("ece_mass", "ECE, bins of equally many images", "", by_mass),
                ("confidence", "Mean confidence", "%", certainty),
            ),
            "compared": compare.compared(self.shelf, "clean", found.frame, error, None),
        }

    def _fgsm(self, found: Outcome) -> dict[str, Any]:
        return self._attacked("fgsm", found)

    def _pgd(self, found: Outcome) -> dict[str, Any]:
        if "correct_last" not in found.frame:
            return self._attacked("pgd", found)
        last = accuracy(found.frame["correct_last"], confidence=self.confidence)
        return self._attacked("pgd", found, ("last", "Last iterate alone", "%", last))

    def _autoattack(self, found: Outcome) -> dict[str, Any]:
        frame, stages = found.frame, found.facts["stages"]
        left = [
            (
                f"after_{stage}".replace("-", "_"),
                f"Left after {'no attack' if stage == 'clean' else stage.upper()}",
                "%",
                accuracy(
                    (frame["broken_by"] < 0) | (frame["broken_by"] > place),
                    confidence=self.confidence,
                ),
            )
            for place, stage in enumerate(stages)
            if stage != "known"
        ]
        return self._attacked("autoattack", found, *left)

    def _attacked(self, name: str, found: Outcome, *details: tuple) -> dict[str, Any]:
        frame = found.frame
        clean = accuracy(frame["clean_correct"], confidence=self.confidence)
        details = (("clean", "Clean accuracy of the same images", "%", clean), *details)
        if frame["clean_correct"].any():
            success = attack_success(frame, confidence=self.confidence)
            details = (*details, ("success", "Attack success", "%", success))
        section = getattr(self.bench.settings, name).model_dump(exclude_defaults=True)
        return {
            "result": Measure.of(self._right(frame)),
            "details": _details(*details),
            "compared": compare.compared(
                self.shelf, name, frame, self._right, self._paired, protocol=section
            ),
        }

    def _corruptions(self, found: Outcome) -> dict[str, Any]:
        frame, identity = found.frame, found.facts["corrupted"]
        details = [
            (f"error_{kind}", f"Error, {kind}", "%", self._error(frame, members))
            for kind, members in CATEGORIES.items()
        ]
        return {
            "result": Measure.of(self._error(frame)),
            "details": _details(*details, *self._relative(frame, identity)),
            "compared": compare.compared(
                self.shelf,
                "corruptions",
                frame,
                self._error,
                lambda ours, theirs: mean_difference(
                    _share_wrong(ours), _share_wrong(theirs), confidence=self.confidence
                ),
                fits=lambda record: _same_corruptions(record.attrs["corrupted"], identity),
            ),
        }

    def _relative(self, frame: pd.DataFrame, identity: dict[str, Any]) -> list[tuple]:
        """Errors divided by those of the reference model, on the images that both have seen."""
        if self.shelf is None:
            return []
        records = [self.shelf.record(REFERENCE, kind) for kind in ("corruptions", "clean")]
        if any(record is None for record in records):
            return []
        reference, reference_clean = records
        if not _same_corruptions(reference.attrs["corrupted"], identity):
            return []
        theirs, ours = compare.on_common(reference, frame)
        about = {"model": REFERENCE, "corrupted": identity}
        theirs.attrs, ours.attrs = about, about | {"model": self.bench.name}
        clean = self.outcomes["clean"].frame
        if not set(ours["image"]) <= set(clean["image"]):
            return []
        pair = (Outcomes.from_records(ours, clean), Outcomes.from_records(theirs, reference_clean))
        n, found = len(ours), []
        digest = pair[1].errors().digest[:10]
        for name, title, names in (
            ("mce", f"mCE (reference {digest})", ALL19),
            ("mce_test15", "mCE, 15 corruptions", TEST15),
        ):
            score = mce.score(pair[0].errors(), pair[1].errors(), names=names)
            spread = mce.interval(
                pair[0].wrong,
                pair[1].wrong,
                clean_wrong=pair[0].clean_wrong,
                reference_clean_wrong=pair[1].clean_wrong,
                names=names,
                confidence=self.confidence,
            )
            found.append((name, title, _RATIO, _ratio(score.mce, spread.mce, n)))
            if name == "mce":
                found += [
                    (f"ce_{kind}", f"CE, {kind}", _RATIO, _ratio(value, spread.categories[kind], n))
                    for kind, value in score.categories.items()
                ]
        return found

    def _saliency(self, found: Outcome) -> dict[str, Any]:
        import torch

        frame, known = found.frame, self.bench.masks
        place = {image: k for k, image in enumerate(self.bench.images.ids.tolist())}
        masks = known.masks[[place[i] for i in frame["image"]]].cpu()
        there = masks.flatten(1).any(1)
        masks = masks[there]
        center = saliency.center_prior(tuple(masks.shape[1:]), len(masks))
        levels = {
            "chance": ("IoU of a random map", saliency.chance(masks)),
            "center": ("IoU of the image's center", saliency.iou(center, masks)),
            "ceiling": ("Best possible IoU", saliency.ceiling(masks)),
        }
        source = known.source
        column = f"iou_{source}"

        def value(record: pd.DataFrame) -> Estimate:
            return mean(record[column], confidence=self.confidence)

        def gap(ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
            return mean_difference_known(ours[column], theirs[column], self.confidence)

        constant = frame["degenerate"].to_numpy(bool)
        details = [
            (name, title, "", mean(values.to(torch.float64).numpy(), confidence=self.confidence))
            for name, (title, values) in levels.items()
        ]
        details += [
            (kind, title, "", mean(frame[f"{kind}_{source}"], confidence=self.confidence))
            for kind, title in (
                ("shuffled", "IoU with another image's mask"),
                ("mass", "Saliency inside the mask"),
                ("pointing", "Pointing game"),
            )
        ]
        constants = proportion(int(constant.sum()), len(constant), self.confidence)
        details.append(("degenerate", "Constant maps", "%", constants))
        return {
            "result": Measure.of(value(frame)),
            "chance": float(levels["chance"][1].mean()) if len(masks) else None,
            "details": _details(*details),
            "compared": compare.compared(
                self.shelf,
                "saliency",
                frame,
                value,
                gap,
                fits=lambda record: record.attrs["inputs"]["masks"].get(source) == known.identity,
            ),
        }

    def _right(self, record: pd.DataFrame) -> Estimate:
        return accuracy(record["correct"], confidence=self.confidence)

    def _paired(self, ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
        return paired_difference(ours["correct"], theirs["correct"], confidence=self.confidence)

    def _error(self, record: pd.DataFrame, names: tuple[str, ...] = ALL19) -> Estimate:
        return mean(_share_wrong(record, names), confidence=self.confidence)


def _share_wrong(record: pd.DataFrame, names: tuple[str, ...] = ALL19) -> np.ndarray:
    """The share of an image's corrupted versions that are wrong, in percent, (n,)."""
    columns = [f"{name}_{severity}" for name in names for severity in SEVERITIES]
    return 100 * (1 - record[columns].to_numpy(bool).mean(1))


def _same_corruptions(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sets of corrupted images agree wherever they show the same image."""
    return all(one.get(key) == other.get(key) for key in {*one, *other} - {"images", "fingerprint"})


def _ratio(value: float | None, ends: tuple[float, float] | None, n: int) -> Estimate:
    if value is None:
        return Estimate(float("nan"))
    found = Estimate(value, n=n)
    return found if ends is None else replace(found, low=ends[0], high=ends[1], method="bootstrap")


def _details(*rows: tuple[str, str, str, Estimate]) -> list[Detail]:
    """Further numbers; those that are undefined are left out."""
    found = []
    for name, title, unit, estimate in rows:
        measure = Measure.of(estimate)
        if measure is not None:
            found.append(Detail(name=name, title=title, unit=unit, measure=measure))
    return found
