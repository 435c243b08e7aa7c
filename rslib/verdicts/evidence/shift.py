"""Evidence on corruptions (paper 4.5, 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper.statement import (
    BASELINES,
    RESNET,
    ROBUST,
    VIT,
)
from rslib.report.labels import architecture_label
from rslib.verdicts import measures
from rslib.verdicts.evidence.parts import Measure, Part
from rslib.verdicts.reader import Reader


def corruption_count(reader: Reader) -> Iterator[Part]:
    """How many corruptions the models were evaluated under."""
    columns = reader.record(RESNET, "corruptions").columns
    yield Part("", Estimate(int(columns.str.fullmatch(r"\w+_5").sum())))


def degradation(reader: Reader) -> Iterator[Part]:
    """Error under corruptions less clean error of the baselines, in points."""
    for name in BASELINES:
        found = measures.degradation(reader.outcomes(name), confidence=reader.confidence)
        yield Part(architecture_label(name), found)


Scorer = Callable[[Callable[[str, str], np.ndarray]], np.ndarray]


def scored(reader: Reader, names: tuple[str, ...], score: Scorer, label: str = "") -> Part:
    """A function of Table 5's numbers, with its interval; ``score`` asks for them by name."""
    shift = reader.shift(*names)
    found = measures.resampled(
        shift.columns,
        lambda m: score(lambda model, column: shift.score(m, model, column)),
        confidence=reader.confidence,
    )
    return Part(label, found)


def mean_score(column: str) -> Measure:
    """A column of Table 5 for the baselines."""

    def measure(reader: Reader) -> Iterator[Part]:
        for name in BASELINES:
            label = architecture_label(name)
            yield scored(reader, (name,), lambda t, n=name: t(n, column), label)

    return measure


def vit_worse(reader: Reader) -> Iterator[Part]:
    """MCE of ViT-Small less that of ResNet-18."""
    yield scored(reader, BASELINES, lambda t: t(VIT, "mce") - t(RESNET, "mce"))


def noise_worst(reader: Reader) -> Iterator[Part]:
    """Corruption error under noise less the largest of the other categories."""
    for name in BASELINES:
        yield scored(
            reader,
            (name,),
            lambda t, n=name: (
                t(n, "noise") - np.maximum.reduce([t(n, c) for c in ("blur", "weather", "digital")])
            ),
            architecture_label(name),
        )


def digital_least(reader: Reader) -> Iterator[Part]:
    """Smallest corruption error of the other categories less that of digital ones."""
    for name in BASELINES:
        yield scored(
            reader,
            (name,),
            lambda t, n=name: (
                np.minimum.reduce([t(n, c) for c in ("noise", "blur", "weather")]) - t(n, "digital")
            ),
            architecture_label(name),
        )


def weather_between(reader: Reader) -> Iterator[Part]:
    """Noise less weather, and weather less digital."""
    for name in BASELINES:
        for worse, better in (("noise", "weather"), ("weather", "digital")):
            yield scored(
                reader,
                (name,),
                lambda t, n=name, w=worse, b=better: t(n, w) - t(n, b),
                f"{architecture_label(name)}, {worse} less {better}",
            )


def mce_change(before: str, after: str) -> Measure:
    """MCE of the second model less that of the first."""

    def measure(reader: Reader) -> Iterator[Part]:
        yield scored(reader, (before, after), lambda t: t(after, "mce") - t(before, "mce"))

    return measure


def mce_quotient(before: str, after: str, column: str) -> Measure:
    """A column of Table 5 of the second model over that of the first."""

    def measure(reader: Reader) -> Iterator[Part]:
        yield scored(reader, (before, after), lambda t: t(after, column) / t(before, column))

    return measure


def noise_gains_most(reader: Reader) -> Iterator[Part]:
    """What noise gains from adversarial training, less the most another category does."""
    for pair in zip(BASELINES, ROBUST, strict=True):
        yield scored(
            reader,
            pair,
            lambda t, p=pair: (
                _gain(t, p, "noise")
                - np.maximum.reduce([_gain(t, p, c) for c in ("blur", "weather", "digital")])
            ),
            architecture_label(pair[0]),
        )


def _gain(
    table: Callable[[str, str], np.ndarray], pair: tuple[str, str], column: str
) -> np.ndarray:
    return table(pair[0], column) - table(pair[1], column)


def weather_lags(reader: Reader) -> Iterator[Part]:
    """Half of what noise gains from adversarial training, less the least that weather gains."""
    for before, after in zip(BASELINES, ROBUST, strict=True):
        shift = reader.shift(before, after)

        def lag(
            m: np.ndarray, shift: measures.Shift = shift, pair: tuple[str, str] = (before, after)
        ) -> np.ndarray:
            gains = [
                shift.single(m, pair[0], c) - shift.single(m, pair[1], c)
                for c in measures.CATEGORIES["weather"]
            ]
            noise = shift.score(m, pair[0], "noise") - shift.score(m, pair[1], "noise")
            return noise / 2 - np.minimum.reduce(gains)

        found = measures.resampled(shift.columns, lag, confidence=reader.confidence)
        yield Part(architecture_label(before), found)


def breakage(reader: Reader) -> Iterator[Part]:
    """Rank correlation of surviving PGD with the share of corrupted versions that are right."""
    for name in ROBUST:
        outcomes, pgd = reader.outcomes(name), reader.record(name, "pgd")
        common = np.isin(outcomes.images, pgd["image"])
        attacked = estimates.on_images(pgd, outcomes.images[common])
        right = attacked["clean_correct"].to_numpy(bool)
        survives = attacked["correct"].to_numpy(float)[right]
        found, _ = estimates.rank_correlation(
            survives, 1 - outcomes.share_wrong()[common][right], confidence=reader.confidence
        )
        yield Part(architecture_label(name), found)
