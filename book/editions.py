"""What a run that became a book says of itself: which one it is, and whether its parts fit.

An *edition* is a run whose notebooks were executed. Each notebook carries what
:func:`rslib.notebook.start` wrote into it and the identities of the tables that it cites; each
stored table names the records and models that it was made from. Here these are read, compared, and
told in a line for every page. Nothing is read from prose, and what was not recorded is said to be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from book import BookError, errata
from book.errata import Erratum
from book.execute import FAILED, JUDGING, RUNNING
from rslib.report import glued, labels
from rslib.report.table import identity, settings_key
from rslib.run import Results
from rslib.run.published import PARAMS, model_folder, settings_of
from rslib.run.results import shortcut_runs
from rslib.settings import PROJECT, SettingsError, load, read_yaml
from rslib.store import records
from rslib.store.records import RecordError
from rslib.verdicts import limits

if TYPE_CHECKING:
    from rslib.settings import Settings

ORDER = ("paper", "wide", "fast", "cpu")
"""The profiles whose editions are shown first, the best one before the others."""

NOT_RECORDED = "not recorded"

SAMPLE = "sample.json"
"""The file, in an edition's folder, of what was made again before it was published."""

FOUND_SINCE = "Found wrong since this edition was made, and so until it is made again:"

# What is read of a document, as the types of its parts.
_SOURCE = {"model": str, "evaluation": str, "key": str, "n": (int, type(None))}
_SOURCE |= dict.fromkeys(("device", "revision", "date"), (str, type(None)))
TIMED = {"seconds": (int, float, type(None))}
TABLE = {
    "metadata": {"table": str, "settings": str, "seed": int, "sources": [_SOURCE]},
    "rows": [dict],
}
MODEL = {"name": str, "inputs": dict, "weights": {"best": str}} | TIMED
SAMPLED = {
    "evaluations": [{"told": str}],
    "left_out": dict,
    "provenance": {"device": str, "date": str},
}

_WAY_OUT = (
    "Notebooks, tables and records of an edition belong together, and its notebooks are of one "
    "revision of the code: run again the notebooks that are named"
)
_IDENTITY = "_made_of"  # ends the name that a table's identity is glued under (notebook.say)


@dataclass(frozen=True)
class Account:
    """What one executed notebook says of itself; None is what it does not say.

    Attributes:
        name: of the notebook.
        profile: of its run.
        seed: of its run.
        seeds: that its tables speak of.
        date: when it was run.
        settings: key of its settings.
        revision: of the code.
        device: that it ran on.
        data: name of the data set.
        limits: see :func:`rslib.verdicts.limits`.
        tables: identities of the tables that it cites, by name.
    """

    name: str
    profile: str | None = None
    seed: int | None = None
    seeds: tuple[int, ...] | None = None
    date: str | None = None
    settings: str | None = None
    revision: str | None = None
    device: str | None = None
    data: str | None = None
    limits: tuple[str, ...] | None = None
    tables: Mapping[str, str] = dataclasses.field(default_factory=dict)


