"""The scorecard as a document: every field typed and described, so that its JSON has a schema.

:func:`schema` gives the JSON schema, :func:`fields` the same as a table for reading. Shares are in
percent where ``unit`` is ``"%"``; intervals are over images and speak of these weights.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from rslib.metrics.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

AxisName = Literal[
    "clean", "ece", "fgsm", "pgd", "autoattack", "corruptions", "saliency", "reliability"
]
AXES = get_args(AxisName)
"""The axes of a scorecard, in order."""

Status = Literal["measured", "not available"]


class ScorecardError(ValueError):
    """A scorecard that cannot be made or read; the message says why and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Measure(_Part):
    """A number with its interval."""

    value: float = Field(description="the number, in the unit of what holds it")
    low: float | None = Field(None, description="lower end of its interval; null: it has none")
    high: float | None = Field(None, description="upper end of its interval")
    n: int | None = Field(None, description="images it rests on")
    method: str = Field("", description="how the interval was made, such as Wilson or bootstrap")

    @classmethod
    def of(cls, estimate: Estimate) -> Measure | None:
        """An estimate as a part of the document; None where it is undefined."""
        if estimate.value != estimate.value:
            return None
        return cls(**asdict(estimate))


class Detail(_Part):
    """A further number of an axis, or a level that its result is read against."""

    name: str = Field(description="short name, unique in its axis")
    title: str = Field(description="what it is, for a heading")
    unit: str = Field(description='"%", "ratio" (of two errors) or "" (a plain number)')
    measure: Measure = Field(description="the number")


class Compared(_Part):
    """One of the book's own models on the same axis."""

    model: str = Field(description="its name in the book, such as resnet18-adversarial")
    label: str = Field(description="its name for reading")
    origin: str = Field(description="where its record was read: this run, or a published edition")
    measure: Measure = Field(description="its result on the images that both were measured on")
    ours: Measure = Field(description="the scored model's result on those same images")
    difference: Measure | None = Field(
        description="scored model less this one on those images, paired; null where it is not made"
    )


class Axis(_Part):
    """One axis: a result with its interval, or the reason why there is none."""

    name: AxisName = Field(description="short name of the axis")
    title: str = Field(description="its name for reading")
    unit: str = Field(description='"%" or "" (a plain number)')
    better: Literal["higher", "lower"] = Field(description="which end is the good one")
    protocol: str = Field(description="what was done, with budgets, steps and images")
    status: Status = Field(description="whether there is a result")
    reason: str | None = Field(None, description="why there is none; null where there is one")
    result: Measure | None = Field(None, description="the axis's number; null: not available")
    chance: float | None = Field(None, description="what guessing, or a random map, would score")
    details: list[Detail] = Field([], description="further numbers, and levels to read it against")
    seconds: float | None = Field(None, description="how long measuring took")
    compared: list[Compared] = Field([], description="the book's own models on this axis")


class Check(_Part):
    """One check of the reliability verdict."""

    name: str = Field(description="short name, as in rslib.attacks.reliability")
    passed: bool = Field(description="whether nothing suspicious was seen")
    meaning: str = Field(description="what the outcome says, in a sentence")
    evidence: dict[str, Any] = Field(description="the numbers behind it")


class PeerVerdict(_Part):
    """The verdict on one of the book's own models, as recorded."""

    model: str = Field(description="its name in the book")
    label: str = Field(description="its name for reading")
    passed: bool = Field(description="whether all its checks passed")
    failed: list[str] = Field(description="names of the checks that did not")


class Verdict(_Part):
    """Whether the numbers under attack can be trusted."""

    status: Status = Field(description="whether the checks were made")
    reason: str | None = Field(None, description="why they were not; null where they were")
    protocol: str = Field(description="what was checked, on how many images")
    n: int | None = Field(None, description="images examined")
    passed: bool | None = Field(None, description="whether every check passed")
    failed: list[str] = Field([], description="names of the checks that did not")
    checks: list[Check] = Field([], description="all checks made, in order")
    seconds: float | None = Field(None, description="how long they took")
    compared: list[PeerVerdict] = Field([], description="the verdicts on the book's own models")


