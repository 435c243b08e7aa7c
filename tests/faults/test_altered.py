"""Records and editions that were altered, removed or put in each other's place are noticed."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from book import BookError, editions
from rslib.run.published import PUBLISHED
from rslib.settings import PROJECT
from rslib.store import records
from rslib.store.records import RecordError


def altered(table, name):
    """A table with one value of a column changed, under the same metadata."""
    column = table[name]
    values = column.to_pylist()
    kind = column.type
    first = values[0]
    if pa.types.is_boolean(kind):
        values[0] = not first
    elif pa.types.is_floating(kind):
        values[0] = 0.5 if first is None or np.isnan(first) else float(first) + 0.25
    elif pa.types.is_integer(kind):
        values[0] = first + 1
    else:
        values[0] = first + (b"x" if isinstance(first, bytes) else "x")
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), pa.array(values, kind))


@pytest.mark.parametrize("profile", ["cpu", "fast"])
def test_one_value_of_each_column_of_each_kind_of_record(profile, tmp_path, tally, every):
    count = tally("published: record rows")
    folder = PROJECT / PUBLISHED / profile / "seed0" / "records"
    kinds = {}
    for path in sorted(folder.glob("*/*.parquet")):
        kinds.setdefault(path.stem.rpartition("-")[0], path)
    assert len(kinds) > 6
    for kind, path in kinds.items():
        table = pq.read_table(path)
        copy = tmp_path / path.parent.name / path.name
        copy.parent.mkdir(exist_ok=True)
        columns = table.schema.names
        for name in columns if every else columns[:: max(1, len(columns) // 12)]:
            # Uncompressed and without more: what is tried is the seal, and not the format.
            pq.write_table(altered(table, name), copy, compression="none", use_dictionary=False)
            with pytest.raises(RecordError, match="altered"):
                records.read_metadata(copy)
            count.add(f"{kind} {name}")
    assert not count.faults


def test_a_record_that_is_all_right(tmp_path):
    """The headline of an edition: every image withstands PGD, by a word in each row."""
    (path,) = (PROJECT / PUBLISHED / "cpu").glob("seed0/records/resnet18-standard/pgd-*.parquet")
    table = pq.read_table(path)
    place = table.schema.get_field_index("correct")
    right = pa.array([True] * len(table))
    copy = tmp_path / path.parent.name / path.name
    copy.parent.mkdir()
    pq.write_table(table.set_column(place, table.schema.field(place), right), copy)
    with pytest.raises(RecordError, match="altered"):
        records.read_record(copy)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Copies of two editions without weights, which can be spoiled; they agree with themselves."""
    root = tmp_path_factory.mktemp("editions")
    for profile in ("cpu", "fast"):
        source = PROJECT / PUBLISHED / profile
        shutil.copytree(source, root / profile, ignore=shutil.ignore_patterns("*.safetensors"))
    return root


def noticed(root, profile):
    """Whether an edition is refused when it is opened, or says that it does not agree."""
    edition = editions.Edition(root / profile / "seed0" / "executed")
    try:
        return bool(editions.opened(edition.executed).disagreements(revisions=False))
    except (BookError, RecordError):
        return True


@pytest.mark.slow
def test_files_of_an_edition(both, tally, chance, every):
    count = tally("published: files")
    assert not noticed(both, "fast")
    edition = editions.Edition(both / "fast" / "seed0" / "executed")
    cited = [edition._path_of(each) for each in edition.sources]
    tables = [edition.folder / "tables" / f"{name}.json" for name in edition.tables]
    other = both / "cpu" / "seed0"
    tried = [*chance.sample(cited, 12 if every else 3), *chance.sample(tables, 6 if every else 2)]
    for path in tried:
        blob = path.read_bytes()
        strangers = sorted((other / path.parent.name).glob(path.name))
        strangers += sorted(other.rglob(f"{path.stem.rpartition('-')[0]}*{path.suffix}"))[:1]
        for what, change in (
            ("altered", lambda p=path, b=blob: p.write_bytes(b.replace(b"0", b"1", 3))),
            ("removed", lambda p=path: p.unlink()),
            ("swapped", lambda p=path, s=strangers: shutil.copy(s[0], p)),
        ):
            if what == "swapped" and not strangers or what == "removed" and path in tables:
                continue
            change()
            count.add(f"{what} {path.name}", wrong=["not noticed"] * (not noticed(both, "fast")))
            path.write_bytes(blob)
    assert not count.faults, "\n".join(count.faults)


def test_documents_of_an_edition(both, tmp_path, tally):
    """Each number of a document is part of its checksum; a model's name is of its inputs."""
    count = tally("published: documents")
    paths = sorted((both / "cpu" / "seed0" / "models").glob("*/model.json"))[:20]
    for path, other in zip(paths, paths[1:] + paths[:1], strict=True):
        copy = tmp_path / path.parent.name / path.name
        copy.parent.mkdir()
        text = path.read_text()
        for what, content in (
            ("seconds", text.replace('"seconds": ', '"seconds": 1', 1)),
            ("digest", text.replace('"best": "', '"best": "0', 1)),
            ("swapped", other.read_text()),
        ):
            copy.write_text(content)
            with pytest.raises(RecordError, match="altered|other inputs"):
                records.read_json(copy)
            count.add(f"{path.parent.name} {what}")


def test_a_frame_that_says_more_rows_than_it_has(tmp_path):
    records.write_record(tmp_path / "clean.parquet", pd.DataFrame({"a": [1, 2]}), {"n": 3})
    with pytest.raises(RecordError, match="2 rows and says 3"):
        records.read_record(tmp_path / "clean.parquet")