def account(path: Path) -> Account:
    """Read what an executed notebook says of itself.

    Its mark if it has one; otherwise what papermill recorded, which is profile, seeds and date.

    Raises:
        RecordError: the file is no notebook, or its mark is damaged.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        stored = dict(glued.read(document))
        known = json.loads(stored[glued.MARK]) if glued.MARK in stored else _papermill(document)
        return _account(path.stem, known, stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path} cannot be asked which run it is of ({type(error).__name__}: {error}): run it "
            "again"
        ) from None


def _account(name: str, known: Mapping[str, Any], stored: Mapping[str, str]) -> Account:
    fields = {field.name for field in dataclasses.fields(Account)} - {"name", "tables"}
    lists = {key: tuple(known[key]) for key in ("seeds", "limits") if known.get(key) is not None}
    identities = {
        each.removesuffix(_IDENTITY): text.strip("'")
        for each, text in stored.items()
        if each.endswith(_IDENTITY)
    }
    told = {key: value for key, value in known.items() if key in fields}
    return Account(name, **told | lists, tables=identities)


def _papermill(document: Mapping[str, Any]) -> dict[str, Any]:
    about = document["metadata"].get("papermill", {})
    given = about.get("parameters", {})
    seeds = given.get("seeds") or ([given["seed"]] if "seed" in given else None)
    return {
        "profile": given.get("profile"),
        "seed": given.get("seed"),
        "seeds": seeds,
        "date": about.get("end_time"),
    }


@dataclass(frozen=True)
class Edition:
    """A run with its executed notebooks.

    Attributes:
        executed: the folder of its notebooks, beside its records, models and tables.
    """

    executed: Path

    @property
    def folder(self) -> Path:
        """Of the run: ``<profile>/seed<k>``."""
        return self.executed.parent

    @functools.cached_property
    def accounts(self) -> dict[str, Account]:
        """What its notebooks say of themselves, by name."""
        paths = sorted(self.executed.glob("*.ipynb"))
        whole = [path for path in paths if not path.name.endswith((FAILED, RUNNING))]
        return {path.stem: account(path) for path in whole}

    @functools.cached_property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Its stored tables as documents, by name."""
        paths = sorted((self.folder / "tables").glob("*.json"))
        return {path.stem: _whole(path, TABLE) for path in paths}

    @functools.cached_property
    def sources(self) -> list[dict[str, Any]]:
        """The records and models that its tables were made from; each names its seed."""
        told = [source for each in self.tables.values() for source in _sources(each)]
        keys = ("seed", "model", "evaluation", "key")
        return list({tuple(each[key] for key in keys): each for each in told}.values())

    @property
    def name(self) -> str:
        """Its profile, by its notebooks; without a word from them, by its folder."""
        return self._first("profile") or self.executed.parents[1].name

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that its notebooks speak of; empty if they do not say."""
        return self._first("seeds") or ()

    @property
    def data(self) -> str:
        """The name of its data set, as pages write it."""
        told = self._first("data") or self._verdicts.get("data")
        return labels.DATASETS.get(told, told) if told else f"data set {NOT_RECORDED}"

    @property
    def devices(self) -> list[str]:
        """All that its notebooks, models and records were made on."""
        return self._all("device")

    @property
    def revisions(self) -> list[str]:
        """Of the code that made its notebooks, models and records."""
        return self._all("revision")

    @property
    def dates(self) -> str:
        """The first and the last day of its making."""
        days = sorted({date[:10] for date in self._all("date")})
        return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else f"date {NOT_RECORDED}"

    @functools.cached_property
    def made(self) -> dict[Path, dict[str, Any]]:
        """What its models and records say of themselves, those of all seeds, by file."""
        whole = self.folder.parent
        models = sorted(whole.glob("seed*/models/*/model.json"))
        found = {path: _whole(path, MODEL) for path in models}
        for path in sorted(whole.glob("seed*/records/*/*")):
            if path.suffix == ".parquet":
                found[path] = _whole(path, TIMED)
            elif path.suffix == ".json":
                found[path] = records.read_json(path)
        return found

    @property
    def hours(self) -> dict[str, float]:
        """What its making took: hours of trainings and of evaluations, those of all seeds together.

        Models and records hold their seconds. What ran side by side counts once for each.
        """
        spent = {"trainings": 0.0, "evaluations": 0.0}
        for path, about in self.made.items():
            if path.name == "model.json":
                spent["trainings"] += about.get("seconds") or 0.0
            elif path.suffix == ".parquet":
                spent["evaluations"] += about.get("seconds") or 0.0
        return {work: seconds / 3600 for work, seconds in spent.items()}

    @property
    def made_by(self) -> dict[str, dict[str, int]]:
        """How many notebooks, models and records each revision of the code made.

        Returns:
            Revision to counts by kind, those of the notebooks first.
        """
        told = [("notebooks", each.revision) for each in self.accounts.values()]
        for path, about in self.made.items():
            kind = "models" if path.name == "model.json" else "records"
            told.append((kind, about.get("provenance", {}).get("revision")))
        found: dict[str, dict[str, int]] = {}
        for kind, revision in told:
            counts = found.setdefault(revision or NOT_RECORDED, {})
            counts[kind] = counts.get(kind, 0) + 1
        return found

    @functools.cached_property
    def sample(self) -> dict[str, Any] | None:
        """What was made again before it was published (:mod:`book.sample`); None if unknown."""
        path = self.folder.parent / SAMPLE
        return _whole(path, SAMPLED) if path.exists() else None

    @property
    def images(self) -> str:
        """How many test images its evaluations used."""
        counted = [each for each in self.sources if each["evaluation"] != "training" and each["n"]]
        return labels.images(counted) or f"n {NOT_RECORDED}"

    @property
    def limits(self) -> list[str]:
        """What keeps its numbers from being the paper's (:func:`rslib.verdicts.limits`)."""
        told = self._first("limits")
        if told is None:
            told = self._limits_of_profile()
        return [f"Its settings are {NOT_RECORDED}."] if told is None else list(told)

    def _limits_of_profile(self) -> list[str] | None:
        """The limits by the settings, if the stored verdicts say which these were."""
        known = self.settings if "settings" in self._verdicts else None
        return None if known is None else limits(Results(known))

    @functools.cached_property
    def settings(self) -> Settings | None:
        """What it was made with: its own :data:`rslib.run.published.PARAMS` or today's profile.

        The first of them whose key notebooks and verdicts carry; None if neither is theirs. Where
        they carry no key, the first that there is.
        """
        key = self._first("settings") or self._verdicts.get("settings")
        for read in (lambda: settings_of(self.folder.parent), lambda: load(self.name)):
            with contextlib.suppress(SettingsError):
                found = read()
                if key is None or settings_key(Results(found)) == key:
                    return found
        return None

    @functools.cached_property
    def errata(self) -> list[Erratum]:
        """What was found wrong with it since (:mod:`book.errata`)."""
        return errata.read(self.folder)

    def _first(self, field: str) -> Any:
        told = (getattr(each, field) for each in self.accounts.values())
        return next((value for value in told if value is not None), None)

    def _all(self, field: str) -> list[str]:
        told = [getattr(each, field) for each in self.accounts.values()]
        told += [source[field] for source in self.sources]
        return list(dict.fromkeys(value for value in told if value is not None))

    @property
    def _verdicts(self) -> dict[str, Any]:
        return self.tables.get("verdicts", {}).get("metadata", {})

    # What is told of it on pages

    def line(self, page: str = "") -> str:
        """What a page says of its edition, in Markdown.

        Args:
            page: name of an executed notebook, which then speaks for itself as well; any other page
                speaks of the edition alone.
        """
        told = [
            self.data,
            _listed(self.devices, f"device {NOT_RECORDED}"),
            self.dates,
            f"code {_few(self.revisions)}",
            self.images,
            labels.seeds_phrase(self.seeds) if self.seeds else f"seeds {NOT_RECORDED}",
        ]
        text = f"Edition **{self.name}**: {'; '.join(told)}."
        own = self.accounts.get(page)
        if own:
            when = own.date[:10] if own.date else f"date {NOT_RECORDED}"
            where, code = own.device or f"device {NOT_RECORDED}", own.revision or NOT_RECORDED
            text += f" This notebook: {when}; {where}; code {code}."
        return " ".join([text, *self.limits])

    def warning(self, page: str) -> str:
        """What a page says of the errata that concern it, in Markdown; empty without any."""
        texts = [each.text.strip() for each in self.errata if page in each.pages]
        if not texts:
            return ""
        listed = "\n".join("- " + " ".join(text.split()) for text in texts)
        return f":::{{warning}}\n{FOUND_SINCE}\n\n{listed}\n:::"

    def citation(self) -> str:
        """How to cite the paper and this edition, in BibTeX."""
        about = read_yaml((PROJECT / "CITATION.cff").read_text(), "CITATION.cff")
        (paper,) = about["references"]
        (author,) = paper["authors"]
        seeds = labels.seeds_phrase(self.seeds) if self.seeds else f"seeds {NOT_RECORDED}"
        code = ", ".join(self.revisions) or NOT_RECORDED
        note = f"Edition {self.name}; {seeds}; code {code}; {self.dates}"
        entries = {
            f"article{{{author['family-names'].lower()}{paper['year']}": {
                "author": f"{author['given-names']} {author['family-names']}",
                "title": f"{{{paper['title']}}}",
                "year": paper["year"],
            },
            f"software{{robustsight_{self.name}": {
                "author": f"{{{about['authors'][0]['name']}}}",
                "title": f"{{{about['title']}}}",
                "version": about["version"],
                "year": about["date-released"].year,
                "note": note,
            },
        }
        return "\n".join(
            f"@{head},\n" + "".join(f"  {k} = {{{v}}},\n" for k, v in fields.items()) + "}"
            for head, fields in entries.items()
        )

    # Whether its parts fit

    def disagreements(self, *, revisions: bool) -> list[str]:
        """Where notebooks, tables and records do not belong together; empty if they do.

        Models and records may be of several revisions of the code: their keys say that they were
        made from the same inputs.

        Args:
            revisions: whether all notebooks must be of one revision, as those of an edition are. In
                a run that goes on over changes of the code they need not be.

        Returns:
            One line each, with the file, what it carries, and what is there instead, and the way
            out as the last. A notebook that carries nothing to compare is passed over, unless
            others of its run do carry it.
        """
        found = [*self._notebooks(revisions), *self._cited(), *self._made_from()]
        try:
            found += self.misnamed()
        except RecordError as error:
            found.append(str(error))
        return [*dict.fromkeys(found), *[_WAY_OUT] * bool(found)]

    def misnamed(self) -> list[str]:
        """Models and records, of all seeds, that are not what their names say.

        Returns:
            One line each, with the name that what they were made from gives them.
        """
        found = []
        for path, about in self.made.items():
            key = records.key(**about.get("inputs", {}))
            if path.name == "model.json":
                file, name = path.parent, f"{about.get('name')}-{key}"
            else:
                kind = about.get("evaluation") or about.get("inputs", {}).get("evaluation")
                file, name = path, f"{kind}-{key}{path.suffix}"
            if file.name != name:
                found.append(f"{file} has the name {name} by what it was made from: delete it")
        return found

    def outdated(self) -> set[Path]:
        """Folders of models and files of records, of all seeds, that its settings do not find.

        They were made with settings that the run had before, or came with an edition that it goes
        on from. A record is one of them if its model is, or if no table was made from it while one
        was made from another record of that model and evaluation.
        """
        if self.settings is None:
            return set()
        cited = {(each["seed"], each["model"], each["evaluation"]): set() for each in self.sources}
        for each in self.sources:
            cited[each["seed"], each["model"], each["evaluation"]].add(each["key"])
        found, digests = set(), set()
        for path, about in self.made.items():
            if path.name == "model.json":
                seed = int(path.parents[2].name.removeprefix("seed"))
                run = Results(self.settings, seed, root=self.folder.parents[1])
                if path.parent not in _folders(run, about["name"]):
                    found.add(path.parent)
                    digests.add(about["weights"]["best"])
        for path, about in self.made.items():
            if path.name == "model.json":
                continue
            seed = int(path.parents[2].name.removeprefix("seed"))
            evaluated, _, key = path.stem.rpartition("-")
            keys = cited.get((seed, path.parent.name, evaluated), {key})
            if about.get("inputs", {}).get("weights") in digests or key not in keys:
                found.add(path)
        return found

    def _notebooks(self, revisions: bool) -> Iterable[str]:
        fields = ["profile", "seed", "seeds", "settings", *["revision"] * revisions]
        told = list(self.accounts.values())
        for field in fields:
            first = next((each for each in told if getattr(each, field) is not None), None)
            for each in told:
                # Claims may be judged anew, by a later rule, from the same records.
                if field == "revision" and JUDGING in (each.name, first and first.name):
                    continue
                if first and getattr(each, field) != getattr(first, field):
                    yield (
                        f"{self._path(each.name)} carries {field} {_shown(getattr(each, field))}, "
                        f"{first.name} carries {_shown(getattr(first, field))}"
                    )
        of = f"{self._first('profile')}/seed{self._first('seed')}"
        if self._first("settings") and self.folder.parts[-2:] != tuple(of.split("/")):
            yield f"{self.folder} holds notebooks of {of}: they belong in a folder of that name"
        key, stored = self._first("settings"), self._verdicts.get("settings")
        if key and stored and key != stored:
            yield (
                f"{self.folder / 'tables' / 'verdicts.json'} carries settings {stored}, the "
                f"notebooks carry {key}"
            )

    def _cited(self) -> Iterable[str]:
        """Notebooks that cite another table than the one stored."""
        stored: dict[str, set[str]] = {}
        for each in self.tables.values():
            about = each["metadata"]
            stored.setdefault(about["table"], set()).add(identity(about))
        for told in self.accounts.values():
            for table, key in told.tables.items():
                if table in stored and key not in stored[table]:
                    there = ", ".join(sorted(stored[table]))
                    yield (
                        f"{self._path(told.name)} cites {table} made of {key}, the one stored is "
                        f"made of {there}"
                    )

    def _made_from(self) -> Iterable[str]:
        """Tables whose records or models are not there, or are others by now."""
        there: dict[Path, dict[str, Any] | str] = {}
        for name, each in self.tables.items():
            table = self.folder / "tables" / f"{name}.json"
            for source in _sources(each):
                path = self._path_of(source)
                if path is None:
                    yield f"{table} was made from {_source(source)}, which is not there"
                    continue
                if path not in there:
                    there[path] = _provenance(path)
                made = there[path]
                if isinstance(made, str):
                    yield made
                    continue
                for field in ("revision", "date"):
                    if made[field] != source[field]:
                        yield (
                            f"{table} was made from one with {field} {source[field]}, {path} "
                            f"carries {made[field]}"
                        )

    def _path(self, notebook: str) -> Path:
        return self.executed / f"{notebook}.ipynb"

    def _path_of(self, source: Mapping[str, Any]) -> Path | None:
        folder = self.folder.parent / f"seed{source['seed']}"
        model, key = source["model"], source["key"]
        if source["evaluation"] == "training":
            found = [folder / "models" / f"{model}-{key}" / "model.json"]
        else:
            stem = folder / "records" / str(model) / f"{source['evaluation']}-{key}"
            found = [stem.with_name(f"{stem.name}.{kind}") for kind in ("parquet", "json")]
        return next((path for path in found if path.is_file()), None)


