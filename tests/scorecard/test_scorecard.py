"""A scorecard's numbers, comparisons, document, folder and page, on a run of seconds."""

import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from rslib import data, scorecard, settings
from rslib.__main__ import main, parser
from rslib.attacks import RoundedInput
from rslib.metrics import estimates
from rslib.run import Run, published
from rslib.scorecard import ScorecardError, budget, compare, folders, page, picture, schema
from rslib.scorecard.axes import Reading
from rslib.scorecard.budget import Speed
from rslib.scorecard.card import AXES, Compared, Measure, Scorecard
from rslib.scorecard.guest import Attempt, Guest, with_masks
from rslib.store import records
from tests.faults.refusals import contents

pytestmark = pytest.mark.slow

# Each forward pass a hundredth of a second, all images right, half of them withstand an attack.
SPEED = Speed(0.01, 0.03, 0.1, 0.02, right=1.0, robust=0.5, images=50, seconds=10.0)


class Brightness(nn.Module):
    """Ten logits from the mean of each color, with a gradient everywhere and a feature map."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 4, stride=4)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.features(x).relu().mean((2, 3)))


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Rough intervals, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimates, "RESAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run with the records of two models and of the reference."""
    from tests.helpers.tiny import TINY

    changes = {"autoattack": {"n": 20, "steps": 1, "queries": 2, "batch_size": 20}}
    changes["masks"] = {"sources": ["exact"]}
    changes["reliability"] = {"n": 20, "strong_steps": 2, "queries": 2}
    merged = settings.merge(TINY, changes)
    made = Run(settings.load("smoke", merged), 0, root=tmp_path_factory.mktemp("run"),
               progress=False)  # fmt: skip
    for kind in ("clean", "corruptions"):
        made.evaluate_together(["resnet18-standard", "alexnet-standard"], kind)
    for kind in ("fgsm", "pgd", "saliency"):
        made.evaluate("resnet18-standard", kind)
    return made


@pytest.fixture(scope="module")
def own(run, tmp_path_factory):
    """The run's standard model as a module of unknown origin, scored: card and folder."""
    folder = tmp_path_factory.mktemp("cards") / "own"
    model = run.trained("resnet18-standard").train()
    card = scorecard.scorecard(
        model, None, run, name="<b>own</b> $x_1$", folder=folder, progress=False
    )
    assert model.training
    return card, folder


def changed(card, **changes):
    return Scorecard.model_validate(card.model_dump() | changes)


# Numbers


def test_every_axis_is_there_in_order(own):
    card, _ = own
    assert (*(axis.name for axis in card.axes), "reliability") == AXES
    assert [axis.status for axis in card.axes] == ["measured"] * 7


def test_a_model_of_the_run_scores_what_the_run_recorded(run, own):
    card, _ = own
    for kind in ("clean", "fgsm", "pgd"):
        record = run.record("resnet18-standard", kind)
        expected = estimates.accuracy(record["correct"])
        result = card.axis(kind).result
        assert (result.value, result.low, result.high, result.n) == pytest.approx(
            (expected.value, expected.low, expected.high, len(record))
        )
    error = estimates.calibration_error(run.record("resnet18-standard", "clean"))
    assert card.axis("ece").result.value == pytest.approx(error.value)
    saliency = run.record("resnet18-standard", "saliency")
    assert card.axis("saliency").result.value == pytest.approx(saliency["iou_exact"].mean())


def test_corruption_errors_are_those_of_table_5(run, own):
    from rslib.report import tables

    card, _ = own
    table = tables.table5(run, ["resnet18-standard"]).set_index("quantity")["ours"]
    axis = card.axis("corruptions")
    details = {each.name: each.measure.value for each in axis.details}
    assert axis.result.value == pytest.approx(table["error"])
    assert details["mce"] == pytest.approx(table["mce"])
    assert details["mce_test15"] == pytest.approx(table["mce_test15"])
    assert details["ce_noise"] == pytest.approx(table["noise"])


def test_compared_with_itself_a_model_differs_by_nothing(own):
    card, _ = own
    for axis in card.axes:
        for each in axis.compared:
            assert each.model == "resnet18-standard"
            assert each.measure.value == pytest.approx(each.ours.value, abs=1e-3)
            if each.difference is not None:
                assert each.difference.value == pytest.approx(0, abs=1e-3)
    assert {a.name for a in card.axes if a.compared} == set(AXES) - {"autoattack", "reliability"}


