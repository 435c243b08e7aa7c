"""Outcomes against the budget, and of images shown to another model, against closed forms."""

import json

import pytest
import torch
from torch import nn

from rslib import attacks
from rslib.attacks import Twins
from rslib.data import Batch
from rslib.run import predictions
from rslib.settings.schema import PGD, Budgets
from rslib.store import records
from tests.helpers.attack_models import seeded

EPS = [0.5, 1, 2, 4, 8, 16]


class Plane(nn.Module):
    """Two classes either side of a plane: logits (w.x + bias, 0); weights sum to ``width`` in l1.

    An image of label 0 turns at the l_inf budget (w.x + bias) / width, if no pixel is clipped.
    """

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, x):
        score = x.flatten(1) @ self.weight + self.bias
        return torch.stack([score, torch.zeros_like(score)], 1)


def plane(seed=0):
    return torch.randn(12, generator=seeded(seed))


@pytest.fixture
def case():
    """A plane, and 40 images that turn between 0.2/255 and 20/255; the last three are wrong."""
    weight, wanted = plane(), torch.cat([torch.linspace(0.2, 20, 37), torch.tensor([-1.0, -2, -9])])
    generator, width = seeded(1), weight.abs().sum()
    x = 0.3 + 0.4 * torch.rand(40, 12, generator=generator)
    # Moved along the weights until the distance to the plane x.w = mean is the one wanted.
    offset = (x @ weight).mean()
    shift = (wanted / 255 * width - (x @ weight - offset)) / (weight @ weight)
    x = (x + shift[:, None] * weight).clamp(0.1, 0.9)
    model = Plane(weight, -float(offset)).eval()
    distance = 255 * (x @ weight - offset) / width
    return (
        model,
        Batch(x.view(40, 3, 2, 2), torch.zeros(40).long(), torch.arange(40), None),
        distance,
    )


def measured(model, batch, *, eps=EPS, twins=None, **settings):
    evaluate = predictions.at_budgets(Budgets(eps=eps), PGD(**settings), twins or Twins())
    return evaluate(model, batch, seeded())


@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_a_plane_turns_each_image_at_its_distance(case, attack, restarts):
    model, batch, distance = case
    assert min((distance - eps).abs().min() for eps in EPS) > 1e-3
    columns = measured(model, batch, restarts=restarts).columns
    assert columns["clean_correct"].tolist() == (distance > 0).tolist()
    for eps in EPS:
        found = columns[f"{attack}_{eps:g}"]
        assert found.tolist() == (distance > eps).tolist(), eps
        assert 0 < found.sum() < 37


class Dented(nn.Module):
    """Label 0 is wrong only where the mean pixel lies within 0.002 of ``dent`` above its start."""

    def forward(self, x):
        score = (x.flatten(1).mean(1) - 0.5 - 3 / 255).abs() - 0.002
        return torch.stack([score, torch.zeros_like(score)], 1)


def test_what_a_smaller_budget_breaks_stays_broken():
    # One step from the image itself: at 3/255 it lands in the dent, at 8/255 far beyond it.
    batch = Batch(torch.full((4, 3, 2, 2), 0.5), torch.zeros(4).long(), torch.arange(4), None)
    single = {"steps": 1, "step_ratio": 1.0, "random_start": False}
    columns = measured(Dented(), batch, eps=[1, 3, 8], **single).columns
    assert [columns[f"fgsm_{eps}"].all().item() for eps in (1, 3, 8)] == [True, False, True]
    assert [columns[f"pgd_{eps}"].any().item() for eps in (1, 3, 8)] == [True, False, False]


@pytest.mark.parametrize("settings", [{}, {"restarts": 2}, {"norm": "l2", "steps": 5}])
def test_a_curve_ends_no_higher_than_the_attack_at_that_budget(settings):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 4)).eval()
    x = torch.rand(200, 3, 2, 2)
    batch = Batch(x, model(x).argmax(1), torch.arange(200), None)
    for norm_eps in (8, 60):
        curve = measured(model, batch, eps=[norm_eps / 4, norm_eps / 2, norm_eps], **settings)
        single = predictions.under_pgd(PGD(eps=norm_eps, **settings), Twins())
        alone = single(model, batch, seeded()).columns["correct"]
        end = curve.columns[f"pgd_{norm_eps}"]
        assert not (end & ~alone).any()
        first = measured(model, batch, eps=[norm_eps], **settings).columns[f"pgd_{norm_eps}"]
        assert first.tolist() == alone.tolist()
        before = curve.columns["clean_correct"]
        for name, values in curve.columns.items():
            if name.startswith("pgd"):
                assert not (values & ~before).any()
                before = values


