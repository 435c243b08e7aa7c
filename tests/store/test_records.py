import hashlib
import json
import os
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rslib.store import records
from rslib.store.records import RecordError


def test_a_key_depends_on_every_input_and_not_on_their_order():
    base = records.key(a=1, b={"x": 2, "y": 3})
    assert base == records.key(b={"y": 3, "x": 2}, a=1)
    assert len({base, records.key(a=2, b={"x": 2, "y": 3}), records.key(a=1, b={"x": 2})}) == 3


def test_keys_do_not_drift():
    # Published records are addressed by these: a change here makes every one of them stale.
    assert records.key(kind="example", seed=0) == "e73602c1a4"


def test_keys_refuse_nan():
    with pytest.raises(ValueError, match="JSON"):
        records.key(a=float("nan"))


def test_a_record_comes_back_with_its_metadata(tmp_path):
    frame = pd.DataFrame({"image": [3, 1], "correct": [True, False], "loss": [0.5, 2.0]})
    path = tmp_path / "deep" / "clean.parquet"
    records.write_record(path, frame, {"n": 2, "model": "m"})
    back = records.read_record(path)
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == {"n": 2, "model": "m"}
    assert [p.name for p in path.parent.iterdir()] == ["clean.parquet"]


def test_every_kind_of_column_comes_back_as_it_was(tmp_path):
    frame = pd.DataFrame(
        {
            "image": np.array([9, -3, 2**40]),
            "label": np.array([1, 2, 3], dtype=np.int32),
            "correct": [True, False, True],
            "p0": np.array([0.1, np.nan, 1e-30], dtype=np.float32),
            "radius": [0.1, -0.0, np.inf],
            "word": ["a", "", "c"],
        }
    )
    path = tmp_path / "clean.parquet"
    records.write_record(path, frame, {"n": 3})
    pd.testing.assert_frame_equal(records.read_record(path), frame, check_exact=True)
    assert records.read_metadata(path) == {"n": 3}


def test_numbers_in_half_precision_are_read_in_single_precision(tmp_path):
    values = np.array([0.0, 0.5, np.nan, 1.0], np.float16)
    frame = pd.DataFrame({"image": range(4), "kept": values})
    path = tmp_path / "clean.parquet"
    records.write_record(path, frame, {"n": 4})
    assert str(pq.read_schema(path).field("kept").type) == "halffloat"
    back = records.read_record(path)
    pd.testing.assert_frame_equal(back, frame.astype({"kept": np.float32}), check_exact=True)
    assert back.attrs == records.read_metadata(path) == {"n": 4}


def test_another_writer_and_compression_keep_the_seal(tmp_path):
    frame = pd.DataFrame(
        {
            "image": range(4),
            "p": np.array([0.5, np.nan, -0.0, 3.0], np.float32),
            "word": list("abc") + [""],
            "mask": [b"\0", b"", b"ab", b"c"],
            "right": [True, False] * 2,
        }
    )
    path = tmp_path / "clean.parquet"
    records.write_record(path, frame, {"n": 4})
    table = pq.read_table(path)
    large = {"word": pa.large_string(), "mask": pa.large_binary()}
    fields = [each.with_type(large.get(each.name, each.type)) for each in table.schema]
    table = table.cast(pa.schema(fields, table.schema.metadata))
    pq.write_table(table, path, compression="brotli", row_group_size=3, version="1.0")
    pd.testing.assert_frame_equal(records.read_record(path), frame, check_exact=True)


KEYED = {"image": range(3), "correct": [True, False, True], "p": [0.5, 1.0, np.nan]}


def keyed(folder, **about):
    """A record under a name with the key of its inputs."""
    inputs = {"evaluation": "pgd", "weights": "w"}
    path = folder / "records" / "m" / f"pgd-{records.key(**inputs)}.parquet"
    records.write_record(path, pd.DataFrame(KEYED), {"inputs": inputs, "n": 3} | about)
    return path


@pytest.mark.parametrize(
    "alter",
    [
        lambda t: t.set_column(1, "correct", pa.array([True] * 3)),
        lambda t: t.set_column(1, "correct", pa.array([1, 0, 1])),
        lambda t: t.set_column(2, "p", pa.array([0.5, 1.0, 2.0])),
        lambda t: t.set_column(2, "p", t["p"].cast("float")),
        lambda t: t.rename_columns(["image", "p", "correct"]),
        lambda t: t.select([1, 0, 2]),
        lambda t: t.take([1, 0, 2]),
        lambda t: t.slice(0, 2),
        lambda t: t.drop_columns(["p"]),
        lambda t: t.append_column("more", pa.array([1, 2, 3])),
        lambda t: t.append_column("p", t["p"]),
        lambda t: t.replace_schema_metadata({**t.schema.metadata, b"rslib": b'{"n": 3}'}),
        lambda t: t.replace_schema_metadata({**t.schema.metadata, b"rslib.checksum": b""}),
        lambda t: t.replace_schema_metadata({b"rslib": t.schema.metadata[b"rslib"]}),
    ],
)
def test_an_altered_record_is_noticed(tmp_path, alter):
    path = keyed(tmp_path)
    pq.write_table(alter(pq.read_table(path)), path)
    for read in (records.read_record, records.read_metadata):
        with pytest.raises(RecordError, match="altered|checksum"):
            read(path)


