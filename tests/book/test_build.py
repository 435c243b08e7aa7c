"""Running one notebook, refusing what did not run, and building the book with the real settings."""

import re
import shutil
import subprocess

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_output
from packaging.requirements import Requirement

from book import BookError, build, editions, execute, publish
from book.__main__ import main
from rslib import notebook, settings
from rslib.run import Run
from rslib.run.published import PARAMS, PUBLISHED
from rslib.run.results import Results, shortcut_runs
from rslib.settings import PROJECT
from rslib.store import records
from tests.helpers.books import mini_book, nothing_again, write_notebook

PAGES = PROJECT / "book" / "pages"


# Running


def test_run_passes_profile_and_seed_and_leaves_one_finished_notebook(tmp_path):
    source = write_notebook(tmp_path / "01_one.ipynb", "print(profile, seed)")
    output = tmp_path / "out" / "01_one.ipynb"
    execute.run(source, output, profile="cpu", seed=3)
    assert [path.name for path in output.parent.iterdir()] == ["01_one.ipynb"]
    assert execute.problems(output) == []
    assert nbformat.read(output, as_version=4).cells[-1].outputs[0].text == "cpu 3\n"


def test_a_failing_cell_fails_the_run_with_its_own_error(tmp_path, capsys):
    source = write_notebook(tmp_path / "01_one.ipynb", "budgets = {}", "budgets['epsilon']", "1")
    output = tmp_path / "out" / "01_one.ipynb"
    assert main(["run", str(source), str(output)]) == 1
    said = capsys.readouterr().err
    assert said.rstrip().endswith("KeyError: 'epsilon'")
    assert "01_one: code cell" in said and "\x1b" not in said
    assert [path.name for path in output.parent.iterdir()] == ["01_one.failed.ipynb"]

    assert main(["errors", str(tmp_path)]) == 0
    assert "KeyError: 'epsilon'" in capsys.readouterr().err

    write_notebook(source, "1")
    assert main(["run", str(source), str(output)]) == 0
    assert [path.name for path in output.parent.iterdir()] == ["01_one.ipynb"]


# Judging


def test_problems_names_the_cell_that_did_not_run(tmp_path):
    path = write_notebook(tmp_path / "one.ipynb", "table = 1", executed=True)
    assert execute.problems(path) == []
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].execution_count = None
    nbformat.write(notebook, path)
    assert execute.problems(path) == ["code cell 2 was not run: table = 1"]


def test_problems_names_the_cell_that_failed_unless_it_was_meant_to(tmp_path):
    path = write_notebook(tmp_path / "one.ipynb", "1 / 0", executed=True)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [
        new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])
    ]
    nbformat.write(notebook, path)
    assert execute.problems(path) == ["code cell 2 failed: ZeroDivisionError: division by zero"]
    notebook.cells[2].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    assert execute.problems(path) == []


# Staging and building


def test_stage_lays_pages_notebooks_and_extras_flat(tmp_path):
    executed = mini_book(tmp_path)
    staged = build.stage(executed, tmp_path / "source", root=tmp_path)
    assert [path.name for path in staged] == ["intro.md", "01_one.ipynb"]
    names = {path.name for path in (tmp_path / "source").iterdir()}
    made = {"_toc.yml", "generated"}
    assert names == {"intro.md", "01_one.ipynb", "references.bib", "_static"} | made


def test_stage_refuses_missing_unexecuted_and_failed_notebooks_all_at_once(tmp_path):
    executed = mini_book(tmp_path)
    pages = ["01_one", "02_two", "03_three"]
    toc = "format: jb-book\nroot: intro\nchapters:\n" + "".join(f"  - file: {p}\n" for p in pages)
    (tmp_path / "_toc.yml").write_text(toc)
    write_notebook(executed / "01_one.ipynb", "left = 1")
    failed = write_notebook(executed / "03_three.failed.ipynb", "1 / 0", executed=True)
    notebook = nbformat.read(failed, as_version=4)
    notebook.cells[2].outputs = [
        new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])
    ]
    nbformat.write(notebook, failed)
    with pytest.raises(BookError) as refusal:
        build.stage(executed, tmp_path / "source", root=tmp_path)
    said = str(refusal.value)
    assert re.search(r"01_one\.ipynb: code cell 2 was not run: left = 1", said)
    assert re.search(r"02_two\.ipynb: missing", said)
    assert re.search(r"03_three\.failed\.ipynb: code cell 2 failed: ZeroDivisionError", said)


