"""A run directory written by hand, with outcomes that can be counted by hand."""

import math

import numpy as np
import pandas as pd

from rslib import settings
from rslib.run import Run
from rslib.settings.plan import plan
from rslib.store import records

DEVICE = "CPU, 2 threads"
RESNET, VIT = "resnet18-standard", "vit_small-standard"
ROBUST_RESNET, ROBUST_VIT = "resnet18-adversarial", "vit_small-adversarial"
# Per model: right clean of 20; of the 10 attacked images the first 8 are right clean, and these
# many of them survive FGSM, PGD, and PGD's last iterate.
OUTCOMES = {
    RESNET: (16, 4, 1, 2),
    ROBUST_RESNET: (14, 7, 5, 6),
    VIT: (15, 2, 0, 0),
    ROBUST_VIT: (13, 6, 3, 3),
}
STAGES = ["clean", "known", "apgd-ce", "apgd-t", "fab-t", "square"]
# AutoAttack and smoothing see 8 of those 10 images, of which the first here is wrong clean.
FEW = [9, 0, 1, 2, 3, 4, 5, 6]
BROKEN_BY = {
    RESNET: [0, 2, 2, 2, 2, 2, 3, 2],
    ROBUST_RESNET: [0, -1, -1, -1, 3, 5, 2, 2],
    VIT: [0, 2, 2, 2, 2, 2, 2, 2],
    ROBUST_VIT: [0, -1, -1, 4, 2, 2, 2, 2],
}
WARNING = "Square Attack has decreased the robust accuracy by 12.50% <after>"
# The largest radius of 1,000 votes at sigma 0.25 and alpha 0.001: sigma times the normal quantile
# of 0.001 ** (1 / 1000).
CEILING = 0.25 * 2.4632626147808
# Per image: right, abstained, radius.
CERTIFIED = [
    (False, False, 0.3),
    (False, True, 0.0),
    (True, False, 0.1),
    (True, False, 0.25),
    (True, False, 0.3),
    (True, False, 0.5),
    (True, False, None),  # a unanimous vote
    (True, False, None),
]
HISTORY = [
    {
        "epoch": epoch,
        "learning_rate": 0.1 / epoch,
        "train_loss": 2.0 / epoch,
        "train_accuracy": 0.3 * epoch,
        "validation_loss": 2.2 / epoch,
        "validation_accuracy": accuracy,
        "seconds": 10.0,
    }
    for epoch, accuracy in ((1, 0.4), (2, 0.7), (3, 0.6))
]
UNDER_ATTACK = [0.2, 0.35, 0.3]


def make_run(root, *, profile="smoke", models=OUTCOMES, seed=0, seeds=(), **overrides):
    """A run whose directory holds summaries and records of known outcomes."""
    overrides = {"device": "cpu", "smoothing": {"samples": 1000, "alpha": 0.001}, **overrides}
    run = Run(settings.load(profile, overrides), seed, seeds=seeds, root=root, progress=False)
    made = {"device": DEVICE, "revision": "abc", "date": "2025-07-01T00:00:00+00:00"}
    for name, (clean, fgsm, pgd, last) in models.items():
        architecture, _, objective = name.partition("-")
        robust = plan(run.settings, name).attack is not None
        history = [
            row | ({"validation_robust_accuracy": share} if robust else {})
            for row, share in zip(HISTORY, UNDER_ATTACK, strict=True)
        ]
        summary = {
            "name": name,
            "architecture": architecture,
            "objective": objective,
            "inputs": run.model_inputs(name),
            "weights": {"best": name},
            "recipe": {"learning_rate": 0.1},
            "train_images": 4000,
            "parameters": 11_173_962,
            "best_epoch": 2,
            "seconds": 5400.0,
            "history": history,
            "provenance": made,
        }
        records.write_json(run.model_folder(name) / "model.json", summary)
        for kind, frame, notes in (
            ("clean", clean_record(clean), {}),
            ("fgsm", attack_record(fgsm), {}),
            ("pgd", attack_record(pgd).assign(correct_last=np.arange(10) < last), {}),
            ("autoattack", autoattack_record(name), autoattack_notes(name)),
            ("smoothing", smoothing_record(), {}),
        ):
            about = {
                "model": name,
                "evaluation": kind,
                "inputs": run.record_inputs(name, kind),
                "profile": profile,
                "seed": seed,
                "n": len(frame),
                "seconds": 1.0,
                "notes": notes,
                "provenance": made,
            }
            records.write_record(run.record_path(name, kind), frame, about)
    return run