def test_a_record_has_as_many_rows_as_it_says(tmp_path):
    with pytest.raises(RecordError, match="3 rows and says 4"):
        records.read_record(keyed(tmp_path, n=4))


def test_what_was_made_from_other_inputs_than_its_key_says_is_refused(tmp_path):
    path = tmp_path / "m-0123456789" / "model.json"
    for name in (path, tmp_path / "reliability-0123456789.json"):
        for inputs in ({"seed": 1}, {}, {"seed": True}):
            records.write_json(name, {"inputs": inputs})
            with pytest.raises(RecordError, match="other inputs .* 0123456789"):
                records.read_json(name)
    right = tmp_path / f"m-{records.key(seed=1)}" / "model.json"
    records.write_json(right, {"inputs": {"seed": 1}})
    assert records.read_json(right) == {"inputs": {"seed": 1}}


def test_a_document_holds_the_checksum_of_its_content_and_not_of_its_form(tmp_path):
    path = tmp_path / "a.json"
    document = {"b": [1, 2.5, None, "é"], "a": {"x": True}, 3: "number"}
    records.write_json(path, document)
    known = json.loads(path.read_text())
    assert records.read_json(path) == {"b": [1, 2.5, None, "é"], "a": {"x": True}, "3": "number"}
    path.write_text(json.dumps(known, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    assert records.read_json(path)["b"] == document["b"]
    for altered in (
        {**known, "b": [1, 2.5, None, "e"]},
        {**known, "b": [1.0, 2.5, None, "é"]},
        {**known, "a": {"x": 1}},
        {**known, "more": 0},
        {k: v for k, v in known.items() if k != "a"},
        {**known, "checksum": "0" * 64},
    ):
        path.write_text(json.dumps(altered))
        with pytest.raises(RecordError, match="altered"):
            records.read_json(path)
    path.write_text('{"a": 1}')
    with pytest.raises(RecordError, match=r"no checksum.*robustsight reseal"):
        records.read_json(path)


def old(path):
    """Turn a record into one of before: its seal is of its columns' names and of its metadata."""
    table = pq.read_table(path)
    held = {k: v for k, v in table.schema.metadata.items() if k != b"rslib.checksum"}
    columns = [(column.name, str(column.type)) for column in table.schema]
    seal = hashlib.sha256(repr((columns, sorted(held.items()))).encode()).hexdigest()
    held |= {b"rslib.seal": seal.encode()}
    pq.write_table(table.replace_schema_metadata(held), path)


def test_results_of_before_are_read_once_they_were_resealed(tmp_path):
    path, whole = keyed(tmp_path), tmp_path / "models" / f"m-{records.key(seed=1)}" / "model.json"
    before = records.read_record(path)
    old(path)
    whole.parent.mkdir(parents=True)
    whole.write_text(json.dumps({"inputs": {"seed": 1}, "seconds": 1e-7}))
    for read in (lambda: records.read_record(path), lambda: records.read_json(whole)):
        with pytest.raises(RecordError, match=r"run robustsight reseal .*otherwise delete"):
            read()
    assert records.reseal(tmp_path) == sorted([path, whole])
    after = records.read_record(path)
    pd.testing.assert_frame_equal(after, before, check_exact=True)
    assert after.attrs == before.attrs
    assert records.read_json(whole) == {"inputs": {"seed": 1}, "seconds": 1e-7}
    assert records.reseal(tmp_path) == []


@pytest.mark.parametrize("spoil", ["metadata", "rows", "key", "name", "seal", "document"])
def test_what_is_not_what_its_name_says_is_not_resealed(tmp_path, spoil):
    path = keyed(tmp_path, **{"n": 4} if spoil == "rows" else {})
    if spoil == "key":
        path = keyed(tmp_path, inputs={"weights": "other"})
    old(path)
    if spoil == "document":
        path.unlink()
        path = tmp_path / "records" / "m" / "reliability-0123456789.json"
        path.write_text('{"inputs": {}}')
    if spoil == "name":
        path = path.rename(tmp_path / "records" / path.name)
    if spoil in ("metadata", "seal"):
        table = pq.read_table(path)
        held = dict(table.schema.metadata)
        held |= {b"rslib": held[b"rslib"].replace(b"3", b"3 ")} if spoil == "metadata" else {}
        if spoil == "seal":
            del held[b"rslib.seal"]
        pq.write_table(table.replace_schema_metadata(held), path)
    blob = path.read_bytes()
    with pytest.raises(RecordError, match=path.name):
        records.reseal(tmp_path)
    assert path.read_bytes() == blob


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_before_all_is_done(
    tmp_path, monkeypatch
):
    done = []

    def watched(name, real):
        def call(*given, **more):
            kind = (
                "folder" if name == "fsync" and os.path.isdir(f"/proc/self/fd/{given[0]}") else ""
            )
            done.append(f"{name} {kind}".strip())
            return real(*given, **more)

        monkeypatch.setattr(os, name, call)

    path = tmp_path / "a.json"
    with records.atomic(path) as temporary:
        temporary.write_text("whole")
        for name in ("fsync", "replace"):
            watched(name, getattr(os, name))
        assert not path.exists()
    assert done == ["fsync", "replace", "fsync folder"]
    assert path.read_text() == "whole"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path, mask):
    from rslib.training import checkpoint

    before = os.umask(mask)
    try:
        records.write_json(tmp_path / "a.json", {})
        records.write_record(tmp_path / "a.parquet", pd.DataFrame({"a": [1]}), {})
        checkpoint.save_weights(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) == 3 and set(modes.values()) == {0o666 & ~mask}, modes


def test_a_record_under_another_name_is_refused(tmp_path):
    path = tmp_path / "clean.parquet"
    records.write_record(path, pd.DataFrame({"a": range(3)}), {})
    other = path.rename(tmp_path / "other.parquet")
    with pytest.raises(RecordError, match="was written as"):
        records.read_record(other)


def test_metadata_of_what_is_no_record_is_refused(tmp_path):
    with pytest.raises(RecordError, match="missing"):
        records.read_metadata(tmp_path / "none.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(RecordError, match="damaged"):
        records.read_metadata(tmp_path / "other.parquet")


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_rounding_goes_to_the_nearest_step(make):
    # In steps of 1/8; halfway cases go to the even step.
    found = records.rounded(make([0.0, 0.06, 0.0625, 0.07, 0.1875, 1.0]), 3)
    assert [float(value) for value in found] == [0, 0, 0, 0.125, 0.25, 1]


def test_rounded_numbers_take_less_room(tmp_path):
    values = np.random.default_rng(0).random(10_000, dtype=np.float32)
    sizes = []
    for kept in (values, records.rounded(values, 10), values.round(3)):
        records.write_record(tmp_path / "a.parquet", pd.DataFrame({"p": kept}), {})
        sizes.append((tmp_path / "a.parquet").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0] and sizes[1] < 0.6 * sizes[2]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    records.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError, match="in the middle"), records.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in the middle")
    assert records.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_with_nan_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        records.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 1, 50, 0.5, 0.99])