def test_a_page_shows_figures_of_notebooks_and_is_refused_without_them(tmp_path):
    executed = mini_book(tmp_path)
    with (tmp_path / "book" / "pages" / "intro.md").open("a") as page:
        page.write("\n```{figure} figures/fig-one.png\n:alt: One.\nOne.\n```\n")
    with pytest.raises(BookError, match="intro.md shows the figure fig-one, which no notebook"):
        build.stage(executed, tmp_path / "refused", root=tmp_path)
    notebook = nbformat.read(executed / "01_one.ipynb", as_version=4)
    notebook.cells[2].metadata["mystnb"] = {"figure": {"name": "fig-one"}}
    notebook.cells[2].outputs = [new_output("display_data", {"image/png": "aGVsbG8=\n"})]
    nbformat.write(notebook, executed / "01_one.ipynb")
    build.stage(executed, tmp_path / "source", root=tmp_path)
    assert (tmp_path / "source" / "figures" / "fig-one.png").read_bytes() == b"hello"


def test_build_makes_a_searchable_book_that_needs_no_network(tmp_path):
    executed = mini_book(tmp_path)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "old.html").write_text("from an earlier build")
    index = build.build(executed, root=tmp_path)
    html = index.parent
    assert (html / "01_one.html").exists() and (html / "searchindex.js").exists()
    assert not (html / "old.html").exists()
    for page in html.glob("*.html"):
        loaded = re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"([^\"]+)\"", page.read_text())
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []
    mathjax = re.search(r"src=\"([^\"]*mathjax[^\"]*\.js)", (html / "01_one.html").read_text())
    assert mathjax and (html / mathjax[1]).is_file()


def test_a_warning_breaks_the_build(tmp_path, capfd):
    executed = mini_book(tmp_path)
    with (tmp_path / "book" / "pages" / "intro.md").open("a") as page:
        page.write("\nSee {ref}`no-such-label`.\n")
    with pytest.raises(BookError, match="warnings above"):
        build.build(executed, root=tmp_path)
    warnings = [line for line in capfd.readouterr().err.splitlines() if "WARNING" in line]
    assert len(warnings) == 1 and "no-such-label" in warnings[0]


# Publishing


MODEL = "resnet18-noise"
RECORD = f"records/{MODEL}/clean-{records.key(weights='x')}.parquet"


@pytest.fixture(autouse=True)
def of_stand_in_files(monkeypatch):
    nothing_again(monkeypatch)


def add_model(seed, name=MODEL, *, shortcut=False, size=1, **settings_of_it):
    """A model's folder in a run, of stand-in files; returns its path in the run."""
    run = Run(settings.load("cpu", settings_of_it))
    run = shortcut_runs(run)[0] if shortcut else run
    inputs = run.model_inputs(name)
    folder = f"models/{name}-{records.key(**inputs)}"
    for kind in ("best", "last", "checkpoint"):
        (seed / folder).mkdir(parents=True, exist_ok=True)
        (seed / folder / f"{kind}.safetensors").write_bytes(b"x" * size)
    about = {"name": name, "inputs": inputs, "weights": {"best": folder}}
    records.write_json(seed / folder / "model.json", about)
    return folder


def finished_run(tmp_path):
    """A run of stand-in files: one notebook, one record, one model."""
    seed = tmp_path / "runs" / "cpu" / "seed0"
    write_notebook(seed / "executed" / "01_one.ipynb", "1", executed=True)
    about = {"evaluation": "clean", "inputs": {"weights": "x"}}
    records.write_record(seed / RECORD, pd.DataFrame({"image": range(3)}), about)
    add_model(seed)
    return seed


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("small", [True, False])
def test_publish_copies_records_notebooks_and_small_weights(tmp_path, monkeypatch, capsys, small):
    seed = finished_run(tmp_path)
    model = add_model(seed)
    monkeypatch.setattr(publish, "MAX_WEIGHTS", 1 if small else 0)
    stale = tmp_path / "book" / "published" / "cpu" / "seed9"
    stale.mkdir(parents=True)
    target = publish.publish("cpu", root=tmp_path)
    assert files(target) == [
        "freeze.txt",
        "params.yaml",
        "sample.json",
        "seed0/executed/01_one.ipynb",
        *[f"seed0/{model}/best.safetensors"] * small,
        f"seed0/{model}/model.json",
        f"seed0/{RECORD}",
        "weights.json",
    ]
    assert settings.load(str(target / "params.yaml")) == settings.load("cpu")
    frozen = [Requirement(line) for line in (target / "freeze.txt").read_text().splitlines()]
    assert {"torch", "numpy"} <= {need.name for need in frozen}
    assert not stale.exists()
    assert (f"Not published: the weights in {seed}/{model}" in capsys.readouterr().out) is not small


