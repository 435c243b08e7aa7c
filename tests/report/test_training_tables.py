"""Best and last epoch of a robust training, against a history written by hand."""

import nbformat
import pytest

from rslib import notebook
from rslib.report import figures, labels, tables
from rslib.settings import PROJECT, extensions
from tests.helpers.known_run import RESNET, ROBUST_RESNET, ROBUST_VIT, make_run, pick, wilson


@pytest.fixture
def run(tmp_path):
    overrides = {
        "data": {"validation_size": 500},
        "training": {"adversarial": {"validation_images": 100}},
    }
    return make_run(tmp_path, **overrides)


def test_best_and_last_epoch_with_their_intervals(run):
    # Epochs 1, 2, 3: 20, 35, 30 % under attack and 40, 70, 60 % clean; the second is kept.
    frame = tables.selection_table(run, [ROBUST_RESNET, ROBUST_VIT])
    expected = {
        "best_epoch": 2,
        "epochs": 3,
        "best_robust_accuracy": 35,
        "last_robust_accuracy": 30,
        "best_clean_accuracy": 70,
        "last_clean_accuracy": 60,
        "overfitting": 5,
    }
    for quantity, value in expected.items():
        assert pick(frame, ROBUST_RESNET, quantity)["ours"] == pytest.approx(value), quantity
    best = pick(frame, ROBUST_RESNET, "best_robust_accuracy")
    assert (best["low"], best["high"]) == pytest.approx(wilson(35, 100))
    assert best["n"] == 100
    clean = pick(frame, ROBUST_RESNET, "last_clean_accuracy")
    assert (clean["low"], clean["high"]) == pytest.approx(wilson(300, 500))
    assert "n = " not in frame.attrs["stamp"]  # no test image is in it


def test_it_goes_through_saving_and_showing(run):
    frame = tables.selection_table(run, [ROBUST_RESNET])
    tables.save(run, "selection", frame)
    assert pick(tables.load(run, "selection"), ROBUST_RESNET, "overfitting")[
        "ours"
    ] == pytest.approx(5)
    assert "Best − Last (points)" in repr(tables.show(frame))


def test_only_robust_trainings_have_a_choice_to_show(run):
    with pytest.raises(ValueError, match="resnet18-standard was not validated under attack"):
        tables.selection_table(run, [RESNET])


# Models that a reader names in extra_models: an objective of their own, and changed settings.
OWN, CHANGED = "resnet18-mixup", "resnet18-trades@beta=3.0,eps=4,validation_images=50"


@pytest.fixture
def extended(tmp_path, monkeypatch):
    monkeypatch.setitem(extensions.ADDED["objective"], "mixup", plan_of_one_step)
    names = [*tables.ROBUSTNESS, "resnet18-purely_adversarial", OWN, CHANGED]
    return make_run(
        tmp_path,
        models=dict.fromkeys(names, (14, 7, 5, 6)),
        extra_models=[OWN, CHANGED],
        data={"validation_size": 500},
        training={"added": {"resnet18": {"epochs": 3}}},
    )


def plan_of_one_step(model, batch, generator, epoch):
    """An objective whose source can be read; nothing is trained with it here."""


def test_only_models_validated_under_attack_are_compared_by_epoch(extended):
    names = [RESNET, ROBUST_RESNET, OWN, CHANGED]
    assert tables.validated_under_attack(extended, names) == [ROBUST_RESNET, CHANGED]
    # 35 % of the 50 images that its name says, not of its section's 500.
    frame = tables.selection_table(extended, [CHANGED])
    best = pick(frame, CHANGED, "best_robust_accuracy")
    assert (best["n"], best["ours"]) == (50, pytest.approx(100 * round(0.35 * 50) / 50))
    drawn = figures.robust_overfitting(extended, [CHANGED])
    assert any("budget 4/255" in text.get_text() for text in drawn.texts)


def test_recipes_say_what_the_settings_and_the_name_make_of_a_training(extended):
    shown = tables.recipes(extended, [ROBUST_RESNET, OWN, CHANGED])
    assert list(shown.columns) == [ROBUST_RESNET, OWN, CHANGED]
    assert shown.loc["epochs", OWN] == "3"
    attack = [row for row in shown.index if row.startswith("attack: ")]
    assert (shown.loc[attack, OWN] == "none").all()
    assert shown.loc["attack: beta"].tolist() == ["none", "none", "3.0"]
    usual = extended.settings.training.adversarial
    assert shown.loc["attack: eps"].tolist() == [str(usual.eps), "none", "4"]
    assert shown.loc["attack: probability", ROBUST_RESNET] == str(usual.probability)
    assert not {"attack: resnet18", "attack: vit_small"} & set(shown.index)


def test_notebook_02_takes_what_readers_add(extended, monkeypatch):
    said = []
    monkeypatch.setattr(notebook, "say", lambda text, *tables: said.append(text))
    monkeypatch.setattr(extended, "trained", lambda name: None)
    (path,) = (PROJECT / "notebooks").glob("02_*.ipynb")
    held = {"run": extended, "notebook": notebook}
    for cell in nbformat.read(path, as_version=4).cells:
        about = any(name in cell.source for name in ("DEFENDED", "ROBUST", "(selection"))
        if cell.cell_type == "code" and about:
            exec(cell.source, held)
    assert held["DEFENDED"][-2:] == [OWN, CHANGED]
    assert set(held["selection"]["model"]) == {*held["DEFENDED"]} - {OWN}
    # The best of 50 images, 18 of them, less the last: 35 - 30 points, as of all others.
    assert "Of 4 robust trainings, 4 ended below their best epoch" in said[-1]
    assert f"{labels.short_label(ROBUST_RESNET)} (5.0 points of robust" in said[-1]
