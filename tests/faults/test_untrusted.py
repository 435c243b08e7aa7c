"""Files and names of any origin: nothing of them is run, leads out of a run, or becomes markup."""

import ast
import functools
import io
import json
import os
import pickle
import shutil
import tarfile
import types
import urllib.request
import urllib.response
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, example, given
from hypothesis import settings as checks
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, PngImagePlugin
from pydantic import BaseModel
from torch import nn

from book import BookError, execute, publish
from rslib import settings
from rslib.__main__ import main
from rslib.attacks.report import Check, Report
from rslib.corruptions import cifar10c, corrupt, weather
from rslib.data import DataError, cifar10, cifar10h
from rslib.report import rendering, tables
from rslib.report.figures import pictures
from rslib.run import Run, object_masks
from rslib.run.published import PUBLISHED
from rslib.saliency import read_masks
from rslib.scorecard import card, folders, page, picture, sources, weights
from rslib.settings import PROJECT, SettingsError
from rslib.store import downloads, records
from rslib.store.records import RecordError
from rslib.training import checkpoint
from rslib.verdicts import listing
from tests.faults.refusals import contents, flipped, refused, shell
from tests.helpers.cifar10_files import pickled
from tests.helpers.corruption_samples import dataset as few_images
from tests.helpers.corruption_samples import photographs, write_archive
from tests.helpers.known_run import RESNET, VIT, make_run

quickly = checks(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


# What the code calls

DANGEROUS = {
    "pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "subprocess", "runpy", "ctypes",
    "eval", "exec", "compile", "__import__", "importlib.import_module",
    "os.system", "os.popen", "os.spawnv", "os.execv",
    "torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter",
    "np.load", "np.lib.format.open_memmap", "pd.read_pickle",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all",
    "tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive",
}  # fmt: skip
"""Modules, and functions by the names the project calls them, that can run or unpack a file."""

ALLOWED = {
    ("data/cifar10.py", "pickle"): "the official batches; an unpickler that only makes arrays",
    ("data/cifar10.py", "tarfile.open"): "the download; digest first, then the data filter",
    ("__init__.py", "importlib.import_module"): "the rooms of the package, by fixed names",
    ("models/__init__.py", "importlib.import_module"): "a room of the package, by a fixed name",
    ("run/__init__.py", "importlib.import_module"): "a room of the package, by a fixed name",
    ("settings/extensions.py", "importlib.import_module"): "a user's own, named by the user",
    ("paper/tables.py", "yaml.load"): "a safe loader, of files of the package",
    ("store/arrays.py", "np.load"): "allow_pickle=False",
    ("store/arrays.py", "np.lib.format.open_memmap"): "refuses arrays of Python objects",
    ("scorecard/weights.py", "torch.load"): "only where asked for, and weights_only=True",
    ("scorecard/sources.py", "importlib.import_module"): "a user's own model, named by the user",
    ("verdicts/outside.py", "torch.load"): "the installed package's own, and weights_only=True",
    ("book/colab.py", "subprocess"): "pip, a list of arguments without a shell",
    ("book/build.py", "subprocess"): "jupyter-book, a list of arguments without a shell",
    ("book/pdf.py", "subprocess"): "the browser, a list of arguments without a shell",
    ("store/locks.py", "subprocess"): "the command it is given, without a shell",
    ("run/provenance.py", "subprocess"): "git, a list of arguments without a shell",
}
"""Where each is used all the same, and why that is safe."""

MUST = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "extractall": ("filter", "data"),
}
"""What a call of these has to say."""


def dotted(node):
    """A name as it is written, such as ``np.load``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def uses(tree):
    """The dangerous modules that a piece of code imports, and functions that it calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield dotted(node.func)


@functools.cache
def sources_of_the_project():
    """Every module, and the code of every notebook: name to syntax tree."""
    found = {}
    for folder, names in (("rslib", PROJECT / "rslib"), ("book", PROJECT)):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            found[path.relative_to(names).as_posix()] = ast.parse(path.read_text())
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found[path.name] = ast.parse("\n".join(code))
    return found