class Model(_Part):
    """What was scored."""

    kind: Literal["module", "timm", "import", "weights", "book"] = Field(
        description="where it came from: a module in memory, timm, an import path, a file of "
        "weights, or the book itself"
    )
    reference: str = Field(description="what was asked for, such as timm:resnet18")
    architecture: str = Field(description="the module's class, or what the weights were put into")
    parameters: int = Field(description="number of trainable parameters")
    random_weights: bool = Field(description="whether it is known that nothing was trained")
    normalization: str = Field(description="what is done to images in [0, 1] before the network")
    digest: str = Field(
        description="SHA-256 of the printed structure, names, types, shapes and bytes of all "
        "weights and buffers"
    )
    file: str | None = Field(None, description="name of the file of weights, if one was read")
    file_digest: str | None = Field(None, description="SHA-256 of that file")
    notes: list[str] = Field([], description="what a reader must know of how it was loaded")


class Images(_Part):
    """The images it was scored on."""

    name: str = Field(description="data set")
    split: str = Field(description="which split of it")
    n: int = Field(description="images in it; each axis says how many of them it used")
    fingerprint: str = Field(description="SHA-256 of images, labels, masks and ids")
    classes: list[str] = Field(description="names of the classes; a label is a position here")


class PlannedAxis(_Part):
    """What was to be done for one axis, settled before it started."""

    name: AxisName = Field(description="axis; ece comes with clean")
    wanted: int = Field(description="images that the profile, or n, asks for")
    n: int = Field(description="images it was given; 0: left out")
    seconds: float = Field(description="expected seconds")
    note: str = Field("", description="why it was shrunk or left out")


class Plan(_Part):
    """What a budget buys, by timing the model on a few images."""

    budget: str = Field(description="the profile's numbers of images, n, or minutes")
    seconds: float = Field(description="expected seconds of all axes")
    pilot_images: int = Field(description="images the model was timed on")
    pilot_seconds: float = Field(description="how long that took")
    forward_seconds: float = Field(description="one image forward")
    gradient_seconds: float = Field(description="one image forward and backward")
    axes: list[PlannedAxis] = Field(description="axis by axis")


class Scorecard(_Part):
    """One model's safety profile: every axis with its interval, beside the book's own models."""

    # The first number rises when a reader of older documents would misread a newer one.
    schema_version: Literal["1.0"] = Field("1.0", description="of this document's form")
    name: str = Field(description="what the model is called here")
    profile: str = Field(description="the profile whose protocol was used")
    seed: int = Field(description="of everything random")
    confidence: float = Field(description="level of every interval")
    model: Model = Field(description="what was scored")
    data: Images = Field(description="on what")
    plan: Plan = Field(description="what was to be done, settled before it started")
    axes: list[Axis] = Field(description="all axes but the verdict, in order; none is left out")
    reliability: Verdict = Field(description="whether the numbers under attack can be trusted")
    comparison: str = Field(description="which of the book's models stand beside it, or why none")
    warnings: list[str] = Field([], description="what was warned of on the way")
    settings: dict[str, Any] = Field(description="the settings of every evaluation")
    provenance: dict[str, Any] = Field(description="device, code revision, versions and date")

    def axis(self, name: str) -> Axis:
        """An axis by its name; ``KeyError`` names those there are."""
        there = {each.name: each for each in self.axes}
        if name not in there:
            raise KeyError(f"{name}: the axes are {', '.join(there)}")
        return there[name]

    def _repr_html_(self) -> str:
        from rslib.scorecard.page import body

        return body(self)

    def __str__(self) -> str:
        from rslib.scorecard.page import text

        return text(self)


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``scorecard.json``."""
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    found = draft | Scorecard.model_json_schema(mode="serialization")
    told = {"title": "Checksum", "description": "of all the rest, by rslib.store.records"}
    found["properties"]["checksum"] = told | {"type": "string"}
    return found


def fields() -> pd.DataFrame:
    """The schema as a table: one row a field, with its place, type and description."""
    import pandas as pd

    document = schema()
    rows = []

    def walk(part: dict[str, Any], prefix: str) -> None:
        for name, field in part["properties"].items():
            place = prefix + name
            holds = [field, field.get("items", {}), *field.get("anyOf", ())]
            inner = [_written(each) for each in holds if "$ref" in each]
            if inner and field.get("type") == "array":
                place += "[]"
            rows.append((place, _written(field), field["description"]))
            # A measure has the same five fields wherever it stands: told once.
            if inner and (inner != ["Measure"] or place == "axes[].result"):
                walk(document["$defs"][inner[0]], f"{place}.")

    walk(document, "")
    return pd.DataFrame(rows, columns=["field", "type", "meaning"])


def _written(field: dict[str, Any]) -> str:
    """A type of the schema as the table writes it."""
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(map(_written, field["anyOf"]))
    if "const" in field or "enum" in field:
        return " or ".join(f'"{each}"' for each in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return f"list of {_written(field['items'])}"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return words.get(field["type"], field["type"])
