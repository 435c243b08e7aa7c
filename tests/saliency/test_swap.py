"""Objects before other backgrounds, against images worked out by hand."""

import pytest
import torch

from rslib.saliency import MaskError
from rslib.saliency.swap import composites, partners


def test_a_composite_by_hand():
    x = torch.zeros(2, 1, 2, 2)
    x[0, 0] = torch.tensor([[0.9, 0.1], [0.1, 0.1]])
    x[1, 0] = torch.tensor([[0.2, 0.4], [0.6, 1.0]])
    masks = torch.zeros(2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = True
    masks[1, 1, 1] = True
    made = composites(x, masks, torch.tensor([1, 0]))
    # Image 1's object is filled with the mean of 0.2, 0.4 and 0.6.
    assert torch.allclose(made[0, 0], torch.tensor([[0.9, 0.4], [0.6, 0.4]]))
    assert torch.allclose(made[1, 0], torch.tensor([[0.1, 0.1], [0.1, 1.0]]))


def test_an_image_with_itself_changes_only_nothing():
    x, masks = torch.rand(3, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 2:5] = True
    assert torch.equal(composites(x, masks, torch.arange(3)), x)


def test_empty_masks_are_refused():
    with pytest.raises(MaskError, match="no object"):
        composites(
            torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool), torch.tensor([0])
        )


def test_partners_are_of_the_class_they_should_be():
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    own, other = partners(labels, torch.Generator().manual_seed(0))
    assert own[5] == -1  # the only one of its class
    assert (labels[own[:5]] == labels[:5]).all()
    assert (own[:5] != torch.arange(5)).all()
    assert (labels[other] != labels).all()
    again = partners(labels, torch.Generator().manual_seed(0))
    assert torch.equal(own, again[0])
    assert torch.equal(other, again[1])


def test_one_class_has_no_other():
    own, other = partners(torch.zeros(3, dtype=torch.long), torch.Generator())
    assert (own >= 0).all()
    assert (other == -1).all()
