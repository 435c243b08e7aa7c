"""Corruption and saliency records with outcomes that can be counted by hand."""

import numpy as np
import pandas as pd

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES
from rslib.settings.names import REFERENCE
from rslib.store import records
from tests.helpers.known_run import DEVICE, RESNET, ROBUST_RESNET, ROBUST_VIT, VIT

# At severity s the first `factor * s` of 10 images are wrong: errors of 0.1, 0.2, ... times factor.
FACTORS = {RESNET: 1, ROBUST_RESNET: 1, VIT: 2, ROBUST_VIT: 1, REFERENCE: 2}
DATA = {"origin": "generated", "dataset": "shapes", "images": 10, "seed": 0, "fingerprint": "f"}


def usual(name):
    """Of ten images, those wrong; noise doubles the errors of the standard ResNet."""

    def wrong(corruption, severity):
        noisy = name == RESNET and corruption in CATEGORIES["noise"]
        return np.arange(10) < FACTORS[name] * severity * (2 if noisy else 1)

    return wrong


def add_corruptions(run, name, data=DATA, *, wrong=None):
    """Add a record in which ``wrong`` (corruption, severity) says which images (10,) are wrong."""
    wrong = wrong or usual(name)
    columns = {"image": np.arange(10), "label": np.arange(10)}
    for corruption in ALL19:
        for severity in SEVERITIES:
            columns[f"{corruption}_{severity}"] = ~wrong(corruption, severity)
            columns[f"{corruption}_{severity}_confidence"] = np.float32(0.8)
    about = {"profile": run.settings.profile, "seed": 0, "notes": {}, "corrupted": data}
    _add(run, name, "corruptions", columns, about)


def add_saliency(run, name):
    iou = np.where(np.arange(20) == 3, np.nan, np.linspace(0, 0.95, 20))
    columns = {
        "image": np.arange(20),
        "label": np.arange(20) % 10,
        "correct": True,
        "degenerate": False,
        "iou_exact": iou.astype(np.float32),
        "iou_exact_05": 0.5,
        "mass_exact": 0.25,
    }
    _add(run, name, "saliency", columns, {})


def _add(run, name, kind, columns, about):
    frame = pd.DataFrame(columns)
    about = about | {
        "model": name,
        "evaluation": kind,
        "inputs": {"evaluation": kind, "model": name},
        "n": len(frame),
        "seconds": 1.0,
        "provenance": {"device": DEVICE, "revision": "abc", "date": "2025-07-01T00:00:00+00:00"},
    }
    records.write_record(run.record_path(name, kind), frame, about)