def test_what_can_run_a_file_is_used_where_it_is_allowed_and_nowhere_else():
    found = {
        (name, use)
        for name, tree in sources_of_the_project().items()
        for use in uses(tree)
        if use in DANGEROUS
    }
    assert found == set(ALLOWED)


def test_calls_say_what_they_must():
    seen = set()
    for name, tree in sources_of_the_project().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            given = {word.arg: word.value for word in node.keywords}
            assert "shell" not in given, f"{name}:{node.lineno}"
            for call, (word, value) in MUST.items():
                if dotted(node.func) == call or dotted(node.func).endswith(f".{call}"):
                    seen.add(call)
                    assert word in given, f"{name}:{node.lineno}: {call} without {word}"
                    assert ast.literal_eval(given[word]) == value, f"{name}:{node.lineno}"
    assert seen == set(MUST)


# Pickles at every entrance


class Harmful:
    """Unpickled, it makes the folder that it names."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def objects(harm):
    made = np.empty(1, dtype=object)
    made[0] = harm
    return made


def batches(folder, harm):
    blob = pickled({b"data": harm, b"labels": [0]})
    (folder / "layout").mkdir()
    (folder / "layout" / "batch").write_bytes(blob)
    file = cifar10.File("batch", records.file_digest(folder / "layout" / "batch"), len(blob))
    layout = cifar10.Layout("layout", "sha256", {"test": (file,)}, cifar10.parse_py)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "LAYOUTS", (layout,))
        cifar10.load("test", root=folder)


def counts(folder, harm):
    np.save(folder / cifar10h.NAMES[0], objects(harm), allow_pickle=True)
    cifar10h.load(folder)


def zipped_counts(folder, harm):
    np.savez(folder / cifar10h.NAMES[1], counts=objects(harm))
    cifar10h.load(folder)


def corruptions(folder, harm):
    clean = few_images()
    write_archive(folder / cifar10c.FOLDER, clean)
    np.save(folder / cifar10c.FOLDER / "fog.npy", objects(harm), allow_pickle=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10c, "OFFICIAL_IMAGES", 12)
        cifar10c.load(clean, root=folder)


def mask_array(folder, harm):
    np.save(folder / "test.npy", objects(harm), allow_pickle=True)
    read_masks(folder / "test.npy", [0])


def bare_mask_array(folder, harm):
    (folder / "test.npy").write_bytes(pickle.dumps(harm))
    read_masks(folder / "test.npy", [0])


def mask_picture(folder, harm):
    (folder / "0.png").write_bytes(pickle.dumps(harm))
    read_masks(folder, [0])


def resumed(folder, harm):
    torch.save({"model": harm}, folder / "checkpoint.safetensors")
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    checkpoint.load(folder / "checkpoint.safetensors", net, [optimizer], "k")


def trained(folder, harm):
    (folder / "best.safetensors").write_bytes(pickle.dumps(harm))
    checkpoint.load_weights(folder / "best.safetensors", nn.Linear(2, 2))


def own_weights(folder, harm):
    torch.save({"weight": harm}, folder / "net.safetensors")
    weights.read(folder / "net.safetensors")


def pickled_weights(folder, harm):
    torch.save({"weight": harm}, folder / "net.pt")
    weights.read(folder / "net.pt")


def pickled_weights_asked_for(folder, harm):
    torch.save({"weight": harm}, folder / "net.pt")
    weights.read(folder / "net.pt", allow_pickle=True)


def bare_pickle_asked_for(folder, harm):
    (folder / "net.bin").write_bytes(pickle.dumps({"weight": harm}))
    weights.read(folder / "net.bin", allow_pickle=True)


def record(folder, harm):
    (folder / "clean.parquet").write_bytes(pickle.dumps(harm))
    records.read_record(folder / "clean.parquet")


def document(folder, harm):
    (folder / "model.json").write_bytes(pickle.dumps(harm))
    records.read_json(folder / "model.json")


def card_of_a_model(folder, harm):
    (folder / folders.DOCUMENT).write_bytes(pickle.dumps(harm))
    folders.read(folder)


def profile(folder, harm):
    (folder / "mine.yaml").write_text(f"profile: !!python/object/apply:os.mkdir [{harm.folder}]\n")
    settings.load(str(folder / "mine.yaml"))


def at_the_shell(folder, harm):
    text = f"{{pgd: !!python/object/apply:os.mkdir [{harm.folder}]}}"
    shell(main, "scorecard", "timm:test_resnet", "--settings", text)


def in_a_models_name(folder, harm):
    name = f"resnet18-aligned@beta=!!python/object/apply:os.mkdir [{harm.folder}]"
    Run(settings.load("smoke"), 0, root=folder).recipe(name)


def executed_notebook(folder, harm):
    (folder / "01_one.ipynb").write_bytes(pickle.dumps(harm))
    execute.problems(folder / "01_one.ipynb")


ENTRANCES = (
    batches, counts, zipped_counts, corruptions, mask_array, bare_mask_array, mask_picture, resumed,
    trained, own_weights, pickled_weights, pickled_weights_asked_for, bare_pickle_asked_for, record,
    document, card_of_a_model, profile, at_the_shell, in_a_models_name, executed_notebook,
)  # fmt: skip


@pytest.mark.parametrize("entrance", ENTRANCES, ids=lambda entrance: entrance.__name__)
def test_a_pickle_is_refused_and_never_run(entrance, tmp_path, tally):
    tally("untrusted: pickles").add(entrance.__name__)
    folder, made = tmp_path / "in", tmp_path / "harm"
    folder.mkdir()
    with pytest.raises((ValueError, DataError, RecordError, BookError)):
        entrance(folder, Harmful(made))
    assert not made.exists()


def test_the_pickle_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Harmful(tmp_path / "harm")))
    assert (tmp_path / "harm").exists()


def test_a_records_columns_are_of_no_type_that_is_unpickled(tmp_path):
    """Arrow once unpickled the description of columns of a Python type."""
    held = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Harmful(tmp_path / "harm")),
    }
    column = pa.field("a", pa.int64(), metadata=held)
    schema = pa.schema([column], metadata={b"rslib": b"{}"})
    path = tmp_path / "clean.parquet"
    pq.write_table(pa.table({"a": [1]}, schema=schema), path)
    with pytest.raises(RecordError):
        records.read_record(path)
    assert not (tmp_path / "harm").exists()


# Names and paths

paths = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "a", "~", "\0", "C:", "%2e", "seed0", " ", "é", "-"]),
    max_size=8,
).map("".join)


def inside(path, root):
    return Path(os.path.normpath(path)).is_relative_to(root)


@quickly
@given(paths)
@example("../../x")
@example("/etc")
def test_a_profiles_name_stays_in_the_folder_of_runs(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"profile": text}))
    try:
        run = Run(settings.load(str(path)), 0, root=tmp_path / "runs")
    except SettingsError:
        return
    assert run.directory.parents[1] == tmp_path / "runs"
    assert inside(run.directory, tmp_path / "runs")


@quickly
@given(paths)
@example("../../x")
def test_settings_made_without_a_profile_stay_there_too(tmp_path, text):
    try:
        made = settings.Settings(profile=text)
    except ValueError:
        return
    run = Run(made, 0, root=tmp_path / "runs")
    assert run.directory.parents[1] == tmp_path / "runs"
    assert inside(run.directory, tmp_path / "runs")


@quickly
@given(
    st.sampled_from(["", "resnet18-", "resnet18-aligned@layer=", "resnet18-aligned@masks=",
                     "resnet18-adversarial@start=aligned@layer=", "resnet18-aligned@start="]),
    paths,
)  # fmt: skip
@example("resnet18-aligned@layer=", "/../../../x")
@example("resnet18-adversarial@start=aligned@layer=", "/../../../../x")
def test_a_models_name_stays_in_the_run(tmp_path, before, text):
    run = Run(settings.load("smoke"), 0, root=tmp_path / "runs")
    try:
        folder = run.model_folder(before + text)
    except ValueError:
        return
    assert folder.parent == run.directory / "models"
    assert inside(run.directory / "records" / (before + text), run.directory / "records")


@quickly
@given(st.text(max_size=80) | paths)
@example("..")
@example("/etc/passwd")
@example("x" * 500)
def test_what_a_scored_model_is_called_names_one_folder(text):
    name = sources.file_name(text)
    assert Path("scorecards", name).parent == Path("scorecards") and name not in {"", ".", ".."}
    assert len(name.encode()) < 256


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b", "\n"])
def test_a_scorecard_is_written_among_scorecards(name, tmp_path, monkeypatch):
    asked = {}

    def scored(source, data, run, *, folder, **options):
        asked.update(folder=folder, name=source.name)
        raise SettingsError("far enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("rslib.scorecard.scorecard", scored)
    assert main(["scorecard", "timm:test_resnet", "--name", name]) == 2
    assert asked["name"] == name and asked["folder"].parent == Path("scorecards")
    assert asked["folder"].name not in {"", "..", "."}


def test_a_link_is_replaced_and_not_followed(tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    for write in (
        lambda path: records.write_json(path, {"a": 1}),
        lambda path: records.write_record(path, pd.DataFrame({"a": [1]}), {}),
        lambda path: checkpoint.save_weights(path, {"a": torch.zeros(1)}, {}),
    ):
        link = tmp_path / "runs" / "result"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(outside)
        write(link)
        assert not link.is_symlink() and outside.read_text() == "{}"
        link.unlink()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../secret", "model.json"])
def test_a_published_run_with_links_is_not_restored(target, tmp_path):
    (tmp_path / "secret").write_text("secret")
    model = tmp_path / PUBLISHED / "cpu" / "seed0" / "models" / "m"
    model.mkdir(parents=True)
    (model / "model.json").write_text("{}")
    (model / "best.safetensors").symlink_to(target)
    refused(
        lambda: publish.restore("cpu", root=tmp_path),
        names=["links", "best.safetensors"],
        wrote=tmp_path,
    )


def test_masks_of_ones_own_are_only_read(tmp_path):
    from tests.helpers.tiny import TINY

    own = tmp_path / "own"
    own.mkdir()
    rows = np.zeros((200, 32, 32), np.uint8)
    rows[:, 4:20, 4:20] = 1
    for file in ("train", "test"):
        np.save(own / f"{file}.npy", rows)
    before = contents(own)
    merged = settings.merge(TINY, {"masks": {"own": str(own)}})
    run = Run(settings.load("smoke", merged), 0, root=tmp_path / "runs", progress=False)
    for split in ("train", "validation", "test"):
        assert object_masks.of(run, "own", split).any()
    assert run.model_inputs("resnet18-aligned")
    assert contents(own) == before


# Downloads


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Make an archive of some members the one that is downloaded, with its digests."""

    def serve(*members, spoil=None):
        path = tar(tmp_path / "archive.tar.gz", *members)
        path.write_bytes(path.read_bytes() if spoil is None else spoil(path.read_bytes()))
        monkeypatch.setattr(downloads, "fetch", lambda remote, to: shutil.copy(path, to))
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / ".cifar10.lock").touch()
        return tmp_path / "data"

    return serve


