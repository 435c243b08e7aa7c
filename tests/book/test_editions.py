"""Editions: what a notebook says of its run, what is refused, and several in one book."""

import io
import json
import shutil

import nbformat
import pytest
from nbformat.v4 import new_output

from book import BookError, build, comparison, editions, execute, publish, relabel
from book.editions import Edition
from rslib import paper, settings, verdicts
from rslib.notebook import mark
from rslib.report import table, tables
from rslib.report.glued import MARK
from rslib.run import Run
from rslib.run.published import PARAMS, PUBLISHED, run_of, settings_of
from rslib.settings import PROJECT
from rslib.store import records
from tests.helpers.books import mini_book, nothing_again, write_notebook
from tests.helpers.known_run import OUTCOMES, RESNET, make_run, wilson

REVISION = "abc"  # of the known run's records


def glued(name, text):
    """An output as gluing leaves it."""
    about = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
    return new_output(
        "display_data", {"application/papermill.record/text/plain": text}, metadata=about
    )


def executed(run, name, frame=None, **changes):
    """An executed notebook of a run that cites a table; returns its path."""
    path = write_notebook(run.directory / "executed" / f"{name}.ipynb", "1", executed=True)
    notebook = nbformat.read(path, as_version=4)
    made = mark(run) | {"revision": REVISION} | changes
    notebook.cells[1].outputs = [glued(MARK, json.dumps(made))]
    if frame is not None:
        name = f"{frame.attrs['table']}_made_of"
        notebook.cells[2].outputs = [glued(name, repr(table.identity(frame.attrs)))]
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def run(tmp_path):
    """A known run with two tables, its verdicts, and two notebooks, one of which cites a table."""
    run = make_run(tmp_path / "runs", profile="cpu")
    table2 = tables.table2(run)
    for name, frame in (("table2", table2), ("verdicts", verdicts.table(run))):
        tables.save(run, name, frame)
    executed(run, "01_one")
    executed(run, "07_two", table2)
    keep_settings(run)
    return run


def keep_settings(run):
    """Have a run, whose settings are those of no profile, say which they are."""
    (run.directory.parent / PARAMS).write_text(settings.dump(run.settings))


def edition(run):
    return Edition(run.directory / "executed")


def said(run, *, revisions=True):
    """What is told of a mixed edition, without the way out, which is the last line."""
    *found, way_out = edition(run).disagreements(revisions=revisions)
    assert "run again" in way_out
    return found


# What is said


def test_a_notebook_that_was_run_says_which_run_it_is(tmp_path):
    start = "from rslib import notebook\nrun = notebook.start(profile, settings, seed, seeds)"
    source = write_notebook(tmp_path / "01_one.ipynb", "settings['fgsm'] = {'eps': 4}", start)
    parameters = nbformat.read(source, as_version=4)
    parameters.cells[1].source += "\nseeds = []"
    nbformat.write(parameters, source)
    output = tmp_path / "out" / "01_one.ipynb"
    execute.run(source, output, profile="smoke", seed=1, seeds=[1, 2])
    told = editions.account(output)
    assert (told.profile, told.seed, told.seeds, told.data) == ("smoke", 1, (1, 2), "shapes")
    assert told.device.startswith("CPU") and told.revision and told.date[:2] == "20"
    same, other = (Run(settings.load("smoke", {"fgsm": {"eps": eps}})) for eps in (4, 5))
    assert told.settings == table.settings_key(same) != table.settings_key(other)
    assert list(told.limits) == verdicts.limits(same)


def test_what_was_not_recorded_is_said_not_to_be(tmp_path):
    path = write_notebook(tmp_path / "mine" / "seed0" / "executed" / "01_one.ipynb", executed=True)
    line = Edition(path.parent).line("01_one")
    assert "Edition **mine**" in line and line.count("not recorded") == 10
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"] = {
        "parameters": {"profile": "other", "seed": 3},
        "end_time": "2025-01-02T03:04:05",
    }
    nbformat.write(notebook, path)
    line = Edition(path.parent).line("01_one")
    assert "Edition **other**" in line and "seed 3" in line
    assert "This notebook: 2025-01-02; device not recorded; code not recorded." in line


def test_a_page_names_edition_data_device_dates_code_n_and_seeds(run):
    line = edition(run).line()
    assert line.startswith("Edition **cpu**: CIFAR-10; ")
    assert "CPU, 2 threads" in line  # the records', beside this machine's
    assert "2025-07-01 to 20" in line and "code abc;" in line
    assert "n = 20 test images (FGSM and PGD 10); seed 0." in line
    assert "This notebook" not in line
    assert "This notebook: 20" in edition(run).line("07_two")


