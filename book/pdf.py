"""The book as one PDF: all pages of one edition in one, printed by Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from book import BookError, build, editions
from rslib.run.published import PUBLISHED
from rslib.store import records

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def write(profile: str = "", *, root: Path = Path()) -> Path:
    """Build the book of one published edition and print it.

    Args:
        profile: of the edition; by default the best one.
        root: as of :func:`book.build.build`; the book is built there.

    Returns:
        The path of the PDF, `_build/robustsight.pdf`.

    Raises:
        BookError: there is no browser, nothing is published, or the book is refused.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise BookError(
            f"the PDF is printed by a browser, and there is none of {', '.join(BROWSERS)}: install "
            "one, such as apt-get install chromium"
        )
    if not profile:
        found = editions.published(root / PUBLISHED)
        profile = found[0].folder.parent.name if found else profile
    index = build.site([profile] if profile else [], root=root, builder="singlehtml")
    page = index.with_name(f"{build.pages(root / '_toc.yml')[0]}.html")
    target = root.resolve() / "_build" / "robustsight.pdf"
    with tempfile.TemporaryDirectory() as home:
        made = Path(home, target.name)
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", f"--user-data-dir={home}"),
            # Time for the formulas, which are set by a script.
            *("--virtual-time-budget=120000", "--no-pdf-header-footer"),
            *(f"--print-to-pdf={made}", page.as_uri()),
        ]
        printed = subprocess.run(command, capture_output=True, text=True, check=False)
        if printed.returncode or not made.exists():
            raise BookError(f"{browser} printed no PDF:\n{printed.stderr[-2000:]}")
        with records.atomic(target) as temporary:
            shutil.copyfile(made, temporary)
    return target
