"""What pages link to, with and without the addresses in `_config.yml`."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

from book import BookError, addresses, build
from rslib.settings import PROJECT
from tests.helpers.books import mini_book

BASE, REPOSITORY = "https://book.example/robust/", "https://github.com/someone/robust"
NOTEBOOK = "notebooks/06_baseline_performance.ipynb"


@pytest.mark.parametrize(
    ("page", "place"),
    [
        ("06_baseline_performance", NOTEBOOK),
        ("cpu/06_baseline_performance", NOTEBOOK),
        ("how_to_read", "book/pages/how_to_read.md"),
        ("changelog", "CHANGELOG.md"),
        ("genindex", None),
    ],
)
def test_every_page_knows_its_source(page, place):
    found = addresses.source(page)
    assert (found and found.as_posix()) == place


def test_links_of_a_notebook():
    assert addresses.links(REPOSITORY, "main", "06_baseline_performance") == {
        "Repository": REPOSITORY,
        "Open an issue": f"{REPOSITORY}/issues/new?title=06_baseline_performance",
        "Source of this page": f"{REPOSITORY}/blob/main/{NOTEBOOK}",
        "Open in Colab": "https://colab.research.google.com/github/someone/robust/blob/main/"
        + NOTEBOOK,
    }
    assert "Open in Colab" not in addresses.links(REPOSITORY, "main", "how_to_read")


def test_without_addresses_no_page_links_to_a_place_that_is_not_there(tmp_path):
    html = build.build(mini_book(tmp_path), root=tmp_path).parent
    assert not (html / "sitemap.xml").exists()
    for page in html.glob("*.html"):
        text = page.read_text()
        assert "og:title" not in text and 'rel="canonical"' not in text
        assert "colab.research" not in text and "repository-link" not in text


def test_with_addresses_pages_say_where_they_are(tmp_path):
    executed = mini_book(tmp_path)
    config = (PROJECT / "_config.yml").read_text()
    config = config.replace('baseurl: ""', f"baseurl: {BASE}")
    config = config.replace('repository: ""', f"repository: {REPOSITORY}")
    (tmp_path / "_config.yml").write_text(config)
    html = build.build(executed, root=tmp_path).parent
    page = (html / "01_one.html").read_text()
    tags = dict(re.findall(r'<meta property="(og:[^"]+)" content="([^"]*)"', page))
    assert {"og:title", "og:type", "og:url", "og:image"} <= tags.keys()  # what the protocol asks
    assert tags["og:url"] == f"{BASE}01_one.html" and tags["og:site_name"] == "RobustSight"
    assert tags["og:type"] in ("website", "article") and tags["og:title"] and tags["og:description"]
    assert (html / tags["og:image"].removeprefix(BASE)).is_file()
    assert f'<link rel="canonical" href="{BASE}01_one.html"' in page
    assert f'href="{REPOSITORY}"' in page
    listed = set(re.findall("<loc>(.*?)</loc>", (html / "sitemap.xml").read_text()))
    assert listed == {f"{BASE}intro.html", f"{BASE}01_one.html"}


WRITTEN = ("_config.yml", "CITATION.cff", NOTEBOOK)


@pytest.fixture
def checkout(tmp_path):
    for name in WRITTEN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def test_addresses_are_written_wherever_they_stand_and_taken_back(checkout):
    addresses.assign(checkout, "", "")
    before = [(checkout / name).read_bytes() for name in WRITTEN]
    addresses.assign(checkout, BASE.rstrip("/"), f"{REPOSITORY}/")
    config = yaml.safe_load((checkout / "_config.yml").read_text())
    assert config["html"]["baseurl"] == BASE
    assert config["sphinx"]["config"]["html_context"]["repository"] == REPOSITORY
    cited = yaml.safe_load((checkout / "CITATION.cff").read_text())
    assert (cited["url"], cited["repository-code"]) == (BASE, REPOSITORY)
    cell, second, *_ = nbformat.read(checkout / NOTEBOOK, as_version=4).cells
    assert f'"{REPOSITORY}"' in cell.source and "google.colab" in cell.source
    assert {"colab", "remove-cell"} <= set(cell.metadata.tags)
    nbformat.validate(nbformat.read(checkout / NOTEBOOK, as_version=4))
    addresses.assign(checkout, BASE, REPOSITORY)  # again, without a second cell
    again = nbformat.read(checkout / NOTEBOOK, as_version=4).cells[1]
    assert again == second
    addresses.assign(checkout, "", "")
    assert [(checkout / name).read_bytes() for name in WRITTEN] == before


@pytest.mark.parametrize(
    "wrong", ["book.example", "http://book.example", 'https://x/"; rm -rf ~', "https://x y"]
)
def test_what_is_no_address_is_refused_and_nothing_written(checkout, wrong):
    before = [(checkout / name).read_bytes() for name in WRITTEN]
    with pytest.raises(BookError, match="is no address: give one such as https://"):
        addresses.assign(checkout, wrong, "")
    assert [(checkout / name).read_bytes() for name in WRITTEN] == before


def run_cell(tmp_path, *, colab):
    """Run the cell in a process of its own with a pip that only notes what it is told."""
    origin, away = tmp_path / "origin", tmp_path / "away"
    for name in ("book/colab.py", "constraints.txt", NOTEBOOK):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, origin / name)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", *who, *command], cwd=origin, check=True)
    fake = tmp_path / "fake"
    (fake / "pip").mkdir(parents=True)
    (fake / "pip/__init__.py").touch()
    told = "import json, sys, pathlib; pathlib.Path('told.json').write_text(json.dumps(sys.argv))"
    (fake / "pip/__main__.py").write_text(told)
    away.mkdir()
    source = addresses.CELL.replace("REPOSITORY", origin.as_uri())
    start = "import sys, numpy; sys.modules['google.colab'] = sys\n" if colab else ""
    end = "\nimport os; print(os.getcwd()); print(sys.path[0])"
    variables = os.environ | {"PYTHONPATH": str(fake)}
    command = [sys.executable, "-c", f"{start}{source}{end}"]
    made = subprocess.run(
        command, cwd=away, env=variables, capture_output=True, text=True, check=True
    )
    return away, made.stdout.splitlines()


def test_on_colab_the_first_cell_installs_what_is_locked(tmp_path):
    away, (where, path) = run_cell(tmp_path, colab=True)
    clone = away / "robustsight"
    assert where == str(clone / "notebooks") and path == str(clone)
    arguments = json.loads((away / "told.json").read_text())[1:]
    assert arguments[-2:] == ["--editable", f"{clone}[models]"]
    assert arguments[arguments.index("--constraint") + 1] == str(clone / "colab.txt")
    locked = set((PROJECT / "constraints.txt").read_text().splitlines())
    kept = set((clone / "colab.txt").read_text().splitlines())
    # What the kernel has imported stays as Colab has it: another version needs another kernel.
    left = {line.partition("==")[0] for line in locked - kept}
    assert "numpy" in left <= {"numpy", "setuptools"} and kept < locked


def test_elsewhere_the_first_cell_does_nothing(tmp_path):
    away, (where, _) = run_cell(tmp_path, colab=False)
    assert where == str(away) and not list(away.iterdir())
