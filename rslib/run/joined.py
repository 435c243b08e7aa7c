"""Everything that is known of each test image under one model, in one table.

For example ``joined.load(run, "resnet18-adversarial").groupby("label")["pgd_correct"].mean()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import CATEGORIES
from rslib.run.outcomes import Outcomes
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run.results import Results

COLUMNS = {
    "image": "position in the canonical order of the test images",
    "label": "its class, from 0",
    "prediction": "predicted class of the clean image",
    "clean_correct": "whether that is right",
    "confidence": "probability of the predicted class, in [0, 1]",
    "loss": "cross-entropy of the clean image, in nats",
    "fgsm_correct": "whether it is right clean and after one step of FGSM",
    "pgd_correct": "whether it is right clean and at every iterate of PGD",
    "autoattack_correct": "whether it is right clean and no stage of AutoAttack broke it",
    "certified_correct": "whether the smoothed classifier is right (an abstention is not)",
    "certified_radius": "l2 radius of its certificate, in [0, 1] pixel units; 0 if it abstains",
    "corruption_error": "share of its corrupted versions that are wrong, in [0, 1]",
    "corruption_error_<category>": "the same under noise, blur, weather or digital corruptions",
    "corruption_confidence": "mean confidence over its corrupted versions, in [0, 1]",
    "degenerate": "whether its saliency map is constant, so that no pixel is more salient",
    "iou_<masks>": "IoU of the top 30 % of the saliency with the mask; NaN where there is none",
    "mass_<masks>": "share of the saliency that lies inside the mask, in [0, 1]",
    "coverage_<masks>": "share of the image that the mask covers, in [0, 1]",
}
"""What each column holds. Masks are ``exact``, ``cnn``, ``vit`` or ``own``
(rslib.run.object_masks)."""


def load(run: Results, name: str, *, needs: Sequence[str] = ()) -> pd.DataFrame:
    """The joined per-image record of a model, from the records that there are.

    Returns:
        One row a test image that some evaluation covers, in canonical order, with the columns of
        :data:`COLUMNS`: unknown (NA or NaN) on images that an evaluation left out, and absent where
        it was not run. Its ``attrs`` hold the model's name and, as ``sources``, the metadata of the
        records by evaluation.

    Raises:
        RecordError: there is no record of this model, a column that is needed is not there, or two
            records disagree about a label.
    """
    import pandas as pd

    found = {kind: run.record(name, kind) for kind in _TAKEN if run.has_record(name, kind)}
    if not found:
        raise RecordError(
            f"there is no per-image record of {name} under these settings in {run.directory}: "
            "run the notebooks, or Run.evaluate()"
        )
    labels = pd.concat([frame.set_index("image")["label"] for frame in found.values()])
    label = labels[~labels.index.duplicated()].sort_index()
    if (labels != label.loc[labels.index]).any():
        raise RecordError(
            f"the records of {name} disagree about labels: they are not about the same images"
        )
    parts = []
    for kind, frame in found.items():
        if kind == "corruptions":
            columns = _corruptions(frame, run.record(name, "clean"))
        elif kind == "saliency":
            columns = _saliency(run, frame)
        else:
            columns = {called: frame[column].to_numpy() for column, called in _TAKEN[kind].items()}
        parts.append(pd.DataFrame(columns, index=frame["image"]))
    joined = pd.concat([label, *parts], axis=1).sort_index().reset_index()
    missing = [column for column in needs if column not in joined]
    if missing:
        raise RecordError(
            f"the joined record of {name} lacks {', '.join(missing)}: it has {', '.join(joined)}. "
            "Run the notebooks that evaluate it; coverage comes from notebook 03"
        )
    for column in joined:
        if column == "degenerate" or column.endswith("_correct"):
            joined[column] = joined[column].astype("boolean")
        elif column == "prediction":
            joined[column] = joined[column].astype("Int64")
    joined.attrs = {"model": name, "sources": {kind: each.attrs for kind, each in found.items()}}
    return joined


_TAKEN: dict[str, dict[str, str]] = {
    "clean": {
        "prediction": "prediction",
        "correct": "clean_correct",
        "confidence": "confidence",
        "loss": "loss",
    },
    "fgsm": {"correct": "fgsm_correct"},
    "pgd": {"correct": "pgd_correct"},
    "autoattack": {"correct": "autoattack_correct"},
    "smoothing": {"correct": "certified_correct", "radius": "certified_radius"},
    "corruptions": {},
    "saliency": {},
}
"""The evaluations, the columns that are taken from their records as they are, and their names."""


def _corruptions(record: pd.DataFrame, clean: pd.DataFrame) -> dict[str, np.ndarray]:
    found = Outcomes.from_records(record, clean)
    share = {corruption: wrong.mean(0) for corruption, wrong in found.wrong.items()}
    columns = {"corruption_error": found.share_wrong()}
    for category, members in CATEGORIES.items():
        columns[f"corruption_error_{category}"] = np.mean([share[c] for c in members], axis=0)
    certainty = [values.mean(0) for values in found.confidence.values()]
    columns["corruption_confidence"] = np.mean(certainty, axis=0)
    return columns


def _saliency(run: Results, record: pd.DataFrame) -> dict[str, np.ndarray]:
    # Not those at other shares of the pixels, such as iou_cnn_05.
    wanted = [c for c in record if c.startswith(("iou_", "mass_")) and not c[-2:].isdigit()]
    columns = {column: record[column].to_numpy() for column in ("degenerate", *wanted)}
    try:
        priors = run.priors().set_index("image")
    except RecordError:
        return columns  # without the priors, masks' coverage is not known
    for column in priors:
        if column.startswith("coverage_"):
            columns[column] = priors[column].reindex(record["image"]).to_numpy()
    return columns