def published(root: Path, profiles: Sequence[str] = ()) -> list[Edition]:
    """The editions in a folder, best first: in :data:`ORDER`, then by name.

    Args:
        root: a folder of runs such as ``book/published``; of each, the first seed is shown.
        profiles: those to take; all by default.
    """
    found: dict[str, dict[int, Path]] = {}
    for folder in root.glob("*/seed*/executed"):
        profile, seed = folder.parents[1].name, folder.parent.name.removeprefix("seed")
        if seed.isdecimal() and (not profiles or profile in profiles):
            found.setdefault(profile, {})[int(seed)] = folder
    return [Edition(found[name][min(found[name])]) for name in sorted(found, key=_rank)]


def opened(executed: Path) -> Edition:
    """A folder of executed notebooks as an edition whose parts can be read.

    Raises:
        BookError: a notebook, a table or the errata cannot be read.
    """
    found = Edition(executed)
    try:
        found.accounts, found.tables, found.errata, found.made, found.sample  # noqa: B018  (kept)
    except RecordError as error:
        raise BookError(str(error)) from None
    except OSError as error:
        told = f"{error.filename} cannot be read ({error.strerror})"
        raise BookError(f"{told}: take it from the repository") from None
    own = executed.parents[1] / PARAMS
    if own.exists():
        try:
            settings_of(own.parent)
        except SettingsError as error:
            told = f"{own} is no profile of this edition: {error}"
            raise BookError(f"{told}; take it from the repository") from None
    return found