def test_a_truncated_record_is_named(tmp_path, keep):
    path = tmp_path / "clean.parquet"
    records.write_record(path, pd.DataFrame({"a": range(1000)}), {})
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(RecordError, match="clean.parquet is damaged"):
        records.read_record(path)


def test_somebody_elses_parquet_is_refused(tmp_path):
    path = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(RecordError, match="damaged"):
        records.read_record(path)


def test_missing_and_damaged_json_are_named(tmp_path):
    with pytest.raises(RecordError, match="is missing"):
        records.read_json(tmp_path / "none.json")
    path = tmp_path / "half.json"
    path.write_text('{"a": ')
    with pytest.raises(RecordError, match="half.json is damaged"):
        records.read_json(path)


def test_a_file_where_a_folder_should_be_is_explained(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RecordError, match="cannot write"):
        records.write_json(tmp_path / "runs" / "a.json", {})


def test_a_full_disk_is_explained_and_damages_nothing(tmp_path):
    # A file-size limit in a process of its own stands in for the disk: the write itself fails.
    script = """
import errno, resource, signal, sys
import numpy as np
import pandas as pd
from pathlib import Path
from rslib.store import records
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
records.write_record(path, pd.DataFrame({"a": [1]}), {"good": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    records.write_record(path, pd.DataFrame({"a": np.random.default_rng(0).random(10000)}), {})
except records.RecordError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""
    path = tmp_path / "clean.parquet"
    out = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert "refused: cannot write" in out.stdout, out.stderr
    assert records.read_record(path).attrs == {"good": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["clean.parquet"]


def test_out_of_space_names_the_way_out(tmp_path):
    with pytest.raises(RecordError, match="free some space"), records.atomic(tmp_path / "a"):
        raise OSError(28, os.strerror(28))


def test_a_write_is_flushed_before_it_takes_its_name_and_its_folder_after(tmp_path, monkeypatch):
    path, done = tmp_path / "a.json", []
    fsync, replace = os.fsync, os.replace

    def kind(handle):
        return "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_ino

    monkeypatch.setattr(os, "fsync", lambda handle: done.append(kind(handle)) or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("named") or replace(a, b))
    records.write_json(path, {"a": 1})
    assert done == [path.stat().st_ino, "named", "folder"]


def test_a_reader_keeps_the_file_it_has_opened_and_others_may_read_the_new_one(tmp_path):
    path = tmp_path / "a.json"
    records.write_json(path, {"a": 1})
    before = os.umask(0o022)
    try:
        with open(path) as reader:
            records.write_json(path, {"a": 2})
            assert json.load(reader)["a"] == 1
    finally:
        os.umask(before)
    assert records.read_json(path) == {"a": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_version_of_keys_is_in_every_key(monkeypatch):
    before = records.key(a=1)
    monkeypatch.setattr(records, "KEY_VERSION", records.KEY_VERSION + 1)
    assert records.key(a=1) != before