def test_saliency_stands_beside_chance_and_ceiling(own):
    axis = own[0].axis("saliency")
    details = {each.name: each.measure.value for each in axis.details}
    assert 0.05 < axis.chance == pytest.approx(details["chance"])
    assert details["chance"] < details["ceiling"] <= 1
    assert "Grad-CAM of network.layer4 (4 × 4)" in axis.protocol


class Unmasked(Run):
    """A run whose images come without masks."""

    def data(self, split):
        return replace(super().data(split), masks=None)


def test_masks_of_ones_own_are_used_where_images_bring_none(run, own, tmp_path):
    np.save(tmp_path / "test.npy", run.data("test").masks.numpy())
    settled = run.under({"masks": {"own": str(tmp_path), "sources": None}}).settings
    other = Unmasked(settled, 0, root=tmp_path / "runs", progress=False)
    card = scorecard.scorecard(
        run.trained("resnet18-standard"), None, other,
        without=set(budget.LEAVING) - {"saliency"}, folder=tmp_path / "card", progress=False,
    )  # fmt: skip
    axis, exact = card.axis("saliency"), own[0].axis("saliency")
    assert axis.protocol == exact.protocol.replace("exact masks", "own masks")
    assert (axis.result, axis.chance, axis.details) == (exact.result, exact.chance, exact.details)
    record = records.read_record(tmp_path / "card" / "records" / "saliency.parquet")
    assert "iou_own" in record and "iou_exact" not in record


def test_no_teacher_is_trained_for_its_masks(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Unmasked, "mask_source", "cnn")
    other = Unmasked(run.settings, 0, root=tmp_path, progress=False)
    images, masks = with_masks(other, other.data("test"))
    assert "has made no proxy masks: run notebook 03" in masks and images.masks is None
    assert not (other.directory / "models").exists()


def test_records_in_the_folder_give_the_numbers_again(own):
    card, folder = own
    for name in ("clean", "fgsm", "pgd", "autoattack"):
        record = records.read_record(folder / "records" / f"{name}.parquet")
        assert 100 * record["correct"].mean() == pytest.approx(card.axis(name).result.value)
        assert record.attrs["digest"] == card.model.digest


def test_what_cannot_be_measured_says_why(run):
    class NoGradient(nn.Module):
        def forward(self, x):
            return torch.stack([x.detach().mean((1, 2, 3)) * k for k in range(1, 11)], 1)

    card = scorecard.scorecard(
        NoGradient(), None, run, n=10, without=["corruptions"], progress=False
    )
    told = {axis.name: axis.reason for axis in card.axes if axis.status == "not available"}
    assert told["corruptions"] == "left out, as asked for"
    assert "no gradient" in told["pgd"]
    assert "no last feature map" in told["saliency"]
    assert card.axis("pgd").result is None and card.axis("clean").result is not None
    assert "not available" in str(card) and "not available" in page.body(card)
    picture.draw(card)


def test_hidden_gradients_are_flagged_and_guessing_is_told(run):
    hidden = RoundedInput(run.trained("resnet18-standard"), levels=3)
    least = ["autoattack", "corruptions", "saliency", "fgsm"]
    card = scorecard.scorecard(hidden, None, run, n=20, without=least, progress=False)
    assert not card.reliability.passed and "gradients" in card.reliability.failed
    assert "FLAGGED" in page.body(card) and "gradients" in str(card)
    torch.manual_seed(0)
    few = scorecard.scorecard(Brightness(), None, run, without=budget.LEAVING, progress=False)
    assert any("cannot be told from guessing" in warning for warning in few.warnings)


def test_other_images_have_nothing_to_be_compared_with(run):
    images = data.load("shapes", "test", n=30, seed=9)
    torch.manual_seed(0)
    least = ["autoattack", "reliability", "pgd"]
    card = scorecard.scorecard(Brightness(), images, run, n=10, without=least, progress=False)
    assert card.comparison.startswith("Nothing to compare with")
    assert not any(axis.compared for axis in card.axes)
    assert card.data.fingerprint == images.fingerprint
    assert card.axis("corruptions").details[0].name == "error_noise"
    assert "mce" not in {each.name for each in card.axis("corruptions").details}