def tar(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for member, blob in members:
            member.size = len(blob)
            archive.addfile(member, io.BytesIO(blob))
    return path


def member(name, kind=tarfile.REGTYPE, to=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, to
    return made


INSIDE = (member("cifar-10-batches-py/test_batch"), b"not yet looked at")


@pytest.mark.parametrize(
    "members",
    [
        [(member("../evil"), b"x")],
        [(member("cifar-10-batches-py/../../../evil"), b"x")],
        [(member("/{root}/evil"), b"x")],
        [(member("link", tarfile.SYMTYPE, "../.."), b""), (member("link/evil"), b"x")],
        [(member("link", tarfile.SYMTYPE, "/{root}"), b""), (member("link/evil"), b"x")],
        [(member("cifar-10-batches-py/a", tarfile.LNKTYPE, "../../secret"), b"")],
        [(member("pipe", tarfile.FIFOTYPE), b"")],
        [(member("device", tarfile.CHRTYPE), b"")],
    ],
    ids=["above", "through", "absolute", "link", "absolute link", "hard link", "pipe", "device"],
)
def test_an_archive_that_would_be_unpacked_elsewhere(members, served, tmp_path, tally):
    tally("untrusted: archives").add("one")
    rooted = []
    for each, blob in members:
        copy = member(each.name, each.type, each.linkname)
        copy.name = copy.name.replace("/{root}", str(tmp_path))
        copy.linkname = copy.linkname.replace("/{root}", str(tmp_path))
        rooted.append((copy, blob))
    root = served(INSIDE, *rooted)
    refused(
        lambda: cifar10.load("test", root=root, download=True),
        names=["could not be downloaded", str(root)],
        wrote=tmp_path,
    )


@pytest.mark.parametrize("spoil", [lambda blob: blob[:-20], lambda blob: b"no archive"])
def test_an_archive_that_is_damaged_though_its_digest_is_right(spoil, served, tmp_path):
    root = served(INSIDE, spoil=spoil)
    refused(
        lambda: cifar10.load("test", root=root, download=True),
        names=["could not be downloaded", str(root)],
        wrote=tmp_path,
    )


def test_an_archive_with_another_digest_is_not_unpacked(tmp_path, monkeypatch):
    path = tar(tmp_path / "archive.tar.gz", INSIDE)
    root = tmp_path / "data"
    root.mkdir()
    (root / ".cifar10.lock").touch()
    answer = urllib.response.addinfourl(io.BytesIO(path.read_bytes()), {}, "", 200)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", lambda *given, **more: answer)
    monkeypatch.setattr(tarfile, "open", lambda *given, **more: pytest.fail("it was opened"))
    monkeypatch.setattr(cifar10, "ARCHIVE", cifar10.ARCHIVE._replace(size=path.stat().st_size))
    refused(
        lambda: cifar10.load("test", root=root, download=True),
        names=["could not be downloaded", "checksum"],
        wrote=tmp_path,
    )


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(served, tmp_path, monkeypatch):
    root = served(INSIDE, (member("cifar-10-batches-py/more"), bytes(20_000_000)))
    monkeypatch.setattr(cifar10, "_UNPACKED", 19_000_000)
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda *given, **more: pytest.fail("was"))
    refused(
        lambda: cifar10.load("test", root=root, download=True),
        names=["would take more than 19,000,000 bytes"],
        wrote=tmp_path,
    )


# Pictures

SQUARE = np.zeros((32, 32), bool)
SQUARE[4:20, 6:30] = True


def gray(mode, high, low=0):
    kind = np.uint16 if mode == "I;16" else np.uint8
    return Image.fromarray(np.where(SQUARE, high, low).astype(kind))


def colored(*high, mode="RGB"):
    return Image.fromarray((SQUARE[..., None] * np.array(high)).astype(np.uint8), mode)


def palette(*colors, clear=None):
    picture = Image.fromarray(SQUARE.astype(np.uint8), "P")
    picture.putpalette([level for color in colors for level in color])
    if clear is not None:
        picture.info["transparency"] = clear
    return picture


READ = {
    "8 bits": gray("L", 255),
    "8 bits, just above half": gray("L", 128, 127),
    "0 and 1": gray("L", 1),
    "16 bits": gray("I;16", 65_535),
    "16 bits, just above half": gray("I;16", 32_768, 32_767),
    "16 bits, 0 and 1": gray("I;16", 1),
    "1 bit": Image.fromarray(SQUARE),
    "gray in color": colored(255, 255, 255),
}
NOT_READ = {
    "8 bits, below half": gray("L", 127),
    "16 bits, within 8": gray("I;16", 255),
    "0 and 2": gray("L", 2),
    "all one": gray("L", 1, 1),
    "palette": palette((0, 0, 0), (255, 255, 255)),
    "inverted palette": palette((255, 255, 255), (0, 0, 0)),
    "palette with transparency": palette((0, 0, 0), (255, 255, 255), clear=0),
    "red": colored(255, 0, 0),
    "alpha": colored(255, 255, 255, 255, mode="RGBA"),
    "gray and alpha": colored(255, 255, mode="LA"),
}


def test_a_mask_is_read_by_one_rule_or_refused(tmp_path, tally):
    count = tally("untrusted: image modes")
    for name, drawn in (READ | NOT_READ).items():
        folder = tmp_path / name
        folder.mkdir()
        drawn.save(folder / "0.png")
        wrong = []
        if name in READ:
            wrong = ["another mask"] * (read_masks(folder, [0])[0][0].tolist() != SQUARE.tolist())
        else:
            refused(lambda f=folder: read_masks(f, [0]), names=[str(folder)], wrote=tmp_path)
        count.add(name, wrong=wrong)
    assert not count.faults, count.faults


ARRAYS = {
    "bool": (SQUARE, True),
    "0 and 1": (SQUARE.astype(np.uint8), True),
    "0 and 255": (SQUARE * np.uint8(255), True),
    "just above half": (SQUARE + np.uint8(127), True),
    "16 bits": (SQUARE * np.uint16(65_535), True),
    "16 bits, lowest byte last": (SQUARE.astype(">u2") * 65_535, True),
    "below half": (SQUARE * np.uint8(127), False),
    "16 bits, within 8": (SQUARE * np.uint16(255), False),
    "signed": (SQUARE.astype(np.int8), False),
    "floats": (SQUARE.astype(np.float32), False),
    "NaN": (np.where(SQUARE, 1.0, np.nan), False),
    "complex": (SQUARE.astype(complex), False),
    "text": (SQUARE.astype(str), False),
    "times": (SQUARE.astype("m8[s]"), False),
}


def test_a_mask_in_an_array_is_read_by_the_same_rule_or_refused(tmp_path, tally):
    count = tally("untrusted: image modes")
    for name, (row, right) in ARRAYS.items():
        path = tmp_path / f"{name}.npy"
        np.save(path, row[None].astype(row.dtype))
        wrong = []
        if right:
            wrong = ["another mask"] * (read_masks(path, [0])[0][0].tolist() != SQUARE.tolist())
        else:
            refused(lambda p=path: read_masks(p, [0]), names=[str(path)], wrote=tmp_path)
        count.add(name, wrong=wrong)
    assert not count.faults, count.faults


def test_a_picture_of_another_format_is_given_to_no_other_reader(tmp_path, tally, monkeypatch):
    """PostScript is read by a program of its own, which its text can steer."""
    count = tally("untrusted: image formats")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: pytest.fail("it was run"))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
    blobs = {"eps": script, "svg": b"<svg/>"}
    for kind in ("BMP", "GIF", "JPEG", "TIFF", "WEBP", "PPM", "ICO", "PDF"):
        held = io.BytesIO()
        gray("L", 255).save(held, kind)
        blobs[kind] = held.getvalue()
    frost = photographs(tmp_path / "frost")
    for kind, blob in blobs.items():
        (tmp_path / "0.png").write_bytes(blob)
        refused(lambda: read_masks(tmp_path, [0]), names=["0.png", "cannot be"], wrote=tmp_path)
        count.add(f"mask {kind}")
        if kind != "JPEG":
            other = tmp_path / f"frost-{kind}"  # another folder, as what was read is remembered
            shutil.copytree(frost, other)
            (other / "frost2.png").write_bytes(blob)
            digest = functools.partial(weather.photographs_digest, other)
            refused(digest, names=["frost2.png"], wrote=tmp_path)
            count.add(f"frost {kind}")


