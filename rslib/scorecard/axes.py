"""From per-image records to the axes of a scorecard: numbers, intervals, levels, the book's models.

Every estimate is one of :mod:`rslib.metrics.estimates`, as in the book's own tables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import saliency
from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES, TEST15
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.report import labels, tradeoffs
from rslib.run.outcomes import Outcomes
from rslib.scorecard import page
from rslib.scorecard.card import AXES, Axis, Check, Detail, Measure, Verdict
from rslib.scorecard.compare import Peers, on_common
from rslib.scorecard.guest import Attempt, Guest
from rslib.settings.names import REFERENCE

if TYPE_CHECKING:
    import pandas as pd


class Reading:
    """Turns what was measured of a guest into parts of the document, beside the book's models."""

    def __init__(self, guest: Guest, attempts: dict[str, Attempt], peers: Peers) -> None:
        self.guest, self.attempts, self.peers = guest, attempts, peers
        self._read: dict[str, Axis] = {}
        self._at = {"confidence": guest.settings.evaluation.confidence}
        self._mean = functools.partial(estimates.mean, **self._at)
        self._less = functools.partial(estimates.mean_difference, **self._at)

    def axes(self) -> list[Axis]:
        """All axes but the verdict, in order, whether there is a result or not."""
        return [self.axis(name) for name in AXES if name != "reliability"]

    def verdict(self) -> Verdict:
        """The reliability of the numbers under attack."""
        attempt, chosen = self.attempts["reliability"], self.guest.settings
        report = attempt.report or {}
        pgd, settings = labels.budget(chosen.pgd), chosen.reliability
        return Verdict(
            status="measured" if report else "not available",
            reason=attempt.reason,
            protocol=f"checks of PGD's result with budget {pgd}, {settings.strong_steps} steps and "
            f"{settings.queries} queries",
            n=report.get("images"),
            passed=report.get("passed"),
            failed=report.get("failed", []),
            checks=[Check(**check) for check in report.get("checks", [])],
            seconds=attempt.seconds,
            compared=self.peers.verdicts(),
        )

    def axis(self, name: str) -> Axis:
        """One axis; those that it is read against, such as the clean one, are tried before."""
        if name not in self._read:
            self._read[name] = self._axis(name)
        return self._read[name]

    def lines(self, evaluated: str) -> list[str]:
        """What an evaluation that is finished says, a line for each of its axes."""
        attempt = self.attempts[evaluated]
        after = "" if attempt.seconds is None else f"  ({attempt.seconds:.0f} s)"
        if evaluated == "reliability":
            return [page.verdict_line(self.verdict()) + after]
        names = ["clean", "ece"] if evaluated == "clean" else [evaluated]
        return [page.line(self.axis(name)) + after for name in names]

    def _axis(self, name: str) -> Axis:
        attempt = self.attempts["clean" if name == "ece" else name]
        title, unit, better, measured = _AXES[name]
        about = {"name": name, "title": title, "unit": unit, "better": better}
        about["seconds"] = None if name == "ece" else attempt.seconds
        if attempt.record is None:
            about |= {"protocol": self._protocol(name, {}), "reason": attempt.reason}
            return Axis(**about, status="not available")
        about |= {"protocol": self._protocol(name, attempt.record.attrs), "status": "measured"}
        return Axis(**about, **measured(self, name, attempt.record))

    def _protocol(self, name: str, notes: dict[str, Any]) -> str:
        chosen, masks = self.guest.settings, self.guest.masks
        corrupted = f"{len(ALL19)} corruptions at {len(SEVERITIES)} severities"
        if "corrupted" in notes:
            corrupted += f": {labels.corrupted_phrase(notes['corrupted'])}"
        attack = notes.get("notes", {}).get("label", "AutoAttack")
        overlap = f"{notes.get('method', 'saliency')}, top {saliency.overlap.TOP:.0%}"
        if not isinstance(masks, str):
            overlap += f", {labels.mask_label(masks[0])} masks"
        return {
            "clean": "images as they are",
            "ece": f"{chosen.evaluation.ece_bins} equally wide bins of confidence",
            "fgsm": f"one step, budget {labels.budget(chosen.fgsm)}",
            "pgd": labels.pgd_phrase(chosen.pgd),
            "autoattack": f"{attack}, budget {labels.budget(chosen.autoattack)}",
            "corruptions": corrupted,
            "saliency": overlap,
        }[name]

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
        return {
            "result": Measure.of(value(record)),
            "details": [
                Detail(name=name, title=title, unit=unit, measure=Measure.of(estimate))
                for name, title, unit, estimate in details
                if not np.isnan(estimate.value)
            ],
            "compared": self.peers.compared(evaluated, record, value, gap, fits),
        }

    def _clean(self, name: str, record: pd.DataFrame) -> dict[str, Any]:
        chance = 100 / len(self.guest.images.classes)
        return self._measured(name, record, self._right, self._paired) | {"chance": chance}

    def _ece(self, name: str, record: pd.DataFrame) -> dict[str, Any]:
        bins = self.guest.settings.evaluation.ece_bins

        def error(record: pd.DataFrame, binning: str = "width") -> Estimate:
            return estimates.calibration_error(record, bins=bins, binning=binning, **self._at)

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
            (short, title, "%", estimates.accuracy(right, **self._at))
            for short, title, right in shares
        ]
        if record["clean_correct"].any():
            success = estimates.attack_success(record, **self._at)
            details.append(("success", "Attack success", "%", success))

        free = {"n": None, "individual": None}  # how many images, and what else was run
        return self._measured(
            name,
            record,
            self._right,
            self._paired,
            lambda theirs: theirs.attrs["inputs"]["attack"] | free == chosen | free,
            details,
        )

    def _corruptions(self, name: str, record: pd.DataFrame) -> dict[str, Any]:
        details = [
            (f"error_{kind}", f"Error, {kind}", "%", self._mean(_share_wrong(record, names)))
            for kind, names in CATEGORIES.items()
        ]
        return self._measured(
            name,
            record,
            lambda frame: self._mean(_share_wrong(frame)),
            lambda ours, theirs: self._less(_share_wrong(ours), _share_wrong(theirs)),
            lambda theirs: _same_corruptions(theirs, record),
            details + self._relative(record),
        )

    def _relative(self, record: pd.DataFrame) -> list[tuple[str, str, str, Estimate]]:
        """Errors divided by those of the reference model, on the images that both have seen."""
        clean = self.attempts["clean"].record
        theirs, theirs_clean = (
            self.peers.record(REFERENCE, kind) if self.peers.names else None
            for kind in ("corruptions", "clean")
        )
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
        title = f"mCE (reference {base.errors().digest[:10]})"
        score, ends = tradeoffs.relative(found, base, ALL19, **self._at)
        values = [("mce", title, score.mce, ends.mce)]
        for kind, value in score.categories.items():
            values.append((f"ce_{kind}", f"CE, {kind}", value, ends.categories[kind]))
        score, ends = tradeoffs.relative(found, base, TEST15, **self._at)
        values.append(("mce_test15", "mCE, 15 corruptions", score.mce, ends.mce))
        return [
            (name, title, "ratio", tradeoffs.ratio(value, interval, len(ours)))
            for name, title, value, interval in values
        ]

    def _saliency(self, name: str, record: pd.DataFrame) -> dict[str, Any]:
        images, (source, identity) = self.guest.images, self.guest.masks
        column = f"iou_{source}"
        place = {image: position for position, image in enumerate(images.ids.tolist())}
        masks = images.masks[[place[image] for image in record["image"]]].cpu()
        masks = masks[masks.flatten(1).any(1)]
        chance = saliency.chance(masks)
        center = saliency.iou(saliency.center_prior(tuple(masks.shape[1:]), len(masks)), masks)
        levels = [
            ("chance", "IoU of a random map", chance.double().numpy()),
            ("center", "IoU of the image's center", center.double().numpy()),
            ("ceiling", "Best possible IoU", saliency.ceiling(masks).double().numpy()),
            ("shuffled", "IoU with another image's mask", record[f"shuffled_{source}"]),
            ("mass", "Saliency inside the mask", record[f"mass_{source}"]),
            ("pointing", "Pointing game", record[f"pointing_{source}"]),
        ]
        details = [(level, title, "", self._mean(values)) for level, title, values in levels]
        constants = int(record["degenerate"].to_numpy(bool).sum())
        share = estimates.proportion(constants, len(record), **self._at)
        details.append(("degenerate", "Constant maps", "%", share))
        found = self._measured(
            name,
            record,
            lambda frame: self._mean(frame[column]),
            lambda ours, theirs: self._less(ours[column], theirs[column]),
            lambda theirs: theirs.attrs["inputs"]["masks"].get(source) == identity,
            details,
        )
        return found | {"chance": float(chance.mean()) if len(masks) else None}

    def _right(self, record: pd.DataFrame) -> Estimate:
        return estimates.accuracy(record["correct"], **self._at)

    def _paired(self, ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
        return estimates.paired_difference(ours["correct"], theirs["correct"], **self._at)


# Title, unit, the good end, and the function that measures it.
_AXES = {
    "clean": ("Clean accuracy", "%", "higher", Reading._clean),
    "ece": ("Calibration error (ECE)", "", "lower", Reading._ece),
    "fgsm": ("Accuracy under FGSM", "%", "higher", Reading._attacked),
    "pgd": ("Accuracy under PGD", "%", "higher", Reading._attacked),
    "autoattack": ("Accuracy under AutoAttack", "%", "higher", Reading._attacked),
    "corruptions": ("Error under corruptions", "%", "lower", Reading._corruptions),
    "saliency": ("Saliency overlap (IoU)", "", "higher", Reading._saliency),
}


def _share_wrong(record: pd.DataFrame, names: Sequence[str] = ALL19) -> np.ndarray:
    """The share of an image's corrupted versions that are wrong, in percent, (n,)."""
    columns = [f"{name}_{severity}" for name in names for severity in SEVERITIES]
    return 100 * (1 - record[columns].to_numpy(bool).mean(1))


def _same_corruptions(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """True if two records' corrupted images agree wherever they show the same image."""
    first, second = one.attrs["corrupted"], other.attrs["corrupted"]
    keys = {*first, *second} - {"images", "fingerprint"}
    return all(first.get(key) == second.get(key) for key in keys)