def test_limits_follow_from_the_settings(run):
    told = " ".join(verdicts.limits(run))
    assert "ResNet-18: width 8" in told and "another recipe" in told and "subset" in told
    full = run.under({})
    from rslib.settings import load

    full.settings = load("paper")
    assert verdicts.limits(full) == [
        "Where n is less than the test set, it is a class-balanced subset."
    ]
    full.settings = load("smoke")
    assert "synthetic (Shapes)" in verdicts.limits(full)[0]


def test_limits_say_where_attacks_are_not_in_full_precision(run):
    from rslib.settings import load

    assert not any("TF32" in told for told in verdicts.limits(run))
    lower = run.under({})
    lower.settings = load("paper", {"evaluation": {"tf32": True}})
    (told,) = (told for told in verdicts.limits(lower) if "TF32" in told)
    assert "smoothing" in told and "judged in full precision" in told


# What it was made with


def test_an_edition_has_settings_of_its_own(run, tmp_path):
    folder = run.directory.parent
    assert settings_of(folder) == edition(run).settings == run.settings
    assert run_of(folder, 3).directory == folder / "seed3"
    # Notebooks carry the key of their settings: another run's are not taken for theirs.
    (folder / PARAMS).write_text("profile: cpu\nsettings: {pgd: {steps: 7}}\n")
    assert settings_of(folder).pgd.steps == 7
    assert edition(run).settings == settings.load("cpu")
    executed(run, "01_one", settings="0123456789")
    assert edition(run).settings is None


def test_without_its_own_settings_an_edition_has_todays(tmp_path):
    assert settings_of(tmp_path / "fast") == settings.load("fast")
    with pytest.raises(settings.SettingsError, match="no profile 'nothing'"):
        settings_of(tmp_path / "nothing")
    (tmp_path / PARAMS).write_text("profile: cpu\nsettings: {}\n")
    with pytest.raises(settings.SettingsError, match="is of the profile 'cpu': it belongs"):
        settings_of(tmp_path)


# What is refused


def test_a_whole_edition_is_not_refused(run):
    assert edition(run).disagreements(revisions=True) == []


@pytest.mark.parametrize(
    ("field", "other", "shown"),
    [
        ("settings", "0123456789", "0123456789"),
        ("settings", None, "none"),
        ("profile", "fast", "fast"),
        ("seeds", [0, 1], "[0, 1]"),
        ("revision", "def", "def"),
    ],
)
def test_notebooks_of_two_runs_are_refused(run, field, other, shown):
    path = executed(run, "07_two", **{field: other})
    here = editions.account(run.directory / "executed" / "01_one.ipynb")
    here = getattr(here, field)
    here = list(here) if isinstance(here, tuple) else here
    assert f"{path} carries {field} {shown}, 01_one carries {here}" in said(run)


def test_a_notebook_without_a_mark_among_others_is_refused(run):
    path = write_notebook(run.directory / "executed" / "09_three.ipynb", "1", executed=True)
    told = [line for line in said(run) if line.startswith(f"{path} carries settings none")]
    assert len(told) == 1


def test_a_notebook_that_cites_another_table_than_the_one_stored_is_refused(run):
    key = table.identity(tables.load(run, "table2").attrs)
    tables.save(run, "table2", tables.table2(run, [RESNET]))
    now = table.identity(tables.load(run, "table2").attrs)
    (line,) = said(run)
    assert line.endswith(
        f"07_two.ipynb cites table2 made of {key}, the one stored is made of {now}"
    )


def test_a_record_that_a_table_was_made_from_and_is_gone_is_refused(run):
    path = run.record_path(RESNET, "pgd")
    path.unlink()
    key = path.stem.rpartition("-")[2]
    gone = f"was made from the pgd record of {RESNET}, key {key}, seed 0, which is not there"
    made = [run.directory / "tables" / f"{name}.json" for name in ("table2", "verdicts")]
    assert said(run) == [f"{table} {gone}" for table in made]


def test_a_record_made_again_by_other_code_is_refused(run):
    path = run.record_path(RESNET, "pgd")
    frame = records.read_record(path)
    made = frame.attrs["provenance"] | {"revision": "def"}
    records.write_record(path, frame, frame.attrs | {"provenance": made})
    made = [run.directory / "tables" / f"{name}.json" for name in ("table2", "verdicts")]
    assert said(run) == [
        f"{table} was made from one with revision {REVISION}, {path} carries def" for table in made
    ]