@pytest.mark.parametrize(
    ("name", "shortcut"),
    [
        ("resnet18-aligned@beta=0.0", False),
        ("resnet18-standard", True),
    ],
)
def test_weights_of_side_experiments_stay_behind(tmp_path, name, shortcut):
    seed = finished_run(tmp_path)
    folder = add_model(seed, name, shortcut=shortcut)
    published = files(publish.publish("cpu", root=tmp_path))
    assert f"seed0/{folder}/model.json" in published
    assert f"seed0/{folder}/best.safetensors" not in published
    assert f"seed0/{add_model(seed)}/best.safetensors" in published


def add_masks(seed, run, source="cnn", **changed):
    inputs = run.mask_inputs(source) | {"split": "train", "n": 3} | changed
    path = f"masks/{source}-train-{records.key(**inputs)}.parquet"
    rows = pd.DataFrame({"image": range(3), "mask": [b"0"] * 3})
    records.write_record(seed / path, rows, {"evaluation": "masks", "inputs": inputs})
    return path


def test_masks_and_teachers_are_published_so_that_a_restored_run_aligns(tmp_path, monkeypatch):
    monkeypatch.delenv("RSLIB_RUNS", raising=False)
    seed = finished_run(tmp_path)
    run = Results(settings.load("cpu"), 0, root=tmp_path / "runs")
    teachers = [add_model(seed, f"{net}-teacher") for net in ("resnet18", "vit_small")]
    judged = add_model(seed, "resnet18-teacher", data={"name": "shapes"})
    masks = [add_masks(seed, run, source) for source in ("cnn", "vit")]
    other = add_masks(seed, run, masks={"smallest": 0.1})
    published = files(publish.publish("cpu", root=tmp_path))
    assert {f"seed0/{each}" for each in masks} <= set(published)
    assert f"seed0/{other}" not in published
    assert {f"seed0/{each}/best.safetensors" for each in teachers} <= set(published)
    assert f"seed0/{judged}/best.safetensors" not in published
    shutil.rmtree(tmp_path / "runs")
    publish.restore("cpu", root=tmp_path)
    assert all((seed / each).is_file() for each in masks)


def test_weights_are_published_while_there_is_room_the_papers_models_first(tmp_path, monkeypatch):
    seed = finished_run(tmp_path)
    monkeypatch.setattr(publish, "MAX_ALL_WEIGHTS", 20)
    for name, size in (("resnet18-adversarial", 9), ("resnet18-standard", 11), (MODEL, 2)):
        add_model(seed, name, size=size)
    found = publish.publish("cpu", root=tmp_path).glob("seed0/models/*/best.safetensors")
    names = {path.parent.name.rpartition("-")[0] for path in found}
    assert names == {"resnet18-adversarial", "resnet18-standard"}


def test_what_was_made_with_other_settings_stays_behind(tmp_path, capsys):
    seed = finished_run(tmp_path)
    other = {"training": {"standard": {"resnet18": {"epochs": 3}}}}
    folder = add_model(seed, "resnet18-standard", **other)
    inputs = {"weights": folder}
    record = f"records/resnet18-standard/clean-{records.key(**inputs)}.parquet"
    about = {"evaluation": "clean", "inputs": inputs}
    records.write_record(seed / record, pd.DataFrame({"image": range(3)}), about)
    published = files(publish.publish("cpu", root=tmp_path))
    assert not any("resnet18-standard" in path for path in published)
    assert f"seed0/{RECORD}" in published
    assert "Left behind: 2 models and records of other settings" in capsys.readouterr().out


def test_of_other_seeds_the_results_are_published_and_not_the_notebooks(tmp_path):
    seed = finished_run(tmp_path)
    notebook = nbformat.read(seed / "executed" / "01_one.ipynb", as_version=4)
    notebook.metadata["papermill"] = {"parameters": {"seed": 0, "seeds": [0, 2]}}
    nbformat.write(notebook, seed / "executed" / "01_one.ipynb")
    for other in ("seed1", "seed2", "seed10"):
        shutil.copytree(seed, seed.with_name(other))
    target = publish.publish("cpu", root=tmp_path)
    assert sorted(path.name for path in target.glob("seed*")) == ["seed0", "seed2"]
    parts = {path.name for path in (target / "seed2").iterdir()}
    assert parts == {"models", "records"}


