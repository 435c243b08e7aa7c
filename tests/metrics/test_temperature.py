"""Temperature scaling against values worked out by hand."""

import math

import pytest
import torch

from rslib.metrics.temperature import fit_temperature, scaled


def test_a_temperature_by_hand():
    # Two classes, logit difference 2 on each image, right on 3 of 4: the best probability is 3/4,
    # so the difference must become log 3.
    logits = torch.tensor([[2.0, 0.0]] * 4)
    labels = torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(2 / math.log(3), rel=1e-3)


def test_scaling_keeps_the_ranking_and_softens():
    logits = torch.randn(50, 5) * 3
    soft = scaled(logits, 2.0)
    assert torch.equal(soft.argmax(1), logits.argmax(1))
    assert (soft.amax(1) <= logits.softmax(1).amax(1)).all()
    assert torch.equal(scaled(logits, 1.0), logits.softmax(1))


@pytest.mark.parametrize("logits", [torch.zeros(0, 3), torch.full((2, 3), torch.nan)])
def test_bad_logits_are_refused(logits):
    with pytest.raises(ValueError, match="finite logits"):
        fit_temperature(logits, torch.zeros(len(logits), dtype=torch.long))
