"""Names of models that differ from their objective's settings in something."""

import pytest
import torch

from rslib import models, settings
from rslib.data import Batch
from rslib.report import labels
from rslib.settings.names import parts
from rslib.settings.plan import plan
from rslib.training import Adversarial
from rslib.training.alignment import Aligned
from rslib.training.plan import alignment, objective

CHOSEN = settings.load("paper")


def test_a_name_without_changes_has_none():
    assert parts("resnet18-adversarial").changes == {}
    assert parts("vit_small-aligned").objective == "aligned"


def test_changes_reach_the_objective_and_the_key():
    name = "resnet18-aligned@beta=2,reading=standardized,through=head"
    planned = plan(CHOSEN, name)
    aligned = objective(planned)
    assert isinstance(aligned, Aligned)
    assert (aligned.beta, aligned.reading, aligned.head) == (2.0, "standardized", True)
    assert planned.parent == "resnet18-standard"
    assert planned.inputs == {"beta": 2.0, "reading": "standardized", "through": "head"}
    assert plan(CHOSEN, "resnet18-aligned").inputs == {}


def test_epochs_in_a_name_are_the_recipes_of_its_network():
    plain, longer = (plan(CHOSEN, f"vit_small-aligned{of}") for of in ("", "@beta=1.0,epochs=7"))
    assert (plain.recipe.epochs, longer.recipe.epochs, longer.section.beta) == (50, 7, 1.0)
    assert longer.recipe.model_copy(update={"epochs": 50}) == plain.recipe
    assert longer.section.resnet18 == plain.section.resnet18
    assert longer.inputs == {"beta": 1.0}
    assert plan(CHOSEN, "resnet18-noise@epochs=3").recipe.epochs == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18-aligned@", "after the @ come settings"),
        ("resnet18-aligned@beta", "after the @ come settings"),
        ("resnet18-aligned@betta=1", "betta is none of"),
        ("resnet18-aligned@epochs=0", "epochs|greater than or equal to 1"),
        ("resnet18-aligned@epochs=many", "resnet18: "),
        ("alexnet-aligned@epochs=3", "epochs is none of"),
        ("resnet18-aligned@learning_rate=1.0", "learning_rate is none of"),
        ("resnet18-aligned@resnet18=1", "resnet18 is none of"),
        ("resnet18-aligned@beta=-1", "beta: .*greater than or equal to 0"),
        ("resnet18-aligned@reading=other", "reading: "),
        ("resnet18-aligned@beta=[1", "beta"),
    ],
)
def test_changes_that_are_not_allowed_are_refused(name, said):
    with pytest.raises(ValueError, match=said):
        plan(CHOSEN, name)


def test_labels_tell_the_changes():
    assert labels.training_label("resnet18-aligned") == "Aligned"
    name = "vit_small-aligned@reading=as_written,beta=0.1,share=0.05,masks=vit,through=head"
    assert labels.training_label(name) == (
        "Aligned (as written, β = 0.1, 5 % of masks, ViT teacher's masks, through the head)"
    )
    assert labels.short_label("resnet18-aligned@beta=0.0") == "ResNet-18, aligned (β = 0)"


def test_the_teachers_see_different_halves():
    assert plan(CHOSEN, "resnet18-teacher").half == 0
    assert plan(CHOSEN, "vit_small-teacher").half == 1
    assert plan(CHOSEN, "resnet18-teacher").parent is None
    assert plan(CHOSEN, "resnet18-standard").half is None


# Robust and aligned


def test_robust_and_aligned_is_adversarial_training_of_the_alignment_objective():
    planned = plan(CHOSEN, "vit_small-robust_aligned@beta=2.0")
    robust, aligned = objective(planned), alignment(planned)
    assert isinstance(robust, Adversarial)
    assert robust.outer == aligned
    assert (aligned.alpha, aligned.beta) == (1.0, 2.0)
    assert (planned.attack.steps, robust.probability) == (10, 0.5)
    assert planned.masks is not None
    assert alignment(plan(CHOSEN, "vit_small-adversarial")) is None


def test_a_training_may_start_from_another_with_changes_of_its_own():
    name = "resnet18-adversarial@steps=3,start=aligned@beta=1.0,reading=standardized"
    planned = plan(CHOSEN, name)
    assert planned.attack.steps == 3
    assert planned.parent == "resnet18-aligned@beta=1.0,reading=standardized"
    assert labels.training_label(name) == (
        "Adversarial (steps 3, from aligned (β = 1, standardized))"
    )
    twice = plan(CHOSEN, "resnet18-aligned@start=adversarial@start=aligned")
    assert twice.parent == "resnet18-adversarial@start=aligned"
    with pytest.raises(ValueError, match="after the @ come settings"):
        plan(CHOSEN, "resnet18-adversarial@start=")


def test_without_its_weight_the_alignment_term_changes_nothing():
    """At β = 0, robust and aligned training takes the very step of adversarial training."""
    torch.manual_seed(0)
    chosen = settings.load("smoke")
    masks = torch.zeros(4, 32, 32, dtype=torch.bool)
    masks[:, 8:20, 8:20] = True
    batch = Batch(torch.rand(4, 3, 32, 32), torch.arange(4), torch.arange(4), masks)
    gradients = []
    for name in ("resnet18-adversarial", "resnet18-robust_aligned@beta=0.0"):
        torch.manual_seed(1)
        model = models.build("resnet18", width=8).train()
        minimized = objective(plan(chosen, name))
        minimized(model, batch, torch.Generator().manual_seed(2), 0.0).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-7)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            {"adversarial": {"start": "aligned"}, "aligned": {"start": "adversarial"}},
            "start goes in a circle: adversarial from aligned from adversarial",
        ),
        ({"trades": {"start": "trades@beta=1.0"}}, "start goes in a circle: trades from trades"),
        ({"noise": {"start": "alined"}}, "noise.start: no training 'alined': standard, adv"),
    ],
)
def test_starts_that_lead_nowhere_are_refused(overrides, said):
    with pytest.raises(settings.SettingsError, match=said) as error:
        settings.load("smoke", {"training": overrides})
    assert "(given" not in str(error.value)  # a whole section would be no help
