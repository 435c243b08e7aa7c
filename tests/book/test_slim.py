"""What the pages of a published edition need is what `pip install '.[site]'` brings, no more."""

import subprocess
import sys

from book import build
from rslib.settings import PROJECT
from tests.helpers.books import mini_book

BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "torch", "torchvision", "timm", "captum", "scipy", "statsmodels", "skimage",
            "matplotlib", "PIL", "papermill", "ipywidgets", "snakemake",
        }:
            raise ModuleNotFoundError(f"no {name} here")
sys.meta_path.insert(0, Missing())
"""


def test_an_edition_is_checked_and_compared_without_what_makes_one():
    script = f"""{BLOCKED}
from pathlib import Path
from book import build, comparison, editions, pdf
from rslib.run.published import PUBLISHED
found = editions.published(Path({str(PROJECT)!r}) / PUBLISHED)
assert "Table 1" in comparison.page(found)
assert not found[-1].disagreements(revisions=True), found[-1].disagreements(revisions=True)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_without_pytorch_the_api_page_says_why_it_is_empty(tmp_path, monkeypatch):
    executed = mini_book(tmp_path)
    toc = tmp_path / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: api\n")
    (tmp_path / "book" / "pages" / "api.md").write_text("# API\n\nAll of it.\n")
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    build.stage(executed, tmp_path / "source", root=tmp_path)
    assert "without PyTorch" in (tmp_path / "source" / "api.md").read_text()
