"""The book as one PDF, printed by the browser of the system."""

import shutil

import pytest

from book import BookError, build, pdf
from tests.helpers.books import mini_book


def test_all_pages_are_printed_into_one_file(tmp_path, monkeypatch):
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no chromium on this machine: apt-get install chromium")
    executed = mini_book(tmp_path)
    monkeypatch.setattr(
        build,
        "site",
        lambda profiles, *, root, builder: build.build(executed, root=root, builder=builder),
    )
    made = pdf.write("cpu", root=tmp_path)
    assert made == tmp_path / "_build" / "robustsight.pdf"
    assert made.read_bytes().startswith(b"%PDF-") and made.stat().st_size > 10_000


def test_without_a_browser_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BookError, match="apt-get install chromium"):
        pdf.write(root=tmp_path)
    assert not list(tmp_path.iterdir())
