"""Losses that are no numbers, memory that runs out, and operations that cannot be repeated."""

import json
import math
import warnings

import pytest
import torch
from torch import nn

from rslib import data, training
from rslib.attacks import Twins, attack_mode
from rslib.models import determinism, memory
from rslib.models.memory import Halving, OutOfMemory, Pieces, PiecesWarning
from rslib.run import predictions, shards
from rslib.run.provenance import provenance
from rslib.run.shards import EvaluationError
from rslib.settings.schema import PGD, AutoAttack, Recipe, Smoothing
from rslib.training import TrainingError, checkpoint, optimizer
from tests.helpers.small_training import fit, net

RECIPE = Recipe(epochs=3, batch_size=32)


def kept(folder):
    """The state in a folder's checkpoint, after checking that its weights are numbers."""
    model = net(seed=5)
    state = checkpoint.load(
        folder / "checkpoint.safetensors", model, optimizer.build(model, RECIPE), "k"
    )
    assert all(value.isfinite().all() for value in model.state_dict().values())
    return state


class Spoiled:
    """The standard objective, whose loss is something else from one step on."""

    def __init__(self, value, after):
        self.value, self.after, self.calls = value, after, 0

    def __call__(self, model, batch, generator, epoch):
        self.calls += 1
        step = training.Standard()(model, batch, generator, epoch)
        if self.calls <= self.after:
            return step
        return type(step)(step.loss * 0 + self.value, step.logits)


# Losses and scores


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_a_training_and_keeps_the_last_good_epoch(value, tmp_path):
    with pytest.raises(TrainingError) as error:
        fit(tmp_path, net(), RECIPE, objective=Spoiled(value, after=3))
    said = str(error.value)
    assert f"the loss is {value} at epoch 2, step 2 of 2" in said
    assert "Epoch 1 is kept" in said and "learning rate" in said and "clip_norm" in said
    assert kept(tmp_path).epoch == 1


def test_a_resumed_training_that_goes_wrong_keeps_what_it_was_given(tmp_path):
    fit(tmp_path, net(), RECIPE, stop_after=2)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="loss is nan at epoch 3, step 1 of 2.*Epoch 2 is kept"):
        fit(tmp_path, net(), RECIPE, objective=Spoiled(math.nan, after=0))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert kept(tmp_path).epoch == 2
    # With the cause gone, the same call ends like a training that nothing happened to.
    whole = tmp_path / "whole"
    whole.mkdir()
    assert fit(tmp_path, net(), RECIPE).best_epoch == fit(whole, net(), RECIPE).best_epoch


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_validation_score_that_is_no_number_does_the_same(value, epoch, tmp_path):
    seen = []

    def validate(model):
        seen.append(model)
        wrong = len(seen) >= epoch
        return {"validation_accuracy": 0.5, "validation_loss": value if wrong else 1.0}

    images = data.Batches(data.load("shapes", "train", n=64), 32, shuffle=True)
    with pytest.raises(TrainingError) as error:
        training.fit(
            net(), training.Standard(), images, validate, RECIPE, seed=0, progress=False,
            checkpoint_path=tmp_path / "checkpoint.safetensors", key="k",
        )  # fmt: skip
    said = str(error.value)
    assert f"validation_loss is {value} after epoch {epoch}" in said and "learning rate" in said
    if epoch == 1:
        assert "no epoch is kept" in said and not list(tmp_path.iterdir())
    else:
        assert "Epoch 1 is kept" in said and kept(tmp_path).epoch == 1


def test_logits_that_are_no_numbers_give_no_row():
    class Sometimes(nn.Module):
        def forward(self, x):
            found = x.flatten(1)[:, :10].clone()
            found[x[:, 0, 0, 0] > 0.5] = torch.nan
            return found

    x = torch.full((4, 3, 8, 8), 0.25)
    x[2] = 0.75
    with pytest.raises(EvaluationError, match="NaN or infinite logits for 1 of 4 images"):
        predictions.logits(Sometimes(), x)


# Memory


class Hungry(nn.Module):
    """Ten logits, with a gradient, of at most so many images at a time."""

    def __init__(self, limit):
        super().__init__()
        self.limit, self.seen = limit, []
        self.register_buffer("weight", torch.randn(10, 3 * 8 * 8))

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return (x.flatten(1)[:, None] * self.weight).tanh().sum(2)


def shard(n=12):
    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    return data.Batch(x, torch.arange(n) % 10, torch.arange(n), None)


EVALUATIONS = {
    "clean": predictions.clean,
    "pgd": predictions.under_pgd(PGD(steps=3, restarts=2), Twins()),
    "smoothing": predictions.certified(Smoothing(samples=20, selection_samples=5)),
}


def made(name, model, batch):
    generator = torch.Generator().manual_seed(7)
    return EVALUATIONS[name](model, batch, generator)


@pytest.mark.parametrize("name", EVALUATIONS)
@pytest.mark.parametrize("limit", [11, 6, 2, 1])
def test_rows_are_those_of_a_device_with_enough_memory(name, limit):
    batch = shard()
    roomy, tight = Hungry(1000), Hungry(limit)
    tight.weight.copy_(roomy.weight)
    expected = made(name, roomy, batch)
    halving = Halving("evaluation.batch_size")
    with pytest.warns(PiecesWarning, match="evaluation.batch_size"):
        found = halving(lambda model: made(name, model, batch), tight, len(batch.y))
    assert found.columns.keys() == expected.columns.keys()
    for column, values in expected.columns.items():
        assert torch.equal(found.columns[column], values), column
    assert found.notes == expected.notes