def test_broken_images_are_not_attacked_and_change_no_other(case):
    model, batch, _ = case
    options = {"eps": 6 / 255, "step_size": 1 / 255, "num_steps": 4}
    skip = torch.arange(40) % 2 == 0
    whole = attacks.run_pgd(model, batch.x, batch.y, **options, generator=seeded())
    part = attacks.run_pgd(model, batch.x, batch.y, **options, generator=seeded(), broken=skip)
    assert part.fooled[skip].all() and (part.x_adv[skip] == batch.x[skip]).all()
    assert (part.x_adv[~skip] == whole.x_adv[~skip]).all()
    assert part.gradients < whole.gradients
    for wrong in (skip[:3], skip.long()):
        with pytest.raises(ValueError, match="broken is torch.*one true or false value an image"):
            attacks.run_pgd(model, batch.x, batch.y, **options, broken=wrong)


class Denied(Twins):
    """Gives a twin that is wrong about everything, so that all its claims are denied."""

    def of(self, model, x):
        return Plane(-model.weight.detach(), -model.bias)


def test_what_a_twin_only_claims_is_tried_again_at_every_budget(case):
    model, batch, distance = case
    columns = measured(model, batch, twins=Denied()).columns
    for eps in EPS:
        assert columns[f"pgd_{eps:g}"].tolist() == (distance > eps).tolist()


@pytest.mark.parametrize("settings", [{}, {"restarts": 2}])
def test_a_model_shown_its_own_images_is_attacked_in_the_open(case, settings):
    model, batch, _ = case
    other = Plane(plane(5), 0.1).eval()
    judges = {"itself": model, "other": other}
    chosen = PGD(eps=8, **settings)
    moved = predictions.transferred(judges, chosen, Twins())(model, batch, seeded()).columns
    pgd = predictions.under_pgd(chosen, Twins())(model, batch, seeded()).columns
    assert moved["correct_itself"].tolist() == pgd["correct_last"].tolist()
    assert moved["correct"].tolist() == moved["correct_itself"].tolist()
    assert moved["clean_correct_itself"].tolist() == pgd["clean_correct"].tolist()
    assert 0 < moved["correct_itself"].sum() < 37


def test_another_plane_sees_the_step_that_fools_the_first(case):
    model, batch, distance = case
    other = Plane(plane(5), 3.0).eval()
    moved = predictions.transferred({"other": other}, PGD(eps=8), Twins())(model, batch, seeded())
    # Against a plane the last iterate is the corner of the ball; what is wrong is left as it was.
    corner = batch.x - 8 / 255 * model.weight.detach().sign().view(1, 3, 2, 2)
    corner[distance <= 0] = batch.x[distance <= 0]
    with torch.no_grad():
        clean, attacked = other(batch.x).argmax(1) == 0, other(corner).argmax(1) == 0
    assert moved.columns["clean_correct_other"].tolist() == clean.tolist()
    assert moved.columns["correct_other"].tolist() == (clean & attacked).tolist()


@pytest.mark.slow
def test_a_run_keeps_both_records_for_all_its_judges(tiny_run):
    run = tiny_run({"training": {"adversarial": {"vit_small": {"epochs": 1, "batch_size": 40}}}})
    name = "resnet18-standard"
    budgets, pgd = run.evaluate(name, "budgets"), run.evaluate(name, "pgd")
    assert list(budgets)[2:] == ["clean_correct", "fgsm_4", "pgd_4", "fgsm_16", "pgd_16"]
    assert len(budgets) == run.settings.budgets.n
    transfer = run.evaluate(name, "transfer")
    assert transfer[f"correct_{name}"].tolist() == pgd["correct_last"].tolist()
    path = run.record_path(name, "transfer")
    # Another judge's weights make another record.
    judge = "vit_small-adversarial"
    file, weights = run.model_folder(judge) / "model.json", run.summary(judge)["weights"]["best"]
    about = json.loads(file.read_text().replace(weights, "other"))
    records.write_json(file, {key: about[key] for key in about.keys() - {"checksum"}})
    fresh = type(run)(run.settings, root=run.directory.parents[1], progress=False)
    assert fresh.record_path(name, "transfer") != path


@pytest.mark.parametrize("eps", [[4, 2], [2, 2], [], [0], [300]])
def test_budgets_rise(tiny_run, eps):
    from rslib.settings import SettingsError

    with pytest.raises(SettingsError, match="budgets.eps"):
        tiny_run({"budgets": {"eps": eps}})
