"""Downloads that break off, from a server on this machine: a part is never taken for the whole."""

import contextlib
import hashlib
import http.client
import http.server
import io
import tarfile
import threading
import time
import urllib.request

import pytest

from rslib.corruptions import cifar10c
from rslib.data import DataError, cifar10, load
from rslib.store import downloads
from tests.faults import jobs
from tests.faults.victims import Victim
from tests.helpers.cifar10_files import archive, remote, write
from tests.helpers.corruption_samples import N, dataset, write_archive

PART = ".cifar-10-python.tar.gz.part"


class Server:
    """Serves one file, and breaks off as told.

    Attributes:
        blob: what is served.
        stop: bytes after which the connection is dropped; None serves all.
        stall: whether it then keeps silent instead.
        drip: seconds after each byte.
        ranges: what it does when asked for a part: "serve" it, "ignore" that, or serve a "wrong"
            one under the right name.
        asked: what parts were asked for, None for the whole.
        leads: an address that it sends on to.
    """

    def __init__(self, blob):
        self.blob, self.stop, self.stall, self.drip = blob, None, False, 0.0
        self.ranges, self.asked, self.leads = "serve", [], None
        self.silence = threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                part = self.headers.get("Range")
                owner.asked.append(part)
                if owner.leads is not None:
                    self.send_response(302)
                    self.send_header("Location", owner.leads)
                    self.end_headers()
                    return
                start, size = 0, len(owner.blob)
                if part is not None and owner.ranges != "ignore":
                    start = int(part.removeprefix("bytes=").removesuffix("-"))
                    self.send_response(206 if start < size else 416)
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(size - start))
                self.end_headers()
                shift = 1 if owner.ranges == "wrong" and part is not None else 0
                sent = owner.blob[start - shift : size - shift][: owner.stop]
                with contextlib.suppress(OSError):
                    for place in range(len(sent)) if owner.drip else ():
                        self.wfile.write(sent[place : place + 1])
                        owner.silence.wait(owner.drip)
                    self.wfile.write(b"" if owner.drip else sent)
                    self.wfile.flush()
                    if owner.stall:
                        owner.silence.wait(60)

            def log_message(self, *args):
                pass

        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.web.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.web.server_port}/"
        self.thread = threading.Thread(target=self.web.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.silence.set()
        self.web.shutdown()
        self.thread.join()
        self.web.server_close()


@pytest.fixture
def serve(monkeypatch):
    """Start a server of a file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started = []

    def start(blob):
        started.append(Server(blob))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def cifar(tmp_path, monkeypatch, serve):
    """A server of a small CIFAR-10 archive in the official layout."""
    source = tmp_path / "source"
    source.mkdir()
    folder = write(source, cifar10.PYTHON, monkeypatch)
    members = {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    tar = source / "cifar-10-python.tar.gz"
    archive(tar, members)
    server = serve(tar.read_bytes())
    monkeypatch.setattr(cifar10, "ARCHIVE", remote(server.url + tar.name, server.blob))
    return server


def left(root):
    """What is in a folder, locks aside."""
    return [path.name for path in root.iterdir() if not path.name.endswith(".lock")]


def test_cifar10_broken_off_is_refused_and_fetched_again(cifar, tmp_path, chance, tally, every):
    count = tally("download: CIFAR-10 broken off")
    size = len(cifar.blob)
    for number in range(20 if every else 4):
        root = tmp_path / f"data{number}"
        cifar.stop = stop = chance.randrange(1, size)
        with pytest.raises(DataError, match="downloaded.*broke off.*Check the network"):
            load("cifar10", "test", root=root, download=True)
        lost = [f"{name} is left over" for name in left(root) if name != PART]
        lost += ["what arrived is lost"] * ((root / PART).read_bytes() != cifar.blob[:stop])
        with pytest.raises(DataError, match="is not there"):
            load("cifar10", "test", root=root)
        cifar.stop, cifar.ranges = None, ("serve", "ignore", "wrong")[number % 3]
        wrong = [] if len(load("cifar10", "test", root=root, download=True)) == 5 else ["images"]
        lost += [f"{name} is left over" for name in left(root) if name != cifar10.PYTHON.folder]
        # A part that does not fit what was there costs a second, whole transfer.
        asked = [f"bytes={stop}-", *[None] * (cifar.ranges == "wrong")]
        wrong += [f"it asked for {cifar.asked}"] * (cifar.asked[-len(asked) :] != asked)
        cifar.ranges = "serve"
        count.add(f"after {stop} of {size} bytes", lost=lost, wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


def test_a_process_killed_as_it_fetches_leaves_nothing_that_counts(cifar, tmp_path, tally):
    count, root = tally("download: killed"), tmp_path / "data"
    (layout,) = (each for each in cifar10.LAYOUTS if each.folder == cifar10.PYTHON.folder)
    files = {
        split: [[file.name, file.checksum, file.size] for file in kept]
        for split, kept in layout.files.items()
    }
    cifar.stop, cifar.stall = len(cifar.blob) // 2, True
    victim = Victim(jobs.download, root, list(cifar10.ARCHIVE), files)
    victim.until(lambda: (root / PART).is_file(), "part of the archive")
    time.sleep(0.2)
    victim.kill()
    assert left(root) == [PART]  # half of the archive
    with pytest.raises(DataError, match="is not there"):
        load("cifar10", "test", root=root)
    cifar.stop, cifar.stall = None, False
    images = len(load("cifar10", "test", root=root, download=True))
    lost = [f"{name} is left over" for name in left(root) if name != layout.folder]
    count.add("half way", lost=lost, wrong=[] if images == 5 else ["images"])
    assert not count.faults, "\n".join(count.faults)


def test_corruptions_broken_off_are_refused(serve, tmp_path, monkeypatch, chance, tally, every):
    monkeypatch.setattr(cifar10c, "OFFICIAL_IMAGES", N)
    count, clean = tally("download: corruptions broken off"), dataset()
    write_archive(tmp_path / "source" / cifar10c.FOLDER, clean)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(tmp_path / "source" / cifar10c.FOLDER, cifar10c.FOLDER)
    server = serve(packed.getvalue())
    content = sum(path.stat().st_size for path in (tmp_path / "source").rglob("*.npy"))
    for number in range(20 if every else 4):
        root = tmp_path / f"data{number}"
        root.mkdir()
        # From the first member's content to before the last one's end.
        server.stop = stop = chance.randrange(1024, content)
        unpack(server.url, root)
        wrong = []
        try:
            cifar10c.load(clean, root=root, official=True)
            wrong.append("a part was taken for the whole")
        except DataError as error:
            assert "again" in str(error) or "whole archive" in str(error), error
        server.stop = None
        unpack(server.url, root)
        again = cifar10c.load(clean, root=root, official=True)
        whole = tmp_path / "source" / cifar10c.FOLDER
        lost = [
            f"{path.name} differs"
            for path in whole.iterdir()
            if digest(path) != digest(root / cifar10c.FOLDER / path.name)
        ]
        lost += [] if again.origin == "official" else ["not the official files"]
        count.add(f"after {stop} bytes", lost=lost, wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack(url, root):
    """Unpack an archive as it arrives, as ``curl … | tar x`` does, as far as that goes."""
    with contextlib.suppress(tarfile.ReadError, OSError, http.client.IncompleteRead):
        with urllib.request.urlopen(url) as answer, tarfile.open(fileobj=answer, mode="r|") as tar:
            tar.extractall(root, filter="data")


def test_every_shortened_array_is_refused(tmp_path, monkeypatch, chance):
    monkeypatch.setattr(cifar10c, "OFFICIAL_IMAGES", N)
    clean = dataset()
    write_archive(tmp_path / cifar10c.FOLDER, clean)
    path = tmp_path / cifar10c.FOLDER / "fog.npy"
    whole = path.read_bytes()
    for keep in [0, 1, 127, 128, len(whole) - 1, *chance.sample(range(len(whole)), 5)]:
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match="fog.npy"):
            cifar10c.load(clean, root=tmp_path, official=True)
    path.write_bytes(whole)
    assert cifar10c.load(clean, root=tmp_path, official=True).origin == "official"


class TestFetch:
    """One file of 5,000 bytes, known by its digests."""

    @pytest.fixture
    def server(self, serve):
        return serve(bytes(range(250)) * 20)

    def refused(self, path, wanted, match):
        with pytest.raises(OSError, match=match):
            downloads.fetch(wanted, path)

    @pytest.mark.parametrize("field", ["md5", "sha256", "size"])
    @pytest.mark.parametrize("begun", [0, 100])
    def test_each_digest_and_the_size_must_be_right(self, server, tmp_path, field, begun):
        wanted = remote(server.url, server.blob)
        other = {"md5": "0" * 32, "sha256": "0" * 64, "size": 4_990}[field]
        (tmp_path / "a").write_bytes(server.blob[:begun])
        self.refused(tmp_path / "a", wanted._replace(**{field: other}), "another checksum or size")
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("there", [b"x", b"x" * 4_999, b"x" * 5_000, b"x" * 5_001])
    def test_a_beginning_that_is_not_the_files_is_thrown_away(self, server, tmp_path, there):
        (tmp_path / "a").write_bytes(there)
        downloads.fetch(remote(server.url, server.blob), tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == server.blob

    def test_what_is_there_is_not_fetched_again(self, server, tmp_path):
        (tmp_path / "a").write_bytes(server.blob)
        downloads.fetch(remote(server.url, server.blob), tmp_path / "a")
        assert server.asked == []

    def test_more_than_the_file_is_not_taken(self, server, tmp_path):
        wanted = remote(server.url, server.blob[:1_000])
        self.refused(tmp_path / "a", wanted, "another checksum or size")

    def test_silence_ends_it(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "IDLE", 0.2)
        server.stop, server.stall = 2_000, True
        self.refused(tmp_path / "a", remote(server.url, server.blob), "timed out")
        assert (tmp_path / "a").read_bytes() == server.blob[:2_000]

    def test_a_byte_now_and_then_does_not_outlast_the_deadline(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "WHOLE", 0.3)
        server.drip = 0.02
        started = time.monotonic()
        self.refused(tmp_path / "a", remote(server.url, server.blob), "longer than")
        assert time.monotonic() - started < 5
        kept = (tmp_path / "a").read_bytes()
        assert kept and server.blob.startswith(kept)

    @pytest.mark.parametrize("path", ["http://{}/b", "ftp://{}/b", "file:///etc/passwd"])
    def test_https_is_not_left(self, server, tmp_path, monkeypatch, path):
        # Only the name of the way is that of a safe one here: there is no certificate.
        plain = urllib.request.AbstractHTTPHandler.do_open
        monkeypatch.setattr(
            urllib.request.HTTPSHandler,
            "https_open",
            lambda self, asked: plain(self, http.client.HTTPConnection, asked),
        )
        safe = server.url.replace("http:", "https:")
        downloads.fetch(remote(safe, server.blob), tmp_path / "straight")
        server.leads = path.format(server.url.split("/")[2])
        self.refused(tmp_path / "a", remote(safe, server.blob), "which is not https|not allowed")
        assert not (tmp_path / "a").exists()

    def test_a_redirect_from_plain_http_is_followed_to_no_other_kind(self, server, serve, tmp_path):
        other = serve(server.blob)
        server.leads = other.url + "b"
        downloads.fetch(remote(server.url, server.blob), tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == server.blob
        server.leads = other.url.replace("http", "ftp")
        self.refused(tmp_path / "b", remote(server.url, server.blob), "is not https")