def test_models_and_records_of_earlier_code_stand_and_are_counted(run):
    executed(run, "01_one", revision="def")
    executed(run, "07_two", tables.table2(run), revision="def")
    found = edition(run)
    assert found.disagreements(revisions=True) == []
    assert found.made_by == {"def": {"notebooks": 2}, REVISION: {"models": 4, "records": 20}}
    assert "code def and abc;" in found.line()
    assert "def: 2 notebooks<br>abc: 4 models, 20 records" in comparison.page([found])


def rewrite(record, name):
    """Store a record anew under a name that its own inputs do not give."""
    frame = records.read_record(record)
    records.write_record(record.with_name(name), frame, frame.attrs)


def test_models_and_records_that_are_not_what_their_names_say_are_told(run):
    assert edition(run).misnamed() == []
    record = run.record_path(RESNET, "pgd")
    rewrite(record, "pgd-0123456789.parquet")
    record.unlink()
    folder = run.model_folder(RESNET)
    folder.rename(folder.with_name(folder.name.replace("standard", "other")))
    assert [line.partition(" has the name ")[2].partition(" by ")[0] for line in (
        edition(run).misnamed()
    )] == [folder.name, record.name]  # fmt: skip


def test_verdicts_of_other_settings_than_the_notebooks_are_refused(run):
    for name in ("01_one", "07_two"):
        executed(run, name, settings="0123456789")
    (line,) = said(run)
    key = table.settings_key(run)
    assert f"verdicts.json carries settings {key}, the notebooks carry 0123456789" in line


def test_a_run_of_unknown_settings_or_with_a_misnamed_record_is_not_published(
    run, tmp_path, monkeypatch
):
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    nothing_again(monkeypatch)
    (run.directory.parent / PARAMS).unlink()
    monkeypatch.setenv("RSLIB_PARAMS", str(tmp_path))
    (tmp_path / "cpu.yaml").write_text("profile: cpu\nsettings: {}\n")
    record = run.record_path(RESNET, "pgd")
    rewrite(record, "pgd-0123456789.parquet")
    with pytest.raises(BookError) as refusal:
        publish.publish("cpu", root=tmp_path)
    assert f"pgd-0123456789.parquet has the name {record.name} by" in str(refusal.value)
    assert "are those of no profile there is now: write them to" in str(refusal.value)


@pytest.mark.parametrize("place", ["fast/seed0", "cpu/seed1"])
def test_a_run_in_another_ones_folder_is_refused(run, tmp_path, place):
    shutil.copytree(run.directory, tmp_path / place)
    found = Edition(tmp_path / place / "executed").disagreements(revisions=False)
    assert f"{tmp_path / place} holds notebooks of cpu/seed0: they belong" in found[0]


def test_a_mixed_edition_is_neither_published_nor_built(run, tmp_path, monkeypatch):
    mini_book(tmp_path)
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    nothing_again(monkeypatch)
    target = publish.publish("cpu", root=tmp_path)
    assert (target / "seed0" / "records" / RESNET).is_dir()
    executed(run, "07_two", settings="0123456789")
    with pytest.raises(BookError, match="07_two.ipynb carries settings 0123456789, 01_one"):
        publish.publish("cpu", root=tmp_path)
    with pytest.raises(BookError, match="07_two.ipynb carries settings 0123456789, 01_one"):
        build.stage(run.directory / "executed", tmp_path / "source", root=tmp_path)
    # What goes on over changes of the code may be built, and is not published.
    executed(run, "07_two", revision="def")
    build.stage(run.directory / "executed", tmp_path / "source2", root=tmp_path)
    with pytest.raises(BookError, match="07_two.ipynb carries revision def, 01_one"):
        publish.publish("cpu", root=tmp_path)
    shutil.copy(run.directory / "executed" / "07_two.ipynb", target / "seed0" / "executed")
    with pytest.raises(BookError, match="07_two.ipynb carries revision def, 01_one"):
        build.stage(target / "seed0" / "executed", tmp_path / "source3", root=tmp_path)