def test_a_damaged_record_is_not_published(tmp_path):
    seed = finished_run(tmp_path)
    kept = publish.publish("cpu", root=tmp_path)
    there = files(kept)
    (seed / RECORD).write_text("x")
    told = rf"(?s)not published.*{seed / RECORD} is damaged"
    with pytest.raises(BookError, match=told):
        publish.publish("cpu", root=tmp_path)
    assert files(kept) == there and [each.name for each in kept.parent.iterdir()] == ["cpu"]


def test_an_edition_that_is_too_large_is_not_published(tmp_path, monkeypatch):
    finished_run(tmp_path)
    kept = publish.publish("cpu", root=tmp_path)
    there = files(kept)
    whole = {p for p in kept.rglob("*") if p.is_file() and p.suffix != ".safetensors"}
    assert sum(publish.size(kept).values()) == sum(path.stat().st_size for path in whole)
    again = (kept / "sample.json").stat().st_size  # made once the rest is known to fit
    monkeypatch.setattr(publish, "MAX_EDITION", sum(publish.size(kept).values()) - again - 1)
    with pytest.raises(BookError, match=r"without weights .* MB \(executed .*records"):
        publish.publish("cpu", root=tmp_path)
    assert files(kept) == there


def test_restore_brings_back_what_is_missing_and_touches_nothing_else(tmp_path):
    seed = finished_run(tmp_path)
    publish.publish("cpu", root=tmp_path)
    record, model = seed / RECORD, seed / add_model(seed) / "model.json"
    record.unlink()
    model.write_text("newer")
    publish.restore("cpu", root=tmp_path)
    assert records.read_record(record)["image"].tolist() == [0, 1, 2]
    assert model.read_text() == "newer"
    assert "sample.json" not in files(seed.parent)  # of what is published, not of the run
    with pytest.raises(BookError, match="nothing is published for profile 'fast'"):
        publish.restore("fast", root=tmp_path)


def test_restore_says_how_to_go_on_where_the_profile_has_changed(tmp_path, monkeypatch, capsys):
    seed = finished_run(tmp_path)
    publish.publish("cpu", root=tmp_path)
    publish.restore("cpu", root=tmp_path)
    own = seed.parent / PARAMS
    assert settings.load(str(own)) == settings.load("cpu")
    assert str(own) not in capsys.readouterr().out
    monkeypatch.setenv("RSLIB_PARAMS", str(tmp_path))
    (tmp_path / "cpu.yaml").write_text("profile: cpu\nsettings: {}\n")
    publish.restore("cpu", root=tmp_path)
    assert f"--profile {own}" in capsys.readouterr().out
    # The file stands for the profile wherever one is named, and leads to the same folder.
    monkeypatch.setenv("RSLIB_RUNS", str(seed.parents[1]))
    assert notebook.start(str(own)).directory == seed


def test_progress_bars_are_kept_as_their_last_state():
    def err(text):
        return nbformat.v4.new_output("stream", name="stderr", text=text)

    out = nbformat.v4.new_output("stream", name="stdout", text="a\rb\n")
    outputs = [err("\r 0%"), err("\r50%"), err("\r100%\n"), out, err("\r   \r")]
    kept = execute.without_progress(outputs)
    assert [(o["name"], o["text"]) for o in kept] == [("stderr", "100%\n"), ("stdout", "a\rb\n")]


def test_publish_refuses_an_incomplete_run_and_keeps_what_was_published(tmp_path):
    seed = tmp_path / "runs" / "cpu" / "seed0"
    write_notebook(seed / "executed" / "01_one.ipynb", "1")
    kept = tmp_path / "book" / "published" / "cpu" / "seed0" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    with pytest.raises(BookError, match="was not run"):
        publish.publish("cpu", root=tmp_path)
    assert kept.exists()
    with pytest.raises(BookError, match="no executed notebooks"):
        publish.publish("paper", root=tmp_path)


# The project's own pages


def test_every_page_of_the_book_has_a_source():
    sources = {path.stem for path in PAGES.glob("*.md")} | {"changelog"}
    notebooks = {path.stem for path in (PROJECT / "notebooks").glob("*.ipynb")}
    assert set(build.pages(PROJECT / "_toc.yml")) == sources | notebooks


