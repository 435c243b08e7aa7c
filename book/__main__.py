"""The commands that make the book: ``python -m book --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from book import BookError, execute
from rslib.settings.environment import seed

# What a command needs is imported by it: a notebook is run without what compares editions.


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status.

    1 is a refusal, and for what compares, that something differs; 2 that nothing can be compared.
    """
    from rslib.settings import SettingsError
    from rslib.store.records import RecordError, way_out

    chosen = _parser().parse_args(arguments)
    try:
        return chosen.do(chosen) or 0
    except (BookError, RecordError, SettingsError) as error:
        told = error
    except OSError as error:
        told = f"{error.filename or 'a file'}: {error.strerror}. {way_out(error)}"
    print(told, file=sys.stderr)
    return chosen.refused


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m book", description="Run notebooks, build the book, publish runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(
        name: str, do: Callable[[argparse.Namespace], int | None], told: str, *, refused: int = 1
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}.")
        found.set_defaults(do=do, refused=refused)
        return found

    one = command("run", _run, "execute one notebook; the output appears only if it passes")
    one.add_argument("notebook", type=Path, help="the source, such as notebooks/06_….ipynb")
    one.add_argument("output", type=Path, help="where the executed notebook goes")
    one.add_argument("--profile", default="smoke", help="the settings, by name; default: smoke")
    one.add_argument("--seed", type=seed, default=0, help="of everything random; default: 0")
    one.add_argument(
        "--seeds", type=seed, nargs="*", default=[],
        help="all that tables and figures speak of, this one included; default: this one alone",
    )  # fmt: skip

    errors = command("errors", _errors, "print the errors of the notebooks that failed")
    errors.add_argument("folder", type=Path, help="of a run, such as runs/smoke")

    html = command("build", _build, "build the HTML book from executed notebooks")
    html.add_argument(
        "executed", type=Path, nargs="+",
        help="folder of executed notebooks, such as runs/smoke/seed0/executed; of several the "
        "first is shown first",
    )  # fmt: skip

    shown = command("site", _site, "build the HTML book from what is published")
    shown.add_argument("profiles", nargs="*", help="the editions to show; default: all, best first")

    printed = command("pdf", _pdf, "print one published edition as _build/robustsight.pdf")
    printed.add_argument("profile", nargs="?", default="", help="the edition; default: the best")

    kept = command("keep", _keep, "copy what is finished of a run that goes on to book/published")
    kept.add_argument("profile", help="whose models and records are copied, such as wide")

    copy = command("publish", _publish, "copy a run to book/published")
    copy.add_argument("profile", help="whose run under runs/ is copied, such as cpu")
    copy.add_argument(
        "--without-training", action="store_true",
        help="repeat no training before, only a sample of the evaluations",
    )  # fmt: skip

    anew = command("judge", _judge, "judge the claims anew from a published run's records")
    anew.add_argument("profile", help="a published profile, such as cpu")

    back = command("restore", _restore, "copy a published run back into runs/")
    back.add_argument("profile", help="whose published run is copied back, such as cpu")

    command("readme", _readme, "write the published results into README.md, and their picture")

    again = command("repeat", _repeat, "say whether a run repeats another by its tables", refused=2)
    again.add_argument("repeated", type=Path, help="folder of a run, such as runs/cpu/seed0")
    again.add_argument(
        "original", type=Path, nargs="?",
        help="folder of the run that it should repeat; default: the published one of that profile "
        "and seed",
    )  # fmt: skip

    sample = command("sample", _sample, "make a sample of a run again, publishing none", refused=2)
    sample.add_argument("profile", help="of a finished run under runs/, such as cpu")
    sample.add_argument("--without-training", action="store_true", help="repeat evaluations alone")

    packaged = command("reference", _reference, "store the reference's errors in the package")
    packaged.add_argument("profile", help="a published profile, such as cpu")

    sources = command(
        "check-notebooks", _check, "refuse source notebooks with outputs of cells that are no tests"
    )
    sources.add_argument("notebooks", nargs="+", type=Path, help="source notebooks to look at")
    sources.add_argument(
        "--from", dest="executed", type=Path, metavar="FOLDER",
        help="take the checked outputs from the executed notebooks here and clear the others; "
        "default: change nothing",
    )  # fmt: skip

    places = command("address", _address, "write where the book and its repository live")
    places.add_argument("--base", default="", help="of the built book; default: none")
    places.add_argument("--repository", default="", help="on GitHub; default: none")
    return parser


def _address(chosen: argparse.Namespace) -> None:
    from book import addresses
    from rslib.settings import PROJECT

    addresses.assign(PROJECT, chosen.base, chosen.repository)


def _run(chosen: argparse.Namespace) -> None:
    execute.run(
        chosen.notebook,
        chosen.output,
        profile=chosen.profile,
        seed=chosen.seed,
        seeds=chosen.seeds,
    )


def _errors(chosen: argparse.Namespace) -> None:
    if not chosen.folder.is_dir():
        raise BookError(f"there is no folder {chosen.folder}: run the notebooks first")
    print(*execute.failures(chosen.folder), sep="\n\n", file=sys.stderr)


def _build(chosen: argparse.Namespace) -> None:
    from book import build

    print(f"The book: {build.build(*chosen.executed)}")


def _site(chosen: argparse.Namespace) -> None:
    from book import build

    print(f"The book: {build.site(chosen.profiles)}")


def _pdf(chosen: argparse.Namespace) -> None:
    from book import pdf

    print(f"The book: {pdf.write(chosen.profile)}")


def _keep(chosen: argparse.Namespace) -> None:
    from book import publish

    print(f"Kept: {publish.keep(chosen.profile)}")


def _publish(chosen: argparse.Namespace) -> None:
    from book import publish

    made = publish.publish(chosen.profile, training=not chosen.without_training)
    print(f"Published: {made}")


def _judge(chosen: argparse.Namespace) -> None:
    from book import publish

    print(f"Judged: {publish.judge(chosen.profile)}")


def _restore(chosen: argparse.Namespace) -> None:
    from book import publish

    print(f"Restored: {publish.restore(chosen.profile)}")


def _readme(chosen: argparse.Namespace) -> None:
    from book import readme

    readme.write()


def _repeat(chosen: argparse.Namespace) -> int:
    from book import repetition

    found = repetition.compare(chosen.repeated, chosen.original)
    print(found)
    return 0 if found.same else 1


def _sample(chosen: argparse.Namespace) -> int:
    from book import publish, sample

    found = sample.make(publish.finished(chosen.profile), training=not chosen.without_training)
    print(*found.wrong or ["all agrees"], sep="\n")
    return 1 if found.wrong else 0


def _reference(chosen: argparse.Namespace) -> None:
    from rslib.run import outcomes, published

    print(outcomes.write_reference(published.find(chosen.profile)))


def _check(chosen: argparse.Namespace) -> int:
    from book import notebooks

    if chosen.executed:
        for path in chosen.notebooks:
            notebooks.mend(path, chosen.executed / path.name)
    found = [line for path in chosen.notebooks for line in notebooks.complaints(path)]
    print("\n".join(found), file=sys.stderr, end="\n" * bool(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
