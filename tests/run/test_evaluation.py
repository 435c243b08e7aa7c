"""An attack that searches in TF32 decides nothing by it."""

import pytest
import torch
from torch import nn

from rslib.attacks import Twins
from rslib.data import Batch
from rslib.models import device
from rslib.run import predictions
from rslib.settings.schema import PGD, AutoAttack


@pytest.fixture
def case():
    """A linear model and images that it is right on."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)).eval()
    x = torch.rand(20, 3, 8, 8)
    return model, Batch(x, model(x).argmax(1), torch.arange(20), None)


class Rounding(Twins):
    """Gives a twin that is wrong about one class."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong, self.allowed = wrong, []

    def of(self, model, x):
        self.allowed.append(torch.backends.cudnn.allow_tf32)
        twin = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)).eval()
        twin.load_state_dict(model.state_dict())
        twin[1].bias.data[self.wrong] -= 5
        return twin


def attacks(settings):
    """An evaluation by name, from twins and whether TF32 is allowed."""
    if isinstance(settings, PGD):
        return lambda twins, allowed: predictions.under_pgd(settings, twins, allow_tf32=allowed)
    return lambda twins, allowed: predictions.under_autoattack(
        settings, PGD(), twins, seed=0, allow_tf32=allowed
    )


@pytest.mark.filterwarnings("ignore::rslib.attacks.ReducedAutoAttackWarning")
@pytest.mark.parametrize("allowed", [False, True], ids=["fp32", "tf32"])
@pytest.mark.parametrize(
    "settings",
    [PGD(eps=1), PGD(eps=1, last_iterate=False), AutoAttack(eps=1, steps=5, queries=20)],
    ids=["pgd", "pgd, left early", "autoattack"],
)
def test_what_a_twin_claims_and_the_model_denies_is_tried_again(case, settings, allowed):
    model, batch = case
    evaluate = attacks(settings)
    twins = Rounding(int(batch.y[0]))
    found = evaluate(twins, allowed)(model, batch, torch.Generator().manual_seed(0))
    strict = evaluate(Twins(), False)(model, batch, torch.Generator().manual_seed(0))
    assert twins.allowed == [allowed]
    assert found.columns.keys() == strict.columns.keys()
    spared = found.columns["correct"] & ~strict.columns["correct"]
    assert not spared.any()
    assert found.notes["evaluations"] > strict.notes["evaluations"]


def test_a_device_computes_in_full_precision_until_it_is_told_otherwise():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = True  # torch's default
        device.pick("cpu")
        assert not cudnn.allow_tf32 and not matmul.allow_tf32
        with device.tf32(True, products=False):
            assert cudnn.allow_tf32 and not matmul.allow_tf32
        with device.tf32(True):
            assert cudnn.allow_tf32 and matmul.allow_tf32
        assert not cudnn.allow_tf32 and not matmul.allow_tf32
    finally:
        cudnn.allow_tf32 = before
