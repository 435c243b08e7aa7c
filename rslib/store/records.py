"""What a run leaves on disk: keys, and files that are either whole or absent.

A *key*, part of a file's name, is a hash of everything that decides a result (settings, seed,
weights it was made from). Records are Parquet, one row an image, with their metadata inside;
documents are JSON. Nothing is ever unpickled.

Every record and document holds a checksum of all that it says, and none is read without it: of a
record's name, metadata, columns and every value, of a document's canonical text. A document under a
name that ends in a key must have been made from the inputs that this key is of; of records, which
know their names, that is checked for editions. That shows damage, mix-ups and edits. It is no
signature: whoever rewrites a file can compute its checksum anew.
"""

from __future__ import annotations

import contextlib
import copyreg
import dis
import errno
import functools
import hashlib
import inspect
import json
import os
import re
import secrets
import stat
import sys
import sysconfig
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Raise when the same settings come to mean another computation: every older key then goes stale.
KEY_VERSION = 1

_METADATA, _NAME, _SEAL = b"rslib", b"rslib.name", b"rslib.checksum"
_OLD_SEAL = b"rslib.seal"  # of the columns' names and types and the metadata, and not of values
_CHECKSUM = "checksum"  # of a document, in it
_MODEL = "model.json"  # the document that is named by its folder


class RecordError(RuntimeError):
    """A stored result that is missing, damaged, or was made from something else."""


class NotSeeded(RecordError):
    """A further seed is not to have this model, by the setting ``seeded``."""


