"""Bad input of every kind is refused in words, with a status other than 0, and writes nothing."""

import sys
import types

import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as checks
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from book import build
from book.__main__ import main as book
from rslib import notebook, settings
from rslib.__main__ import main
from rslib.corruptions import cifar10c
from rslib.data import cifar10, cifar10h
from rslib.run import Run, object_masks
from rslib.saliency import read_masks
from rslib.scorecard import SourceError, folders, load, sources, weights
from rslib.settings import SettingsError
from rslib.store import arrays, records
from rslib.training import checkpoint
from tests.faults.refusals import flipped, refused, shell
from tests.helpers.cifar10_files import pickled
from tests.helpers.cifar10_files import write as write_cifar10
from tests.helpers.corruption_samples import dataset as few_images
from tests.helpers.corruption_samples import write_archive

quickly = checks(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
places = {"place": st.integers(0, 2**30), "bit": st.integers(0, 7)}


@pytest.fixture(autouse=True)
def counted(request, tally):
    """Count each case by the kind of its input."""
    tally(f"refused: {request.cls.KIND}").add(request.node.name)


class TestSettings:
    KIND = "settings"

    @pytest.mark.parametrize(
        ("overrides", "names"),
        [
            ({1: 2}, ["1", "keys should be strings"]),
            ({None: 1}, ["None", "keys should be strings"]),
            ({"pgd": {1: 2}}, ["pgd.1", "keys should be strings"]),
            ({"pgd": [("steps", 3)]}, ["pgd", "valid dictionary"]),
            ({"pgd": {"steps": "many"}}, ["pgd.steps", "valid integer", "'many'"]),
            ({"pgd": {"steps": 3.0}}, ["pgd.steps", "valid integer", "3.0"]),
            ({"pgd": {"eps": 256}}, ["pgd.eps", "less than or equal to 255", "256"]),
            ({"pgd": {"eps": 10**5000}}, ["pgd.eps", "too many digits"]),
            ({"pgd": {"norm": "l1"}}, ["pgd.norm", "'linf' or 'l2'", "'l1'"]),
            ({"pgd": {"step_ratio": float("inf")}}, ["pgd.step_ratio", "finite", "inf"]),
            ({"pgd": {"step_ratio": 10**400}}, ["pgd.step_ratio", "valid number"]),
            ({"vit_small": {"patch": 3}}, ["vit_small.patch", "1, 2, 4, 8 or 16", "3"]),
            ({"vit_small": {"heads": 5}}, ["vit_small", "multiple of heads 5"]),
            ({"resnet18": {"width": 8.0}}, ["resnet18.width", "valid integer"]),
            ({"data": {"name": "../cifar10"}}, ["data.name", "'../cifar10'"]),
            ({"data": {"train_size": 0}}, ["data.train_size", "greater than or equal to 10"]),
            ({"smoothing": {"alpha": 1.0}}, ["smoothing.alpha", "less than 1"]),
            ({"evaluation": {"ece_bins": 1}}, ["evaluation.ece_bins", "greater than or equal to"]),
            ({"extra_models": "resnet18-trades"}, ["extra_models", "valid list"]),
            ({"extra_models": [3]}, ["extra_models.0", "valid string"]),
            ({"device": "gpu"}, ["device", "'auto', 'cpu', 'cuda' or 'mps'", "'gpu'"]),
            ({"profile": "../smoke"}, ["settings.profile", "'../smoke'", "outside settings"]),
            (
                {"training": {"aligned": {"start": "../x"}}},
                ["training", "aligned.start", "no training '../x'"],
            ),
            (
                {"training": {"trades": {"start": "trades"}}},
                ["training", "circle", "trades from trades"],
            ),
            ("pgd: 3", ["'pgd: 3'", "must be a mapping"]),
            ([["pgd", 3]], ["must be a mapping"]),
        ],
    )
    def test_a_value_that_cannot_be(self, overrides, names, tmp_path):
        refused(lambda: settings.load("smoke", overrides), names=names, wrote=tmp_path)

    @pytest.mark.parametrize(
        ("overrides", "names"),
        [
            ({"masks": {"sources": ["people"]}}, ["masks.sources.0", "'people'"]),
            ({"masks": {"sources": []}}, ["masks.sources", "at least 1"]),
            ({"masks": {"own": ""}}, ["masks.own", "at least 1"]),
            ({"masks": {"smallest": 0.9, "largest": 0.1}}, ["masks", "smallest 0.9", "0.1"]),
            ({"training": {"aligned": {"masks": "foo"}}}, ["training.aligned.masks", "'foo'"]),
            ({"alignment": {"shares": [0.5, 2.0]}}, ["alignment.shares.1", "equal to 1", "2.0"]),
        ],
    )
    def test_what_would_only_fail_hours_later(self, overrides, names, tmp_path):
        refused(lambda: settings.load("smoke", overrides), names=names, wrote=tmp_path)

    @pytest.mark.parametrize("given", [3, None, "pgd", {"profile": "../x"}, {"profile": "cpu"}])
    def test_what_is_laid_over_settings_that_are_there(self, given, tmp_path):
        base = settings.load("smoke")
        refused(lambda: settings.derive(base, given), names=["settings"], wrote=tmp_path)

    @pytest.mark.parametrize(
        "text",
        [
            "{pgd", "a: 2001-99-99", "!!timestamp x", "!!bool maybe", "!!int ''", "!!float x",
            "!!binary x", "? [a]\n: b", "<<: 3", "9" * 5000, "[" * 2000, "\x07", "a: *b",
            "!!python/name:os.system",
        ],
        ids=lambda text: text[:12],
    )  # fmt: skip
    def test_text_at_the_shell_that_is_no_yaml(self, text, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        refused(
            lambda: shell(main, "scorecard", "timm:test_resnet", "--settings", text),
            names=["--settings", "is not valid YAML"],
            wrote=tmp_path,
        )

    def test_yaml_that_grows_when_it_is_written_out_is_told_in_short(self, tmp_path):
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
        grown = settings.read_yaml("\n".join(lines), "it")["a11"]
        said = refused(
            lambda: settings.load("smoke", {"pgd": grown}), names=["pgd"], wrote=tmp_path
        )
        assert len(said) < 20_000

    @pytest.mark.parametrize(
        ("profile", "names"),
        [
            ("", ["''", "smoke"]),
            (None, ["None", "smoke"]),
            (3, ["3", "smoke"]),
            (["smoke"], ["['smoke']"]),
            ("Smoke ", ["'Smoke '", "did you mean 'smoke'"]),
            ("..", ["'..'", "Valid: "]),
            ("/etc/passwd", ["/etc/passwd", "Valid: "]),
            ("no/such.yaml", ["no/such.yaml", "no profile file"]),
            ("zero\0.yaml", ["zero", "cannot be read"]),
            ("long" * 200 + ".yaml", ["longlong", "cannot be read"]),
        ],
    )
    def test_a_profile_that_is_not_there(self, profile, names, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        refused(lambda: settings.load(profile), names=names, wrote=tmp_path)

    @pytest.mark.parametrize(
        ("content", "names"),
        [
            (b"\xff\xfe", ["UTF-8"]),
            (b"", ["'profile:' and 'settings:'"]),
            (b"[]", ["'profile:' and 'settings:'"]),
            (b"{1: 2}", ["'profile:' and 'settings:'"]),
            (b"profile: [x]", ["['x']"]),
            (b"profile: " + b"x" * 101, ["up to 100 letters"]),
            (b"profile: .x", ["'.x'", "letter or digit first"]),
            (b"settings: []", ["must be a mapping", "[]"]),
            (b"settings: ''", ["must be a mapping"]),
            (b"settings: {1: 2}", ["keys should be strings"]),
            (b"settings: {pgd: {steps: 2001-99-99}}", ["month must be in 1..12"]),
        ],
    )
    def test_a_profile_file_of_another_form(self, content, names, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content)
        names = names if b"{1: 2}" in content[5:] else [*names, "mine.yaml"]
        refused(lambda: settings.load(str(path)), names=names, wrote=tmp_path)

    def test_a_folder_with_a_profiles_name(self, tmp_path):
        (tmp_path / "mine.yaml").mkdir()
        refused(
            lambda: settings.load(str(tmp_path / "mine.yaml")),
            names=["mine.yaml", "cannot be read"],
            wrote=tmp_path,
        )

    @quickly
    @given(st.binary(max_size=40))
    def test_any_bytes_load_or_are_explained(self, tmp_path, content):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content)
        try:
            settings.load(str(path))
        except SettingsError as error:
            assert str(error)

    @quickly
    @given(st.text(max_size=30), st.sampled_from(["", ".yaml", ".yml"]))
    def test_any_text_is_a_profile_or_is_explained(self, tmp_path, text, ending):
        try:
            settings.load(text + ending)
        except SettingsError as error:
            assert str(error)

    @quickly
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.integers()
                    | st.none()
                    | st.sampled_from(["pgd", "training", "aligned", "masks", "eps", "start"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        )
    )
    def test_anything_over_a_profile_loads_or_is_explained(self, given):
        try:
            settings.load("smoke", given)
        except SettingsError as error:
            assert str(error)


class TestParameters:
    KIND = "parameters and command lines"

    @pytest.fixture
    def injected(self, monkeypatch):
        """Say which cell papermill has put into the notebook."""

        def inject(cell):
            history = types.SimpleNamespace(user_ns={"In": ["", f"# Parameters\n{cell}"]})
            monkeypatch.setattr("IPython.get_ipython", lambda: history)

        return inject

    @pytest.mark.parametrize(
        ("cell", "names"),
        [
            ("sed = 3", ["'sed'", "did you mean 'seed'"]),
            ('profil = "cpu"', ["'profil'", "did you mean 'profile'"]),
            ("eps = 8", ["'eps'", "everything else goes into settings"]),
            ("seed = 1\nPGD = {}", ["'PGD'"]),
        ],
    )
    def test_a_notebook_with_an_unknown_parameter(self, cell, names, injected, tmp_path):
        injected(cell)
        refused(lambda: notebook.start("smoke"), names=names, wrote=tmp_path)

    @pytest.mark.parametrize(
        ("given", "names"),
        [
            ({"profile": "smok"}, ["'smok'", "did you mean 'smoke'"]),
            ({"profile": 3}, ["3", "smoke"]),
            ({"settings": "pgd"}, ["'pgd'", "must be a mapping"]),
            ({"settings": {"pgd": {"stesp": 3}}}, ["pgd.stesp", "did you mean 'steps'"]),
            ({"seed": "0"}, ["seed", "'0'"]),
            ({"seed": True}, ["seed", "True"]),
            ({"seed": -1}, ["seed", "-1"]),
            ({"seed": 1.0}, ["seed", "1.0"]),
            ({"seed": None}, ["seed", "None"]),
            ({"seed": 2**64}, ["seed", str(2**64)]),
        ],
    )
    def test_a_notebook_with_a_bad_value(self, given, names, tmp_path, monkeypatch):
        monkeypatch.setenv("RSLIB_RUNS", str(tmp_path))
        refused(lambda: notebook.start(**{"profile": "smoke"} | given), names=names, wrote=tmp_path)

    @pytest.fixture
    def page(self, tmp_path):
        """A notebook that would run."""
        path = tmp_path / "01_one.ipynb"
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="one")]), path
        )
        return path

    @pytest.mark.parametrize(
        ("options", "names"),
        [
            (["--profile", "smok"], ["'smok'", "did you mean 'smoke'"]),
            (["--profile", "../smoke.yaml"], ["smoke.yaml", "no profile file"]),
            (["--profile", ""], ["''"]),
            (["--seed", "-1"], ["seed", "-1"]),
            (["--seed", "one"], ["--seed", "'one'"]),
            (["--steps", "3"], ["unrecognized", "--steps"]),
        ],
    )
    def test_a_run_of_a_notebook_with_bad_parameters(self, options, names, page, tmp_path):
        output = tmp_path / "out" / page.name
        command = ("run", page, output, *options)
        refused(lambda: shell(book, *command), names=names, wrote=tmp_path)

    @pytest.mark.parametrize(
        ("content", "names"),
        [
            (None, ["not a notebook", "No such file"]),
            (b"", ["not a notebook"]),
            (b"{}", ["not a"]),
            (b"[]", ["not a notebook"]),
            (b"\xff", ["not a notebook"]),
            (b'{"nbformat": 4, "nbformat_minor": 5, "cells": [3], "metadata": {}}', ["not a"]),
            (b'{"nbformat": 4, "nbformat_minor": 5, "cells": [{"cell_type": "code"}]}', ["valid"]),
        ],
    )
    def test_a_run_of_what_is_no_notebook(self, content, names, tmp_path):
        path = tmp_path / "01_one.ipynb"
        if content is not None:
            path.write_bytes(content)
        refused(
            lambda: shell(book, "run", path, tmp_path / "out" / "01_one.ipynb"),
            names=["01_one.ipynb", *names],
            wrote=tmp_path,
        )

    def test_an_output_that_cannot_be(self, page, tmp_path):
        (tmp_path / "folder.ipynb").mkdir()
        (tmp_path / "file").write_text("")
        for output, names in (
            (page, ["01_one.ipynb", "the notebook itself"]),
            (tmp_path / "folder.ipynb", ["folder.ipynb", "a folder"]),
            (tmp_path / "file" / "01_one.ipynb", ["file", "cannot be made"]),
        ):
            refused(
                lambda output=output: shell(book, "run", page, output),
                names=names,
                wrote=tmp_path,
            )

    @pytest.mark.parametrize("command", ["publish", "restore"])
    @pytest.mark.parametrize("profile", ["..", ".", "", "../../x", "/tmp", "a/b", "a\0"])
    def test_a_profile_that_would_lead_elsewhere(self, command, profile, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        # Were it followed, a whole folder would be replaced: publish takes any executed notebook.
        for parent in ("runs", "book/published", "."):
            executed = tmp_path / parent / "seed0" / "executed"
            executed.mkdir(parents=True, exist_ok=True)
            nbformat.write(nbformat.v4.new_notebook(), executed / "01_one.ipynb")
        refused(
            lambda: shell(book, command, profile),
            names=["profile", "names the run directory"],
            wrote=tmp_path,
        )

    def test_a_profile_that_was_not_run_or_published(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("RSLIB_RUNS", raising=False)
        for command in ("publish", "restore"):
            refused(
                lambda command=command: shell(book, command, "cpu"),
                names=["cpu"],
                wrote=tmp_path,
            )

    def test_a_folder_that_is_not_there(self, tmp_path):
        refused(lambda: shell(book, "errors", tmp_path / "none"), names=["none"], wrote=tmp_path)

    def test_a_book_that_cannot_be_built_leaves_the_one_there_is(self, tmp_path):
        (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
        (tmp_path / "_build" / "html").mkdir(parents=True)
        (tmp_path / "_build" / "html" / "index.html").write_text("the old book")
        refused(
            lambda: build.build(tmp_path / "none", root=tmp_path),
            names=["none", "intro", "has not been run"],
            wrote=tmp_path,
        )


class TestBatches:
    KIND = "CIFAR-10 batches"

    @pytest.fixture(params=["PYTHON", "BINARY"])
    def layout(self, request):
        return getattr(cifar10, request.param)

    @pytest.fixture
    def folder(self, layout, tmp_path, monkeypatch):
        return write_cifar10(tmp_path, layout, monkeypatch)

    @pytest.mark.parametrize("keep", [0, 1, 3072, -1])
    def test_a_truncated_file(self, keep, layout, folder, tmp_path):
        path = folder / layout.files["test"][0].name
        path.write_bytes(path.read_bytes()[:keep])
        refused(
            lambda: cifar10.load("test", root=tmp_path),
            names=[str(path), "truncated"],
            wrote=tmp_path,
        )

    def test_bytes_too_many(self, layout, folder, tmp_path):
        path = folder / layout.files["test"][0].name
        path.write_bytes(path.read_bytes() + b"\0")
        refused(
            lambda: cifar10.load("test", root=tmp_path),
            names=[str(path), "altered"],
            wrote=tmp_path,
        )

    def test_another_file_under_the_name(self, layout, folder, tmp_path):
        first, second = (folder / file.name for file in layout.files["train"][:2])
        first.write_bytes(second.read_bytes() + b"\0" * 4000)
        refused(
            lambda: cifar10.load("train", root=tmp_path),
            names=[str(first), "altered"],
            wrote=tmp_path,
        )

    def test_a_folder_in_place_of_a_file(self, layout, folder, tmp_path):
        name = layout.files["train"][2].name
        (folder / name).unlink()
        (folder / name).mkdir()
        refused(
            lambda: cifar10.load("train", root=tmp_path),
            names=[str(folder), f"lacks {name}"],
            wrote=tmp_path,
        )

    def test_a_root_that_is_a_file(self, tmp_path):
        (tmp_path / "data").write_text("")
        refused(
            lambda: cifar10.load("train", root=tmp_path / "data"),
            names=[str(tmp_path / "data"), "not there"],
            wrote=tmp_path,
        )

    @quickly
    @given(**places)
    def test_any_flipped_bit_is_found(self, place, bit, layout, tmp_path_factory):
        root = tmp_path_factory.mktemp("flipped")
        with pytest.MonkeyPatch.context() as patch:
            folder = write_cifar10(root, layout, patch)
            path = folder / layout.files["test"][0].name
            path.write_bytes(flipped(path.read_bytes(), place, bit))
            refused(
                lambda: cifar10.load("test", root=root), names=[path.name, "altered"], wrote=root
            )

    def trusted(self, tmp_path, monkeypatch, parse, blob):
        """A file whose checksum is right, whatever it holds."""
        (tmp_path / "layout").mkdir()
        (tmp_path / "layout" / "batch").write_bytes(blob)
        digest = records.file_digest(tmp_path / "layout" / "batch")
        file = cifar10.File("batch", digest, len(blob))
        made = cifar10.Layout("layout", "sha256", {"test": (file,)}, parse)
        monkeypatch.setattr(cifar10, "LAYOUTS", (made,))
        return lambda: cifar10.load("test", root=tmp_path)

    @pytest.mark.parametrize(
        ("blob", "reason"),
        [
            (b"", "not a whole number"),
            (b"\0" * 3072, "not a whole number"),
            (b"\0" * 3074, "not a whole number"),
            (bytes([10]) + b"\0" * 3072, "labels 0 to 9"),
            (bytes([255]) + b"\0" * 3072, "labels 0 to 9"),
            (b"\0" * 3073 + bytes([10]) + b"\0" * 3072, "labels 0 to 9"),
        ],
        ids=lambda given: str(given)[:12],
    )
    def test_binary_files_of_another_form(self, blob, reason, tmp_path, monkeypatch):
        call = self.trusted(tmp_path, monkeypatch, cifar10.parse_bin, blob)
        refused(call, names=["layout/batch", reason], wrote=tmp_path)

    @pytest.mark.parametrize(
        ("labels", "data"),
        [
            ([0], np.zeros((1, 3071), np.uint8)),
            ([0, 1], np.zeros((1, 3072), np.uint8)),
            ([0], np.zeros((1, 3, 32, 32), np.uint8)),
            ([0], np.zeros((1, 3072), np.int8)),
            ([10], np.zeros((1, 3072), np.uint8)),
            ([-1], np.zeros((1, 3072), np.uint8)),
            ([2**70], np.zeros((1, 3072), np.uint8)),
            ([0.5], np.zeros((1, 3072), np.uint8)),
            ([[0], [1, 2]], np.zeros((2, 3072), np.uint8)),
            ([None], np.zeros((1, 3072), np.uint8)),
            ([], np.zeros((0, 3072), np.uint8)),
            ((0,), np.zeros((1, 3072), np.uint8)),
            ([0], None),
        ],
    )
    def test_python_files_of_another_form(self, labels, data, tmp_path, monkeypatch):
        blob = pickled({b"labels": labels, b"data": data})
        call = self.trusted(tmp_path, monkeypatch, cifar10.parse_py, blob)
        refused(call, names=["layout/batch"], wrote=tmp_path)

    @quickly
    @given(**places)
    def test_a_flipped_bit_is_never_run(self, place, bit, tmp_path_factory):
        blob = pickled({b"labels": [3], b"data": np.zeros((1, 3072), np.uint8)})
        try:
            images, labels = cifar10.parse_py(flipped(blob, place, bit))
        except cifar10.DataError as error:
            assert str(error)
        else:
            assert images.shape == (1, 3, 32, 32) and labels.dtype == np.int64


class TestCounts:
    KIND = "CIFAR-10H counts"

    @pytest.mark.parametrize(
        ("made", "names"),
        [
            (np.full((10_000, 10), np.inf), ["float64 (10000, 10)", "whole numbers"]),
            (np.full((10_000, 10), np.nan), ["whole numbers"]),
            (np.full((10_000, 10), 1e300), ["whole numbers"]),
            (np.full((10_000, 10), -1), ["whole numbers"]),
            (np.full((10_000, 10), "5"), ["<U1 (10000, 10)"]),
            (np.ones((10, 10_000)), ["float64 (10, 10000)"]),
            (np.zeros((10_000, 10)), ["nobody chose"]),
        ],
        ids=lambda given: str(given)[:12],
    )
    def test_an_array_that_is_not_of_counts(self, made, names, tmp_path):
        np.save(tmp_path / cifar10h.NAMES[0], made)
        names = [cifar10h.NAMES[0], *names]
        refused(lambda: cifar10h.load(tmp_path), names=names, wrote=tmp_path)

    @pytest.mark.parametrize("keep", [0, 4, 100, 5000])
    @pytest.mark.parametrize("name", cifar10h.NAMES)
    def test_a_truncated_file(self, name, keep, tmp_path):
        save = np.save if name.endswith(".npy") else np.savez_compressed
        save(tmp_path / name, np.random.default_rng(0).random((10_000, 10)))
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
        refused(lambda: cifar10h.load(tmp_path), names=[name, "cannot be read"], wrote=tmp_path)

    def test_the_one_kind_under_the_others_name(self, tmp_path):
        npy, npz = (tmp_path / name for name in cifar10h.NAMES)
        with open(npz, "wb") as file:
            np.save(file, np.ones((10_000, 10)))
        refused(lambda: cifar10h.load(tmp_path), names=[npz.name, "one NumPy"], wrote=tmp_path)
        with open(npy, "wb") as file:
            np.savez(file, counts=np.ones((10_000, 10)))
        refused(lambda: cifar10h.load(tmp_path), names=[npy.name, "several"], wrote=tmp_path)
        npy.unlink()
        np.savez(npz, other=np.ones((10_000, 10)))
        refused(lambda: cifar10h.load(tmp_path), names=[npz.name, "counts"], wrote=tmp_path)

    def test_a_zip_file_with_a_wrong_checksum(self, tmp_path):
        path = tmp_path / cifar10h.NAMES[1]
        np.savez(path, counts=np.ones((10_000, 10)))
        path.write_bytes(flipped(path.read_bytes(), 5000, 0))
        refused(lambda: cifar10h.load(tmp_path), names=[path.name, "CRC"], wrote=tmp_path)


class TestRecords:
    KIND = "records and documents"

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "resnet18-standard" / "clean-0123456789.parquet"
        frame = pd.DataFrame({"image": range(50), "correct": [True, False] * 25})
        records.write_record(path, frame, {"n": 50, "notes": {"steps": 3}})
        return path

    @pytest.mark.parametrize(
        "make",
        [
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(b"PAR1"),
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            lambda path: path.write_bytes(path.read_bytes()[4:]),
            lambda path: path.write_text("image,correct\n0,1\n"),
            lambda path: pd.DataFrame({"image": [0]}).to_parquet(path),
            lambda path: pq.write_table(
                pa.table({"a": [1]}).replace_schema_metadata({b"rslib": b"{"}), path
            ),
            lambda path: pq.write_table(
                pa.table({"a": [1]}).replace_schema_metadata({b"rslib": b"[]"}), path
            ),
            lambda path: (path.unlink(), path.mkdir()),
        ],
        ids=["empty", "mark", "tail", "head", "csv", "foreign", "json", "list", "folder"],
    )
    def test_a_file_that_is_no_record(self, make, path, tmp_path):
        make(path)
        refused(lambda: records.read_record(path), names=[str(path), "is damaged"], wrote=tmp_path)

    @pytest.mark.parametrize("change", ["columns", "types", "metadata"])
    def test_a_record_that_was_changed_by_hand(self, change, path, tmp_path):
        table = pq.read_table(path)
        held = table.schema.metadata
        if change == "columns":
            table = table.rename_columns(["image", "right"])
        elif change == "types":
            table = table.set_column(0, "image", table["image"].cast(pa.int8()))
        else:
            held = held | {b"rslib": held[b"rslib"].replace(b'"n": 50', b'"n": 40')}
        pq.write_table(table.replace_schema_metadata(held), path)
        refused(
            lambda: records.read_record(path),
            names=[str(path), "altered", "delete it"],
            wrote=tmp_path,
        )

    @pytest.mark.parametrize(
        "name",
        [
            "resnet18-standard/clean-9876543210.parquet",
            "vit_small-standard/clean-0123456789.parquet",
        ],
    )
    def test_a_record_of_other_settings_or_another_model(self, name, path, tmp_path):
        foreign = tmp_path / name
        foreign.parent.mkdir(exist_ok=True)
        path.replace(foreign)
        refused(
            lambda: records.read_record(foreign),
            names=[str(foreign), "resnet18-standard/clean-0123456789.parquet", "give it"],
            wrote=tmp_path,
        )

    @quickly
    @given(**places)
    def test_a_flipped_bit_is_found_or_harmless(self, place, bit, tmp_path_factory):
        path = tmp_path_factory.mktemp("flipped") / "clean-0.parquet"
        frame = pd.DataFrame({"image": range(20), "loss": np.linspace(0, 1, 20)})
        records.write_record(path, frame, {"n": 20})
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        try:
            found = records.read_record(path)
        except records.RecordError as error:
            assert str(path) in str(error) and "delete it" in str(error)
        else:
            pd.testing.assert_frame_equal(found, frame, check_exact=True)
            assert found.attrs == {"n": 20}

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "3", "null", '"x"', "{'a': 1}", "\xff", "[" * 100_000], ids=range(9)
    )
    def test_a_document_that_is_none(self, text, tmp_path):
        path = tmp_path / "model.json"
        path.write_text(text, encoding="latin-1")
        refused(lambda: records.read_json(path), names=[str(path), "is damaged"], wrote=tmp_path)

    def test_a_folder_with_a_documents_name(self, tmp_path):
        refused(lambda: records.read_json(tmp_path), names=[str(tmp_path)], wrote=tmp_path)

    @pytest.mark.parametrize(
        "document", ["{}", "[]", '{"schema_version": "9.0"}', '{"name": "<script>"}', "{"]
    )
    def test_a_scorecard_that_is_none(self, document, tmp_path):
        (tmp_path / folders.DOCUMENT).write_text(document)
        refused(lambda: folders.read(tmp_path), names=[folders.DOCUMENT], wrote=tmp_path)


class TestCheckpoints:
    KIND = "checkpoints"

    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory):
        from tests.helpers.tiny import TINY

        return Run(settings.load("smoke", TINY), 0, root=tmp_path_factory.mktemp("runs"))

    @staticmethod
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

    def saved(self, path, key="k"):
        model = self.net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model(torch.rand(2, 3, 2, 2)).sum().backward()
        optimizer.step()
        state = checkpoint.State(1, [{"epoch": 1}], checkpoint.weights_of(model), 1)
        checkpoint.save(path, model, [optimizer], state, key)

    def loading(self, path, model=None):
        model = self.net() if model is None else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return lambda: checkpoint.load(path, model, [optimizer], "k")

    @pytest.mark.parametrize("keep", [0, 8, 100, -1])
    def test_a_truncated_checkpoint(self, keep, tmp_path):
        path = tmp_path / "checkpoint.safetensors"
        self.saved(path)
        path.write_bytes(path.read_bytes()[:keep])
        refused(self.loading(path), names=[str(path), "is damaged"], wrote=tmp_path)

    def test_another_runs(self, tmp_path):
        path = tmp_path / "checkpoint.safetensors"
        self.saved(path, key="other")
        refused(self.loading(path), names=[str(path), "other", "delete"], wrote=tmp_path)

    def test_another_architectures(self, tmp_path):
        path = tmp_path / "checkpoint.safetensors"
        self.saved(path)
        other = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
        refused(self.loading(path, other), names=[str(path), "delete"], wrote=tmp_path)

    @pytest.mark.parametrize("header", ["{}", "[]", '{"key": "k"}', "{", None])
    def test_a_header_that_is_none(self, header, tmp_path):
        path = tmp_path / "checkpoint.safetensors"
        held = {"model.1.weight": torch.zeros(3, 12), "model.1.bias": torch.zeros(3)}
        save_file(held, path, None if header is None else {"rslib": header})
        refused(self.loading(path), names=[str(path), "delete"], wrote=tmp_path)

    @quickly
    @given(**places)
    def test_a_flipped_bit_is_found(self, place, bit, tmp_path_factory):
        path = tmp_path_factory.mktemp("flipped") / "checkpoint.safetensors"
        self.saved(path)
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        refused(self.loading(path), names=[str(path), "delete"], wrote=path.parent)

    @pytest.mark.parametrize(
        ("spoil", "names"),
        [
            (lambda folder: (folder / "best.safetensors").write_bytes(b""), ["best.safetensors"]),
            (
                lambda folder: (folder / "best.safetensors").write_bytes(
                    flipped((folder / "best.safetensors").read_bytes(), 5000, 1)
                ),
                ["best.safetensors", "delete"],
            ),
            (lambda folder: (folder / "best.safetensors").unlink(), ["not in"]),
            (lambda folder: (folder / "model.json").write_text("[]"), ["model.json", "damaged"]),
            (lambda folder: (folder / "model.json").write_text("{"), ["model.json", "damaged"]),
        ],
        ids=["empty", "flipped", "gone", "list", "cut"],
    )
    def test_a_trained_model_that_was_spoiled(self, spoil, names, run, tmp_path):
        name = "resnet18-standard"
        folder = run.model_folder(name)
        weights_path = folder / "best.safetensors"
        checkpoint.save_weights(weights_path, checkpoint.weights_of(run.build(name)), {})
        splits = {split: run.data(split).fingerprint for split in ("train", "validation")}
        weights_of = {"best": records.file_digest(weights_path)}
        records.write_json(folder / "model.json", {"data": splits, "weights": weights_of})
        assert isinstance(run.trained(name), nn.Module)
        spoil(folder)
        refused(lambda: run.trained(name), names=names, wrote=folder)