def test_comparison_is_on_shared_images_and_refuses_other_protocols(run):
    peers = compare.find(run, run.data("test"))
    assert (peers.origin, peers.names) == ("this run", ("resnet18-standard",))
    record = run.record("resnet18-standard", "pgd")
    few = record.iloc[:7].assign(correct=True)

    def right(frame):
        return estimates.accuracy(frame["correct"])

    def gap(ours, theirs):
        return estimates.paired_difference(ours["correct"], theirs["correct"])

    (found,) = peers.compared("pgd", few, right, gap)
    kept = record.iloc[:7]["correct"].mean()
    assert found.measure.n == found.ours.n == 7
    assert found.difference.value == pytest.approx(100 * (1 - kept))
    assert peers.compared("pgd", few, right, gap, lambda theirs: False) == []
    assert compare.find(run, run.data("test"), without="resnet18-standard").names == ()


@pytest.mark.parametrize(
    ("change", "compared"), [({"eps": 4}, 0), ({"steps": 2}, 0), ({"n": 500}, 1)]
)
def test_an_attack_is_compared_with_those_of_its_protocol(run, tmp_path, change, compared):
    few = run.record("resnet18-standard", "pgd").iloc[:7]
    attempts = dict.fromkeys(budget.PLANNED, Attempt(reason="left out")) | {"pgd": Attempt(few)}
    chosen = run.under({"pgd": change}).settings
    guest = Guest(chosen, 0, tmp_path, nn.Identity(), run.data("test"), "no masks")
    peers = compare.find(run, run.data("test"))
    (axis,) = (each for each in Reading(guest, attempts, peers).axes() if each.name == "pgd")
    assert len(axis.compared) == compared


def test_the_published_edition_stands_in_where_its_images_are_the_same(tmp_path, monkeypatch):
    fresh = Run(settings.load("cpu"), 0, root=tmp_path, progress=False)
    assert compare.find(fresh, data.load("shapes", "test", n=20)).names == ()
    edition = published.find("cpu")
    attrs = edition.record("resnet18-standard", "clean").attrs
    full = data.Dataset(
        torch.zeros(10_000, 3, 1, 1, dtype=torch.uint8), torch.zeros(10_000, dtype=torch.int64),
        ("a",), "cifar10", "test", torch.arange(10_000),
    )  # fmt: skip
    monkeypatch.setattr(data.Dataset, "fingerprint", attrs["data"])
    peers = compare.find(fresh, full)
    assert peers.origin == "the published cpu edition"
    assert "resnet18-standard" in peers.names
    assert len(peers.record("resnet18-standard", "clean")) == 10_000
    assert peers.record("resnet18-trades", "clean") is None
    assert not (edition.directory / "locks").exists()


# Plans


def test_expected_seconds_by_hand():
    chosen = settings.load("smoke", {"autoattack": {"steps": 10, "queries": 100}})
    expected = {
        "clean": 100 * 0.01,
        "fgsm": 100 * (0.03 + 0.03),
        "pgd": 100 * (0.04 + 20 * 0.03 + 0.01),
        "autoattack": 100 * (0.06 + 10 * 0.03 + 0.5 * (90 * 0.03 + 90 * 0.04 + 100 * 0.01)),
        "corruptions": 100 * (95 * 0.01 + 0.1),
        "saliency": 100 * 0.02,
    }
    for axis, seconds in expected.items():
        assert budget.expected_seconds(axis, 100, SPEED, chosen) == pytest.approx(seconds)
    assert budget.expected_seconds("reliability", 100, SPEED, chosen) > expected["pgd"]
    with pytest.raises(ValueError, match="no axis 'speed'"):
        budget.expected_seconds("speed", 1, SPEED, chosen)


@pytest.fixture(scope="module")
def shapes():
    return data.load("shapes", "test")


def images_of(made):
    return {each.name: each.n for each in made.axes}


def test_without_a_budget_the_profile_decides(shapes):
    few = {"pgd": {"n": 250}, "autoattack": {"n": 50}, "corruptions": {"n": 100}}
    chosen = settings.load("smoke", few | {"reliability": {"n": 60}})
    made = budget.make(chosen, shapes, SPEED, absent={"saliency": "no masks"})
    assert images_of(made) == {
        "clean": 1000, "fgsm": 1000, "pgd": 250, "autoattack": 50, "corruptions": 100,
        "saliency": 0, "reliability": 60,
    }  # fmt: skip
    assert {e.name: e.note for e in made.axes}["saliency"] == "no masks"
    assert made.seconds == pytest.approx(sum(each.seconds for each in made.axes))


