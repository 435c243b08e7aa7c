"""The built pages in a browser: on a phone and on a desk, in the light and in the dark."""

import functools
import http.server
import re
import shutil
import threading
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from book import build, editions
from rslib.run.published import PUBLISHED
from rslib.settings import PROJECT

EDITIONS = editions.published(PROJECT / PUBLISHED)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
READABLE = 4.5  # the contrast of text that WCAG 2.1 asks for (1.4.3, AA)
# Written by Sphinx itself, and index.html only points to the first page.
GENERATED = ("genindex", "py-modindex", "search")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None,
        reason="no chromium on this machine: apt-get install chromium, or your system's package",
    ),
]

# What can be told of a page without an eye. Colors are compared as they lie over each other.
LOOK = r"""
() => {
  const article = document.querySelector("article") ?? document.body;
  const numbers = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith("color(srgb") ? 255 : 1;
    return [...found.slice(0, 3).map((v) => v * scale), found[3] ?? 1];
  };
  const over = (top, below, alpha) => below.map((v, k) => top[k] * alpha + v * (1 - alpha));
  const kept = new Map(); // for each element the color under its text, and its opacity
  const under = (element) => {
    if (!element) return [[255, 255, 255], 1];
    if (!kept.has(element)) {
      const [below, opacity] = under(element.parentElement);
      const style = getComputedStyle(element);
      const own = numbers(style.backgroundColor);
      kept.set(element, [over(own, below, own[3]), opacity * style.opacity]);
    }
    return kept.get(element);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => {
      const share = v / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element) => {
    const [below, opacity] = under(element);
    const color = numbers(getComputedStyle(element).color);
    const [low, high] = [over(color, below, color[3] * opacity), below]
      .map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = {};
  const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!text || !shown || element.closest("script, style, mjx-container, a.headerlink")) continue;
    const value = contrast(element);
    if (value < READABLE) faint[text.slice(0, 60)] = Math.round(value * 100) / 100;
  }
  const prose = article.cloneNode(true);
  prose.querySelectorAll("script, style, pre, code, mjx-container").forEach((e) => e.remove());
  const unset = [...document.querySelectorAll(".math")];
  return {
    theme: document.documentElement.dataset.theme,
    faint,
    tooWide: document.documentElement.scrollWidth - innerWidth,
    images: [...document.images]
      .map((e) => [e.getAttribute("src"), e.complete && e.naturalWidth, e.alt]),
    figures: [...article.querySelectorAll("figure")]
      .map((e) => e.querySelector("figcaption")?.innerText ?? ""),
    formulas: unset.length,
    unset: unset.filter((e) => !e.querySelector("mjx-container")).map((e) => e.innerText),
    broken: document.querySelectorAll("mjx-merror").length,
    raw: prose.textContent.match(/\$\$|\\\(|\\\[|\\[a-z]+\{/g) ?? [],
    edition: article.querySelector(".rslib-edition")?.innerText ?? "",
    ids: [...document.querySelectorAll("[id]")].map((e) => e.id),
    links: [...document.querySelectorAll("a[href]")].map((e) => e.getAttribute("href")),
  };
}
""".replace("READABLE", str(READABLE))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The book of all published editions, as ``make site`` builds it, in a folder of its own."""
    root = tmp_path_factory.mktemp("site")
    for name in ("_config.yml", "_toc.yml", "CHANGELOG.md"):
        shutil.copy(PROJECT / name, root)
    unpublished = shutil.ignore_patterns("published")
    shutil.copytree(PROJECT / "book", root / "book", ignore=unpublished)
    return build.build(*(each.executed for each in EDITIONS), root=root).parent


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of one folder, without a log."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(site):
    """The site, served."""
    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def seen(site, address, browser):
    """Every page: what the console said, and what is seen in both schemes and at both widths."""
    context = browser.new_context(viewport=PHONE, color_scheme="dark", reduced_motion="reduce")
    page = context.new_page()
    said = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    page.on("request", lambda r: None if _ours(r.url, address) else said.append(f"asks {r.url}"))
    found = {}
    for name in sorted(_pages(site)):
        said.clear()
        page.goto(f"{address}{name}.html", wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise.then(() => null)")
        dark = page.evaluate(LOOK)
        page.emulate_media(color_scheme="light")
        page.wait_for_function("document.documentElement.dataset.theme === 'light'")
        light = page.evaluate(LOOK)
        page.set_viewport_size(DESK)
        desk = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        page.set_viewport_size(PHONE)
        page.emulate_media(color_scheme="dark")
        found[name] = {"said": list(said), "dark": dark, "light": light, "desk": desk}
    context.close()
    return found


def _pages(site):
    """The names of all pages but index.html, which only points to the first one."""
    names = (path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html"))
    return {name for name in names if name != "index" and not name.startswith("_")}


def _ours(url, address):
    return url.startswith((address, "data:", "blob:"))


def _where(seen, tell):
    """The pages about which there is something to tell."""
    told = {name: tell(page) for name, page in seen.items()}
    return {name: what for name, what in told.items() if what}


def test_the_console_is_silent_and_nothing_is_asked_of_the_network(seen):
    assert _where(seen, lambda page: page["said"]) == {}


def test_every_link_leads_somewhere(site, seen):
    ids = {f"{name}.html": set(page["dark"]["ids"]) for name, page in seen.items()}
    broken = {}
    for name, page in seen.items():
        for link in page["dark"]["links"]:
            target, fragment = urldefrag(urljoin(f"{name}.html", link))
            if re.match(r"[a-z]+:", target):
                continue  # to the world outside
            there = (site / unquote(target)).is_file()
            known = ids.get(target, ids["intro.html"] if target == "index.html" else None)
            if not there or (fragment and known is not None and unquote(fragment) not in known):
                broken.setdefault(name, set()).add(link)
    assert broken == {}


def test_every_page_says_which_edition_it_shows(seen):
    for name, page in seen.items():
        if name not in GENERATED:
            folder, _, _ = name.rpartition("/")
            shown = f"Edition {folder or EDITIONS[0].name}: "
            assert page["dark"]["edition"].startswith(shown), name
            assert re.search(
                r"; code .*; n = [\d,]+ test images.*; seeds? \d", page["dark"]["edition"]
            )


def test_images_load_and_have_a_text(seen):
    assert sum(len(page["dark"]["images"]) for page in seen.values()) > 20
    tell = lambda page: [i for i in page["dark"]["images"] if not (i[1] and i[2])]  # noqa: E731
    assert _where(seen, tell) == {}


def test_figures_have_captions_that_stand_alone(seen):
    assert seen["intro"]["dark"]["figures"], "the landing page shows no figure"
    short = lambda page: [text for text in page["dark"]["figures"] if len(text) < 60]  # noqa: E731
    assert _where(seen, short) == {}


def test_formulas_are_set(seen):
    assert sum(page["dark"]["formulas"] for page in seen.values()) > 10
    for key in ("unset", "broken", "raw"):
        assert _where(seen, lambda page, key=key: page["dark"][key]) == {}, key


def test_no_page_is_wider_than_its_screen(seen):
    assert _where(seen, lambda page: page["dark"]["tooWide"] > 1 or page["desk"] > 1) == {}


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_text_can_be_read(seen, scheme):
    assert {page[scheme]["theme"] for page in seen.values()} == {scheme}
    assert _where(seen, lambda page: page[scheme]["faint"]) == {}


@pytest.mark.parametrize("over", ["http", "file"])
def test_search_finds_autoattack(site, address, browser, over):
    start = address if over == "http" else f"{site.as_uri()}/"
    page = browser.new_page()
    page.goto(f"{start}search.html?q=AutoAttack")
    results = page.locator("ul.search li a")
    results.first.wait_for()
    assert "07_adversarial_robustness.html" in " ".join(
        results.nth(k).get_attribute("href") for k in range(results.count())
    )
    page.close()


def test_the_landing_page_counts_the_verdicts(address, browser):
    page = browser.new_page()
    page.goto(f"{address}intro.html")
    counts = page.locator("article tbody td:nth-child(2)").all_inner_texts()
    total = page.locator("article p", has_text="numbers and claims").inner_text()
    page.close()
    assert len(counts) == 7
    assert sum(map(int, counts)) == int(re.search(r"of (\d+) numbers", total)[1]) > 0