def test_damaged_tables_records_and_marks_are_named(run, tmp_path):
    mini_book(tmp_path)
    path = run.record_path(RESNET, "pgd")
    path.write_bytes(path.read_bytes()[:-9])
    assert all(f"{path} is damaged" in line for line in said(run))
    for path, text in (
        (run.directory / "tables" / "table2.json", "{"),
        (run.directory / "executed" / "01_one.ipynb", '{"cells": 1}'),
    ):
        kept = path.read_text()
        path.write_text(text)
        with pytest.raises(BookError, match=path.name):
            build.stage(run.directory / "executed", tmp_path / "source", root=tmp_path)
        assert not (tmp_path / "source").exists()
        path.write_text(kept)


# Several


def test_the_best_edition_comes_first(tmp_path):
    for name in ("smoke", "cpu", "mine", "wide", "paper", "fast"):
        for seed in ("seed10", "seed2", "seed2.old"):
            (tmp_path / name / seed / "executed").mkdir(parents=True)
    found = editions.published(tmp_path)
    assert [each.executed.parents[1].name for each in found] == [
        "paper", "wide", "fast", "cpu", "mine", "smoke",
    ]  # fmt: skip
    assert {each.folder.name for each in found} == {"seed2"}
    (one,) = editions.published(tmp_path, ["cpu"])
    assert one.executed == tmp_path / "cpu" / "seed2" / "executed"


def test_the_page_on_editions_has_every_number_of_the_paper_beside_ours(run, tmp_path):
    bare = write_notebook(tmp_path / "bare" / "seed0" / "executed" / "01_one.ipynb", executed=True)
    text = comparison.page([edition(run), Edition(bare.parent)])
    lines = text.splitlines()
    assert sum(line.startswith("## Table ") for line in lines) == len(paper.TABLES) == 5
    numbers = [value for table in paper.TABLES.values() for value in table.values.values()]
    assert sum(line.endswith("| – |") for line in lines) == len(numbers)
    # 16 of 20 images are right (known_run.OUTCOMES).
    low, high = wilson(16, 20)
    verdict = verdicts.load(run).set_index("model").loc["table2/resnet18-standard/clean_accuracy"]
    assert (
        "| ResNet-18, standard | Clean Acc (%) | 94.8 | "
        f"**80.0 % [{low:.1f}, {high:.1f}]**<br>n = 20, seed 0<br>*{verdict.verdict}* | – |"
    ) in lines
    counted = verdicts.counts(verdicts.load(run))
    assert f"| not comparable | {counted['not comparable']} | not recorded |" in lines


def test_the_page_on_editions_says_what_each_took(run):
    seeds = run.directory.parent
    models, kept = list(seeds.rglob("model.json")), list(seeds.rglob("records/*/*.parquet"))
    hours = edition(run).hours
    spent = [records.read_json(path)["seconds"] for path in models]
    assert hours["trainings"] == pytest.approx(sum(spent) / 3600)
    assert hours["evaluations"] == pytest.approx(
        sum(records.read_metadata(path)["seconds"] for path in kept) / 3600
    )
    records.write_json(models[0], records.read_json(models[0]) | {"seconds": spent[0] + 7200})
    assert edition(run).hours["trainings"] == pytest.approx(hours["trainings"] + 2)
    (line,) = (row for row in comparison.page([edition(run)]).splitlines() if "| time |" in row)
    assert f"trainings {hours['trainings'] + 2:.1f} h" in line


def test_several_seeds_are_told_beside_the_first_ones_number(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path, profile="cpu", seed=seed)
    run = make_run(tmp_path, profile="cpu", seeds=(0, 1, 2))
    tables.save(run, "table2", tables.table2(run))
    tables.save(run, "verdicts", verdicts.table(run))
    executed(run, "01_one")
    text = comparison.page([edition(run)])
    assert "n = 20, seed 0<br>80.0 ± 0.0 over 3 seeds<br>*" in text
    assert "seeds 0, 1, 2" in edition(run).line()
    assert edition(run).disagreements(revisions=True) == []
    shutil.rmtree(tmp_path / "cpu" / "seed2" / "records")
    assert all("seed 2, which is not there" in line for line in said(run))


