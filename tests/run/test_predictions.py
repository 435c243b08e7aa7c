"""Rows of records from models on which they are known by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rslib.attacks import Twins
from rslib.data import Batch
from rslib.run import predictions
from rslib.run.shards import EvaluationError
from rslib.settings.schema import FGSM, PGD, AutoAttack, Smoothing
from tests.helpers.attack_models import Dip


def batch_of(values, labels):
    """Images of one value each."""
    x = torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    return Batch(x, torch.tensor(labels), torch.arange(len(labels)), None)


def generator():
    return torch.Generator().manual_seed(0)


class Logits(nn.Module):
    """Logits that are a function of the image's first pixel alone."""

    def __init__(self, *of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return torch.stack([each(x[:, 0, 0, 0]) for each in self.of], 1)


class Valley(Dip):
    """The dip, seen from images of three channels: label 0 is wrong within 0.04 of 0.6 alone."""

    def forward(self, x):
        return super().forward(x[:, :1, :1, :1])


@pytest.mark.parametrize("last", [True, False])
def test_right_under_pgd_is_right_at_every_iterate(last):
    # Steps of 2 * 0.2 / 5 from 0.46: 0.54, 0.62 (wrong), 0.54, 0.62, and 0.54 at last.
    # From 0.1 the end is 0.3, which is right; label 1 is wrong from the start, and 0.62 is right.
    batch = batch_of([0.46, 0.1, 0.46], [0, 0, 1])
    settings = PGD(eps=51, steps=5, random_start=False, last_iterate=last)
    columns = predictions.under_pgd(settings, Twins())(Valley(), batch, generator()).columns
    assert columns["clean_correct"].tolist() == [True, True, False]
    assert columns["correct"].tolist() == [False, True, False]
    assert columns["prediction"].tolist() == [1, 0, 0]
    assert columns["distance"].tolist() == pytest.approx([0.16, 0.2, 0.0], abs=1e-6)
    if last:
        assert columns["correct_last"].tolist() == [True, True, False]
    else:
        assert "correct_last" not in columns


def test_an_image_that_is_wrong_when_clean_stays_wrong_under_attack():
    # Label 0 is right above 0.5: an attack on label 1 of the second goes up, to where it is wrong;
    # that of the third, wrong as it is, changes what is said of it to right.
    model = Logits(lambda p: p - 0.5, lambda p: 0.5 - p)
    turned = Logits(lambda p: -(p - 0.5).abs() + 0.1, lambda p: 0 * p)
    columns = predictions.under_fgsm(FGSM(eps=51))(
        model, batch_of([0.9, 0.6, 0.4], [0, 0, 1]), generator()
    ).columns
    assert columns["clean_correct"].tolist() == [True, True, True]
    assert columns["correct"].tolist() == [True, False, False]
    assert columns["distance"].tolist() == pytest.approx([0.2] * 3)

    # Right only from 0.4 to 0.6: one long step against 0.65's gradient lands at 0.85, or at 0.45.
    class Turned(nn.Module):
        def forward(self, x):
            return turned(x)

    def back(model, x, y, *, eps, generator):
        return x - eps

    columns = predictions.under_attack(back, PGD(eps=51))(
        Turned(), batch_of([0.65, 0.5], [0, 0]), generator()
    ).columns
    assert columns["prediction"].tolist() == [0, 1]
    assert columns["correct"].tolist() == [False, False]


@pytest.mark.parametrize("change", [0.21, -0.2])
def test_an_attack_that_leaves_its_threat_model_is_refused(change):
    def attack(model, x, y, *, eps, generator):
        return x + change

    model = Logits(lambda p: p, lambda p: -p)
    with pytest.raises(EvaluationError, match="left its threat model"):
        predictions.under_attack(attack, PGD(eps=51))(model, batch_of([0.1], [0]), generator())


def test_clean_rows_by_hand():
    model = Logits(lambda p: 2 * p, lambda p: -2 * p)
    columns = predictions.clean(model, batch_of([0.5, 0.25], [0, 1]), generator()).columns
    p = torch.sigmoid(torch.tensor([2.0, 1.0]))
    assert columns["correct"].tolist() == [True, False]
    torch.testing.assert_close(columns["confidence"], p, atol=2**-17, rtol=0)
    torch.testing.assert_close(columns["p1"], 1 - p, atol=2**-17, rtol=0)
    losses = torch.stack([-p[0].log(), -(1 - p[1]).log()])
    torch.testing.assert_close(columns["loss"], losses, atol=2**-17, rtol=0)
    assert (columns["p0"] * 2**16 % 1 == 0).all()


def test_a_certificate_that_abstains_is_not_right():
    # Noise of 0.25: half the draws at 0.5 exceed it, all at 3 deviations.
    model = Logits(lambda p: p - 0.5, lambda p: 0.5 - p)
    settings = Smoothing(sigma=0.25, samples=200, selection_samples=20, alpha=0.001)
    batch = batch_of([0.5, 1.0, 1.0, 0.0], [0, 0, 1, 1])
    columns = predictions.certified(settings)(model, batch, generator()).columns
    assert columns["prediction"].tolist() == [-1, 0, 0, 1]
    assert columns["correct"].tolist() == [False, True, False, True]
    assert columns["radius"][0] == 0 and (columns["radius"][1:] > 0.3).all()
    # About 97.7 % and 50 % of 200 votes.
    assert 80 < columns["votes"][0] < 120 and (columns["votes"][1:] > 185).all()
    # Undecided images get whichever class won the first votes: one of the two.
    undecided = predictions.certified(settings)(
        model, batch_of([0.5] * 8, [0, 1] * 4), generator()
    ).columns
    assert not undecided["correct"].any()


@pytest.mark.filterwarnings("ignore::rslib.attacks.ReducedAutoAttackWarning")
def test_each_attack_alone_and_pgd_first():
    # The margin at 0.9 is out of reach, that at 0.55 is not.
    model = Logits(lambda p: 20 * p - 10, lambda p: 10 - 20 * p)
    batch, first = batch_of([0.9, 0.55], [0, 0]), PGD(eps=26, steps=3)
    settings = AutoAttack(eps=26, steps=3, queries=5, individual=True, skip_broken_by_pgd=False)
    evaluate = predictions.under_autoattack(settings, first, Twins(), seed=0)
    found = evaluate(model, batch, generator())
    assert found.columns["correct"].tolist() == [True, False]
    assert found.columns["alone_apgd-ce"].tolist() == [True, False]
    assert found.columns["broken_by"][0] == -1 and found.columns["broken_by"][1] > 1
    settings = settings.model_copy(update={"skip_broken_by_pgd": True})
    evaluate = predictions.under_autoattack(settings, first, Twins(), seed=0)
    assert evaluate(model, batch, generator()).columns["broken_by"].tolist() == [-1, 1]


def test_corrupted_images_are_shown_in_their_range_and_never_surely():
    shown = torch.tensor([255, 51], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    corrupted = SimpleNamespace(clean=SimpleNamespace(ids=torch.arange(2)), archive=None)
    evaluate = predictions.UnderCorruptions(corrupted, ["fog"])
    evaluate._versions = lambda ids: {"fog_1": shown}
    # Above 0.998 for certain, at 0.2 an even chance, above which label 0 is right.
    model = Logits(lambda p: 100 * (p - 0.998) + 50 * (p > 0.5), lambda p: 100 * (p - 0.998) * 0)
    columns = evaluate(model, batch_of([0.1, 0.1], [0, 1]), generator()).columns
    assert columns["fog_1"].tolist() == [True, True]
    assert columns["fog_1_confidence"].tolist() == [1 - 2**-11, 1 - 2**-11]
    fine = Logits(lambda p: 4 * (p - 0.2), lambda p: 0 * p)
    columns = evaluate(fine, batch_of([0.1, 0.1], [0, 1]), generator()).columns
    p = torch.sigmoid(torch.tensor([3.2, 0.0]))
    torch.testing.assert_close(columns["fog_1_confidence"], p, atol=2**-11, rtol=0)


def test_the_last_iterate_counts_for_images_that_the_model_is_right_on():
    # The model is right above 0.5; its twin, which searches, below 0.9, and leads from 0.45 up.
    class Astray(Twins):
        def of(self, model, x):
            return Logits(lambda p: 0.9 - p, lambda p: 0 * p)

    model = Logits(lambda p: p - 0.5, lambda p: 0 * p)
    settings = PGD(eps=51, steps=5, random_start=False)
    evaluate = predictions.under_pgd(settings, Astray())
    columns = evaluate(model, batch_of([0.45, 0.55], [0, 0]), generator()).columns
    assert columns["clean_correct"].tolist() == [False, True]
    assert columns["correct_last"].tolist() == [False, True]
