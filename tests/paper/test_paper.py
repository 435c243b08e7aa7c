"""The paper's numbers: looked up, in the right unit, and consistent with one another."""

from pathlib import Path

import pydantic
import pytest

from rslib import paper
from rslib.paper.tables import read


def number(table, row, column):
    return paper.value(table, row, column).value


@pytest.mark.parametrize(
    ("table", "row", "column", "expected"),
    [
        ("table1", "resnet18-standard", "clean_accuracy", 94.8),
        ("table1", "vit_small-standard", "ece", 0.047),
        ("table1", "resnet18-standard", "training_hours", 2.5),
        ("table1", "vit_small-standard", "parameters", 22_100_000),
        ("table2", "resnet18-standard", "pgd_accuracy", 0.1),
        ("table2", "vit_small-adversarial", "attack_success", 53.4),
        ("table3", "vit_small-aligned", "iou_std", 0.098),
        ("table4", "resnet18-aligned", "alignment_loss", 0.089),
        ("table5", "vit_small-standard", "noise", 1.89),
    ],
)
def test_values_are_the_printed_ones(table, row, column, expected):
    assert number(table, row, column) == expected


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [("table1", 2, 4), ("table2", 4, 4), ("table3", 6, 2), ("table4", 2, 4), ("table5", 4, 5)],
)
def test_tables_are_whole(name, rows, columns):
    table = paper.TABLES[name]
    assert (len(table.rows), len(table.columns)) == (rows, columns)
    assert len(table.values) == rows * columns
    assert table.label == f"Table {name[-1]}"


def test_a_value_knows_its_unit_and_rounding():
    found = paper.value("table1", "vit_small-standard", "parameters")
    assert (found.printed, found.unit, found.section) == ("22.1M", "count", "4.1")
    assert found.rounding == 50_000
    assert paper.value("table1", "resnet18-standard", "ece").rounding == 0.0005
    assert paper.value("table2", "vit_small-standard", "attack_success").rounding == 0.05


@pytest.mark.parametrize("row", paper.TABLES["table2"].rows)
def test_attack_success_follows_from_the_accuracies(row):
    follows = paper.attack_success(
        number("table2", row, "clean_accuracy"), number("table2", row, "pgd_accuracy")
    )
    assert follows == pytest.approx(number("table2", row, "attack_success"), abs=0.05)


@pytest.mark.parametrize("row", paper.TABLES["table5"].rows)
def test_mce_is_the_mean_of_its_categories(row):
    categories = [number("table5", row, c) for c in ("noise", "blur", "weather", "digital")]
    assert sum(categories) / 4 == pytest.approx(number("table5", row, "mce"), abs=0.005 + 1e-9)


def test_tables_agree_where_they_overlap():
    for row in ("resnet18-standard", "vit_small-standard"):
        assert number("table1", row, "clean_accuracy") == number("table2", row, "clean_accuracy")
    for row in ("resnet18-aligned", "vit_small-aligned"):
        assert number("table3", row, "iou_mean") == number("table4", row, "final_iou")


def test_claims_against_the_tables():
    clean = [number("table1", row, "clean_accuracy") for row in paper.claim("accuracy_gap").models]
    assert clean[0] - clean[1] == pytest.approx(paper.claim("accuracy_gap").value)
    hours = [number("table1", row, "training_hours") for row in paper.claim("training_time").models]
    assert 100 * (hours[1] / hours[0] - 1) == pytest.approx(paper.claim("training_time").value)
    # The two that the paper's own Table 2 contradicts.
    success = [
        paper.attack_success(
            number("table2", row, "clean_accuracy"), number("table2", row, "fgsm_accuracy")
        )
        for row in paper.claim("fgsm_success").models
    ]
    assert success == pytest.approx([67.1, 68.5], abs=0.05)
    assert max(success) < paper.claim("fgsm_success").value
    robust = [number("table2", row, "pgd_accuracy") for row in paper.claim("robustness_gap").models]
    assert robust[0] - robust[1] == pytest.approx(6.5)
    assert paper.claim("robustness_gap").value == 6.2


