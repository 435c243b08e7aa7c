"""The runs of the shortcut experiment: Shapes whose background gives the class away (ours)."""

from __future__ import annotations

from typing import TypeVar

from rslib.run.results import Results

AnyRun = TypeVar("AnyRun", bound=Results)


def shortcut_runs(run: AnyRun) -> tuple[AnyRun, AnyRun]:
    """Shapes with backgrounds that give the class away, and the same with test images that do not.

    The models of both are the same: those that were trained with the correlation.

    Args:
        run: whose nets, recipes and seed are used, whatever its own images are.
    """
    chosen = run.settings.alignment
    shapes = {
        "name": "shapes",
        "train_size": chosen.shortcut_images,
        "validation_size": chosen.shortcut_images // 8,
        "test_size": chosen.shortcut_images // 4,
        "background_correlation": chosen.shortcut_correlation,
    }
    exact = {"sources": ["exact"], "own": None}
    tied = run.under({"data": shapes, "masks": exact})
    return tied, tied.under({"data": {"test_background_correlation": 0.0}})
