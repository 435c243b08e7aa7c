"""Files from the network: known by their digests, whole or not taken, and never over a lesser way.

What begins with https stays with https, redirects included. What has arrived stays when a transfer
breaks off, and the next goes on after it.
"""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

IDLE = 60.0  # seconds without a byte
WHOLE = 3600.0  # seconds for one try


class Remote(NamedTuple):
    """A file at an address, and how it is known once it is here; ``md5`` is empty if not known."""

    url: str
    size: int
    md5: str
    sha256: str


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str):  # noqa: ANN202
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise urllib.error.URLError(f"{req.full_url} leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(remote: Remote, path: Path) -> None:
    """Bring a file to a path, which may hold its beginning from an earlier try.

    That is gone on from only where the server says that it continues there, in a file of this size;
    if the whole is wrong then, it is fetched once more from its start. A wrong file is removed.

    Raises:
        OSError: the network or the disk failed, the transfer broke off or took longer than
            :data:`WHOLE`, nothing came for :data:`IDLE` seconds, or the file is another.
    """
    for _ in range(2):
        resumed = _arrive(remote, path)
        with open(path, "rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        known = (path.stat().st_size, sha256) == (remote.size, remote.sha256)
        if known and remote.md5 in ("", md5):
            return
        path.unlink()
        if not resumed:
            break
    raise OSError(f"{remote.url} has another checksum or size than it must have (SHA-256 {sha256})")


def small(url: str) -> bytes:
    """The bytes at an address that carry a checksum of their own, a megabyte at most.

    Raises:
        OSError: they cannot be had, or are more.
    """
    try:
        with urllib.request.build_opener(_SafeRedirects).open(url, timeout=IDLE) as answer:
            found = answer.read(2**20 + 1)
    except urllib.error.HTTPError as error:
        raise OSError(f"{url} cannot be had: the server says {error.code} {error.reason}") from None
    except HTTPException as error:
        raise OSError(f"{url} cannot be had ({type(error).__name__})") from error
    if len(found) > 2**20:
        raise OSError(f"{url} is more than a megabyte")
    return found


def _arrive(remote: Remote, path: Path) -> bool:
    """Bring all bytes there; whether the first of them were there before."""
    start = path.stat().st_size if path.exists() else 0
    if start == remote.size:
        return True
    if start > remote.size:
        start = 0
    asked = {"Range": f"bytes={start}-"} if start else {}
    until = time.monotonic() + WHOLE
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        request = urllib.request.Request(remote.url, headers=asked)
        with opener.open(request, timeout=IDLE) as answer:
            part = f"bytes {start}-{remote.size - 1}/{remote.size}"
            resumed = answer.status == 206 and answer.headers.get("Content-Range") == part
            if answer.status not in (200, 206) or (answer.status == 206 and not resumed):
                raise urllib.error.HTTPError(remote.url, 416, "another range", None, None)
            with open(path, "ab" if resumed else "wb") as file:
                # One read at a time: many short ones must not outlast the deadline.
                while file.tell() <= remote.size and (block := answer.read1(1 << 16)):
                    file.write(block)
                    if time.monotonic() > until:
                        raise TimeoutError(f"it took longer than {WHOLE:,.0f} seconds")
                arrived = file.tell()
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        path.unlink()
        return _arrive(remote, path)
    except HTTPException as error:
        raise OSError(f"the server's answer makes no sense ({type(error).__name__})") from error
    if arrived < remote.size:
        raise OSError(
            f"it broke off after {arrived:,} of {remote.size:,} bytes; run again to go on"
        )
    return resumed
