"""What was found wrong with a published edition after it was made, until it is made again.

An edition's numbers stay those of its run. What is known to be wrong with them stands in a file
beside its notebooks, ``errata.yaml``, and on the pages concerned. Publishing anew leaves it behind.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rslib.settings import SettingsError, read_yaml
from rslib.store.records import RecordError

FILE = "errata.yaml"


class Erratum(BaseModel):
    """One thing that is known to be wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pages: list[str] = Field(
        min_length=1, description="the notebooks concerned, such as 07_adversarial_robustness"
    )
    text: str = Field(min_length=1, description="what is wrong and which numbers it touches")


def read(folder: Path) -> list[Erratum]:
    """The errata of an edition; none where there is no such file.

    Args:
        folder: of the run, ``<profile>/seed<k>``.

    Raises:
        RecordError: the file is no list of errata, or names a page that the edition has not.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        listed = read_yaml(path.read_text(encoding="utf-8"), str(path))
        found = TypeAdapter(list[Erratum]).validate_python(listed)
    except (SettingsError, ValidationError, UnicodeDecodeError, OSError) as error:
        raise RecordError(
            f"{path} is no list of errata, each with 'pages:' and 'text:': {error}. Write them as "
            "in - {pages: [07_adversarial_robustness], text: …}"
        ) from None
    for page in (page for each in found for page in each.pages):
        if not (folder / "executed" / f"{page}.ipynb").exists():
            raise RecordError(
                f"{path} names the page {page!r}, which is not in {folder}/executed: name another"
            )
    return found