def test_n_is_for_every_axis_but_the_clean_one(shapes):
    chosen = settings.load("smoke", {"reliability": {"n": 50}})
    some = images_of(budget.make(chosen, shapes, SPEED, n=30))
    assert some.pop("clean") == 1000 and set(some.values()) == {30}
    many = images_of(budget.make(chosen, shapes, SPEED, n=5000))
    assert many["reliability"] == 50 and set(many.values()) == {50, 1000}


@pytest.mark.parametrize("minutes", [0.2, 0.5, 1, 2, 5, 20])
def test_minutes_shrink_the_longest_axis_first(shapes, minutes):
    chosen = settings.load("smoke")
    free = images_of(budget.make(chosen, shapes, SPEED))
    made = budget.make(chosen, shapes, SPEED, minutes=minutes)
    got = images_of(made)
    assert got["clean"] >= 50
    assert made.seconds + SPEED.seconds <= 60 * minutes or not any(
        n for axis, n in got.items() if axis != "clean"
    )
    for each in made.axes:
        assert each.n in {0, free[each.name], *budget.LADDER}
        assert bool(each.note) == (each.n != free[each.name])
        if each.n == 0:
            # Left out only when nothing could be shrunk any more.
            assert all(0 <= n <= 50 for n in got.values())


def test_axes_are_left_out_in_the_order_of_their_worth(shapes):
    chosen = settings.load("smoke")
    left = []
    for minutes in np.linspace(30, 0.2, 150):
        got = images_of(budget.make(chosen, shapes, SPEED, minutes=float(minutes)))
        left.append([axis for axis in budget.LEAVING if got[axis] == 0])
    for gone in left:
        assert gone == list(budget.LEAVING[: len(gone)])
    assert left[0] == [] and left[-1] == list(budget.LEAVING)


@pytest.mark.parametrize(
    ("n", "minutes", "said"),
    [(5, None, "at least 10"), (1.5, None, "whole number"), (None, 0, "above 0"),
     (None, float("inf"), "above 0"), (10, 1, "not both")],
)  # fmt: skip
def test_budgets_that_cannot_be_meant_are_refused(run, n, minutes, said):
    with pytest.raises(ScorecardError, match=said):
        scorecard.scorecard(Brightness(), None, run, n=n, minutes=minutes, progress=False)


def test_only_axes_can_be_left_out(run):
    for axis in ("clean", "ece", "speed"):
        with pytest.raises(ScorecardError, match=f"'{axis}' cannot be left out"):
            scorecard.scorecard(Brightness(), None, run, without=[axis], progress=False)


