"""What pages link to, with and without the addresses in `_config.yml`."""

import re

import pytest

from book import addresses, build
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
