"""CIFAR-10's two official layouts, read from tiny files; and what happens to files that are not."""

import functools
import hashlib
import http.server
import pickle
import threading
import urllib.error

import numpy as np
import pytest
import torch

from rslib.data import DataError, cifar10, load
from rslib.store import downloads
from tests.helpers.cifar10_files import COUNTS, archive, contents, pickled, remote, write


@pytest.fixture(params=["PYTHON", "BINARY"])
def layout(request):
    return getattr(cifar10, request.param)


@pytest.mark.parametrize("split", ["train", "test"])
def test_both_layouts_give_the_written_images(layout, split, tmp_path, monkeypatch):
    write(tmp_path, layout, monkeypatch)
    dataset = load("cifar10", split, root=tmp_path)
    data = np.concatenate([part for part, _ in contents(split)])
    labels = np.concatenate([part for _, part in contents(split)])
    n = sum(COUNTS[split])
    assert dataset.images.shape == (n, 3, 32, 32) and dataset.images.dtype == torch.uint8
    assert dataset.images.numpy().tobytes() == data.tobytes()
    assert dataset.labels.tolist() == labels.tolist() and dataset.labels.dtype == torch.int64
    assert dataset.ids.tolist() == list(range(n))
    assert (dataset.name, dataset.split, dataset.masks) == ("cifar10", split, None)


def test_channels_are_planes_in_row_major_order():
    red, green, blue = (np.full(1024, value, dtype=np.uint8) for value in (10, 20, 30))
    green[32 * 5 + 7] = 200
    blob = bytes([3]) + red.tobytes() + green.tobytes() + blue.tobytes()
    images, labels = cifar10.parse_bin(blob)
    assert labels.tolist() == [3]
    assert images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert images[0, :, 5, 7].tolist() == [10, 200, 30]
    assert (images[0, 1] == 200).sum() == 1
    pixels = np.frombuffer(blob[1:], dtype=np.uint8)[None]
    again, _ = cifar10.parse_py(pickled({b"data": pixels, b"labels": [3]}))
    assert np.array_equal(again, images)


def test_classes_are_in_the_canonical_order():
    assert cifar10.CLASSES == tuple(
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    )


def test_checksums_of_the_python_layout_are_torchvisions():
    from torchvision.datasets import CIFAR10

    assert CIFAR10.url == cifar10.ARCHIVE.url and CIFAR10.tgz_md5 == cifar10.ARCHIVE.md5
    expected = {"train": CIFAR10.train_list, "test": CIFAR10.test_list}
    ours = {s: [[f.name, f.checksum] for f in cifar10.PYTHON.files[s]] for s in expected}
    assert ours == expected
    assert cifar10.PYTHON.folder == CIFAR10.base_folder


def test_the_python_layout_is_preferred_when_both_are_complete(tmp_path, monkeypatch):
    write(tmp_path, cifar10.PYTHON, monkeypatch)
    folder = write(tmp_path, cifar10.BINARY, monkeypatch)
    (folder / "test_batch.bin").write_bytes(b"would be refused if it were read")
    assert len(load("cifar10", "test", root=tmp_path)) == 5


def test_an_incomplete_layout_gives_way_to_a_complete_one(tmp_path, monkeypatch):
    folder = write(tmp_path, cifar10.PYTHON, monkeypatch)
    write(tmp_path, cifar10.BINARY, monkeypatch)
    (folder / "data_batch_3").unlink()
    assert len(load("cifar10", "train", root=tmp_path)) == 12


def test_nothing_there_says_where_it_looked_and_what_to_do(tmp_path):
    with pytest.raises(DataError) as error:
        load("cifar10", "train", root=tmp_path)
    for part in (str(tmp_path), "cifar-10-batches-py", "cifar-10-batches-bin", "RSLIB_DATA"):
        assert part in str(error.value)
    assert "download=True" in str(error.value)


def test_a_missing_file_is_named(layout, tmp_path, monkeypatch):
    folder = write(tmp_path, layout, monkeypatch)
    name = layout.files["train"][3].name
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"incomplete: .*{layout.folder} lacks {name}"):
        load("cifar10", "train", root=tmp_path)


def test_a_truncated_file_is_refused_with_both_sizes(layout, tmp_path, monkeypatch):
    folder = write(tmp_path, layout, monkeypatch)
    path = folder / layout.files["test"][0].name
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="truncated") as error:
        load("cifar10", "test", root=tmp_path)
    assert f"{len(whole) - 100:,} of {len(whole):,} bytes" in str(error.value)
    assert str(path) in str(error.value)
    assert path.read_bytes() == whole[:-100]