def test_claims_point_at_numbers_that_exist():
    for name, claim in paper.CLAIMS.items():
        assert claim.name == name
        assert bool(claim.tables) == bool(claim.cells)
        for table, row, column in claim.cells:
            assert paper.value(table, row, column).row in claim.models
        numbered = claim.relation not in ("compares", "alike", "untestable")
        assert (claim.value is not None) == numbered
        assert bool(claim.why) == (claim.relation == "untestable")


def test_every_section_that_claims_something_has_claims_and_they_stand_in_order():
    found = [paper.section_of(claim.section) for claim in paper.CLAIMS.values()]
    assert list(dict.fromkeys(found)) == list(paper.SECTIONS)
    assert found == sorted(found, key=list(paper.SECTIONS).index)
    for claim in paper.CLAIMS.values():
        assert claim.section not in claim.also


def test_the_conclusions_findings_all_have_claims():
    stated = [c.statement[:2] for c in paper.CLAIMS.values() if c.section == "6"]
    assert {each for each in stated if each[1] == "."} == {f"{k}." for k in range(1, 7)}


@pytest.mark.parametrize("name", [n for n, c in paper.CLAIMS.items() if c.relation == "differs"])
def test_claimed_differences_have_the_sign_of_the_tables(name):
    """A claim that two columns differ is not typed with the wrong sign."""
    claim = paper.CLAIMS[name]
    numbers = [number(*cell) for cell in claim.cells]
    if len(numbers) != 2:
        return
    if claim.neutral:
        assert claim.value == pytest.approx(numbers[1] / numbers[0], abs=0.0005)
        return
    first_less_second = name.endswith(("gap", "accuracy_order", "robustness_order"))
    gap = (numbers[0] - numbers[1]) * (1 if first_less_second else -1)
    assert gap * claim.value > 0
    if claim.unit in ("points", "ratio"):
        assert abs(gap - claim.value) <= 0.5


def test_lookups_that_miss_name_the_nearest():
    with pytest.raises(paper.UnknownValue, match="did you mean 'pgd_accuracy'"):
        paper.value("table2", "resnet18-standard", "pgd_acuracy")
    with pytest.raises(paper.UnknownValue, match="no row 'resnet18-aligned'"):
        paper.value("table2", "resnet18-aligned", "pgd_accuracy")
    with pytest.raises(paper.UnknownValue, match="no 'table6'"):
        paper.value("table6", "resnet18-standard", "pgd_accuracy")
    with pytest.raises(KeyError, match="did you mean 'calibration'"):
        paper.claim("calibrations")
    assert paper.find("table2", "resnet18-aligned", "pgd_accuracy") is None
    assert paper.find("table9", "resnet18-aligned", "pgd_accuracy") is None


def test_data_cannot_be_changed():
    with pytest.raises(TypeError):
        paper.TABLES["table1"].values["resnet18-standard", "ece"] = None
    with pytest.raises(AttributeError):
        paper.value("table1", "resnet18-standard", "ece").printed = "0.001"


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (paper.Claim, "{name: a, statement: b, section: c, relation: above, vale: 1}", "vale"),
        (paper.Claim, "{name: a, statement: b, section: c, relation: abvoe}", "relation"),
        (paper.Claim, "{name: a, statement: b, section: 4.1, relation: alike}", "section"),
        (paper.Claim, "{name: a, statement: b, section: c, relation: above, value: '1'}", "value"),
        (paper.Claim, "{name: a, section: c, relation: alike}", "statement"),
        (paper.Evidence, "{kind: product, cells: [a/b, a/c]}", "kind"),
        (paper.Evidence, "{kind: value, cells: [a]}", "cells"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path, kind, text, told):
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(pydantic.ValidationError, match=told):
        read(path, kind)


def test_no_entry_hides_another_of_its_name():
    folder = Path(paper.__file__).parent
    text = (folder / "claims.yaml").read_text("utf-8")
    assert len(paper.CLAIMS) == text.count("- name:") == 110


def test_evidence_is_about_what_the_claim_is_about():
    """Each claim's models appear in its evidence, where only controls may stand beside them."""
    for name, claim in paper.CLAIMS.items():
        models = {cell.partition("/")[0] for each in claim.evidence for cell in each.cells}
        if not models or name == "tradeoff_consistent":
            continue
        plain = {model for model in models if "@" not in model}
        baselines = {f"{model.partition('-')[0]}-standard" for model in plain}
        assert {*claim.models} - baselines <= plain <= {*claim.models} | baselines, name
