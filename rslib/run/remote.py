"""Weights of a published run from elsewhere: listed with their digests, checked, gone on with."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rslib.run.published import PARAMS, PUBLISHED
from rslib.settings import PROJECT, check_name, reading
from rslib.store import downloads, records
from rslib.store.records import RecordError

LISTING = "weights.json"
"""In a published run's folder: its weights and what describes them, each with size and SHA-256."""

HUB = "hf-hub:"
_PATH = (
    rf"{re.escape(PARAMS)}|seed\d+/models/[^/\\]+-[0-9a-f]{{10}}/(model\.json|best\.safetensors)"
)


def listing(folder: Path) -> dict[str, Any]:
    """The document :data:`LISTING` of a published run's folder, as its files are now."""
    paths = [folder / PARAMS]
    for weights in sorted(folder.glob("seed*/models/*/best.safetensors")):
        paths += [weights.with_name("model.json"), weights]
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": records.file_digest(path),
        }
        for path in paths
    }
    return {"profile": folder.name, "files": files}


def fetch(source: str, root: Path = PROJECT, tell: Callable[[str], None] = print) -> Path:
    """Bring a published run's weights to ``root/book/published``, where :func:`find` looks.

    Args:
        source: the https address of a published run's folder, ``hf-hub:OWNER/NAME``, or a
            profile that the project's own repository publishes, such as ``"wide"``.
        root: folder holding ``book/``. Files that are there already are checked and left alone.
        tell: called with a line for each file.

    Raises:
        RecordError: there is no listing at the address, it names other files than weights and what
            describes them, or a file of that name with another content is there.
        OSError: see :func:`rslib.store.downloads.fetch`; the same call goes on where it stopped.
    """
    base = address(source)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, LISTING)
        copy.write_bytes(downloads.small(f"{base}{LISTING}"))
        listed = records.read_json(copy)
    try:
        target = root / PUBLISHED / check_name(listed["profile"])
        remotes = {
            name: downloads.Remote(f"{base}{quote(name)}", file["size"], "", file["sha256"])
            for name, file in listed["files"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordError(f"{base}{LISTING} lists no weights ({error})") from None
    for name, remote in remotes.items():
        if not re.fullmatch(_PATH, name) or type(remote.size) is not int:
            raise RecordError(f"{base}{LISTING} lists {name!r}, which is no file of weights")
        there = target / name
        if there.exists() and records.file_digest(there) != remote.sha256:
            raise RecordError(
                f"{there} is another file than the one to fetch: name another folder by --out"
            )
    for name, remote in remotes.items():
        there = target / name
        if there.exists():
            tell(f"{name}: is there")
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        part = there.with_name(f".{there.name}.part")
        downloads.fetch(remote, part)
        os.replace(part, there)
        tell(f"{name}: {remote.size / 1e6:,.1f} MB")
    records.write_json(target / LISTING, {key: listed[key] for key in ("profile", "files")})
    return target


def address(source: str) -> str:
    """The address of a published run's folder, with a slash at its end.

    Raises:
        RecordError: it is neither an https address nor a Hub name, and the project's configuration
            names no repository.
    """
    if "://" in source:
        if urlsplit(source).scheme != "https":
            raise RecordError(f"{source} is not fetched: an address must begin with https://")
        return f"{source.rstrip('/')}/"
    if source.startswith(HUB):
        name = source.removeprefix(HUB)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise RecordError(f"{source!r} is no name on the Hub: give {HUB}OWNER/NAME")
        return f"https://huggingface.co/{name}/resolve/main/"
    config, place = PROJECT / "_config.yml", {}
    if config.exists():
        found = reading.read_yaml(config.read_text(encoding="utf-8"), str(config))
        place = found["sphinx"]["config"]["html_context"]
    if not place.get("repository"):
        raise RecordError(
            f"{source!r} cannot be fetched by its name, as this copy of the project names no "
            f"repository: give the address of its folder, or {HUB}OWNER/NAME"
        )
    path = urlsplit(place["repository"]).path.strip("/")
    branch = place.get("branch", "main")
    base = f"https://raw.githubusercontent.com/{path}/{branch}"
    return f"{base}/{PUBLISHED.as_posix()}/{check_name(source)}/"