def test_commands_on_pages_rerun_what_the_makefile_does():
    # By its own triggers Snakemake would run notebooks again whose code or parameters look changed.
    triggers = "--rerun-triggers mtime input"
    assert triggers in (PROJECT / "Makefile").read_text()
    texts = [" ".join(path.read_text().split()) for path in PAGES.glob("*.md")]
    commands = [
        each for text in texts for each in re.findall(r"snakemake [^`#]*--cores[^`#]*", text)
    ]
    assert len(commands) >= 2 and all(triggers in each for each in commands)


def test_publishing_is_one_command():
    told = subprocess.run(
        ["make", "--dry-run", "publish", "PROFILE=cpu", "VENV=v", "--old-file=v/.installed"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    done = [line.partition(" -m ")[2] for line in told.stdout.splitlines() if " -m b" in line]
    first = ["book publish cpu", "book reference cpu", "book readme"]
    assert done == [*first, "benchmarks.page", "book site"]


def test_pages_name_the_weights_that_are_published():
    for page in ("README.md", "book/pages/reproduce.md"):
        assert f"below {publish.MAX_WEIGHTS / 1e6:.0f} MB" in (PROJECT / page).read_text()


def test_every_citation_has_an_entry():
    entries = set(re.findall(r"^@\w+\{(\w+),", (PROJECT / "book/references.bib").read_text(), re.M))
    texts = [path.read_text() for path in PAGES.glob("*.md")]
    for path in (PROJECT / "notebooks").glob("*.ipynb"):
        texts += [cell.source for cell in nbformat.read(path, as_version=4).cells]
    cited = {
        key.strip()
        for text in texts
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in keys.split(",")
    }
    assert len(entries) >= 22 and cited and cited <= entries


def test_what_is_finished_of_a_run_is_kept_and_restored(tmp_path, monkeypatch):
    monkeypatch.delenv("RSLIB_RUNS", raising=False)
    models = tmp_path / "runs" / "cpu" / "seed0" / "models"
    done = models / f"resnet18-standard-{records.key()}"
    going = models / "vit_small-standard-9876543210"
    for folder in (done, going):
        folder.mkdir(parents=True)
    (done / "best.safetensors").write_bytes(b"weights")
    (done / "last.safetensors").write_bytes(b"others")
    (going / "checkpoint.safetensors").write_bytes(b"half of a training")
    records.write_json(done / "model.json", {"inputs": {}})
    kept_masks = add_masks(models.parent, Results(settings.load("cpu"), 0, root=tmp_path / "runs"))
    target = publish.keep("cpu", root=tmp_path)
    assert target == tmp_path / PUBLISHED / "cpu"
    kept = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    folder = f"seed0/models/{done.name}"
    weights = f"{folder}/best.safetensors"
    of_the_run = {"params.yaml", "weights.json"}
    assert kept == {f"{folder}/model.json", weights, f"seed0/{kept_masks}"} | of_the_run
    assert settings.load(str(target / "params.yaml")) == settings.load("cpu")
    assert editions.published(tmp_path / PUBLISHED) == []  # no notebooks, so no edition
    shutil.rmtree(tmp_path / "runs")
    publish.restore("cpu", root=tmp_path)
    assert (done / "best.safetensors").read_bytes() == b"weights"


def test_nothing_finished_is_nothing_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("RSLIB_RUNS", raising=False)
    with pytest.raises(BookError, match="nothing is kept: runs/cpu|holds no trained model"):
        publish.keep("cpu", root=tmp_path)
    assert not (tmp_path / PUBLISHED).exists()


def test_an_edition_is_not_kept_over(tmp_path):
    (tmp_path / PUBLISHED / "cpu" / "seed0" / "executed").mkdir(parents=True)
    with pytest.raises(BookError, match="holds an edition: make publish replaces it"):
        publish.keep("cpu", root=tmp_path)


def test_lines_of_long_work_are_shown_and_stay_out_of_the_notebook(tmp_path, capfd):
    cell = "from rslib.run import progress\nprogress.from_environment()('net: epoch 1/2')"
    source = write_notebook(tmp_path / "a.ipynb", cell)
    execute.run(source, tmp_path / "out.ipynb", profile="smoke", seed=0)
    assert "net: epoch 1/2\n" in capfd.readouterr().err
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert all(not cell.outputs for cell in executed.cells if cell.cell_type == "code")
