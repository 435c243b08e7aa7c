"""Keys of models, masks and records stay as they are: nobody's results go stale."""

import pytest

from rslib.run import Run
from rslib.run.results import shortcut_runs
from rslib.settings import cast, load
from rslib.store import records

KINDS = (
    "clean",
    "fgsm",
    "pgd",
    "autoattack",
    "smoothing",
    "corruptions",
    "added_corruptions",
    "saliency",
    "faithfulness",
    "attacked_saliency",
    "swapped",
    "human",
)
OTHERS = (
    "resnet18-trades",
    "vit_small-trades@beta=3.0",
    "resnet18-robust_aligned",
    "vit_small-aligned@reading=as_written,masks=vit,share=0.5",
    "resnet18-adversarial@start=aligned@beta=1.0",
)
PINNED = {
    ("smoke", 0): "a4c0a4774b",
    ("smoke", 1): "c366cdc4a2",
    ("cpu", 0): "4d941ffdc3",
    ("cpu", 1): "f6b39697ef",
    ("fast", 0): "c2088f15a9",
    ("fast", 1): "8b2c854d66",
    ("paper", 0): "ba5c954f5e",
    ("paper", 1): "5efe58db6a",
    ("wide", 0): "41ce02985c",
    ("wide", 1): "30f1283ad3",
}


def paths(run):
    """The places of all models of a run, of their records and of the masks."""
    tied = shortcut_runs(run)
    names = [*cast.needed(run.settings), *OTHERS]
    for one, models in ((run, names), *((each, cast.shortcut(run.settings)) for each in tied)):
        for name in models:
            folder = one.model_folder(name)
            yield folder
            records.write_json(folder / "model.json", {"weights": {"best": f"weights of {name}"}})
            yield from (one.record_path(name, kind) for kind in KINDS)
        yield one.priors_path
        for source in one.mask_sources:
            yield records.key(**one.mask_inputs(source))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("profile", ["smoke", "cpu", "fast", "paper", "wide"])
def test_keys_do_not_drift(tmp_path, profile, seed):
    run = Run(load(profile), seed, root=tmp_path, progress=False)
    found = [str(each).removeprefix(str(tmp_path)) for each in paths(run)]
    assert len(found) > 300
    assert records.key(paths=found) == PINNED[profile, seed]
