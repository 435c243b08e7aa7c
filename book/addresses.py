"""Sphinx extension: what pages link to once `_config.yml` names the places the book lives at.

`html.baseurl` is the address of the built book: pages then carry canonical links and OpenGraph
tags, and there is a sitemap. `html_context.repository` is the address of the source repository on
GitHub: pages then link to it, to their source and to a new issue, and notebooks open in Colab.
Where a value is empty, there is no such link.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

from sphinx.application import Sphinx

COLAB = "https://colab.research.google.com/github"


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