def test_a_size_that_fits_is_kept_for_the_next_shard():
    model, halving = Hungry(3), Halving("evaluation.batch_size")
    with pytest.warns(PiecesWarning) as told:
        halving(lambda each: made("clean", each, shard()), model, 12)
    assert [str(each.message).partition(" goes on with ")[2][:10] for each in told] == [
        "6 of 12 im",
        "3 of 12 im",
    ]
    model.seen.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        halving(lambda each: made("clean", each, shard(8)), model, 8)
    assert model.seen == [3, 3, 2]


def test_an_image_that_does_not_fit_is_said(tmp_path):
    with (
        pytest.warns(PiecesWarning),
        pytest.raises(OutOfMemory, match="one image.*Hungry.*evaluation.batch_size"),
    ):
        Halving("evaluation.batch_size")(lambda model: model(shard().x), Hungry(0), 12)


def test_other_errors_are_not_tried_again():
    calls = []

    def work(model):
        calls.append(model)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Halving("evaluation.batch_size")(work, Hungry(5), 12)
    assert len(calls) == 1


def test_gradients_through_pieces_are_the_wholes_and_hold_one_piece_at_a_time():
    events = []

    class Traced(torch.autograd.Function):
        """The exponential, which tells when it runs and on how many images."""

        @staticmethod
        def forward(ctx, x):
            events.append(("forward", len(x)))
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            events.append(("backward", len(x)))
            return gradient * x.exp()

    class Net(nn.Module):
        def forward(self, x):
            return Traced.apply(x.flatten(1))

    def gradient(model):
        events.clear()
        x = shard().x.requires_grad_()
        with attack_mode(model):
            return torch.autograd.grad(model(x).square().sum(), x)[0]

    whole = gradient(Net())
    assert events == [("forward", 12), ("backward", 12)]
    assert torch.equal(gradient(Pieces(Net(), 5)), whole)
    # What a piece's second pass makes is used up before the next one's is made.
    again = [(what, n) for n in (2, 5, 5) for what in ("forward", "backward")]
    assert events == [("forward", 5), ("forward", 5), ("forward", 2), *again]


def test_a_batch_size_that_is_part_of_the_result_is_refused_with_its_name():
    with (
        pytest.raises(OutOfMemory, match="autoattack.batch_size at 250.*set .* to 125 or less"),
        memory.refusing("autoattack.batch_size", 250),
    ):
        Hungry(3)(shard().x)
    evaluate = memory.refusing("evaluation.batch_size", 16)(lambda: Hungry(3)(shard().x))
    for _ in range(2):
        with pytest.raises(OutOfMemory, match="to 8 or less"):
            evaluate()


@pytest.fixture
def dataset():
    return data.load("shapes", "test", n=12)


def test_an_evaluation_goes_on_and_its_record_is_the_same(dataset, tmp_path):
    records_of = {}
    weight = torch.randn(10, 3 * 32 * 32)
    for name, limit in (("roomy", 1000), ("tight", 2)):
        model = Hungry(limit)
        model.weight = weight
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            made = shards.in_shards(
                {name: model}, dataset, predictions.under_pgd(PGD(steps=2), Twins()), batch_size=8,
                device=torch.device("cpu"), seed=0, parts={name: tmp_path / name}, progress=False,
            )  # fmt: skip
        records_of[name] = made[name][0]
    assert records_of["tight"].equals(records_of["roomy"])


def test_autoattack_names_its_own_setting(dataset, tmp_path):
    chosen = AutoAttack(steps=2, queries=2, batch_size=8)
    with pytest.raises(OutOfMemory, match="autoattack.batch_size at 8"):
        shards.in_shards(
            {"m": Hungry(4)}, dataset,
            predictions.under_autoattack(chosen, PGD(), Twins(), seed=0), batch_size=12,
            device=torch.device("cpu"), seed=0, parts={"m": tmp_path / "m"}, progress=False,
        )  # fmt: skip


def test_training_names_the_setting_and_keeps_the_last_good_epoch(tmp_path):
    class Grows:
        calls = 0

        def __call__(self, model, batch, generator, epoch):
            self.calls += 1
            if self.calls > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return training.Standard()(model, batch, generator, epoch)

    with pytest.raises(TrainingError) as error:
        fit(tmp_path, net(), RECIPE, objective=Grows())
    said = str(error.value)
    assert "memory ran out with batches of 32" in said and "batch_size" in said
    assert "Epoch 1 is kept" in said and "part of the result" in said
    assert kept(tmp_path).epoch == 1


# What cannot be repeated


@pytest.fixture
def told():
    """Tell torch what to do with operations that are not deterministic."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    yield torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def scattered():
    """An operation that torch calls non-deterministic on every device."""
    return torch.zeros(5).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_what_torch_was_told_stands_in_the_provenance(told):
    told(False)
    assert provenance(torch.device("cpu"))["deterministic"] == "off"
    told(True)
    assert provenance(torch.device("cpu"))["deterministic"] == "on"
    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        scattered()
    told(True, warn_only=True)
    assert provenance(torch.device("cpu"))["deterministic"] == "warn only"


def test_what_torch_reports_is_collected_once_each_and_other_warnings_pass(told):
    told(True, warn_only=True)
    with pytest.warns(UserWarning, match="another matter") as others, determinism.reported() as ops:
        scattered()
        scattered()
        warnings.warn("another matter", UserWarning, stacklevel=1)
    assert ops == ["put_"] and len(others) == 1
    made = provenance(torch.device("cpu"), ops)
    assert made["nondeterministic"] == ["put_"]
    json.dumps(made)


def test_nothing_is_reported_where_nothing_was_asked(told):
    told(False)
    with determinism.reported() as ops:
        scattered()
    assert ops == []