def test_the_plan_is_told_before_anything_starts(run, capsys, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        scorecard.scorecard(
            Brightness(), None, run, minutes=3, without=["saliency"], progress=False
        )
    told = capsys.readouterr().out
    assert "budget: 3 minutes; expected" in told
    for word in ("clean, ECE", "AutoAttack", "reliability verdict"):
        assert word in told


# The document


def test_the_json_validates_and_reads_back(own):
    card, folder = own
    document = json.loads((folder / "scorecard.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(document, schema())
    assert scorecard.read(folder) == card
    document["speed"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())
    del document["checksum"]
    records.write_json(folder.parent / "other.json", document)
    with pytest.raises(ScorecardError, match="no scorecard of this version: speed"):
        scorecard.read(folder.parent / "other.json")


def test_every_field_of_the_schema_is_described(own):
    parts = [schema(), *schema()["$defs"].values()]
    for part in parts:
        assert part["description"]
        for name, each in part["properties"].items():
            assert each.get("description"), (part["title"], name)
    table = scorecard.fields()
    assert isinstance(table, pd.DataFrame) and (table["meaning"].str.len() > 5).all()
    assert {"axes[].result.low", "model.digest", "plan.axes[].seconds"} <= set(table["field"])
    assert not table["field"].duplicated().any()


def test_provenance_and_digests_are_in_the_document(run, own):
    card, _ = own
    assert card.data.fingerprint == run.data("test").fingerprint
    assert card.profile == "smoke" and card.settings["pgd"]["eps"] == 16
    assert {"device", "revision", "date", "torch", "timm"} <= set(card.provenance)
    assert len(card.model.digest) == 64 and card.model.parameters > 0
    assert [each.n for each in card.plan.axes] == [60, 60, 20, 20, 20, 60, 20]


# Folder, page and picture


OTHERS = {"model": "timm:other, 0123", "profile": "paper", "seed": "3", "data": "cifar10 test, ff"}


def of(card, **changes):
    return folders.identity(card.model, card.data, card.profile, card.seed) | changes


def claim(folder, of, **options):
    with folders.claimed(folder, of, "work", **options) as place:
        place.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def written(own, tmp_path):
    """A card in a folder, and the frame of its one record."""
    card, folder = own
    frame = records.read_record(folder / "records" / "clean.parquet")
    folders.write(tmp_path / "card", card, {"clean": frame})
    return card, tmp_path / "card", frame


@pytest.mark.parametrize("what", OTHERS)
def test_a_scorecard_of_another_model_profile_seed_or_data_is_not_replaced_silently(written, what):
    card, folder, _ = written
    claim(folder, of(card))
    before = contents(folder)
    with pytest.raises(ScorecardError, match=f"another {what} .*{OTHERS[what]}.*--force"):
        claim(folder, of(card, **{what: OTHERS[what]}))
    assert contents(folder) == before
    claim(folder, of(card, **{what: OTHERS[what]}), force=True)
    assert folders.read(folder) == card  # until the other one is whole


def test_a_scorecard_of_a_time_without_lists_is_replaced_file_by_file(written):
    card, folder, frame = written
    shutil.rmtree(folder / folders.OWN)
    with pytest.raises(ScorecardError, match="another seed .*--force"):
        claim(folder, of(card, seed="9"))
    claim(folder, of(card))
    folders.write(folder, card, {"clean": frame.iloc[:3]})
    assert len(records.read_record(folder / "records" / "clean.parquet")) == 3
    shutil.rmtree(folder / folders.OWN)
    (folder / "scorecard.png").write_bytes(b"mine")
    with pytest.raises(ScorecardError, match=r"scorecard\.png is not of a scorecard"):
        claim(folder, of(card), force=True)


def test_unfinished_axes_of_another_model_go_only_by_force(own, tmp_path):
    card, _ = own
    folder = tmp_path / "card"
    with pytest.raises(KeyboardInterrupt):
        with folders.claimed(folder, of(card), "one") as place:
            records.write_json(place / "records" / "guest" / "clean-1.json", {})
            raise KeyboardInterrupt
    with pytest.raises(ScorecardError, match="holds the finished axes of another seed"):
        claim(folder, of(card, seed="9"))
    claim(folder, of(card, seed="9"), force=True)
    assert not place.exists()


def test_writing_again_leaves_no_stale_record(written):
    card, folder, frame = written
    (folder / "records" / "mine.parquet").write_bytes(b"mine")
    folders.write(folder, card, {"clean": frame, "pgd": frame})
    assert (folder / "records" / "pgd.parquet").exists()
    folders.write(folder, card, {"clean": frame})
    assert {path.name for path in (folder / "records").iterdir()} == {
        "clean.parquet", "mine.parquet"
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {
        "scorecard.json", "index.html", "scorecard.png", "records", folders.OWN
    }  # fmt: skip


@pytest.mark.parametrize("step", ["write_record", "page", "write_json"])
def test_a_stop_while_writing_leaves_the_older_scorecard(written, monkeypatch, step):
    card, folder, frame = written
    before = contents(folder)

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(page if step == "page" else records, step, killed)
    with pytest.raises(KeyboardInterrupt):
        folders.write(folder, card, {"clean": frame.assign(correct=False)})
    monkeypatch.undo()
    assert contents(folder) == before
    folders.write(folder, card, {"clean": frame.iloc[:5]})
    assert folders.read(folder) == card


def test_results_have_the_mode_that_the_umask_leaves(own, tmp_path):
    card, _ = own
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            claim(tmp_path / f"{mask}", of(card))
            folders.write(tmp_path / f"{mask}", card, {"clean": pd.DataFrame({"image": [1]})})
        finally:
            os.umask(before)
        for path in (tmp_path / f"{mask}").rglob("*"):
            whole = 0o777 if path.is_dir() else 0o666
            if path.suffix not in {".lock"}:
                assert path.stat().st_mode & 0o777 == whole & ~mask, path


class Tags(HTMLParser):
    """Opens and closes, and what is fetched."""

    VOID = {"meta", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.fetched += [value for key, value in attrs if key in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_self_contained_and_escaped(own):
    card, folder = own
    text = (folder / "index.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert len(tags.fetched) == 1 and tags.fetched[0].startswith("data:image/png;base64,")
    assert "script" not in tags.seen and "link" not in tags.seen
    assert "<b>own" not in text and "&lt;b&gt;own&lt;/b&gt;" in text
    assert "color-scheme:light dark" in text and "width=device-width" in text
    assert re.search(r'<img alt="[^"]{40,}"', text)
    for axis in card.axes:
        assert axis.title in text


def test_hostile_text_of_any_kind_is_escaped(own):
    card, _ = own
    hostile = "<script>alert(1)</script>"
    model = card.model.model_copy(
        update={"reference": hostile, "architecture": hostile, "notes": [hostile]}
    )
    whole = page.page(
        changed(card, name=hostile, comparison=hostile, warnings=[hostile],
                model=model.model_dump()), b"")  # fmt: skip
    assert "<script" not in whole and "&lt;script&gt;" in whole


def test_the_picture_shows_every_axis_and_the_books_models(own):
    card, _ = own
    figure = picture.draw(card)
    shown = {axis.get_title(loc="left") for axis in figure.axes}
    assert shown == set(picture._HEADS.values())
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0].replace("\\", "") == card.name and names[1] == "ResNet-18, standard"
    figure.canvas.draw()  # a name with dollars is no formula


def test_a_model_is_drawn_where_its_number_is(own):
    card, _ = own
    peer = Compared(
        model="vit_small-adversarial", label="ViT-Small, adversarial", origin="by hand",
        measure=Measure(value=37.0, low=30.0, high=44.0, n=20), ours=Measure(value=1.0),
        difference=None,
    )  # fmt: skip
    axes = [axis.model_copy(update={"compared": [peer]}) for axis in card.axes]
    figure = picture.draw(card.model_copy(update={"axes": axes}))
    panel = next(a for a in figure.axes if a.get_title(loc="left") == "PGD (%)")
    drawn = [line.get_xydata()[0].tolist() for line in panel.lines if len(line.get_xydata()) == 1]
    assert [37.0, 1.0] in drawn and [card.axis("pgd").result.value, 0.0] in drawn


# The command line


def test_help_tells_the_forms_and_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["scorecard", "--help"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0
    for word in ("timm:NAME", "package.module:factory", "--allow-pickle", "--minutes", "examples"):
        assert word in told
    assert max(map(len, told.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a MODEL"),
        (["timm:resnet81"], "no model 'resnet81'"),
        (["w.pt", "--architecture", "resnet18"], "no file of weights"),
        (["timm:test_resnet", "--profile", "smok"], "no profile 'smok'"),
        (["timm:test_resnet", "--settings", "{pgd: {stesp: 5}}"], "did you mean 'steps'"),
        (["timm:test_resnet", "--settings", "{pgd"], "not valid YAML"),
        (["timm:test_resnet", "--mean", "0", "0", "0"], "--mean and --std together"),
        (["timm:test_resnet", "-n", "3"], "at least 10"),
    ],
)
def test_bad_input_ends_in_one_paragraph(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    assert main(["scorecard", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert not (tmp_path / "scorecards").exists()


def test_a_module_of_ones_own_outside_the_project_ends_in_a_page_and_valid_json(
    run, capsys, tmp_path, monkeypatch
):
    (tmp_path / "shell_net.py").write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSLIB_RUNS", str(run.directory.parents[1]))
    chosen = run.settings.model_dump(
        include={"data", "autoattack", "reliability", "pgd", "evaluation"}
    )
    command = ["scorecard", "shell_net:make", "--settings", json.dumps(chosen), "-n", "10"]
    assert main([*command, "--quiet"]) == 0
    made = tmp_path / "scorecards" / "shell_net-make"
    jsonschema.validate(json.loads((made / "scorecard.json").read_text()), schema())
    assert (made / "index.html").stat().st_size > 10_000
    assert "shell_net:make" in capsys.readouterr().out
    assert main(["scorecard", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_commands_are_listed():
    listed = parser().format_help()
    assert "scorecard" in listed and "score a model of your own" in listed


def test_an_interrupt_is_no_traceback(capsys, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rslib.scorecard.load", stop)
    assert main(["scorecard", "timm:test_resnet"]) == 130
    assert "nothing was written" in capsys.readouterr().err


def test_an_edition_of_other_settings_is_no_peer(run):
    other = compare.Peers(run.under({"pgd": {"steps": 2}}), "elsewhere", run.data("test"))
    assert other.record("resnet18-standard", "pgd") is None
    assert other.record("resnet18-standard", "clean") is not None
