"""Copy a run into the book once a sample of it agrees, keep a part of one, or copy one back."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from book import BookError, editions, errata, sample, swap
from book.build import published_hint
from book.execute import FAILED, JUDGING, RUNNING, problems, run
from rslib import settings
from rslib.run import remote
from rslib.run.published import PARAMS, PUBLISHED
from rslib.run.results import Results
from rslib.settings import SettingsError, check_name, environment
from rslib.settings.names import INTERPRETABILITY, TEACHERS
from rslib.store import records

if TYPE_CHECKING:
    from book.editions import Edition
    from rslib.settings import Settings

FREEZE = "freeze.txt"
"""In an edition: the packages of the environment that published it and made its sample again."""

MAX_WEIGHTS = 25_000_000  # bytes of a weights file that may go into the repository
MAX_ALL_WEIGHTS = 100_000_000  # of all those of an edition together
MAX_EDITION = 30_000_000  # bytes of a published run beside its weights


def finished(profile: str, *, root: Path = Path()) -> Edition:
    """Find a finished run: its first seed under `runs/<profile>` (or `RSLIB_RUNS`).

    Args:
        profile: of the run.
        root: folder holding `runs/`.

    Raises:
        BookError: there is no such run, or one of its notebooks or tables cannot be read.
    """
    folder = _runs(root) / _named(profile)
    found = editions.published(folder.parent, [profile])
    if not found or not any(found[0].executed.glob("*.ipynb")):
        raise BookError(f"{folder} holds no executed notebooks: run them first (make book)")
    return editions.opened(found[0].executed)


def publish(profile: str, *, training: bool = True, root: Path = Path()) -> Path:
    """Copy a finished run into the book, once a sample of it that is made again agrees.

    The profile as the run had it goes along (:data:`rslib.run.published.PARAMS`), and so do the
    packages installed (:data:`FREEZE`) and what the sample gave (:mod:`book.sample`).

    Args:
        profile: the run's profile. The first seed under `runs/<profile>` (or `RSLIB_RUNS`) is
            copied with its notebooks and tables; of the others that those speak of, what they were
            made from.
        training: whether the sample has a training, too.
        root: folder holding `runs/` and `book/`.

    Returns:
        The folder made, `book/published/<profile>`; an older one is replaced.

    Raises:
        BookError: there is no such run, one of its notebooks is incomplete, they are of several
            revisions of the code, notebooks, tables and records do not belong together, a record
            is damaged or is not what its name says, the run is larger than :data:`MAX_EDITION`, its
            settings are not known, or the sample does not agree.
    """
    try:
        edition = finished(profile, root=root)
        refused = [
            f"{path}: {problem}"
            for path in sorted(edition.executed.glob("*.ipynb"))
            for problem in problems(path)
        ]
        refused += edition.disagreements(revisions=True)
    except (BookError, records.RecordError) as error:
        raise BookError(f"the run is not published:\n  {error}") from None
    run_folder, target = edition.folder.parent, root / PUBLISHED / profile
    if edition.settings is None:
        refused.append(
            f"the settings of {run_folder} are those of no profile there is now: write them to "
            f"{run_folder / PARAMS}, in the form of a profile"
        )
    if refused:
        raise BookError("the run is not published:\n  " + "\n  ".join(refused))
    first = edition.folder
    seeds = dict.fromkeys([first, *(run_folder / f"seed{seed}" for seed in edition.seeds)])
    outdated = edition.outdated()
    if outdated:
        print(f"Left behind: {len(outdated)} models and records of other settings", flush=True)
    outdated |= _outdated_masks(first, edition.settings)
    weights = _published_weights(seeds, outdated)
    with swap.replacing(target) as new:
        with tqdm(desc="Publishing", unit=" files") as bar:
            for seed in seeds:
                for part in ("executed", "records", "tables", "models", "masks"):
                    shown = seed == first or part in ("records", "models")
                    if shown and (seed / part).is_dir():
                        copy = new / seed.name / part
                        shutil.copytree(
                            seed / part,
                            copy,
                            ignore=functools.partial(
                                _unpublished, weights=weights, outdated=outdated
                            ),
                            copy_function=functools.partial(_published_copy, bar=bar),
                        )
        (new / PARAMS).write_text(settings.dump(edition.settings))
        (new / FREEZE).write_text(_freeze())
        records.write_json(new / remote.LISTING, remote.listing(new) | {"profile": target.name})
        _refuse_size(new)
        again = _sampled(edition, training)
        records.write_json(new / editions.SAMPLE, again.document())
    return target


def _freeze() -> str:
    """All packages that are installed but our own, as pip takes them for constraints."""
    there = (each for each in metadata.distributions() if each.name not in (None, "robustsight"))
    found = {f"{each.name}=={each.version}" for each in there}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def keep(profile: str, *, root: Path = Path()) -> Path:
    """Copy what is finished of a run that still goes on: models, and records of them.

    Another machine goes on from there (:func:`restore`). Without notebooks it is no edition, and
    :func:`site` does not show it; :func:`publish` replaces it by one.

    Args:
        profile: of the run, whose settings are today's; all its seeds are copied.
        root: folder holding `runs/` and `book/`.

    Returns:
        The folder, `book/published/<profile>`. Files that are already there are left as they are.

    Raises:
        BookError: nothing of the run is finished, an edition of the profile is published, or a
            record is damaged.
    """
    run_folder, target = _runs(root) / _named(profile), root / PUBLISHED / profile
    if next(target.glob("*/executed"), None):
        raise BookError(f"{target} holds an edition: make publish replaces it by a finished run")
    chosen = settings.load(profile)
    seeds = sorted(run_folder.glob("seed*"))
    models = [path.parent for seed in seeds for path in seed.glob("models/*/model.json")]
    if not models:
        raise BookError(f"nothing is kept: {run_folder} holds no trained model")
    weights = _published_weights(seeds, set())
    files = [folder / "model.json" for folder in models]
    files += [path for path in weights if path.parent in models]
    for pattern in ("records/*/*.*", "masks/*.parquet"):
        files += [path for seed in seeds for path in seed.glob(pattern) if path.is_file()]
    with tqdm(desc="Keeping", unit=" files") as bar:
        for path in files:
            copy = target / path.relative_to(run_folder)
            if not copy.exists() and not path.name.startswith("."):
                copy.parent.mkdir(parents=True, exist_ok=True)
                _published_copy(str(path), str(copy), bar=bar)
    with records.atomic(target / PARAMS) as temporary:
        temporary.write_text(settings.dump(chosen))
    records.write_json(target / remote.LISTING, remote.listing(target))
    return target


def judge(profile: str, *, root: Path = Path()) -> Path:
    """Judge the paper's claims anew by today's rule, from the records of a published edition.

    Only the notebook of verdicts (:data:`book.execute.JUDGING`) is run, and its table stored; what
    it measures itself (`rslib/verdicts/outside.py`) is added to the records.

    Args:
        profile: a published profile.
        root: folder holding `book/` and `notebooks/`, from which paths are told.

    Returns:
        The notebook made.

    Raises:
        BookError: there is no such edition, or the notebook failed; then nothing has changed.
    """
    folder = root / PUBLISHED / _named(profile)
    found = editions.published(folder.parent, [profile])
    if not found:
        raise BookError(f"no edition {profile!r} is published: there is no {folder} with notebooks")
    (edition,), name = found, f"{JUDGING}.ipynb"
    params = folder / PARAMS
    before = os.environ.get("RSLIB_RUNS")
    os.environ["RSLIB_RUNS"] = str(folder.parent)
    try:
        run(
            root / "notebooks" / name,
            edition.executed / name,
            profile=str(params) if params.exists() else profile,
            seed=int(edition.folder.name.removeprefix("seed")),
            seeds=edition.seeds,
        )
    finally:
        os.environ.pop("RSLIB_RUNS")
        if before is not None:
            os.environ["RSLIB_RUNS"] = before
        for seed in folder.glob("seed*"):
            shutil.rmtree(seed / "locks", ignore_errors=True)
    return edition.executed / name


def _sampled(edition: Edition, training: bool) -> sample.Sample:
    """A sample made again that agrees; BookError where it does not."""
    print("Making a sample again:", flush=True)
    try:
        made = sample.make(edition, training=training)
    except sample.SampleError as error:
        raise BookError(f"the run is not published: {error}") from None
    if made.wrong:
        raise BookError(
            "the run is not published: a sample of it that was made again does not agree. Delete "
            "these records or models and run the notebooks again:\n  " + "\n  ".join(made.wrong)
        )
    return made


def _published_copy(source: str, target: str, *, bar: tqdm) -> None:
    """Copy a file of a run that is published; a damaged record or document is refused."""
    try:
        if source.endswith(".parquet"):
            records.read_record(Path(source))
        elif source.endswith(".json"):
            records.read_json(Path(source))
        with records.atomic(Path(target)) as temporary:
            shutil.copyfile(source, temporary)
    except records.RecordError as error:
        raise BookError(f"the run is not published:\n  {error}") from None
    bar.update()


def size(folder: Path) -> dict[str, int]:
    """The bytes of a published run by part (``records``, ...), weights not counted."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            below = path.relative_to(folder).parts
            part = below[1] if len(below) > 1 else "settings and sample"
            found[part] = found.get(part, 0) + path.stat().st_size
    return found


