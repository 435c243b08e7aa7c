"""Where scored models come from: what is loaded, what is refused, and what a refusal says."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rslib import models, settings
from rslib.run import Run
from rslib.scorecard import SourceError, load, sources, weights
from rslib.scorecard.weights import fit, read

MODULE = """
import torch
from torch import nn

def make(num_classes):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))

READY = Fixed()

def number():
    return 3

def broken():
    raise RuntimeError("no such layer")

class Stop(BaseException):
    pass

def stops():
    raise Stop("at once")

def __getattr__(name):
    if name == "odd":
        raise KeyError(name)
    raise AttributeError(name)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    overrides = {"resnet18": {"width": 8}, "vit_small": {"dim": 16, "depth": 1, "heads": 2}}
    root = tmp_path_factory.mktemp("runs")
    return Run(settings.load("smoke", overrides), 0, root=root, progress=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "scored_nets").mkdir()
    (folder / "scored_nets" / "small.py").write_text(MODULE)
    (folder / "scored_needs.py").write_text("import a_package_that_is_not_there\n")
    (folder / "scored_syntax.py").write_text("def make(:\n")
    (folder / "scored_exits.py").write_text("raise SystemExit('usage')\n")
    (folder / "scored_stops.py").write_text("class Stop(BaseException): pass\nraise Stop('so')\n")
    (folder / "scored_paths.py").write_text("import sys\nsys.path.clear()\nraise OSError('x')\n")
    return folder


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