class TestMasks:
    KIND = "masks of one's own"

    @staticmethod
    def square():
        drawn = np.zeros((32, 32), np.uint8)
        drawn[4:20, 4:20] = 255
        return drawn

    @pytest.mark.parametrize(
        ("rows", "names"),
        [
            (np.zeros((3, 32, 32), np.float32), ["float32 (3, 32, 32)", "bool or uint8"]),
            (np.zeros((3, 16, 16), bool), ["bool (3, 16, 16)", "(N, 32, 32)"]),
            (np.zeros((32, 32), bool), ["bool (32, 32)"]),
            (np.zeros((3, 32, 32, 3), np.uint8), ["(3, 32, 32, 3)"]),
            (np.zeros((3, 32, 32), "U1"), ["<U1"]),
            (np.zeros((3, 32, 32), bool), ["no mask of any"]),
            (np.ones((3, 32, 32), bool), ["image 0 covers the whole image"]),
            (np.zeros((0, 32, 32), bool), ["no mask of any"]),
        ],
        ids=lambda given: f"{given.dtype}{given.shape}" if hasattr(given, "dtype") else "",
    )
    def test_an_array_of_another_form(self, rows, names, tmp_path):
        path = tmp_path / "test.npy"
        np.save(path, rows)
        refused(lambda: read_masks(path, [0, 1, 2]), names=[str(path), *names], wrote=tmp_path)

    def test_several_arrays(self, tmp_path):
        with open(tmp_path / "test.npy", "wb") as file:
            np.savez(file, a=np.zeros((3, 32, 32), bool))
        refused(
            lambda: read_masks(tmp_path / "test.npy", [0]),
            names=["test.npy", "several"],
            wrote=tmp_path,
        )

    def test_a_damaged_zip_under_an_arrays_name(self, tmp_path):
        (tmp_path / "test.npy").write_bytes(b"PK\x03\x04" + b"\0" * 50)
        refused(
            lambda: read_masks(tmp_path / "test.npy", [0]),
            names=["test.npy", "damaged"],
            wrote=tmp_path,
        )

    @quickly
    @given(place=st.integers(0, 127), bit=st.integers(0, 7))
    def test_a_flipped_bit_of_an_arrays_header(self, place, bit, tmp_path_factory):
        path = tmp_path_factory.mktemp("flipped") / "test.npy"
        np.save(path, np.stack([self.square()] * 3))
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        try:
            masks, _ = read_masks(path, [0, 1, 2])
        except object_masks.MaskError as error:
            assert str(path) in str(error)
        else:
            assert masks.dtype == torch.bool and masks.shape == (3, 32, 32)

    @pytest.mark.parametrize(
        ("make", "names"),
        [
            (lambda path: path.write_bytes(b""), ["cannot be read"]),
            (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), ["cannot be read"]),
            (lambda path: path.write_text("<svg/>"), ["cannot be read"]),
            (lambda path: Image.new("L", (31, 32), 255).save(path), ["32 x 31", "32 x 32"]),
            (lambda path: Image.new("L", (32, 32), 1).save(path), ["image 0 covers nothing"]),
            (lambda path: Image.new("RGB", (32, 32), "white").save(path), ["the whole image"]),
            (lambda path: path.mkdir(), ["no mask of any"]),
        ],
        ids=["empty", "signature", "text", "size", "ones", "white", "folder"],
    )
    def test_a_picture_of_another_form(self, make, names, tmp_path):
        make(tmp_path / "0.png")
        refused(lambda: read_masks(tmp_path, [0]), names=[str(tmp_path), *names], wrote=tmp_path)

    def test_a_picture_that_claims_to_be_endless(self, tmp_path):
        Image.new("L", (32, 32), 255).save(tmp_path / "0.png")
        blob = bytearray((tmp_path / "0.png").read_bytes())
        blob[16:24] = (60_000).to_bytes(4, "big") * 2
        (tmp_path / "0.png").write_bytes(blob)
        refused(
            lambda: read_masks(tmp_path, [0]), names=["0.png", "cannot be read"], wrote=tmp_path
        )

    @quickly
    @given(**places)
    def test_a_flipped_bit_of_a_picture(self, place, bit, tmp_path_factory):
        folder = tmp_path_factory.mktemp("flipped")
        Image.fromarray(self.square()).save(folder / "0.png")
        path = folder / "0.png"
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        try:
            masks, known = read_masks(folder, [0])
        except object_masks.MaskError as error:
            assert "0" in str(error)
        else:
            assert masks.shape == (1, 32, 32) and known.tolist() == [True]

    @pytest.mark.parametrize(
        ("own", "names"),
        [
            ("", ["masks.own"]),
            ("{}/none", ["none", "holds no mask"]),
            ("{}/file", ["file", "holds no mask"]),
            ("{}/empty", ["empty", "holds no mask"]),
            ("{}/named", ["named", "holds no mask"]),
        ],
    )
    def test_a_folder_that_holds_none(self, own, names, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "empty").mkdir()
        (tmp_path / "named" / "0.png").mkdir(parents=True)
        chosen = settings.load("smoke").model_copy()
        masks = chosen.masks.model_copy(update={"own": own.format(tmp_path)})
        run = Run(chosen.model_copy(update={"masks": masks}), 0, root=tmp_path / "runs")
        refused(lambda: run.mask_inputs("own"), names=names, wrote=tmp_path)


