"""Names of models that differ from their objective's settings in something."""

import pytest

from rslib import labels, settings
from rslib.training.alignment import Aligned
from rslib.training.plan import parts, plan

CHOSEN = settings.load("paper")


def test_a_name_without_changes_has_none():
    assert parts("resnet18-adversarial").changes == {}
    assert parts("vit_small-aligned").objective == "aligned"


def test_changes_reach_the_objective_and_the_key():
    name = "resnet18-aligned@beta=2,reading=standardized,through=head"
    planned = plan(CHOSEN, name)
    assert isinstance(planned.objective, Aligned)
    assert planned.objective.beta == 2.0
    assert planned.objective.reading == "standardized"
    assert planned.objective.head
    assert planned.parent == "resnet18-standard"
    assert planned.inputs == {"beta": 2.0, "reading": "standardized", "through": "head"}
    assert plan(CHOSEN, "resnet18-aligned").inputs == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18-aligned@", "after the @ come settings"),
        ("resnet18-aligned@beta", "after the @ come settings"),
        ("resnet18-aligned@betta=1", "betta is none of"),
        ("resnet18-aligned@epochs=1", "epochs is none of"),
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
