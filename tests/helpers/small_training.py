"""Trainings of a tiny ResNet on a few shapes, which a test may interrupt."""

import torch

from rslib import data, models, training


def small(n=64, seed=0):
    return data.load("shapes", "train", n=n, seed=seed)


def net(seed=0):
    torch.manual_seed(seed)
    return models.build("resnet18", width=8)


def fit(tmp_path, model, recipe, *, seed=0, stop_after=None, key="k", objective=None):
    class Stop(Exception):
        pass

    def after(state):
        if state.epoch == stop_after:
            raise Stop

    train = data.Batches(
        small(), recipe.batch_size, shuffle=True, augment=data.Augment(), seed=seed
    )
    try:
        return training.fit(
            model,
            objective or training.Standard(),
            train,
            lambda model: training.score(model, data.Batches(small(20, seed=1), 20)),
            recipe,
            seed=seed,
            checkpoint_path=tmp_path / "checkpoint.safetensors",
            key=key,
            progress=False,
            after_epoch=after,
        )
    except Stop:
        return None