def _refuse_size(folder: Path) -> None:
    parts = size(folder)
    if sum(parts.values()) > MAX_EDITION:
        told = ", ".join(f"{part} {count / 1e6:.1f}" for part, count in sorted(parts.items()))
        raise BookError(
            f"the run is not published: without weights it takes {sum(parts.values()) / 1e6:.1f} "
            f"MB ({told}), and an edition may take {MAX_EDITION / 1e6:.0f}: leave out variants or "
            "seeds in its profile, or evaluate on fewer images"
        )


def _named(profile: str) -> str:
    """A profile's name; BookError for what would lead out of the folders of runs."""
    try:
        return check_name(profile)
    except SettingsError as error:
        raise BookError(str(error)) from None


def _runs(root: Path) -> Path:
    return environment.folder("RSLIB_RUNS") or root / "runs"


def _side_experiment(folder: Path) -> bool:
    """Whether a model is a variant, a teacher that masks were judged by, or of the shortcut's.

    These are many, and no other model starts from them; their records and model.json are published.
    """
    if "@" in folder.name:
        return True
    about = folder / "model.json"
    data = json.loads(about.read_text())["inputs"].get("data", {}) if about.exists() else {}
    judged = "-teacher-" in folder.name and data.get("name") == "shapes"
    return judged or "background_correlation" in data


