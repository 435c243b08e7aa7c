"""Evaluations in shards: what is made ahead, for whom, and in which order."""

import torch

from rslib import data, models
from rslib.corruptions import cifar10c
from rslib.run.predictions import UnderCorruptions
from rslib.run.shards import Outcome, in_shards

CPU = torch.device("cpu")


class Told:
    """An evaluation that writes down what it is told."""

    def __init__(self):
        self.heard = []

    def prepare(self, batch):
        self.heard.append(("prepare", batch.ids.tolist()))

    def __call__(self, model, batch, generator):
        self.heard.append(("evaluate", batch.ids.tolist()))
        return Outcome({"right": batch.y == 0})


def shapes(n):
    return data.load("shapes", "test", n=n)


def evaluated(evaluate, images, parts, names=("one", "two")):
    nets = {name: models.build("resnet18", width=8) for name in names}
    return in_shards(
        nets, images, evaluate, batch_size=2, device=CPU, seed=0,
        parts={name: parts / name for name in names}, progress=False,
    )  # fmt: skip


def test_the_next_shard_is_announced_before_any_model_sees_this_one(tmp_path):
    told, images = Told(), shapes(5)
    evaluated(told, images, tmp_path)
    first, second, third = (
        images.ids[:2].tolist(),
        images.ids[2:4].tolist(),
        images.ids[4:].tolist(),
    )
    assert told.heard[:4] == [
        ("prepare", first), ("prepare", second), ("evaluate", first), ("evaluate", first)
    ]  # fmt: skip
    assert [ids for what, ids in told.heard if what == "evaluate"][4:] == [third] * 2


def test_a_shard_that_all_models_have_finished_is_not_prepared(tmp_path):
    told, images = Told(), shapes(4)
    evaluated(told, images, tmp_path)
    (tmp_path / "two" / "00001.parquet").unlink()
    told.heard.clear()
    evaluated(told, images, tmp_path)
    last = images.ids[2:].tolist()
    assert set(map(str, told.heard)) == {str(("prepare", last)), str(("evaluate", last))}
    assert told.heard.count(("evaluate", last)) == 1


def test_corrupted_versions_made_ahead_are_those_made_when_asked_for(tmp_path):
    images = shapes(4)
    corrupted = cifar10c.load(images, official=False, seed=3)
    names = ("gaussian_noise", "fog")
    torch.manual_seed(0)
    net = {"net": models.build("resnet18", width=8).eval()}
    options = {"batch_size": 2, "device": CPU, "seed": 0, "progress": False}
    ahead = in_shards(
        net, images, UnderCorruptions(corrupted, names), parts={"net": tmp_path / "a"}, **options
    )
    evaluate = UnderCorruptions(corrupted, names)
    asked = in_shards(
        net,
        images,
        lambda *arguments: evaluate(*arguments),  # no method prepare
        parts={"net": tmp_path / "b"},
        **options,
    )
    assert ahead["net"][0].equals(asked["net"][0])
    assert len(evaluate._made) == 1


def test_a_column_that_older_shards_lack_is_not_known_there(tmp_path):
    def older(model, batch, generator):
        return Outcome({"right": batch.y == 0})

    def newer(model, batch, generator):
        return Outcome({"right": batch.y == 0, "share": batch.y / 10})

    images = shapes(4)
    evaluated(older, images, tmp_path, ["one"])
    (tmp_path / "one" / "00001.parquet").unlink()
    frame, _ = evaluated(newer, images, tmp_path, ["one"])["one"]
    assert frame["share"].isna().tolist() == [True, True, False, False]