class Harmful:
    """Unpickled, it would make the folder that it names."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


# Kinds of sources


def test_a_module_is_taken_as_it_is(run):
    model = small()
    found = load(model, run=run)
    assert found.model is model
    assert (found.kind, found.name, found.random_weights) == ("module", "Sequential", False)


def test_timm_models_have_random_weights_that_follow_the_seed_and_say_so(run):
    first, second = (load("timm:test_resnet", run=run) for _ in range(2))
    assert sources.digest(first.model) == sources.digest(second.model)
    assert first.random_weights and first.notes[0].startswith("RANDOM WEIGHTS")
    assert first.model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    other = Run(run.settings, 1, root=run.directory.parents[1], progress=False)
    assert sources.digest(load("timm:test_resnet", run=other).model) != sources.digest(first.model)


def test_timm_transformers_are_built_for_the_images_size(run):
    model = load("timm:test_vit", run=run).model
    assert model.patch_embed.img_size == (32, 32)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_an_import_path_is_found_in_a_folder_that_is_not_on_the_path(run, project):
    before = list(sys.path)
    found = load("scored_nets.small:make", run=run, folder=project)
    assert found.kind == "import"
    assert found.name == "scored_nets.small-make"
    assert found.model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sys.path == before
    assert isinstance(load("scored_nets.small:Fixed", run=run, folder=project).model, nn.Module)
    assert isinstance(load("scored_nets.small:READY", run=run, folder=project).model, nn.Module)


def test_a_trained_model_of_the_run_is_found_and_none_is_trained(run, tiny_run):
    with pytest.raises(SourceError, match="has not been trained.*Scoring trains nothing"):
        load("resnet18-standard", run=run)
    assert not (run.directory / "models").exists()
    other = tiny_run()
    other.trained("resnet18-standard")
    found = load("resnet18-standard", run=other)
    assert (found.kind, found.known) == ("book", "resnet18-standard")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("timm:resnet81", "no model 'resnet81'; near it: resnet"),
        ("resnet81", "Did you mean resnet18"),
        ("nothing", "names no model"),
        ("scored_nets.absent:make", "no module scored_nets.absent"),
        ("absent.small:make", "no module absent .*--path"),
        ("scored_needs:make", "imports a_package_that_is_not_there, which is not installed"),
        ("scored_nets.small:mak", "near it: make"),
        ("scored_nets.small:number", "gave a int, not a torch.nn.Module"),
        ("scored_nets.small:broken", "raised RuntimeError: no such layer"),
        ("scored_nets.small:stops", "raised Stop: at once"),
        ("scored_nets.small:odd", "raises at 'odd' .*KeyError"),
        ("scored_syntax:make", "cannot be imported .SyntaxError: "),
        ("scored_exits:make", "ends the program when it is imported .SystemExit: usage"),
        ("scored_stops:make", "cannot be imported .Stop: so"),
        (
            "timm:resnet18.no_such_tag",
            "no weights 'no_such_tag' of resnet18 .*ask for timm:resnet18",
        ),
        ("timm:", "no model ''"),
        ("~nosuchuser/net.safetensors", "weights alone"),
        ("absent.safetensors", "weights alone"),
    ],
)
def test_what_cannot_be_found_is_said_with_a_way_out(run, project, reference, said):
    with pytest.raises(SourceError, match=said):
        load(reference, run=run, folder=project)


def test_timm_models_that_cannot_be_had_are_said(run, monkeypatch):
    def refuse(name, **options):
        raise AssertionError("input size must be divisible by the window")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(SourceError, match="32 x 32 .*by the window.*smaller patch"):
        load("timm:test_vit", run=run)
    with pytest.raises(SourceError, match="without one, name a file with --weights"):
        load("timm:test_vit", run=run, pretrained=True)


def test_a_module_that_clears_the_path_is_said(run, project, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SourceError, match="cannot be imported .OSError: x"):
        load("scored_paths:make", run=run, folder=project)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "~nosuchuser/net.safetensors"}, {"weights": "~nosuchuser/a.pt"},
        {"reference": "scored_nets.small:make", "folder": "~nosuchuser"},
        {"reference": "~nosuchuser/net.safetensors", "architecture": "timm:test_resnet"},
    ],
)  # fmt: skip
def test_a_user_that_is_not_there_is_said(run, options):
    with pytest.raises(SourceError, match="~nosuchuser.*no user 'nosuchuser'; give the whole path"):
        load(**{"reference": "timm:test_resnet", "run": run} | options)


def test_a_refused_pickle_passes_on_no_way_to_unpickle_it(tmp_path):
    torch.save({"layer.weight": Harmful(tmp_path / "harm")}, tmp_path / "net.pt")
    torch.jit.script(small()).save(tmp_path / "script.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for name, why in (("net", "posix.mkdir|os.mkdir"), ("script", "Error"), ("text", "Error")):
        with pytest.raises(SourceError, match=why) as caught:
            read(tmp_path / f"{name}.pt", allow_pickle=True)
        for advice in ("weights_only=False", "weights_only` argument", "add_safe_globals", "trust"):
            assert advice not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_folder_that_is_not_there_is_said(run, tmp_path):
    with pytest.raises(SourceError, match="no folder"):
        load("scored_nets.small:make", run=run, folder=tmp_path / "absent")


def test_a_module_hidden_by_another_of_its_name_is_refused(run, tmp_path):
    (tmp_path / "json.py").write_text(MODULE)
    with pytest.raises(SourceError, match="another module json is already imported"):
        load("json:make", run=run, folder=tmp_path)


# Files of weights


def test_safetensors_fill_the_architecture_they_are_named_with(run, tmp_path):
    trained = models.build("resnet18", width=8)
    path = tmp_path / "net.safetensors"
    save_file(trained.state_dict(), path)
    found = load(path, run=run, architecture="resnet18")
    assert sources.digest(found.model) == sources.digest(trained)
    assert (found.kind, found.random_weights, found.file) == ("weights", False, path)
    assert "inside resnet18" in found.normalization


def test_weights_may_be_given_to_a_model_of_timm(run, tmp_path):
    donor = load("timm:test_resnet", run=Run(run.settings, 5, progress=False)).model
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    found = load("timm:test_resnet", run=run, weights=tmp_path / "w.safetensors")
    assert sources.digest(found.model) == sources.digest(donor)
    assert not found.random_weights and found.notes == ()


@pytest.mark.parametrize("ending", weights.PICKLED)
def test_a_pickle_never_runs_whether_asked_for_or_not(tmp_path, ending):
    path, made = tmp_path / f"net{ending}", tmp_path / "harm"
    path.write_bytes(pickle.dumps({"layer.weight": Harmful(made)}))
    with pytest.raises(SourceError, match="pickled file.*--allow-pickle"):
        read(path)
    with pytest.raises(SourceError, match="restricted reader"):
        read(path, allow_pickle=True)
    torch.save({"layer.weight": Harmful(made)}, path)
    with pytest.raises(SourceError, match="restricted reader"):
        read(path, allow_pickle=True)
    disguised = tmp_path / "net.safetensors"
    disguised.write_bytes(path.read_bytes())
    with pytest.raises(SourceError, match="not a safetensors file"):
        read(disguised)
    assert not made.exists()
    pickle.loads(pickle.dumps(Harmful(made)))
    assert made.exists()  # it would have run


def test_a_pickle_that_is_asked_for_gives_its_tensors(tmp_path):
    state = small().state_dict()
    torch.save(state, tmp_path / "plain.pt")
    found, notes = read(tmp_path / "plain.pt", allow_pickle=True)
    assert found.keys() == state.keys() and "weights_only=True" in notes[0]
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "nested.ckpt")
    found, notes = read(tmp_path / "nested.ckpt", allow_pickle=True)
    assert found.keys() == state.keys() and "'state_dict'" in notes[1]
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(SourceError, match="holds no tensors by name.*dict with epoch"):
        read(tmp_path / "none.pt", allow_pickle=True)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_common_prefix_is_taken_off_where_names_then_match(prefix):
    state = {f"{prefix}{name}": value for name, value in small().state_dict().items()}
    (note,) = fit(small(), state, Path("w.safetensors"))
    assert repr(prefix) in note


def test_a_prefix_that_belongs_to_the_names_stays():
    wrapped = nn.ModuleDict({"model": small()})
    assert fit(wrapped, wrapped.state_dict(), Path("w.safetensors")) == []


def test_names_and_shapes_that_do_not_fit_are_named():
    state = small().state_dict()
    state["extra"] = state.pop("1.bias")
    state["1.weight"] = torch.zeros(7, 3)
    with pytest.raises(SourceError) as caught:
        fit(small(), state, Path("w.safetensors"))
    said = str(caught.value)
    assert "1.bias missing from the file" in said
    assert "extra not in the architecture" in said
    assert "1.weight (7, 3) for (10, 3072) of another shape" in said


def test_contradicting_requests_are_refused(run, tmp_path):
    for options, said in (
        ({"reference": "a.safetensors", "weights": "b.safetensors"}, "two files"),
        ({"reference": "timm:test_resnet", "architecture": "resnet18"}, "goes with a file"),
        ({"reference": "resnet18", "pretrained": True}, "timm's to give"),
        ({"reference": "resnet18", "normalize": "cifar10"}, "normalizes its images itself"),
        ({"reference": "timm:test_resnet", "normalize": "mnist"}, "no normalization 'mnist'"),
        ({"reference": small(), "normalize": ((0, 0, 0), (1, 0, 1))}, "std above 0"),
        ({"reference": small(), "normalize": ((0, 0), (1, 1))}, "three numbers"),
    ):
        with pytest.raises(SourceError, match=said):
            load(run=run, **options)


# Before scoring


def test_normalization_is_put_before_the_network(run):
    found = load(nn.Identity(), run=run, normalize=((0.5, 0.5, 0.5), (0.25, 0.5, 1.0)))
    x = torch.full((1, 3, 2, 2), 1.0)
    assert found.model(x)[0, :, 0, 0].tolist() == [2.0, 1.0, 0.5]
    imagenet = load(nn.Identity(), run=run, normalize="imagenet")
    assert imagenet.model(x)[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)
    assert imagenet.normalization.startswith("mean (0.485,")


class Answers(nn.Module):
    """Returns what it is given, whatever the images."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: torch.zeros(len(x), 7), "returns 7 logits, but the data set has 10 classes"),
        (lambda x: torch.full((len(x), 10), torch.nan), "NaN or infinite"),
        (lambda x: torch.zeros(len(x), 10, dtype=torch.int64), "float tensor of logits"),
        (lambda x: (torch.zeros(len(x), 10),), "returned tuple"),
        (lambda x: torch.zeros(len(x), 10, 1), "shape"),
        (lambda x: x @ torch.zeros(5, 5), r"fails on images \(B, 3, 32, 32\)"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused(run, answer, said):
    with pytest.raises(SourceError, match=said):
        sources.check(load(Answers(answer), run=run), torch.rand(4, 3, 32, 32), 10)


def test_a_randomized_model_is_told_of_and_eval_mode_is_used(run):
    noisy = load(Answers(lambda x: torch.rand(len(x), 10)), run=run)
    assert "unreliable" in sources.check(noisy, torch.rand(4, 3, 32, 32), 10).notes[-1]
    dropping = load(nn.Sequential(small(), nn.Dropout(0.5)), run=run)
    assert sources.check(dropping, torch.rand(4, 3, 32, 32), 10).notes == ()
    assert dropping.model.training


def test_a_digest_follows_names_values_and_structure():
    model = small()
    before = sources.digest(model)
    assert sources.digest(model) == before
    assert sources.digest(nn.Sequential(model)) != before
    with torch.no_grad():
        model[1].bias[0] += 1
    assert sources.digest(model) != before
    assert sources.digest(model.bfloat16()) != before