def _outdated_masks(folder: Path, chosen: Settings) -> set[Path]:
    """Records of masks under a seed's folder that its settings do not find: damaged ones stay."""
    run = Results(chosen, int(folder.name.removeprefix("seed")), root=folder.parents[1])
    wanted, found = [run.mask_inputs(source) for source in TEACHERS], set()
    for path in folder.glob("masks/*.parquet"):
        try:
            made = dict(records.read_record(path).attrs["inputs"])
        except records.RecordError:
            continue
        if {key: made[key] for key in made if key not in ("split", "n")} not in wanted:
            found.add(path)
    return found


def _published_weights(seeds: Iterable[Path], outdated: set[Path]) -> set[Path]:
    """The weights that go along: of main models, as many as there is room for.

    Those of the first seed come first, and among them those that scorecards stand beside. What
    there is no room for is told.
    """

    def last(path: Path) -> bool:
        return path.parent.name.rpartition("-")[0] not in INTERPRETABILITY

    found = []
    for seed in seeds:
        paths = sorted((seed / "models").glob("*/best.safetensors"))
        main = [p for p in paths if p.parent not in outdated and not _side_experiment(p.parent)]
        found += sorted(main, key=last)
    kept, room = set(), MAX_ALL_WEIGHTS
    for path in found:
        size = path.stat().st_size
        if size <= MAX_WEIGHTS and size <= room:
            kept.add(path)
            room -= size
        else:
            print(
                f"Not published: the weights in {path.parent}, {size / 1e6:.1f} MB (limits: "
                f"{MAX_WEIGHTS / 1e6:.0f} MB a file, {MAX_ALL_WEIGHTS / 1e6:.0f} MB together)"
            )
    return kept


def _unpublished(
    folder: str, names: list[str], *, weights: set[Path], outdated: set[Path]
) -> set[str]:
    drop = (".lock", ".tmp", FAILED, RUNNING)
    return {
        name
        for name in names
        if name.endswith(drop)
        or name.startswith(".")
        or Path(folder, name) in outdated
        or (name.endswith(".safetensors") and Path(folder, name) not in weights)
    }


def restore(profile: str, *, root: Path = Path()) -> Path:
    """Copy a published run back into the runs' folder, so that notebooks find what it made.

    Where its settings are not those of today's profile, it says how to go on with its own.

    Args:
        profile: of the published run.
        root: folder holding `book/` and `runs/`.

    Returns:
        The run's folder. Files that are already there are left as they are.

    Raises:
        BookError: that profile has not been published, or links lead out of what is published.
    """
    source, target = root / PUBLISHED / _named(profile), _runs(root) / profile
    swap.recover(source)
    if not source.is_dir():
        raise BookError(
            f"{source} does not exist: nothing is published for profile {profile!r}; choose a "
            f"published one.{published_hint(root)}"
        )
    paths = sorted(source.rglob("*"))
    links = [str(path) for path in paths if path.is_symlink()]
    if links:
        raise BookError(f"a published run holds no links: remove {', '.join(links)}")
    for path in paths:
        copy = target / path.relative_to(source)
        shown = "executed" in path.parts or path.name in (errata.FILE, editions.SAMPLE)
        if path.is_file() and not shown and not copy.exists():
            with records.atomic(copy) as temporary:
                shutil.copyfile(path, temporary)
    own = target / PARAMS
    if own.exists() and not _same_settings(own, profile):
        print(
            f"params/{profile}.yaml has other settings by now. To go on with those of the edition, "
            f"give their file instead of the name: --profile {own}, or -p profile {own}"
        )
    return target


def _same_settings(own: Path, profile: str) -> bool:
    """Whether an edition's settings are those that its profile has now."""
    try:
        return settings.load(str(own)) == settings.load(profile)
    except SettingsError:
        return False
