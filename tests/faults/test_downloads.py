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
from tests.faults import jobs
from tests.faults.victims import Victim
from tests.helpers.cifar10_files import archive, write
from tests.helpers.corruption_samples import N, dataset, write_archive


class Server:
    """Serves one file, and breaks off as told.

    Attributes:
        blob: what is served.
        stop: bytes after which the connection is dropped; None serves all.
        stall: whether it then keeps silent instead.
    """

    def __init__(self, blob):
        self.blob, self.stop, self.stall = blob, None, False
        self.silence = threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(owner.blob)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(owner.blob[: owner.stop])
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
    from torchvision.datasets import CIFAR10

    source = tmp_path / "source"
    source.mkdir()
    folder = write(source, cifar10.PYTHON, monkeypatch)
    members = {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    tar = source / CIFAR10.filename
    monkeypatch.setattr(CIFAR10, "tgz_md5", archive(tar, members))
    server = serve(tar.read_bytes())
    monkeypatch.setattr(CIFAR10, "url", server.url + tar.name)
    return server


def left(root):
    """What is in a folder, locks aside."""
    return [path.name for path in root.iterdir() if not path.name.endswith(".lock")]


def test_cifar10_broken_off_is_refused_and_fetched_again(cifar, tmp_path, chance, tally, every):
    count = tally("download: CIFAR-10 broken off")
    size = len(cifar.blob)
    for number in range(20 if every else 4):
        root = tmp_path / f"data{number}"
        cifar.stop = stop = chance.randrange(size)
        with pytest.raises(DataError, match="could not be downloaded.*Check the network"):
            load("cifar10", "test", root=root, download=True)
        lost = [f"{name} is left over" for name in left(root)]
        with pytest.raises(DataError, match="is not there"):
            load("cifar10", "test", root=root)
        cifar.stop = None
        wrong = [] if len(load("cifar10", "test", root=root, download=True)) == 5 else ["images"]
        count.add(f"after {stop} of {size} bytes", lost=lost, wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


def test_a_process_killed_as_it_fetches_leaves_nothing_that_counts(cifar, tmp_path, tally):
    from torchvision.datasets import CIFAR10

    count, root = tally("download: killed"), tmp_path / "data"
    (layout,) = (each for each in cifar10.LAYOUTS if each.folder == cifar10.PYTHON.folder)
    files = {
        split: [[file.name, file.checksum, file.size] for file in kept]
        for split, kept in layout.files.items()
    }
    cifar.stop, cifar.stall = len(cifar.blob) // 2, True
    victim = Victim(jobs.download, root, CIFAR10.url, CIFAR10.tgz_md5, files)
    victim.until(lambda: list(root.glob(".cifar10-*/*")), "part of the archive")
    time.sleep(0.2)
    victim.kill()
    assert left(root)  # half of the archive, in a folder of its own
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
