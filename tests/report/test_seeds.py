"""Several seeds beside one another: means and deviations worked out by hand, on known records."""

import inspect
import json
import math

import pandas as pd
import pytest

from book import execute, readme
from book.__main__ import main
from rslib import notebook, settings
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.report import figures, numbers, tables
from rslib.report.seeds import fills
from rslib.run import Run, object_masks
from rslib.run.published import PUBLISHED, find
from rslib.settings import SettingsError
from rslib.store import records
from rslib.store.records import RecordError
from tests.helpers.known_run import (
    HISTORY,
    RESNET,
    ROBUST_RESNET,
    VIT,
    make_run,
    pick,
    wilson,
)

SEEDS = (0, 1, 2)
# Per seed and model: right clean of 20, and of 10 attacked images under FGSM, PGD, PGD's last step.
BY_SEED = {
    0: {RESNET: (16, 4, 1, 2), ROBUST_RESNET: (14, 7, 5, 6), VIT: (15, 2, 0, 0)},
    1: {RESNET: (14, 4, 3, 3), ROBUST_RESNET: (13, 7, 6, 6), VIT: (15, 2, 0, 1)},
    2: {RESNET: (15, 4, 2, 2), ROBUST_RESNET: (15, 8, 7, 7), VIT: (18, 2, 0, 0)},
}
MODELS = [RESNET, ROBUST_RESNET, VIT]
OF_SEEDS = {"seeds", "seed_mean", "seed_std", "seed_p", "seed_0", "seed_1", "seed_2"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No test here asks how wide a bootstrap interval is."""
    monkeypatch.setattr(estimates, "RESAMPLES", 20)


@pytest.fixture
def run(tmp_path):
    """Seed 0 of three."""
    first, *_ = [
        make_run(tmp_path, models=models, seed=seed, seeds=SEEDS if seed == 0 else ())
        for seed, models in BY_SEED.items()
    ]
    return first


@pytest.fixture
def partial(tmp_path):
    """Seed 0 of three, of which the others have two of the models."""
    for seed, models in BY_SEED.items():
        some = models if seed == 0 else {name: models[name] for name in (RESNET, ROBUST_RESNET)}
        make_run(tmp_path / "partial", models=some, seed=seed)
    chosen = settings.load(
        "smoke",
        {
            "device": "cpu",
            "smoothing": {"samples": 1000, "alpha": 0.001},
            "seeded": [ROBUST_RESNET],  # which starts from the standard one
        },
    )
    return Run(chosen, 0, seeds=SEEDS, root=tmp_path / "partial", progress=False)


def of_seeds(figure):
    """What the figure draws for other seeds: points by axes."""
    return [
        [line.get_xydata().tolist() for line in axis.lines if line.get_gid() == "seed"]
        for axis in figure.axes
    ]


def footer(figure):
    return "\n".join(t.get_text() for t in figure.texts if t.get_gid() == "footer")


def test_a_run_knows_its_siblings(tmp_path):
    run = Run(settings.load("smoke"), 1, seeds=[2, 0, 2], root=tmp_path)
    assert run.seeds == (0, 1, 2)
    assert [each.seed for each in run.siblings] == [0, 2]
    assert all(each.siblings == () for each in (*run.siblings, run.alone))
    assert run.siblings[0].directory == run.directory.with_name("seed0")
    assert (run.alone.seed, run.alone.directory) == (1, run.directory)
    changed = run.under({"pgd": {"steps": 3}})
    assert [each.settings.pgd.steps for each in (changed, *changed.siblings)] == [3, 3, 3]
    assert Run(settings.load("smoke"), 1, root=tmp_path).siblings == ()
    for bad in ([0, -1], ["1"], [True]):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            Run(settings.load("smoke"), 0, seeds=bad)


def test_mean_and_deviation_by_hand(run):
    frame = tables.table2(run, MODELS)
    row = pick(frame, RESNET, "clean_accuracy")
    # 80, 70 and 75: mean 75, squared deviations 25 + 25 + 0 over 2.
    assert (row["seed_0"], row["seed_1"], row["seed_2"]) == pytest.approx((80, 70, 75))
    assert (row["seeds"], row["seed_mean"], row["seed_std"]) == (3, 75, pytest.approx(5))
    row = pick(frame, RESNET, "pgd_accuracy")
    assert (row["seed_mean"], row["seed_std"]) == pytest.approx((20, 10))
    # The number itself and its interval stay this seed's own.
    assert (row["ours"], row["n"]) == (pytest.approx(10), 10)
    assert (row["low"], row["high"]) == pytest.approx(wilson(1, 10))
    # What images decided and came out alike is told; it could have differed.
    row = pick(frame, VIT, "pgd_accuracy")
    assert (row["seeds"], row["seed_mean"], row["seed_std"]) == (3, 0, 0)
    assert math.isnan(row["seed_p"])


def test_the_seed_that_asks_does_not_change_the_means(run, tmp_path):
    last = Run(run.settings, 2, seeds=SEEDS, root=tmp_path, progress=False)
    ours, theirs = (tables.table2(each, MODELS) for each in (run, last))
    columns = ["seeds", "seed_mean", "seed_std", "seed_0", "seed_1", "seed_2"]
    pd.testing.assert_frame_equal(ours[columns], theirs[columns])
    assert pick(theirs, RESNET, "clean_accuracy")["ours"] == pytest.approx(75)


@pytest.mark.slow
def test_counts_of_the_protocol_and_p_values_have_no_mean(run):
    sibling = run.siblings[0]
    slower = sibling.summary(RESNET) | {"seconds": 9000.0}
    records.write_json(sibling.model_folder(RESNET) / "model.json", slower)
    frame = tables.table1(run, [RESNET, VIT])
    row = pick(frame, RESNET, "parameters")
    assert numbers.missing(row["seeds"])
    assert all(math.isnan(row[key]) for key in OF_SEEDS - {"seeds"})
    hours = pick(frame, RESNET, "training_hours")
    assert hours["seed_mean"] == pytest.approx((1.5 + 2.5 + 1.5) / 3)
    assert numbers.spread(hours) == "1.8 h ± 35 min"
    tests = tables.mcnemar_table(run, [(RESNET, VIT)])
    assert numbers.missing(pick(tests, f"{RESNET}_vs_{VIT}", "p_holm")["seeds"])


@pytest.mark.slow
def test_methods_are_compared_over_seeds_with_holms_correction(run):
    frame = tables.mcnemar_table(run, [(ROBUST_RESNET, RESNET), (ROBUST_RESNET, VIT)])
    first, second = (
        pick(frame, f"{ROBUST_RESNET}_vs_{other}", "difference") for other in (RESNET, VIT)
    )
    # Of 10 images 5 - 1, 6 - 3, 7 - 2, and 5, 6, 7 less none.
    assert (first["seed_mean"], first["seed_std"]) == pytest.approx((40, 10))
    assert (second["seed_mean"], second["seed_std"]) == pytest.approx((60, 10))
    # With two degrees of freedom p = 1 - t / sqrt(t² + 2).
    t = [mean / (10 / math.sqrt(3)) for mean in (40, 60)]
    larger, smaller = (1 - each / math.sqrt(each**2 + 2) for each in t)
    assert second["seed_p"] == pytest.approx(2 * smaller)
    assert first["seed_p"] == pytest.approx(max(larger, 2 * smaller))
    tested = frame[frame.seed_p.notna()]
    assert set(tested.quantity) == {"difference"}
    assert "Holm's correction over the 2 tests of this table" in " ".join(frame.attrs["notes"])
    assert "+40.0 ± 10.0 p = 0.020" in repr(tables.show(frame))


@pytest.mark.slow
def test_two_seeds_are_too_few_for_a_test(run, tmp_path):
    two = Run(run.settings, 0, seeds=[1], root=tmp_path, progress=False)
    frame = tables.mcnemar_table(two, [(ROBUST_RESNET, RESNET)])
    row = pick(frame, f"{ROBUST_RESNET}_vs_{RESNET}", "difference")
    assert (row["seeds"], row["seed_mean"]) == (2, pytest.approx(35))
    assert frame["seed_p"].isna().all()
    assert not any("t-test" in note for note in frame.attrs["notes"])
    assert "2 seeds" in repr(tables.show(frame))


def test_what_is_unknown_under_a_seed_is_left_out():
    assert estimates.spread([1.0, math.nan, 3.0]) == estimates.Spread(2, 2.0, math.sqrt(2))
    alone = estimates.spread([math.nan, 4.0])
    assert alone.n == 1 and math.isnan(alone.mean) and math.isnan(alone.std)
    assert estimates.spread([]).n == 0
    assert estimates.paired_p([1.0, 2.0, math.nan]) is None
    assert estimates.paired_p([0.3, 0.1 + 0.2, 0.3]) is None  # alike but for rounding
    # t = 2 / (1 / sqrt(3)) with two degrees of freedom.
    assert estimates.paired_p([1.0, 2.0, 3.0]) == pytest.approx(1 - math.sqrt(12 / 14))


def test_tables_show_the_means_below_the_intervals(run):
    frame = tables.table2(run, MODELS)
    shown = tables.show(frame)
    lines = repr(shown).splitlines()
    (at,) = [k for k, line in enumerate(lines) if line.startswith("Standard") and "80.0" in line]
    assert "[" in lines[at + 1] and "3 seeds" in lines[at + 2]
    assert "75.0 ± 5.0" in lines[at + 2] and "20.0 ± 10.0" in lines[at + 2]
    markup = shown._repr_html_()
    assert markup.count(">3 seeds</th>") == len(MODELS)
    assert "75.0 ± 5.0" in markup and 'rowspan="5"' in markup
    for text in (shown.caption, markup):
        assert "seeds 0, 1, 2" in text and "each trained anew; all else is of seed 0" in text
    fewer = (frame.model == RESNET) & (frame.quantity == "pgd_accuracy")
    frame.loc[fewer, "seeds"] = 2
    assert "20.0 ± 10.0 (2 seeds)" in repr(tables.show(frame))
    assert numbers.spread(pick(frame, RESNET, "clean_accuracy")) == "75.0 ± 5.0"


def test_devices_of_other_seeds_are_named(run):
    sibling = run.siblings[1]
    for kind in ("clean", "fgsm", "pgd"):
        record = sibling.record(VIT, kind)
        about = record.attrs | {"provenance": record.attrs["provenance"] | {"device": "a GPU"}}
        records.write_record(sibling.record_path(VIT, kind), record, about)
    assert "Seed 2 ran on CPU, 2 threads and a GPU." in tables.table2(run, MODELS).attrs["notes"]


def test_stored_tables_hold_the_seeds_and_come_back(run):
    frame = tables.table2(run, MODELS)
    document = json.loads(tables.save(run, "table2", frame).read_text())
    about, row = document["metadata"], document["rows"][0]
    assert (about["seed"], about["seeds"]) == (0, [0, 1, 2])
    assert {source["seed"] for source in about["sources"]} == {0, 1, 2}
    assert about["stamp"].endswith("; seeds 0, 1, 2")
    assert [*row][-7:] == [
        "seeds", "seed_mean", "seed_std", "seed_p", "seed_0", "seed_1", "seed_2",
    ]  # fmt: skip
    assert (row["seeds"], row["seed_1"], row["seed_p"]) == (3, pytest.approx(70), None)
    back = tables.load(run, "table2")
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == frame.attrs


def test_one_seed_changes_nothing(tmp_path):
    made = {}
    for seeds in ((), (0,)):
        run = make_run(tmp_path, seeds=seeds)
        path = tables.save(run, "table2", tables.table2(run))
        made[seeds] = path.read_text(), repr(tables.show(tables.table2(run)))
        figure = figures.figure1(run)
        assert not any(of_seeds(figure))
        assert "seed 0" in footer(figure) and "seeds" not in footer(figure)
    assert made[()] == made[(0,)]
    document = json.loads(made[()][0])
    assert not OF_SEEDS & set(document["rows"][0])
    assert "seeds" not in document["metadata"]
    assert "±" not in made[()][1] and "seeds" not in made[()][1]


def test_a_sibling_that_was_not_run_is_named(run):
    run.siblings[1].record_path(VIT, "pgd").unlink()
    said = (
        "seed 2 is to stand beside seed 0.*no pgd record of vit_small-standard"
        '.*notebook with seed 2 first.*SEEDS="0 1 2".*leave 2 out of seeds'
    )
    for make in (tables.table2, figures.figure2):
        with pytest.raises(RecordError, match=said):
            make(run, MODELS)
    tables.table2(run.alone, MODELS)
    run.record_path(VIT, "pgd").unlink()  # its own is missing: as ever
    with pytest.raises(RecordError, match="^no pgd record of vit_small-standard"):
        tables.table2(run, MODELS)


def test_rows_rest_on_several_seeds_where_these_have_the_models(run, partial):
    full, some = (tables.table2(each, MODELS) for each in (run, partial))
    there = full.model != VIT
    pd.testing.assert_frame_equal(some[there], full[there])
    rest = some[~there]
    assert rest["seed_mean"].isna().all() and rest["seed_1"].isna().all()
    assert rest["ours"].equals(full["ours"][~there])
    about = some.attrs
    assert about["stamp"].endswith("; seed 0 (2 of 3 rows: seeds 0, 1, 2)")
    assert "deviation, in the rows that have it: over seeds 0, 1, 2" in " ".join(about["notes"])
    of_vit = {source["seed"] for source in about["sources"] if source["model"] == VIT}
    assert (about["seeds"], of_vit) == ([0, 1, 2], {0})
    shown = tables.show(some)
    assert shown._repr_html_().count(">3 seeds</th>") == 2
    back = json.loads(tables.save(partial, "table2", some).read_text())["rows"]
    assert [row["seeds"] for row in back if row["quantity"] == "clean_accuracy"] == [3, 3, 1]


@pytest.mark.slow
def test_differences_rest_on_several_seeds_where_these_have_both_models(partial):
    frame = tables.mcnemar_table(partial, [(ROBUST_RESNET, RESNET), (ROBUST_RESNET, VIT)])
    both, one = (
        pick(frame, f"{ROBUST_RESNET}_vs_{other}", "difference") for other in (RESNET, VIT)
    )
    t = 40 / (10 / math.sqrt(3))
    # The one test there is: 4, 3 and 5 of 10 images, and nothing to correct for.
    assert both["seed_p"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert (both["seeds"], both["seed_mean"]) == (3, pytest.approx(40))
    assert math.isnan(one["seed_mean"]) and math.isnan(one["seed_p"])
    assert "seed 0 (1 of 2 rows: seeds 0, 1, 2)" in frame.attrs["stamp"]


def test_a_table_of_which_other_seeds_know_nothing_is_that_of_one_seed(partial):
    for names in ([VIT], [VIT, VIT]):
        ours, alone = (tables.table2(each, names) for each in (partial, partial.alone))
        pd.testing.assert_frame_equal(ours, alone)
        assert ours.attrs == alone.attrs


@fills("joint")
def joint_table(table, names):
    """A table each of whose numbers is about all models."""
    right = [table.read(name, "clean")["correct"].mean() for name in names]
    table.add(names[0], "best", Estimate(100 * max(right)), "Best (%)", "%")


def test_numbers_about_all_models_rest_on_several_seeds_where_these_have_all(partial):
    assert "seeds" not in joint_table(partial, MODELS)
    # The better one has 16, 14 and 15 of 20 images.
    assert pick(joint_table(partial, MODELS[:2]), RESNET, "best")["seed_mean"] == 75


def test_what_a_seed_is_to_have_and_lacks_is_named(partial):
    partial.siblings[0].record_path(RESNET, "pgd").unlink()
    said = (
        "seed 1 is to stand beside seed 0.*no pgd record of resnet18-standard.*notebook of seed 0 "
        'that makes it.*SEEDS="0 1 2".*leave 1 out'
    )
    for make in (tables.table2, figures.figure2):
        with pytest.raises(RecordError, match=said):
            make(partial, MODELS)
    with pytest.raises(RecordError, match="vit_small-standard is not trained under seed 1: "):
        partial.siblings[0].record(VIT, "pgd")


def test_figures_show_the_other_seeds_of_models_that_these_have(partial):
    figure = figures.figure2(partial, MODELS)
    assert [len(each) for each in of_seeds(figure)] == [4, 2]
    said = footer(figure).splitlines()
    assert said[0].endswith("; seeds 0, 1, 2")
    assert said[1] == "Small dots, where drawn: seeds 1, 2; all else is of seed 0."
    for draw in (figures.figure1, figures.reliability_diagram, figures.certified_curves):
        assert sum(map(len, of_seeds(draw(partial, MODELS)))) > 0
        alone = draw(partial, [VIT])
        assert not any(of_seeds(alone))
        assert footer(alone).splitlines()[-2].endswith("; seed 0")


NAME = "resnet18-standard"


@pytest.fixture
def following(tiny_run):
    """A tiny run whose other seed has one model, and nothing made yet."""
    one = tiny_run({"seeded": [NAME], "masks": {"sources": ["exact"]}})
    return Run(one.settings, 0, seeds=[1], root=one.directory.parents[1], progress=False)


@pytest.mark.slow
def test_what_notebooks_ask_for_is_made_under_the_seeds_that_follow(following, tiny_run):
    (other,) = following.followers
    for name in (NAME, VIT):
        following.evaluate(name, "clean")
    made = {
        path.parent.name.rpartition("-")[0]: path.stat().st_mtime_ns
        for path in other.directory.glob("models/*/model.json")
    }
    assert list(made) == [NAME] and not other.has(VIT)
    assert [path.parent.name for path in other.directory.glob("records/**/*.parquet")] == [NAME]
    # The same as a run of that seed by itself makes.
    alone = tiny_run(seed=1, root=following.directory.parents[1] / "alone")
    ours, theirs = other.record(NAME, "clean"), alone.evaluate(NAME, "clean")
    pd.testing.assert_frame_equal(ours, theirs)
    frame = tables.table1(following, [NAME, VIT])
    assert pick(frame, NAME, "clean_accuracy")["seed_1"] == pytest.approx(
        100 * theirs["correct"].mean()
    )
    assert math.isnan(pick(frame, VIT, "clean_accuracy")["seed_1"])

    # What a killed run left undone is made, and nothing twice.
    other.record_path(NAME, "clean").unlink()
    following.evaluate(NAME, "clean")
    pd.testing.assert_frame_equal(other.record(NAME, "clean"), theirs)
    (model,) = other.directory.glob("models/*/model.json")
    assert model.stat().st_mtime_ns == made[NAME]


def test_seeds_with_notebooks_of_their_own_are_not_made_by_others(tiny_run):
    one = tiny_run()
    run = Run(one.settings, 0, seeds=[1], root=one.directory.parents[1], progress=False)
    run.evaluate(NAME, "clean")
    assert run.followers == () and not run.siblings[0].directory.exists()


def test_masks_are_known_under_the_seeds_that_follow(following):
    object_masks.priors(following)
    (other,) = following.followers
    ours, theirs = following.priors(), other.priors()
    pd.testing.assert_frame_equal(ours, theirs)  # exact masks are the same whatever the seed
    assert tables.masks_table(following).attrs["seeds"] == [0, 1]


def test_every_table_is_made_over_seeds():
    """All of ``tables`` that make a table for a run; the verdicts are one run's, by their rule."""
    made = [
        make
        for name, make in inspect.getmembers(tables, inspect.isfunction)
        if name.endswith("_table") or name.removeprefix("table").isdigit()
    ]
    assert len(made) >= 29
    marked = fills("")(lambda table: None).__code__
    assert [make.__name__ for make in made if make.__code__ is not marked] == []


def test_figure1_shows_the_other_seeds(run):
    figure = figures.figure1(run, [RESNET, VIT])
    accuracy, test, loss = (
        [line for line in axis.lines if line.get_gid() == "seed"] for axis in figure.axes
    )
    found = [each.get_xydata() for each in test]
    assert [points[:, 1].tolist() for points in found] == [
        pytest.approx([70, 75]), pytest.approx([75, 90]),
    ]  # fmt: skip
    assert [line.get_color() for line in test] == ["#0072B2", "#D55E00"]
    # Two other seeds of two models, thinner than this one's curve.
    assert len(accuracy) == len(loss) == 4
    expected = [100 * epoch["validation_accuracy"] for epoch in HISTORY]
    assert accuracy[0].get_ydata() == pytest.approx(expected)
    assert accuracy[0].get_linewidth() < 1
    lines = footer(figure).splitlines()
    assert lines[0].endswith("; seeds 0, 1, 2")
    assert lines[1] == "Small dots and thin lines: seeds 1, 2; all else is of seed 0."


def test_figure2_shows_the_other_seeds(run):
    success, plane = of_seeds(figures.figure2(run, MODELS))
    # Of 8 images FGSM leaves 4 of ResNet-18's under every seed, PGD 1, 3 and 2.
    assert [x for x, _ in success[0]] == pytest.approx([50, 50])
    assert [x for x, _ in success[3]] == pytest.approx([100 * 5 / 8, 100 * 6 / 8])
    assert plane[0] == [pytest.approx([70, 30]), pytest.approx([75, 20])]
    assert plane[2] == [pytest.approx([75, 0]), pytest.approx([90, 0])]
    figure = figures.figure2(run, MODELS)
    (axis,) = [a for a in figure.axes if a.get_title(loc="left") == "Accuracy and robustness"]
    assert axis.get_xlim()[1] > 90 and axis.get_ylim()[1] > 70  # the dots are inside


def test_other_figures_show_the_other_seeds(run):
    names = [RESNET, ROBUST_RESNET, VIT]
    for figure, count in (
        (figures.reliability_diagram(run, names), 6),
        (figures.certified_curves(run, names), 6),
        (figures.autoattack_stages(run, names), 3),  # two dots each
        (figures.robust_overfitting(run, [ROBUST_RESNET]), 2),
    ):
        assert sum(map(len, of_seeds(figure))) == count
        assert "seeds 0, 1, 2" in footer(figure) and "seeds 1, 2; all else" in footer(figure)
    # A figure that shows nothing of them speaks of its own seed alone.
    figure = figures.learning_rates(run, [RESNET])
    assert not any(of_seeds(figure)) and footer(figure).splitlines()[0].endswith("; seed 0")


def test_notebooks_take_several_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path))
    run = notebook.start("smoke", {"device": "cpu"}, 0, [0, 1, 2])
    assert [each.seed for each in run.siblings] == [1, 2]
    assert "seed 0 of seeds 0, 1, 2" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="seeds must be a list, not 1"):
        notebook.start("smoke", {}, 0, 1)


def test_the_command_line_hands_seeds_on(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(execute, "run", lambda *paths, **given: seen.append(given))
    assert main(["run", "a.ipynb", "b.ipynb", "--seed", "1", "--seeds", "0", "1"]) == 0
    assert main(["run", "a.ipynb", "b.ipynb", "--seeds"]) == 0
    assert [given["seeds"] for given in seen] == [[0, 1], []]


def test_the_readme_has_means_where_several_seeds_are_published(tmp_path, run):
    for seed in SEEDS:
        (tmp_path / PUBLISHED / "cpu" / f"seed{seed}").mkdir(parents=True)
    published = find("cpu", root=tmp_path)
    assert (published.seed, published.seeds) == (0, SEEDS)
    cell = tables.table2(run, MODELS).iloc[0]
    low, high = wilson(16, 20)
    assert readme.ours(cell, ".1f") == f"80.0 [{low:.1f}, {high:.1f}]<br>75.0 ± 5.0"
    assert readme.ours(tables.table2(run.alone, MODELS).iloc[0], ".1f").endswith("]")
    assert readme.seeds(run).endswith("mean ± standard deviation over seeds 0, 1, 2.")
    assert readme.seeds(run.alone) == ""