def test_a_picture_of_another_size_is_not_decoded(tmp_path, monkeypatch):
    Image.new("L", (5_000, 4_000)).save(tmp_path / "0.png")
    frost = photographs(tmp_path / "frost")
    Image.new("1", (9_000, 9_000)).save(frost / "frost3.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda *given: pytest.fail("decoded"))
    refused(lambda: read_masks(tmp_path, [0]), names=["4000 x 5000"], wrote=tmp_path)
    monkeypatch.setattr(weather, "FROST_PHOTOGRAPHS", ("frost3.png",))
    refused(
        lambda: weather.photographs_digest(frost),
        names=["frost3.png", "9000 x 9000 pixels"],
        wrote=tmp_path,
    )


def test_altered_photographs_of_the_package_are_noticed(tmp_path, monkeypatch):
    frost = photographs(tmp_path / "frost")
    monkeypatch.setattr(weather, "FROST_FOLDER", frost)
    refused(lambda: corrupt(few_images().images, "frost", 1, seed=0), names=[str(frost), "altered"],
            wrote=tmp_path)  # fmt: skip


# Images of the official corruptions


def test_altered_corrupted_images_have_another_identity(tmp_path, monkeypatch, tally):
    count = tally("untrusted: corrupted images")
    monkeypatch.setattr(cifar10c, "OFFICIAL_IMAGES", 12)
    clean = few_images()
    folder = write_archive(tmp_path / cifar10c.FOLDER, clean) or tmp_path / cifar10c.FOLDER
    found = cifar10c.load(clean, root=tmp_path)
    first = found.identity
    assert found.identity == first and first["origin"] == "official"
    for name in cifar10c.NAMES:
        path = folder / f"{name}.npy"
        blob, about = path.read_bytes(), path.stat()
        other = folder / ("fog.npy" if name != "fog" else "snow.npy")
        black = blob[:128] + bytes(len(blob) - 128)
        for what, altered in (
            ("swapped", other.read_bytes()),
            ("black", black),
            ("one bit", flipped(blob, -5, 0)),
        ):
            path.write_bytes(altered)
            # The times of a file can be set back.
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
            same = cifar10c.load(clean, root=tmp_path).identity == first
            count.add(f"{name} {what}", wrong=["the same identity"] * same)
        path.write_bytes(blob)
    assert cifar10c.load(clean, root=tmp_path).identity == first
    assert not count.faults, count.faults


def test_a_file_is_read_once_as_long_as_it_stays_the_same(tmp_path, monkeypatch):
    path, asked = tmp_path / "a", []
    path.write_bytes(b"one")
    real = records.file_digest
    monkeypatch.setattr(records, "file_digest", lambda path: asked.append(path) or real(path))
    first = records.known_digest(path)
    assert records.known_digest(path) == first and len(asked) == 2  # it may change this moment
    before = path.stat().st_ctime_ns
    monkeypatch.setattr("time.time_ns", lambda: before + 3_000_000_000)
    for _ in range(3):
        assert records.known_digest(path) == first
    assert len(asked) == 3
    path.write_bytes(b"two")
    assert records.known_digest(path) == real(path)


# Weights of other kinds


def kinds():
    """Tensors (2, 2) of every kind, whether they are weights."""
    plain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    made = {str(kind): (plain.to(kind), kind in WEIGHTS) for kind in (*WEIGHTS, *OTHERS)}
    made["quantized"] = torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8), False
    made["sparse"] = plain.to_sparse(), False
    made["sparse csr"] = plain.to_sparse_csr(), False
    made["meta"] = plain.to("meta"), False
    return made


WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OTHERS = (
    torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64,
    torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


def test_weights_of_another_kind_are_refused(tmp_path, tally):
    count, path = tally("untrusted: dtypes"), tmp_path / "net.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's words about sparse and quantized tensors
        made = kinds()
    for name, (tensor, right) in made.items():
        net = nn.Linear(2, 2, bias=False)
        before = net.weight.detach().clone()
        loads = [lambda n=net, t=tensor: weights.fit(n, {"weight": t}, path)]
        if tensor.dtype != torch.complex128 and name == str(tensor.dtype):
            checkpoint.save_weights(path, {"weight": tensor}, {})
            loads.append(lambda n=net: checkpoint.load_weights(path, n))
        for load in loads:
            if right:
                load()
                assert torch.equal(net.weight, torch.eye(2))
            else:
                refused(load, names=[path.name, "weight", str(tensor.dtype)], wrote=tmp_path)
                assert torch.equal(net.weight, before)
            count.add(name)


def test_counts_among_weights_stay_whole_numbers(tmp_path):
    net = nn.BatchNorm1d(2)
    for kind in (torch.float32, torch.bool, torch.int32):
        state = net.state_dict() | {"num_batches_tracked": torch.tensor(3).to(kind)}
        refused(
            lambda s=state: weights.fit(net, s, tmp_path / "a.pt"),
            names=["num_batches_tracked", str(kind)],
            wrote=tmp_path,
        )
    weights.fit(net, net.state_dict() | {"num_batches_tracked": torch.tensor(3)}, tmp_path)
    assert net.num_batches_tracked == 3


def test_a_zipped_array_is_not_unpacked_before_its_size_is_known(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / cifar10h.NAMES[1], counts=np.zeros(20_000_000, np.uint8))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *given, **more: pytest.fail("was"))
    refused(lambda: cifar10h.load(tmp_path), names=["would unpack to 20,000,128"], wrote=tmp_path)


