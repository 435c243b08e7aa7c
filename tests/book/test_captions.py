"""Every figure is described in words, and its caption can be read without the page around it."""

import ast
import re

import nbformat
import pytest

from rslib.settings import PROJECT

SOURCES = sorted((PROJECT / "notebooks").glob("*.ipynb"))
EXECUTED = sorted((PROJECT / "book" / "published").glob("*/seed*/executed/*.ipynb"))
PAGES = sorted((PROJECT / "book" / "pages").glob("*.md"))
DRAWING = {"figures", "picture", "pictures"}  # modules whose functions return figures
ELSEWHERE = re.compile(
    r"\b(see (the )?text|as before|previous|next figure|the same as|(shown|described) above)\b",
    re.I,
)


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def draws(source):
    """Whether a cell calls a function of a module that draws."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return any(
        isinstance(call, ast.Attribute)
        and isinstance(call.value, ast.Name)
        and call.value.id in DRAWING
        for call in calls
    )


def complaint(alt, caption):
    """What is wrong with a figure's texts, or nothing."""
    if len(alt) < 40:
        return f"its description is {alt!r}"
    if len(caption) < 60 or not caption.rstrip().endswith("."):
        return f"its caption is no full sentence or says too little: {caption!r}"
    if ELSEWHERE.search(caption):
        return f"its caption leans on the page around it: {caption!r}"
    return "its caption repeats its description" if caption == alt else ""


@pytest.mark.parametrize("path", [*SOURCES, *EXECUTED], ids=lambda p: "/".join(p.parts[-4::3]))
def test_figures_of_notebooks(path):
    found = {}
    for number, cell in enumerate(code(path), start=1):
        shown = any("image/png" in out.get("data", {}) for out in cell.outputs)
        if shown or draws(cell.source):
            about = cell.metadata.get("mystnb", {})
            caption = about.get("figure", {}).get("caption", "")
            wrong = complaint(about.get("image", {}).get("alt", ""), caption)
            if wrong:
                found[f"code cell {number}"] = wrong
    assert found == {}


FIGURES = [
    pytest.param(body, id=f"{path.name}-{number}")
    for path in PAGES
    for number, body in enumerate(
        re.findall(r"^```\{figure\} \S+\n(.*?)^```$", path.read_text(), re.M | re.S)
    )
]


@pytest.mark.parametrize("body", FIGURES)
def test_figures_of_pages(body):
    options = dict(re.findall(r"^:(\w+): (.*)$", body, re.M))
    caption = re.sub(r"^:\w+: .*$", "", body, flags=re.M).strip()
    assert complaint(options.get("alt", ""), caption) == ""


def test_every_figure_of_a_page_is_looked_at():
    """One that is opened in another way, such as with four backticks, would be passed over."""
    opened = sum(path.read_text().count("{figure}") for path in PAGES)
    assert len(FIGURES) == opened > 0


def test_the_landing_page_shows_one():
    assert "```{figure} figures/fig-4.png" in (PROJECT / "book" / "pages" / "intro.md").read_text()


def test_what_is_missing_is_found():
    alt = "Two panels of points, one per model, with intervals."
    told = "Accuracy under attack against clean accuracy, one point a model, with intervals."
    assert complaint(alt, told) == ""
    assert "description" in complaint("A plot", told)
    assert "too little" in complaint(alt, "Results.")
    assert "leans on" in complaint(alt, f"{told} Colors are the same as in Figure 2.")
    assert draws("figures.figure2(run)") and not draws("from rslib import figures")
