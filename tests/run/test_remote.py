"""Weights of a published run, fetched from a server on this machine."""

import functools
import http.server
import json
import shutil
import threading

import pytest

from rslib.run import remote
from rslib.run.published import PUBLISHED
from rslib.settings import PROJECT
from rslib.store import records
from rslib.store.records import RecordError

MODEL = "seed0/models/resnet18-standard-0123456789"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def there(tmp_path):
    """The folder of a published run."""
    folder = tmp_path / "there/wide"
    (folder / MODEL).mkdir(parents=True)
    (folder / "params.yaml").write_text("profile: wide\n")
    (folder / MODEL / "best.safetensors").write_bytes(bytes(range(256)) * 40)
    records.write_json(folder / MODEL / "model.json", {"name": "resnet18-standard"})
    records.write_json(folder / remote.LISTING, remote.listing(folder))
    return folder


@pytest.fixture
def served(there, monkeypatch):
    handler = functools.partial(Quiet, directory=str(there))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(remote, "address", lambda _: f"http://127.0.0.1:{server.server_port}/")
        yield there
        server.shutdown()


def fetch(tmp_path, told=None):
    return remote.fetch("wide", tmp_path / "here", (told if told is not None else []).append)


def same(one, other):
    def files(root):
        return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    return files(one) == files(other)


def test_weights_arrive_as_they_were_published(served, tmp_path):
    told = []
    assert fetch(tmp_path, told) == tmp_path / "here" / PUBLISHED / "wide"
    assert same(served, tmp_path / "here" / PUBLISHED / "wide")
    assert len(told) == 3 and not any("is there" in line for line in told)
    fetch(tmp_path, told)
    assert all("is there" in line for line in told[3:])


def test_a_part_that_is_there_already_ends_as_the_whole(served, tmp_path):
    part = tmp_path / "here" / PUBLISHED / "wide" / MODEL / ".best.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(range(256)))
    fetch(tmp_path)
    assert same(served, tmp_path / "here" / PUBLISHED / "wide")


def test_what_is_not_as_listed_is_not_taken(served, tmp_path):
    (served / MODEL / "best.safetensors").write_bytes(bytes(256) * 40)
    with pytest.raises(OSError, match="has another checksum"):
        fetch(tmp_path)
    here = tmp_path / "here" / PUBLISHED / "wide" / MODEL
    assert not (here / "best.safetensors").exists() and (here / "model.json").exists()


def test_a_file_of_ones_own_is_not_written_over(served, tmp_path):
    own = tmp_path / "here" / PUBLISHED / "wide" / MODEL / "best.safetensors"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(RecordError, match=r"best.safetensors is another file .* by --out"):
        fetch(tmp_path)
    assert own.read_bytes() == b"mine" and list(own.parent.iterdir()) == [own]


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/x", "seed0/models/../../../x-0123456789/model.json", "seed0/notes.txt",
     f"{MODEL}/best.safetensors\n", f"{MODEL}/..\\model.json"],
)  # fmt: skip
def test_only_files_of_weights_are_written(served, tmp_path, name):
    listed = records.read_json(served / remote.LISTING)
    listed["files"][name] = {"size": 1, "sha256": "0" * 64}
    records.write_json(served / remote.LISTING, listed)
    with pytest.raises(RecordError, match="which is no file of weights"):
        fetch(tmp_path)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "document",
    [{}, {"profile": "wide"}, {"profile": "../x", "files": {}}, {"profile": "wide", "files": [1]},
     {"profile": "wide", "files": {"params.yaml": 3}}],
)  # fmt: skip
def test_another_document_is_no_listing(served, tmp_path, document):
    records.write_json(served / remote.LISTING, document)
    with pytest.raises((RecordError, ValueError), match="lists no weights"):
        fetch(tmp_path)


def test_an_altered_listing_is_refused(served, tmp_path):
    listed = json.loads((served / remote.LISTING).read_text())
    listed["files"]["params.yaml"]["sha256"] = "0" * 64
    (served / remote.LISTING).write_text(json.dumps(listed))
    with pytest.raises(RecordError, match="altered"):
        fetch(tmp_path)
    (served / remote.LISTING).unlink()
    with pytest.raises(OSError, match="cannot be had: the server says 404"):
        fetch(tmp_path)


def test_addresses():
    assert remote.address("https://a.example/wide") == "https://a.example/wide/"
    assert remote.address("hf-hub:me/wide") == "https://huggingface.co/me/wide/resolve/main/"
    for wrong, reason in {
        "http://a.example/wide": "must begin with https",
        "file:///etc": "must begin with https",
        "hf-hub:me": "no name on the Hub",
        "hf-hub:me/../x": "no name on the Hub",
        "wide": "names no repository",
    }.items():
        with pytest.raises(RecordError, match=reason):
            remote.address(wrong)


def test_a_profile_is_looked_for_in_the_projects_repository(tmp_path, monkeypatch):
    shutil.copy(PROJECT / "_config.yml", tmp_path)
    text = (tmp_path / "_config.yml").read_text()
    address = 'repository: "https://github.com/some/one"'
    (tmp_path / "_config.yml").write_text(text.replace('repository: ""', address))
    monkeypatch.setattr(remote, "PROJECT", tmp_path)
    base = "https://raw.githubusercontent.com/some/one/main/book/published/wide/"
    assert remote.address("wide") == base


def test_what_is_published_is_listed_as_it_is():
    folders = [path.parent for path in (PROJECT / PUBLISHED).glob(f"*/{remote.LISTING}")]
    assert {folder.name for folder in folders} >= {"cpu", "wide"}
    for folder in folders:
        found = records.read_json(folder / remote.LISTING)
        assert {key: found[key] for key in ("profile", "files")} == remote.listing(folder)