def clean_record(right):
    """20 images, half of confidence 0.9 and half of 0.6; images 8, 9, 19, 18, ... are wrong."""
    label = np.arange(20) % 10
    wrong = [8, 9, *range(19, 9, -1)][: 20 - right]
    prediction = np.where(np.isin(np.arange(20), wrong), (label + 1) % 10, label)
    confidence = np.where(np.arange(20) % 2 == 0, 0.9, 0.6)
    probabilities = np.repeat((1 - confidence[:, None]) / 9, 10, axis=1)
    probabilities[np.arange(20), prediction] = confidence
    columns = {
        "image": np.arange(20),
        "label": label,
        "prediction": prediction,
        "correct": prediction == label,
        "confidence": confidence,
        "loss": -np.log(probabilities[np.arange(20), label]),
    }
    return pd.DataFrame(columns | {f"p{c}": probabilities[:, c] for c in range(10)})


def attack_record(survive):
    """10 images of which 8 are right clean and the first `survive` under attack."""
    correct = np.arange(10) < survive
    label = np.arange(10)
    return pd.DataFrame(
        {
            "image": np.arange(10),
            "label": label,
            "clean_correct": np.arange(10) < 8,
            "prediction": np.where(correct, label, (label + 1) % 10),
            "correct": correct,
            "distance": 8 / 255,
        }
    )


def autoattack_record(name):
    """8 images, in another order than PGD's."""
    broken_by = np.array(BROKEN_BY.get(name, BROKEN_BY[RESNET]))
    return pd.DataFrame(
        {
            "image": FEW,
            "label": FEW,
            "clean_correct": broken_by != 0,
            "prediction": np.where(broken_by < 0, FEW, 7),
            "correct": broken_by < 0,
            "distance": 8 / 255,
            "broken_by": broken_by,
        }
    )


def autoattack_notes(name):
    """What its own checks say: a warning and two mismatches for one model."""
    odd = name == ROBUST_RESNET
    return {
        "label": "AutoAttack (standard)",
        "package": "pyautoattack 0.2.0",
        "stages": STAGES,
        "flags": [WARNING] if odd else [],
        "mismatches": 2 if odd else 0,
        "evaluations": 1000,
    }


def smoothing_record():
    """8 images, radii in single precision."""
    radii = [CEILING if radius is None else radius for _, _, radius in CERTIFIED]
    right = np.array([right for right, _, _ in CERTIFIED])
    abstained = np.array([abstained for _, abstained, _ in CERTIFIED])
    return pd.DataFrame(
        {
            "image": FEW,
            "label": FEW,
            "prediction": np.where(right, FEW, np.where(abstained, -1, 7)),
            "correct": right,
            "radius": np.array(radii, dtype=np.float32),
            "votes": 900,
        }
    )


def add_saliency(run, name):
    """Give a model a saliency record of 20 images, with an IoU for all but image 3."""
    iou = np.linspace(0, 0.95, 20, dtype=np.float32)
    iou[3] = np.nan
    frame = pd.DataFrame(
        {
            "image": np.arange(20),
            "label": np.arange(20) % 10,
            "correct": True,
            "degenerate": False,
            "iou_exact": iou,
            "iou_exact_05": 0.5,
            "mass_exact": 0.25,
        }
    )
    about = {
        "model": name,
        "evaluation": "saliency",
        "inputs": {"evaluation": "saliency", "model": name},
        "n": 20,
        "seconds": 1.0,
        "provenance": {"device": DEVICE, "revision": "abc", "date": "2025-07-01T00:00:00+00:00"},
    }
    records.write_record(run.record_path(name, "saliency"), frame, about)


def wilson(k, n, z=1.959963984540054):
    """Wilson's interval in percent, from its textbook formula."""
    p, d = k / n, 1 + z * z / n
    center, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * (center - half) / d, 100 * (center + half) / d


def pick(frame, name, quantity):
    """The one row of a table about this model and quantity."""
    (row,) = frame[(frame.model == name) & (frame.quantity == quantity)].to_dict("records")
    return row


def budgets_record(survive):
    """20 images, 16 right clean; by budget, those that survive FGSM and PGD: 4 and 1 less each."""
    image = np.arange(20)
    columns = {"image": image, "label": image % 10, "clean_correct": image < 16}
    for eps, (fgsm, pgd) in survive.items():
        columns |= {f"fgsm_{eps:g}": image < fgsm, f"pgd_{eps:g}": image < pgd}
    return pd.DataFrame(columns)


def transfer_record(judges):
    """10 images of which 8 are right clean; judges: first image right clean, and how many hold."""
    image = np.arange(10)
    columns = {"image": image, "label": image, "clean_correct": image < 8, "correct": image < 2}
    for name, (first, end) in judges.items():
        columns[f"clean_correct_{name}"] = image >= first
        columns[f"correct_{name}"] = (image >= first) & (image < end)
    return pd.DataFrame(columns)


def add_record(run, name, kind, frame):
    """Give a model a record of an evaluation."""
    about = {
        "model": name,
        "evaluation": kind,
        "inputs": run.record_inputs(name, kind),
        "n": len(frame),
        "seconds": 1.0,
        "notes": {},
        "provenance": {"device": DEVICE, "revision": "abc", "date": "2025-07-01T00:00:00+00:00"},
    }
    records.write_record(run.record_path(name, kind), frame, about)