def key(**inputs: Any) -> str:
    """Hash the inputs that decide a result, JSON-compatible values, to ten hexadecimal digits.

    Settings go in as ``model_dump(exclude_defaults=True)``, so that a setting added later, at a
    default that changes nothing, keeps keys valid.
    """
    canonical = json.dumps({"version": KEY_VERSION, **inputs}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path``, otherwise it goes.

    A reader, or a run that follows a crash, sees the old file or the new one, never half of one.

    Raises:
        RecordError: the disk is full or the folder cannot be written; names the path and the cause.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The system takes the umask off; a library may put a file of another mode in this place.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = os.fstat(handle).st_mode
        os.close(handle)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fchmod(file.fileno(), stat.S_IMODE(mode))
            os.fsync(file.fileno())
        os.replace(temporary, path)
        # Without this a power cut can undo the rename; not every file system lets a folder sync.
        with contextlib.suppress(OSError):
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}. {way_out(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def way_out(error: OSError) -> str:
    """What to do about an error of the file system, as a sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk is full: free some space and run again; finished stages are kept."
    if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
        return "The folder is not writable: set RSLIB_RUNS to one that is."
    return "Finished stages are kept; run again once the cause is gone."


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of a file that it is missing or damaged, which makes readers raise nearly anything."""
    try:
        yield
    except FileNotFoundError:
        raise RecordError(f"{path} is missing: run the notebook that makes it") from None
    except RecordError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        told = f"{path} is damaged ({why}); delete it to have it made again"
        raise RecordError(told) from None


def _document(text: str | bytes) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"it holds a {type(document).__name__}, not names with values")
    return document


def _check_seal(path: Path, told: Any, right: Any) -> None:
    if told is None:
        raise RecordError(
            f"{path} has no checksum of its values, as results of older revisions have none: if it "
            f"is your own, run robustsight reseal {path.parent}; otherwise delete it to have it "
            "made again"
        )
    if told != right:
        raise ValueError("its values or its metadata were altered")


def _check_key(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse a result whose name, or a model's whose folder's, ends in another key than its own."""
    named = re.search("-([0-9a-f]{10})$", path.parent.name if path.name == _MODEL else path.stem)
    if named and "inputs" in about and named[1] != key(**about["inputs"]):
        raise ValueError(f"it was made from other inputs than those of the key {named[1]}")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document with its checksum, atomically (NaN and infinity are refused)."""
    # As it will be read: names that are no text become one.
    held = _document(json.dumps({**document, _CHECKSUM: None}, allow_nan=False))
    del held[_CHECKSUM]
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({**held, _CHECKSUM: _checksum(held)}, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON document.

    Raises:
        RecordError: the file is missing, damaged, altered or without a checksum, or was made from
            other inputs than its name says.
    """
    with _reading(path):
        document = _document(path.read_bytes())
        told = document.pop(_CHECKSUM, None)
        _check_seal(path, told, _checksum(document))
        _check_key(path, document)
        return document


def _checksum(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document as JSON with sorted names, ASCII alone, and Python's numbers."""
    canonical = json.dumps(document, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def rounded(values: Any, bits: int) -> Any:
    """A tensor or array of floats as a record keeps it: to the nearest multiple of 2^-bits.

    Such numbers take half the space of as many decimals; 10 bits give steps of about 0.001.
    """
    return (values * 2**bits).round() / 2**bits


def write_record(path: Path, frame: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Write a per-image record and its metadata as one Parquet file, atomically.

    Columns lie as they compress best: integers (ids in order, classes) as differences, numbers
    byte by byte, without statistics or what only pandas would want.
    """
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False)
    _write(path, _plain(table), json.dumps(dict(metadata), allow_nan=False).encode())


def _write(path: Path, table: pa.Table, metadata: bytes) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    described = {_METADATA: metadata, _NAME: _written_as(path).encode()}
    described[_SEAL] = _seal(table, described)
    table = table.replace_schema_metadata(described)
    encodings = dict.fromkeys(table.schema.names, "PLAIN")
    for column in table.schema:
        if pa.types.is_integer(column.type):
            encodings[column.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_floating(column.type):
            encodings[column.name] = "BYTE_STREAM_SPLIT"
    how = dict.fromkeys(("use_dictionary", "store_schema", "write_statistics"), False)
    how |= {"compression": "zstd", "compression_level": 9}
    how |= {"column_encoding": encodings, "write_page_checksum": True}
    with atomic(path) as temporary, pq.ParquetWriter(temporary, table.schema, **how) as file:
        file.write_table(table)
        file.add_key_value_metadata(described)


def _plain(table: pa.Table, **changed: str) -> pa.Table:
    """A table with the types that a record has: other writers store texts and bytes as large."""
    import pyarrow as pa

    into = {"large_string": "string", "large_binary": "binary", **changed}
    fields = [pa.field(each.name, into.get(str(each.type), each.type)) for each in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def read_record(path: Path) -> pd.DataFrame:
    """Read a per-image record; its metadata is in ``frame.attrs``.

    Raises:
        RecordError: the file is missing, damaged, altered, not one of ours, or under another name
            than it was written under.
    """
    table, metadata = _read(path)
    # Published editions hold numbers that half precision has room for in half precision.
    frame = _plain(table, halffloat="float").to_pandas()
    frame.attrs = metadata
    return frame


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a per-image record alone; checked, and refused, as :func:`read_record` does.

    Raises:
        RecordError: see :func:`read_record`.
    """
    return _read(path)[1]


def _read(path: Path, *, old: bool = False) -> tuple[pa.Table, dict[str, Any]]:
    """A record's table and metadata, both checked; ``old``: by the seal of before."""
    import pyarrow.parquet as pq

    with _reading(path):
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = _plain(file.read())
        table.validate(full=True)
        held = table.schema.metadata
        metadata = _document(held[_METADATA])
        if old:
            told, right = held.get(_OLD_SEAL), _old_seal(table.schema)
        else:
            told, right = held.get(_SEAL), _seal(table, held)
        _check_seal(path, told, right)
        if (name := held[_NAME].decode()) != _written_as(path):
            raise RecordError(
                f"{path} was written as {name}, so it holds another result than its name says: "
                "give it that name back, or delete it to have this one made"
            )
        if metadata.get("n", len(table)) != len(table):
            raise ValueError(f"it has {len(table)} rows and says {metadata['n']}")
        if old:
            _check_key(path, metadata)
        return table, metadata


def _written_as(path: Path) -> str:
    """A record's name with that of its folder, which tells whose it is."""
    whole = path.absolute()
    return f"{whole.parent.name}/{whole.name}"


def _seal(table: pa.Table, held: Mapping[bytes, bytes]) -> bytes:
    """SHA-256 of a record's name, metadata and columns, in their order: name, type, values.

    It is of values, so that another compression, or writer of Parquet, keeps it: numbers with the
    lowest byte first, one byte for true or false, texts and bytes each after its length; NaN and a
    gap are one.
    """
    import numpy as np
    import pyarrow as pa

    digest = hashlib.sha256(repr((held[_NAME], held[_METADATA], len(table))).encode())
    for name, column in zip(table.schema.names, table.columns, strict=True):
        digest.update(repr((name, str(column.type))).encode())
        floating = pa.types.is_floating(column.type)
        if column.null_count and not floating:
            raise ValueError(f"the column {name} has gaps")
        if str(column.type) in ("string", "binary"):
            cast = column.cast("binary").to_pylist()
            digest.update(b"".join(len(each).to_bytes(8, "little") + each for each in cast))
        elif floating or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
            values = column.to_numpy().astype(column.type.to_pandas_dtype())
            if floating:
                values[np.isnan(values)] = np.nan
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        else:
            raise ValueError(f"the column {name} is of type {column.type}, which no record has")
    return digest.hexdigest().encode()


def _old_seal(schema: pa.Schema) -> bytes:
    columns = [(column.name, str(column.type)) for column in schema]
    held = sorted(pair for pair in schema.metadata.items() if pair[0] != _OLD_SEAL)
    return hashlib.sha256(repr((columns, held)).encode()).hexdigest().encode()


def reseal(folder: Path) -> list[Path]:
    """Give one's own results of older revisions the checksum that is asked for now.

    A record's seal used to leave out its values, and documents had none. A record is taken only if
    that seal, its name, its number of rows and its key are right, a document only if its key is.
    Their values are believed as they lie there. What has a checksum stays as it is.

    Returns:
        The files that were given one.

    Raises:
        RecordError: one is damaged, altered or not what its name says; those before it are done.
    """
    done = []
    for path in sorted(folder.rglob("*")):
        with _reading(path):
            if path.suffix == ".json" and not path.is_symlink():
                document = _document(path.read_bytes())
                if _CHECKSUM not in document:
                    _check_key(path, document)
                    write_json(path, document)
                    done.append(path)
            elif path.suffix == ".parquet" and not path.is_symlink():
                import pyarrow.parquet as pq

                if _SEAL not in (pq.read_schema(path).metadata or {}):
                    table, _ = _read(path, old=True)
                    _write(path, table, table.schema.metadata[_METADATA])
                    done.append(path)
    return done


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Digests of files by their places and what the system says of them.
_DIGESTS: dict[tuple[Any, ...], str] = {}


def known_digest(path: Path) -> str:
    """As :func:`file_digest`, and quick for a file that is as it was when it was last asked for.

    That is known by its size and its times. A file that changed within the last two seconds is read
    anew each time, since it may change again before the clock moves on.
    """
    said = path.stat()
    known = (path.absolute(), said.st_dev, said.st_ino, said.st_size)
    known += (said.st_mtime_ns, said.st_ctime_ns)
    if known not in _DIGESTS:
        digest = file_digest(path)
        if abs(time.time_ns() - max(said.st_mtime_ns, said.st_ctime_ns)) < 2_000_000_000:
            return digest
        _DIGESTS[known] = digest
    return _DIGESTS[known]


def source_digest(function: Callable[..., Any]) -> str:
    """SHA-256 of all that decides what a function of a user's own does.

    These are the source, qualified name, defaults and closure of the function (or of an object that
    is called like one) and the globals that it reads. Functions, classes and modules among these
    count in the same way if they are the user's own, and otherwise by their names.

    Raises:
        RecordError: a source is not to be had, as of what is typed at Python's prompt, or a value
            cannot be told from another.
    """
    return hashlib.sha256(repr(_Description().of(function)).encode()).hexdigest()


class _Description:
    """Describes code and values in plain values, the same in each process."""

    def __init__(self) -> None:
        # What was described already, by id; held here, so that no other object gets its id.
        self._seen: dict[int, tuple[int, Any]] = {}

    def of(self, value: Any) -> Any:
        if value is None or value is ... or isinstance(value, str | bytes | int | float | complex):
            return type(value).__name__, repr(value)
        if type(value) is tuple:
            return "tuple", [self.of(each) for each in value]
        if isinstance(value, set | frozenset):
            return "set", sorted(repr(self.of(each)) for each in value)
        if id(value) in self._seen:
            return "again", self._seen[id(value)][0]
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, types.ModuleType):
            return "module", value.__name__, _module_text(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if type(value) is list:
            return "list", [self.of(each) for each in value]
        if type(value) in (dict, types.MappingProxyType):
            return "dict", [(self.of(key), self.of(each)) for key, each in value.items()]
        if hasattr(value, "detach"):  # a tensor
            return "tensor", str(value.dtype), repr(value.detach().cpu().tolist())
        # functools.cache and the like hide what they wrap.
        return "object", self.of(getattr(value, "__wrapped__", None)), self._pickled(value)

    def _function(self, function: types.FunctionType) -> Any:
        code, names = function.__code__, function.__globals__
        if not _is_own(code.co_filename):
            wrapped = self.of(getattr(function, "__wrapped__", None))
            return "function", names.get("__name__"), code.co_qualname, wrapped
        told = ["function", function.__qualname__, _source(code)]
        told += [self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        told.append([(name, self.of(cell.cell_contents)) for name, cell in cells])
        read = [name for name in _globals_read(code) if name in names]
        return *told, [(name, self.of(names[name])) for name in read]

    def _class(self, kind: type) -> Any:
        module = sys.modules.get(kind.__module__)
        if kind.__module__ != "__main__" and not _is_own(getattr(module, "__file__", None)):
            return "class", kind.__module__, kind.__qualname__
        members = []
        for name, value in sorted(vars(kind).items()):
            code = getattr(inspect.unwrap(value), "__code__", None)
            # What dataclasses generate follows from their fields, which are members, too.
            generated = code is not None and code.co_filename == "<string>"
            if name not in _OF_ANY_CLASS and not generated:
                members.append((name, self._member(value)))
        return "class", kind.__qualname__, [self.of(base) for base in kind.__bases__], members

    def _member(self, value: Any) -> Any:
        if isinstance(value, classmethod | staticmethod):
            return type(value).__name__, self.of(value.__func__)
        if isinstance(value, property):
            return "property", [self.of(each) for each in (value.fget, value.fset, value.fdel)]
        if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
            return "slot", value.__name__
        return self.of(value)

    def _pickled(self, value: Any) -> Any:
        """The parts that :mod:`pickle` would make a value from."""
        registered = copyreg.dispatch_table.get(type(value))
        try:
            reduced = registered(value) if registered else value.__reduce_ex__(4)
        except Exception as error:
            told = f"added code reads a {type(value).__name__}, which cannot be told from another"
            raise RecordError(f"{told} ({error}): make it within the function") from None
        if isinstance(reduced, str):
            return reduced
        items = [list(each or ()) for each in reduced[3:5]]  # of lists and dictionaries
        return [self.of(each) for each in (*reduced[:3], *items)]


_OF_ANY_CLASS = set(
    "__annotate_func__ __annotations__ __annotations_cache__ __dict__ __doc__ __firstlineno__ "
    "__module__ __slotnames__ __static_attributes__ __weakref__ _abc_impl".split()
)


@functools.cache
def _is_own(file: str | None) -> bool:
    """Tell a user's Python file from those of Python, installed packages and this one."""
    paths = sysconfig.get_paths()
    others = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    others.append(str(Path(__file__).resolve().parents[1]))
    return file is not None and not file.startswith(("<frozen", *(f"{p}{os.sep}" for p in others)))


def _globals_read(code: types.CodeType) -> list[str]:
    """The global names that code reads, functions within it included."""
    reads = ("LOAD_GLOBAL", "LOAD_NAME")
    names = {each.argval for each in dis.get_instructions(code) if each.opname in reads}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_globals_read(constant))
    return sorted(names)


# By id, since code that differs in its defaults alone is equal; held, so that ids stay its own.
_SOURCES: dict[int, tuple[types.CodeType, str]] = {}


def _source(code: types.CodeType) -> str:
    """The text of a function as it was at first: its file may change while old code still runs."""
    if id(code) in _SOURCES:
        return _SOURCES[id(code)][1]
    try:
        text = inspect.getsource(code)
    except (OSError, TypeError) as error:
        raise RecordError(
            f"the source of {code.co_qualname!r} cannot be read, so its results could not be told "
            f"from those of another version ({error}): put it in a file or a notebook cell"
        ) from None
    _SOURCES[id(code)] = code, text
    return text


@functools.cache
def _module_text(module: types.ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return file_digest(Path(file)) if _is_own(file) else None