def test_one_altered_bit_is_refused(layout, tmp_path, monkeypatch):
    folder = write(tmp_path, layout, monkeypatch)
    path = folder / layout.files["test"][0].name
    blob = bytearray(path.read_bytes())
    blob[-2000] ^= 1
    path.write_bytes(blob)
    with pytest.raises(DataError, match="altered") as error:
        load("cifar10", "test", root=tmp_path)
    assert hashlib.new(layout.algorithm, blob).hexdigest() in str(error.value)


class Payload:
    """A pickle of this writes a file when it is loaded by an ordinary unpickler."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_refused_even_with_a_right_checksum(tmp_path, monkeypatch):
    trap = tmp_path / "executed"
    blob = pickled({b"data": Payload(trap), b"labels": [0]})
    pickle.loads(blob, encoding="bytes")[b"data"].close()
    assert trap.exists(), "the payload must work, or the test would show nothing"
    trap.unlink()
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(blob)
    file = cifar10.File("test_batch", hashlib.md5(blob).hexdigest(), len(blob))
    evil = cifar10.Layout(folder.name, "md5", {"test": (file,)}, cifar10.parse_py)
    monkeypatch.setattr(cifar10, "LAYOUTS", (evil,))
    with pytest.raises(DataError, match="refused to load"):
        load("cifar10", "test", root=tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        {b"data": np.zeros((2, 3072), np.uint8)},
        {b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3071), np.uint8), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1, 2]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, b"x"]},
        {b"data": [1, 2], b"labels": [0, 1]},
        [1, 2, 3],
    ],
)
def test_a_pickle_that_is_no_batch_is_refused(value):
    with pytest.raises(DataError):
        cifar10.parse_py(pickled(value))


@pytest.mark.parametrize("blob", [b"", b"\x00" * 3072, bytes([10]) + b"\x00" * 3072])
def test_bytes_that_are_no_images_are_refused(blob):
    with pytest.raises(DataError):
        cifar10.parse_bin(blob)


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    write(tmp_path, cifar10.BINARY, monkeypatch)
    monkeypatch.setenv("RSLIB_DATA", str(tmp_path))
    assert len(load("cifar10", "test")) == 5
    monkeypatch.delenv("RSLIB_DATA")
    assert cifar10.default_root().name == "data"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine with an archive of the Python layout; yields the archive."""
    source = tmp_path / "source"
    source.mkdir()
    folder = write(source, cifar10.PYTHON, monkeypatch)
    members = {f"{folder.name}/{p.name}": p.read_bytes() for p in folder.iterdir()}
    tar = source / "cifar-10-python.tar.gz"
    archive(tar, members)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=source)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        url = f"http://127.0.0.1:{web.server_port}/{tar.name}"
        monkeypatch.setattr(cifar10, "ARCHIVE", remote(url, tar.read_bytes()))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield tar
        web.shutdown()
        thread.join()


def test_download_fetches_and_reads_and_leaves_no_scratch(tmp_path, server):
    root = tmp_path / "data"
    assert len(load("cifar10", "train", root=root, download=True)) == 12
    kept = sorted(p.name for p in root.iterdir())
    assert kept in (["cifar-10-batches-py"], [".cifar10.lock", "cifar-10-batches-py"])
    assert len(load("cifar10", "test", root=root)) == 5


def test_download_mends_a_damaged_file(tmp_path, server):
    root = tmp_path / "data"
    load("cifar10", "test", root=root, download=True)
    path = root / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="truncated"):
        load("cifar10", "test", root=root)
    assert len(load("cifar10", "test", root=root, download=True)) == 5


def test_a_damaged_download_is_refused_and_nothing_is_left(tmp_path, server):
    server.write_bytes(server.read_bytes()[:-1] + b"?")
    root = tmp_path / "data"
    with pytest.raises(DataError, match="could not be downloaded.*another checksum"):
        load("cifar10", "test", root=root, download=True)
    assert [p.name for p in root.iterdir() if p.name != ".cifar10.lock"] == []


def test_no_network_is_said_with_a_way_out(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(downloads, "fetch", unreachable)
    with pytest.raises(DataError, match="network") as error:
        load("cifar10", "test", root=tmp_path, download=True)
    assert "Name or service not known" in str(error.value)
    assert "cifar-10-batches-bin" in str(error.value)


def test_what_is_already_there_is_not_downloaded(layout, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("downloaded")

    monkeypatch.setattr(downloads, "fetch", refuse)
    write(tmp_path, layout, monkeypatch)
    assert len(load("cifar10", "test", root=tmp_path, download=True)) == 5


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        load("cifar-10", "train")
    with pytest.raises(TypeError, match="did you mean 'background_correlation'"):
        load("shapes", "train", background_corelation=1.0)
    with pytest.raises(TypeError, match="cifar10 has no option 'n'"):
        load("cifar10", "train", n=10)
    with pytest.raises(ValueError, match="split"):
        load("cifar10", "validation")
