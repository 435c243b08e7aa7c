"""The places the book lives at, which `python -m book address` sets; and what then links to them.

`html.baseurl` of `_config.yml` is the address of the built book: pages then carry canonical links
and OpenGraph tags, and there is a sitemap. `html_context.repository` is the address of the source
repository on GitHub: pages then link to it, to their source and to a new issue, notebooks open in
Colab and install the project there by their first cell, and CITATION.cff names it. Where a value is
empty, there is no such link and no such cell. Pages get theirs from the Sphinx extension below.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

import nbformat
from sphinx.application import Sphinx

from book import BookError

COLAB = "https://colab.research.google.com/github"
TAG = "colab"
"""Of the cell that installs the project there."""
CELL = """\
# On Colab alone: fetch the project and install the versions it was tested with. It takes minutes.
import runpy
import subprocess
import sys

if "google.colab" in sys.modules:
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", "REPOSITORY", "robustsight"], check=True
    )
    runpy.run_path("robustsight/book/colab.py", run_name="__main__")"""


def assign(root: Path, base: str, repository: str) -> None:
    """Write the two addresses wherever they stand: configuration, citation, notebooks.

    Args:
        root: of the checkout.
        base: of the built book, or empty.
        repository: of the source repository, or empty.

    Raises:
        book.BookError: an address that is none.
    """
    for address in filter(None, (base, repository)):
        if not re.fullmatch(r"https://[\w.-]+(:\d+)?(/[\w./~%-]*)?", address):
            raise BookError(
                f"{address!r} is no address: give one such as https://example.org/book/"
            )
    repository = repository.rstrip("/")
    base = f"{base.rstrip('/')}/" if base else ""
    config, citation = root / "_config.yml", root / "CITATION.cff"
    text = config.read_text(encoding="utf-8")
    for name, address in (("baseurl", base), ("repository", repository)):
        text, found = re.subn(rf'(?m)^( +{name}: )"[^"]*"', rf'\g<1>"{address}"', text)
        if found != 1:
            raise BookError(f'{config}: there is not one line {name}: "…" to write to')
    config.write_text(text, encoding="utf-8")
    lines = citation.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith(("url:", "repository-code:"))]
    places = (("url", base), ("repository-code", repository))
    named = [f'{name}: "{address}"' for name, address in places if address]
    at = lines.index("license: MIT")
    citation.write_text("\n".join([*lines[:at], *named, *lines[at:], ""]), encoding="utf-8")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [c for c in notebook.cells if TAG not in c.metadata.get("tags", ())]
        if repository:
            source, tags = CELL.replace("REPOSITORY", repository), {"tags": [TAG, "remove-cell"]}
            cell = nbformat.v4.new_code_cell(source, id=TAG, metadata=tags)
            notebook.cells.insert(0, cell)
        nbformat.write(notebook, path)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx (its extension interface)."""
    if app.config.html_baseurl:
        app.setup_extension("sphinxext.opengraph")
        app.config.ogp_site_url = app.config.html_baseurl
        app.config.ogp_site_name = app.config.html_title
        app.config.ogp_social_cards = {"enable": False}
        app.config.ogp_image = "_static/results.png"
        app.connect("build-finished", _sitemap)
    if find_spec("torch") is None:  # there is no API page then, see book.build
        app.config.nitpick_ignore_regex = [("py:.*", ".*")]
    if app.config.html_context.get("repository"):
        app.connect("html-page-context", _buttons, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def source(page: str) -> Path | None:
    """Where a page's source stands in the repository.

    Args:
        page: its name in the built book; those of a second edition have a folder before it.

    Returns:
        The path from the repository's root; None for a page that Sphinx makes itself.
    """
    name = page.rsplit("/", 1)[-1]
    places = (f"notebooks/{name}.ipynb", f"book/pages/{name}.md", f"{name.upper()}.md")
    root = Path(__file__).parents[1]
    return next((Path(place) for place in places if (root / place).exists()), None)


def links(repository: str, branch: str, page: str) -> dict[str, str]:
    """The addresses of a page in its repository, by what the reader is told they are."""
    found = {"Repository": repository, "Open an issue": f"{repository}/issues/new?title={page}"}
    place = source(page)
    if place:
        found["Source of this page"] = f"{repository}/blob/{branch}/{quote(str(place))}"
        if place.suffix == ".ipynb":
            path = urlsplit(repository).path
            found["Open in Colab"] = f"{COLAB}{path}/blob/{branch}/{quote(str(place))}"
    return found


def _buttons(app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: Any) -> None:
    place = app.config.html_context
    found = links(place["repository"].rstrip("/"), place.get("branch", "main"), page)
    buttons = [
        {"type": "link", "url": url, "text": text, "tooltip": text, "label": "repository-link"}
        for text, url in found.items()
    ]
    group = {"type": "group", "tooltip": "Repository", "icon": "fab fa-github"}
    context["header_buttons"].append(group | {"buttons": buttons, "label": "repository-links"})


def _sitemap(app: Sphinx, failed: Exception | None) -> None:
    if failed is None:
        base = app.config.html_baseurl.rstrip("/")
        urls = (f"{base}/{quote(name)}.html" for name in sorted(app.env.found_docs))
        rows = "".join(f"<url><loc>{escape(url)}</loc></url>\n" for url in urls)
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        text = (
            f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="{space}">\n{rows}</urlset>\n'
        )
        Path(app.outdir, "sitemap.xml").write_text(text, encoding="utf-8")