# Markup

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'> & $\\frac{$ <b>x"


class Seen(HTMLParser):
    """The tags of a page, and what in it could run or fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def harmless(text):
    seen = Seen(text)
    assert not seen.tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert "<b>x" not in text and "<img src=x" not in text
    assert "&lt;script&gt;" in text
    return seen


def filled(kind: Any) -> Any:
    """A value of a type with the hostile text in each place that takes text."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return kind(**{name: filled(field.annotation) for name, field in fields})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return inner[0]
    if origin is list:
        return [filled(inner[0])]
    if origin is dict:
        return {HOSTILE: HOSTILE}
    if origin is not None or isinstance(kind, types.UnionType):
        return filled(next(each for each in inner if each is not type(None)))
    return {str: HOSTILE, int: 50, float: 0.5, bool: False}[kind]


@pytest.fixture(scope="module")
def hostile_card():
    made = filled(card.Scorecard)
    axes = [made.axes[0].model_copy(update={"name": name}) for name in card.AXES[:-1]]
    provenance = made.provenance | {"device": HOSTILE}
    return made.model_copy(update={"axes": axes, "provenance": provenance})


def test_a_scorecards_text_is_no_markup_wherever_it_stands(hostile_card):
    harmless(page.page(hostile_card, b""))
    harmless(hostile_card._repr_html_())