class TestCorruptions:
    KIND = "corruption archives"

    @pytest.fixture
    def archive(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cifar10c, "OFFICIAL_IMAGES", 12)
        clean = few_images()
        write_archive(tmp_path / cifar10c.FOLDER, clean)
        return clean, tmp_path / cifar10c.FOLDER

    @pytest.mark.parametrize(
        ("spoil", "names"),
        [
            (lambda folder: (folder / "fog.npy").unlink(), ["fog.npy missing"]),
            (lambda folder: (folder / "fog.npy").write_bytes(b""), ["fog.npy", "damaged"]),
            (
                lambda folder: (folder / "fog.npy").write_bytes(b"PK\x03\x04" + b"\0" * 99),
                ["fog.npy", "several"],
            ),
            (
                lambda folder: (folder / "fog.npy").write_bytes(
                    (folder / "fog.npy").read_bytes()[:-1]
                ),
                ["fog.npy", "damaged"],
            ),
            (
                lambda folder: np.save(folder / "fog.npy", np.zeros((60, 3, 32, 32), np.uint8)),
                ["fog.npy", "(60, 3, 32, 32)"],
            ),
            (
                lambda folder: np.save(folder / "fog.npy", np.zeros((60, 32, 32, 3))),
                ["fog.npy", "float64"],
            ),
            (
                lambda folder: np.savez(open(folder / "fog.npy", "wb"), a=np.zeros(3)),
                ["fog.npy", "several"],
            ),
            (lambda folder: np.save(folder / "labels.npy", np.zeros((60, 1))), ["labels.npy"]),
            (lambda folder: np.save(folder / "labels.npy", np.zeros(60)), ["float64 (60,)"]),
            (lambda folder: np.save(folder / "labels.npy", np.arange(60)), ["labels differ"]),
            (lambda folder: np.save(folder / "labels.npy", np.int64(3)), ["labels.npy", "()"]),
            (
                lambda folder: np.save(folder / "labels.npy", np.full(60, 3, np.uint8)),
                ["labels.npy", "other images"],
            ),
        ],
        ids=range(12),
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_a_spoiled_archive(self, spoil, names, archive, tmp_path):
        clean, folder = archive
        spoil(folder)
        refused(lambda: cifar10c.load(clean, root=tmp_path), names=names, wrote=tmp_path)

    def test_insisting_on_one_that_is_not_there(self, tmp_path):
        refused(
            lambda: cifar10c.load(few_images(), root=tmp_path, official=True),
            names=[str(tmp_path), "does not exist"],
            wrote=tmp_path,
        )

    @quickly
    @given(place=st.integers(0, 127), bit=st.integers(0, 7))
    def test_a_flipped_bit_of_a_header(self, place, bit, tmp_path_factory):
        path = tmp_path_factory.mktemp("flipped") / "fog.npy"
        np.save(path, np.zeros((5, 4), np.uint8))
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        try:
            arrays.open_array(path)
        except arrays.ArrayError as error:
            assert str(path) in str(error)

    def test_an_export_into_anothers_folder(self, archive, tmp_path):
        clean, folder = archive
        refused(lambda: cifar10c.export(clean, folder), names=[str(folder)], wrote=tmp_path)
        (folder / cifar10c.MARKER).write_text("[")
        refused(
            lambda: cifar10c.export(clean, folder),
            names=[str(folder), "another export"],
            wrote=tmp_path,
        )


MODULE = """
import sys
from torch import nn

def leaves(): sys.exit(0)
def fails(): raise KeyError("layers")
def nothing(): pass
def asks(width): return nn.Identity()
kind = nn.Module
"""


class Answers(nn.Module):
    """Returns what it is told to, whatever the images."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


class TestModels:
    KIND = "models of one's own"

    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory):
        overrides = {"resnet18": {"width": 8}, "vit_small": {"dim": 16, "depth": 1, "heads": 2}}
        return Run(settings.load("smoke", overrides), 0, root=tmp_path_factory.mktemp("runs"))

    @pytest.fixture
    def project(self, tmp_path):
        (tmp_path / "faulty_nets.py").write_text(MODULE)
        (tmp_path / "faulty_script.py").write_text("import sys\nsys.exit(0)\n")
        (tmp_path / "faulty_syntax.py").write_text("def make(:\n")
        (tmp_path / "faulty_raises.py").write_text("raise RuntimeError('no data')\n")
        yield tmp_path
        for name in [name for name in sys.modules if name.startswith("faulty_")]:
            del sys.modules[name]

    @pytest.mark.parametrize(
        ("reference", "names"),
        [
            ("faulty_nets:leaves", ["faulty_nets:leaves", "SystemExit"]),
            ("faulty_nets:fails", ["faulty_nets:fails", "KeyError", "layers"]),
            ("faulty_nets:nothing", ["faulty_nets:nothing", "NoneType"]),
            ("faulty_nets:asks", ["faulty_nets:asks", "width"]),
            ("faulty_nets:", ["faulty_nets", "''"]),
            ("faulty_nets:leave", ["'leave'", "near it: leaves"]),
            ("faulty_script:make", ["faulty_script", "SystemExit", "__main__"]),
            ("faulty_syntax:make", ["faulty_syntax", "SyntaxError"]),
            ("faulty_raises:make", ["faulty_raises", "no data"]),
            (":make", ["cannot be imported", "Empty module name"]),
            ("../faulty_nets:make", ["../faulty_nets"]),
            ("os:system", ["os:system"]),
            ("", ["''", "names no model"]),
            ("resnet18-", ["resnet18-", "no model"]),
            ("resnet18-standart", ["resnet18-standart", "no model"]),
            ("timm:", ["no model ''"]),
            ("timm:../x", ["no model '../x'"]),
        ],
    )
    def test_a_name_that_gives_no_model(self, reference, names, run, project):
        refused(
            lambda: load(reference, run=run, folder=project),
            names=names,
            wrote=run.directory.parents[1],
        )

    @pytest.mark.parametrize(
        ("answer", "names"),
        [
            (lambda x: torch.zeros(len(x), 7), ["7 logits", "10 classes"]),
            (lambda x: torch.zeros(len(x), 1), ["(4, 1)", "at least 2"]),
            (lambda x: torch.zeros(len(x)), ["(4,)"]),
            (lambda x: torch.zeros(1, 10), ["(1, 10)", "4 images"]),
            (lambda x: torch.full((len(x), 10), torch.nan), ["NaN"]),
            (lambda x: torch.full((len(x), 10), torch.inf), ["infinite"]),
            (lambda x: x.sum(), ["()"]),
            (lambda x: None, ["NoneType"]),
            (lambda x: {"logits": torch.zeros(len(x), 10)}, ["dict"]),
            (lambda x: torch.zeros(len(x), 10).int(), ["int32"]),
            (lambda x: torch.zeros(len(x), 10).to(torch.complex64), ["complex64"]),
            (lambda x: x[:, :, 40], ["fails on images", "IndexError"]),
            (lambda x: 1 / 0, ["fails on images", "ZeroDivisionError"]),
        ],
        ids=range(13),
    )
    def test_answers_that_are_no_logits(self, answer, names, run, tmp_path):
        source = load(Answers(answer), run=run)
        refused(
            lambda: sources.check(source, torch.rand(4, 3, 32, 32), 10),
            names=["Answers", *names],
            wrote=tmp_path,
        )

    @pytest.mark.parametrize(
        ("state", "names"),
        [
            ({}, ["missing from the file"]),
            ({"1.weight": torch.zeros(10, 12)}, ["1.bias missing"]),
            ({"1.weight": torch.zeros(9, 12), "1.bias": torch.zeros(9)}, ["(9, 12) for (10, 12)"]),
            ({"weight": torch.zeros(10, 12), "bias": torch.zeros(10)}, ["not in the architecture"]),
        ],
        ids=range(4),
    )
    def test_weights_that_do_not_fit(self, state, names, tmp_path):
        save_file(state, tmp_path / "net.safetensors")
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
        tensors, _ = weights.read(tmp_path / "net.safetensors")
        refused(
            lambda: weights.fit(model, tensors, tmp_path / "net.safetensors"),
            names=["net.safetensors", *names],
            wrote=tmp_path,
        )

    @pytest.mark.parametrize("keep", [0, 7, 50, -1])
    def test_weights_that_are_cut(self, keep, tmp_path):
        path = tmp_path / "net.safetensors"
        save_file({"a": torch.zeros(100)}, path)
        path.write_bytes(path.read_bytes()[:keep])
        refused(lambda: weights.read(path), names=[str(path), "damaged"], wrote=tmp_path)

    @quickly
    @given(**places)
    def test_a_flipped_bit_of_pickled_weights(self, place, bit, tmp_path_factory):
        path = tmp_path_factory.mktemp("flipped") / "net.pt"
        torch.save({"a": torch.zeros(3)}, path)
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        try:
            tensors, _ = weights.read(path, allow_pickle=True)
        except SourceError as error:
            assert path.name in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in tensors.values())

    @pytest.mark.parametrize(
        ("arguments", "names"),
        [
            (["faulty_script:make"], ["faulty_script", "SystemExit"]),
            (["faulty_nets:leaves"], ["faulty_nets:leaves"]),
            (["faulty_nets:make", "--path", "~/no-such-folder"], ["no-such-folder", "--path"]),
            (["timm:test_resnet", "--weights", "none.safetensors"], ["none.safetensors"]),
            (["net.pt", "--architecture", "timm:test_resnet"], ["net.pt", "--allow-pickle"]),
            (["net.safetensors", "--architecture", "timm:test_resnet"], ["net.safetensors"]),
            (["timm:test_resnet", "--minutes", "nan"], ["minutes"]),
            (["timm:test_resnet", "--minutes", "-1"], ["minutes"]),
            (["timm:test_resnet", "-n", "ten"], ["-n", "'ten'"]),
            (["timm:test_resnet", "--seed", "-1"], ["seed", "-1"]),
            (["timm:test_resnet", "--without", "clean"], ["'clean'"]),
            (["timm:test_resnet", "--std", "0", "0", "0", "--mean", "0", "0", "0"], ["std"]),
            (["timm:test_resnet", "--mean", "nan", "0", "0", "--std", "1", "1", "1"], ["mean"]),
            (["timm:test_resnet", "--out", "faulty_nets.py"], ["faulty_nets.py", "is a file"]),
            (["timm:test_resnet", "--out", "faulty_nets.py/in"], ["faulty_nets.py", "is a file"]),
            (["timm:test_resnet", "--out", "x" * 300], ["xxx", "too long"]),
        ],
        ids=lambda given: " ".join(given)[:50],
    )
    def test_a_command_line(self, arguments, names, project, monkeypatch):
        torch.save({"a": torch.zeros(3)}, project / "net.pt")
        save_file({"a": torch.zeros(3)}, project / "net.safetensors")
        monkeypatch.chdir(project)
        monkeypatch.setenv("RSLIB_RUNS", str(project / "runs"))
        monkeypatch.setattr("sys.dont_write_bytecode", True)
        refused(lambda: shell(main, "scorecard", *arguments, "--quiet"), names=names, wrote=project)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_a_device_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        refused(
            lambda: shell(main, "scorecard", "timm:test_resnet", "--settings", "{device: cuda}"),
            names=["'cuda'", "not available"],
            wrote=tmp_path,
        )


class TestNames:
    KIND = "models' names"

    @pytest.mark.parametrize(
        "name",
        [
            "", "resnet18", "resnet18-", "-standard", "resnet-standard", "resnet18-standard@",
            "resnet18-standard@epochs", "resnet18-aligned@beta=", "resnet18-aligned@beta=x",
            "resnet18-aligned@beta=[1", "resnet18-aligned@gamma=1", "resnet18-aligned@start=..",
            "resnet18-aligned@layer=/../../x", "resnet18-aligned@layer=a\\b",
            "resnet18-aligned@layer=a\0b", "alexnet-adversarial",
        ],
        ids=repr,
    )  # fmt: skip
    def test_a_name_that_cannot_be(self, name, tmp_path):
        run = Run(settings.load("smoke"), 0, root=tmp_path)
        refused(lambda: run.model_inputs(name), names=["no model"], wrote=tmp_path)