def _whole(path: Path, form: Mapping[str, Any]) -> dict[str, Any]:
    """A document, or a record's metadata, that has the parts of a form; RecordError without."""
    found = (records.read_metadata if path.suffix == ".parquet" else records.read_json)(path)
    if lacking := _lacking(found, form):
        told = f"{path} is damaged: {lacking} is missing or of another type"
        raise RecordError(f"{told}; take it from the repository, or run again what makes it")
    return found


def _lacking(found: Any, form: Any, where: str = "it") -> str:
    """The first part in which a document is not of a form; empty if it is."""
    if isinstance(form, list):
        parts = enumerate(found) if isinstance(found, list) else None
        within = lambda key: form[0]  # noqa: E731
    elif isinstance(form, Mapping):
        parts = ((key, found.get(key)) for key in form) if isinstance(found, dict) else None
        within = form.get
    else:
        return "" if isinstance(found, form) else where
    if parts is None:
        return where
    steps = (_lacking(each, within(key), f"{where}.{key}") for key, each in parts)
    return next(filter(None, steps), "")


def _rank(profile: str) -> tuple[int, str]:
    return (ORDER.index(profile) if profile in ORDER else len(ORDER), profile)


def _folders(run: Results, name: str) -> set[Path | None]:
    """Where a model of a run may lie: on its own images, or those of the shortcut experiment."""
    return {model_folder(each, name) for each in (run, shortcut_runs(run)[0])}


def _sources(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a stored table was made from; each names its seed, by default the table's own."""
    about = table["metadata"]
    return [{"seed": about["seed"], **source} for source in about["sources"]]


def _provenance(path: Path) -> dict[str, Any] | str:
    """Who made a record or a model; if it is damaged, what to say of it."""
    try:
        whole = records.read_metadata if path.suffix == ".parquet" else records.read_json
        return whole(path)["provenance"]
    except RecordError as error:
        return str(error)


def _source(source: Mapping[str, Any]) -> str:
    what = "model" if source["evaluation"] == "training" else f"{source['evaluation']} record"
    return f"the {what} of {source['model']}, key {source['key']}, seed {source['seed']}"


def _shown(value: Any) -> str:
    return "none" if value is None else str(list(value) if isinstance(value, tuple) else value)


def _listed(values: Sequence[str], none: str) -> str:
    return " and ".join(values) or none


def _few(revisions: Sequence[str]) -> str:
    """Revisions in a line: all of a few, otherwise their number and where all are."""
    if len(revisions) > 2:
        return f"of {len(revisions)} revisions ({{doc}}`/editions`)"
    return _listed(revisions, NOT_RECORDED)