def test_an_edition_whose_further_seeds_have_some_models_is_published_with_those(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    nothing_again(monkeypatch)
    some = {"profile": "cpu", "seeded": [RESNET]}
    other = make_run(tmp_path / "runs", models={RESNET: OUTCOMES[RESNET]}, seed=1, **some)
    run = make_run(tmp_path / "runs", seeds=(0, 1), **some)
    for name, frame in (("table2", tables.table2(run)), ("verdicts", verdicts.table(run))):
        tables.save(run, name, frame)
    executed(run, "01_one")
    keep_settings(run)
    assert "Of seed 1 there are only some models (ResNet-18, standard) and what" in (
        edition(run).line()
    )
    text = comparison.page([edition(run)])
    assert "80.0 ± 0.0 over 2 seeds" in text
    target = publish.publish("cpu", root=tmp_path)
    assert {path.name for path in target.glob("seed*")} == {"seed0", "seed1"}
    assert {path.name for path in (target / "seed1").iterdir()} == {"records", "models"}
    assert [path.name for path in (target / "seed1" / "records").iterdir()] == [RESNET]
    assert Edition(target / "seed0" / "executed").disagreements(revisions=True) == []

    other.record_path(RESNET, "pgd").unlink()
    with pytest.raises(BookError, match=f"pgd record of {RESNET}, key .*, seed 1, which is"):
        publish.publish("cpu", root=tmp_path)


@pytest.fixture
def two(tmp_path):
    """A book of two pages and two notebooks, published by two editions; its root."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.rmtree(mini_book(root))
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nparts:\n  - chapters:\n      - file: editions\n"
        "  - caption: Results\n    chapters:\n      - file: 01_one\n      - file: 02_two\n"
    )
    page = (PROJECT / "book" / "pages" / "editions.md").read_text()
    (root / "book" / "pages" / "editions.md").write_text(page.replace("13_verdicts", "02_two"))
    for profile in ("cpu", "fast"):
        executed = root / PUBLISHED / profile / "seed0" / "executed"
        texts = {
            "01_one": f"(sec-one)=\n# One\n\nOf {profile}: [two](02_two.ipynb), {{ref}}`sec-two`, "
            "{numref}`fig-two`, {doc}`intro`, {eq}`eq-one`.\n\n$$\na^2\n$$ (eq-one)",
            "02_two": "(sec-two)=\n# Two\n\nSee [](01_one.ipynb) and {ref}`there <sec-one>`.",
        }
        for name, text in texts.items():
            notebook = nbformat.read(write_notebook(executed / f"{name}.ipynb", "1"), as_version=4)
            notebook.cells[0].source = text
            for count, cell in enumerate(notebook.cells[1:], start=1):
                cell.execution_count = count
            picture = new_output("display_data", {"image/png": PIXEL, "text/plain": "a figure"})
            notebook.cells[2].outputs = [picture]
            figure = {"name": f"fig-{name[3:]}", "caption": "After {numref}`fig-one`."}
            notebook.cells[2].metadata["mystnb"] = {"figure": figure}
            notebook.metadata["papermill"] = {"parameters": {"profile": profile, "seed": 0}}
            nbformat.write(notebook, executed / f"{name}.ipynb")
    return root


PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==\n"
)


def test_all_editions_make_one_site_whose_links_stay_within_each(two):
    html = build.site(root=two).parent
    flat, below = html / "01_one.html", html / "cpu" / "01_one.html"
    assert "Of fast" in flat.read_text() and "Of cpu" in below.read_text()
    for page, name in ((flat, "fast"), (below, "cpu")):
        article = page.read_text().partition("<article")[2].partition("</article")[0]
        assert f"<strong>{name}</strong>" in article
        assert article.count('href="02_two.html') == 3 and "../02_two" not in article
    assert 'href="../intro.html' in below.read_text()
    side = flat.read_text().partition("<article")[0]
    assert "Edition cpu" in side and "Edition fast" not in side
    compared = (html / "editions.html").read_text()
    assert "<p>fast</p>" in compared and "<p>cpu</p>" in compared
    assert compared.index("<p>fast</p>") < compared.index("<p>cpu</p>")


ERRATA = """
- pages: [02_two]
  text: |
    The noise of *some* nets
    was wrong.
"""


def test_errata_stand_on_their_pages_and_on_the_one_of_editions(two):
    for profile in ("cpu", "fast"):
        (two / PUBLISHED / profile / "seed0" / "errata.yaml").write_text(ERRATA)
    html = build.site(root=two).parent
    for folder in (html, html / "cpu"):
        assert "The noise of <em>some</em> nets was wrong." in (folder / "02_two.html").read_text()
        assert "was wrong" not in (folder / "01_one.html").read_text()
    article = (html / "editions.html").read_text().partition("<article")[2]
    article = article.partition("What is wrong with them")[2].partition("</section")[0]
    assert article.count("nets was wrong") == 2
    assert 'href="02_two.html"' in article and 'href="cpu/02_two.html"' in article


def test_errata_are_not_restored_into_a_run(two):
    (two / PUBLISHED / "cpu" / "seed0" / "errata.yaml").write_text(ERRATA)
    records.write_json(two / PUBLISHED / "cpu" / "seed0" / "tables" / "table1.json", {})
    folder = publish.restore("cpu", root=two)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["table1.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- pages: [03_three]\n  text: wrong", "names the page '03_three'"),
        ("- text: wrong", "is no list of errata, each with 'pages:' and 'text:'"),
        ("wrong", "is no list of errata"),
        ("[", "is no list of errata"),
    ],
)
def test_errata_that_cannot_be_shown_are_refused(two, text, told):
    (two / PUBLISHED / "cpu" / "seed0" / "errata.yaml").write_text(text)
    with pytest.raises(BookError, match=told):
        build.stage(two / PUBLISHED / "cpu" / "seed0" / "executed", two / "source", root=two)


def test_one_edition_can_be_built_alone_and_one_that_is_not_there_is_named(two):
    source = two / "source"
    build.stage(two / PUBLISHED / "cpu" / "seed0" / "executed", source, root=two)
    assert "Of cpu" in (source / "01_one.ipynb").read_text()
    assert build.pages(source / "_toc.yml") == build.pages(two / "_toc.yml")
    with pytest.raises(BookError, match=r"(?s)no edition paper is published.*cpu seed0, fast"):
        build.site(["cpu", "paper"], root=two)
    shutil.rmtree(two / PUBLISHED)
    with pytest.raises(BookError, match="no edition is published"):
        build.site(root=two)


def test_labels_and_what_refers_to_them_are_renamed():
    text = (
        "(sec-a)=\n# A\n\n{ref}`sec-a`, {ref}`A <sec-a>`, {numref}`sec-b`, [](#sec-a), {doc}`api`, "
        "{doc}`the API <api>`, {cite}`sec-a`, {class}`rslib.run.Run`\n\n$$a$$ (sec-a)\n:name: sec-a"
    )
    assert relabel.renamed(text, ["sec-a"], "cpu") == (
        "(cpu-sec-a)=\n# A\n\n{ref}`cpu-sec-a`, {ref}`A <cpu-sec-a>`, {numref}`sec-b`, "
        "[](#cpu-sec-a), {doc}`/api`, {doc}`the API </api>`, {cite}`sec-a`, "
        "{class}`rslib.run.Run`\n\n$$a$$ (cpu-sec-a)\n:name: cpu-sec-a"
    )


# Pictures


def picture(array, mode):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, "PNG")
    return file.getvalue()


def shown(data):
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"), dtype=int)


def test_charts_get_smaller_and_photographs_keep_their_colors():
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(4, 3))
    axes.plot([0, 1, 3], color="#D55E00", label="one")
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    data = file.getvalue()
    made = execute.slim(data)
    assert len(made) < 0.7 * len(data)
    assert abs(shown(made) - shown(data)).max() <= execute.UNSEEN

    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 255, (100, 100, 4), dtype=np.uint8)
    photograph[..., 3] = 255
    data = picture(photograph, "RGBA")
    made = execute.slim(data)
    assert len(made) < len(data)  # its alpha says nothing
    assert (shown(made) == photograph).all()

    photograph[0, 0, 3] = 0
    made = execute.slim(picture(photograph, "RGBA"))
    assert (shown(made) == photograph).all()


def test_a_notebook_that_was_run_holds_slim_pictures(tmp_path):
    draw = (
        "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\n"
        "axes.plot([0, 1, 3])\nplt.show()"
    )
    output = tmp_path / "out.ipynb"
    execute.run(write_notebook(tmp_path / "01_one.ipynb", draw), output, profile="smoke", seed=0)
    from base64 import b64decode

    (found,) = nbformat.read(output, as_version=4).cells[-1].outputs
    data = b64decode(found.data["image/png"])
    assert execute.slim(data) == data and data[25] == 3  # colors from a palette


def test_an_edition_is_cited_beside_the_paper():
    (edition,) = editions.published(PROJECT / PUBLISHED, ["cpu"])
    text = edition.citation()
    assert text.count("@") == 2 and text.count("{") == text.count("}")
    assert "Aravind Kannappan" in text and "seeds 0, 1, 2" in text
    assert all(revision in text for revision in edition.revisions) and edition.dates in text