def test_a_scorecards_text_is_no_formula(hostile_card):
    peer = hostile_card.axes[0].compared[0].model_copy(update={"model": RESNET})
    axes = [axis.model_copy(update={"compared": [peer]}) for axis in hostile_card.axes]
    figure = picture.draw(hostile_card.model_copy(update={"axes": axes}))
    figure.savefig(io.BytesIO(), format="png", dpi=20)


def test_class_names_and_titles_are_no_formulas():
    x = np.full((1, 3, 8, 8), 0.5)
    belief = np.array([[0.9, 0.1]])
    for figure in (
        pictures.image_grid(x, [HOSTILE]),
        pictures.attack_anatomy(x, x, belief, belief, [HOSTILE, "$\\x$"], labels=[0]),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi=20)


def test_a_tables_text_is_no_markup(tmp_path):
    frame = tables.table1(make_run(tmp_path), [RESNET, VIT])
    words = {"label", "training", "header", "incomparable"} & set(frame.columns)
    shown = rendering.show(frame.assign(**dict.fromkeys(words, HOSTILE)), caption=HOSTILE)
    seen = harmless(shown._repr_html_())
    assert "table" in seen.tags
    assert HOSTILE.split()[-1] in repr(shown)


def test_the_settings_as_a_table_are_no_markup():
    made = settings.load("smoke", {"masks": {"own": HOSTILE}}, making=False)
    section = made.masks.model_dump()
    shown = pd.DataFrame({made.profile: section}, dtype=object).fillna("none").astype(str)
    harmless(shown._repr_html_())


def test_a_reports_text_is_no_markup():
    found = Check(HOSTILE, False, {HOSTILE: HOSTILE}, HOSTILE)
    harmless(Report((found,), 8 / 255, HOSTILE, 50, 0.9, 0.5)._repr_html_())


def test_a_verdicts_text_is_no_markup():
    entry = listing.Entry(HOSTILE, ((HOSTILE, HOSTILE, HOSTILE),), HOSTILE, HOSTILE, "#000000")
    harmless(listing.Listing(HOSTILE, (entry,))._repr_html_())
