"""The published editions say what their records say."""

import json
import math

import pytest

from book import editions, execute, readme
from rslib import verdicts
from rslib.report import table, tables
from rslib.run.outcomes import load_reference, outcomes
from rslib.run.published import PARAMS, PUBLISHED, find
from rslib.settings import PROJECT
from rslib.settings.names import REFERENCE
from rslib.store import records

# A run that still goes on has models there, and no notebooks.
EDITIONS = sorted(each.name for each in editions.published(PROJECT / PUBLISHED))


def test_something_is_published():
    assert "cpu" in EDITIONS


@pytest.fixture(params=EDITIONS)
def edition(request):
    return find(request.param)


def remade(run, name, models):
    """A stored table made once more, from the records of the run."""
    compared = [tuple(model.split("_vs_")) if "_vs_" in model else model for model in models]
    kind, _, rest = name.partition("_")
    study = run.settings.combination
    if name == "verdicts":
        return verdicts.table(run)
    if name == "combined":
        return tables.tradeoff_table(run, compared)
    if name == "autoattack_combined":
        return tables.autoattack_table(run, compared)
    if name == "combination":
        return tables.combination_table(run, compared, against=study.robust)
    if name == "orthogonality":
        corners = ("neither", "aligned", "robust", "both")
        return tables.orthogonality_table(run, **{each: getattr(study, each) for each in corners})
    if name == "overlap_robustness":
        return tables.overlap_robustness_table(run, compared)
    if kind == "mcnemar":
        return tables.mcnemar_table(run, compared, rest)
    if kind == "faithfulness":
        return tables.faithfulness_table(run, compared, rest)
    if kind == "overlap":
        return tables.table3(run, compared, source=rest)
    make = (
        getattr(tables, f"{name}_table", None)
        or getattr(tables, name, None)
        or getattr(tables, f"{name.removesuffix('s')}_table")
    )
    return make(run, compared)


ALWAYS = {"table1", "table2", "table4"}
"""The tables that are made again even where nothing has changed since all were."""


def made_of(edition):
    """A digest of all that the tables of an edition follow from: its files and the package."""
    files = [*edition.directory.parent.rglob("*"), *(PROJECT / "rslib").rglob("*")]
    kinds = {".parquet", ".json", ".yaml", ".py"}
    return records.key(
        files={
            str(path.relative_to(PROJECT)): records.file_digest(path)
            for path in files
            if path.suffix in kinds
        }
    )


def test_every_table_follows_from_the_published_records(edition, pytestconfig):
    paths = sorted((edition.directory / "tables").glob("*.json"))
    assert {"table1", "table2"} <= {path.stem for path in paths}
    passed, now = f"published/{edition.settings.profile}", made_of(edition)
    if pytestconfig.cache.get(passed, None) == now:
        paths = [path for path in paths if path.stem in ALWAYS]
    for path in paths:
        stored = records.read_json(path)["rows"]
        again = remade(edition, path.stem, list(dict.fromkeys(row["model"] for row in stored)))
        assert len(stored) == len(again)
        for row, other in zip(stored, again.to_dict("records"), strict=True):
            assert (row["model"], row["quantity"]) == (other["model"], other["quantity"])
            assert [*row] == [*other], path  # of several seeds nothing, if there is one
            if row["ours"] is None:  # undefined, such as the mean of no images
                assert math.isnan(other["ours"]), path
                continue
            assert row["ours"] == pytest.approx(other["ours"], rel=1e-9), path
            if row["low"] is not None:
                # Resampled ends are sums of many products, which processors and numbers of threads
                # round differently, so that an end may be the next resample's.
                ends = pytest.approx((other["low"], other["high"]), rel=1e-4, abs=1e-6)
                assert (row["low"], row["high"]) == ends, path
            if row.get("seed_std") is not None:
                assert row["seed_mean"] == pytest.approx(other["seed_mean"], rel=1e-9), path
                assert row["seed_std"] == pytest.approx(other["seed_std"], abs=1e-9), path
    pytestconfig.cache.set(passed, now)


@pytest.mark.parametrize(
    "shown", editions.published(PROJECT / PUBLISHED), ids=lambda each: each.name
)
def test_notebooks_tables_and_records_are_of_one_run(shown):
    assert shown.accounts and shown.sources
    assert shown.disagreements(revisions=True) == []


def test_an_edition_has_the_settings_that_its_notebooks_carry(edition):
    folder = edition.directory.parent
    assert (folder / PARAMS).exists()
    (key,) = {
        editions.account(path).settings for path in edition.directory.glob("executed/*.ipynb")
    }
    assert table.settings_key(edition) == key


def test_notebooks_were_all_run_to_the_end(edition):
    notebooks = sorted((edition.directory / "executed").glob("*.ipynb"))
    sources = sorted((PROJECT / "notebooks").glob("*.ipynb"))
    assert [p.name for p in notebooks] == [p.name for p in sources]
    for path in notebooks:
        assert execute.problems(path) == []


def test_nothing_published_names_the_machine_it_was_made_on(edition):
    paths = [*edition.directory.parent.rglob("*.ipynb"), *edition.directory.parent.rglob("*.json")]
    assert {path.suffix for path in paths} == {".ipynb", ".json"}
    for path in paths:
        text = path.read_text()
        for word in (str(PROJECT), "/root/", "/home/", "/tmp/"):
            assert word not in text, f"{path} holds {word}"


def test_published_weights_are_those_that_were_evaluated(edition):
    summaries = sorted(edition.directory.parent.glob("seed*/models/*/model.json"))
    assert summaries
    found = {path: path.with_name("best.safetensors") for path in summaries}
    for path, weights in found.items():
        digest = json.loads(path.read_text())["weights"]["best"]
        assert len(digest) >= 10  # also where the weights had no room in the edition
        assert not weights.exists() or records.file_digest(weights) == digest
    told = [path for path in edition.directory.parent.rglob("*.safetensors")]
    assert sorted(told) == sorted(each for each in found.values() if each.exists())


def test_the_readme_says_what_the_published_records_say():
    text = (PROJECT / "README.md").read_text()
    assert readme.insert(text, readme.blocks(readme.best_first())) == text
    assert (PROJECT / readme.PICTURE).exists()


def test_the_packaged_reference_is_the_published_one(edition):
    errors = outcomes(edition, REFERENCE).errors()
    assert load_reference(edition.settings.profile) == errors
    table5 = records.read_json(edition.directory / "tables" / "table5.json")
    assert table5["metadata"]["facts"]["reference_digest"] == errors.digest
    assert errors.clean < 0.5  # an untrained reference would make every ratio meaningless


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="no place for results"):
        readme.insert("# RobustSight\n", "| a |")
