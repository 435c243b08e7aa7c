"""Certificates, overfitting, stages and budgets, read back from the figures' artists."""

import numpy as np
import pytest

from rslib.report import figures
from rslib.store import records
from rslib.store.records import RecordError
from tests.helpers.known_run import (
    CEILING,
    DEVICE,
    RESNET,
    ROBUST_RESNET,
    ROBUST_VIT,
    VIT,
    add_record,
    budgets_record,
    make_run,
    wilson,
)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def by_title(figure, title):
    (axis,) = [a for a in figure.axes if a.get_title(loc="left").startswith(title)]
    return axis


def footer(figure):
    return "\n".join(t.get_text() for t in figure.texts if t.get_gid() == "footer")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_certified_curves_step_down_where_images_drop_out(run):
    figure = figures.certified_curves(run)
    assert [a.get_title(loc="left") for a in figure.axes] == ["ResNet-18", "ViT-Small"]
    curve = next(line for line in figure.axes[0].lines if line.get_label() == ROBUST_RESNET)
    assert curve.get_drawstyle() == "steps-pre"
    assert curve.get_xdata() == pytest.approx([0, 0.1, 0.25, 0.3, 0.5, CEILING], abs=1e-6)
    assert curve.get_ydata() == pytest.approx([75, 75, 62.5, 50, 37.5, 25])
    assert legend(figure)[:2] == ["standard", "adversarial"]
    styles = {line.get_linestyle() for line in figure.axes[0].lines[:2]}
    colors = {line.get_color() for line in figure.axes[0].lines[:2]}
    assert len(styles) == len(colors) == 2


def test_certified_curves_count_every_image_up_to_its_own_radius(run):
    path = run.record_path(VIT, "smoothing")
    frame = records.read_record(path)
    radius = np.array([0.1234567, 0.1234563, 0.2222222, 0.3141593, 0.4999916, 0.5, 0.51, 0.52])
    records.write_record(path, frame.assign(correct=True, radius=radius), frame.attrs)
    (axis,) = figures.certified_curves(run, [VIT]).axes
    # One image drops out after each radius; the curve holds until then.
    assert axis.lines[0].get_xdata() == pytest.approx([0, *np.sort(radius), CEILING])
    steps = [100, 87.5, 75, 62.5, 50, 37.5, 25, 12.5]
    assert axis.lines[0].get_ydata() == pytest.approx([100, *steps, 0])


def test_certified_curves_have_a_band_and_the_ceiling(run):
    (axis,) = figures.certified_curves(run, [VIT]).axes
    low, high = wilson(6, 8)
    band = axis.collections[0].get_paths()[0].vertices
    at_zero = band[np.isclose(band[:, 0], 0), 1]
    assert at_zero.min() == pytest.approx(low) and at_zero.max() == pytest.approx(high)
    ceiling = next(line for line in axis.lines if line.get_label() != VIT)
    assert list(ceiling.get_xdata()) == pytest.approx([CEILING, CEILING])
    assert [t.get_text() for t in axis.texts] == ["ceiling 0.616"]
    assert axis.get_xlim()[1] > CEILING


def test_certified_curves_say_l2(run):
    figure = figures.certified_curves(run, [VIT])
    assert "l2" in figure.axes[0].get_xlabel()
    for part in ("0.616 is only 2.8/255 in l-infinity", "1,000 votes", DEVICE, "n = 8 test images"):
        assert part in footer(figure)


def test_a_model_that_certifies_nothing_has_a_flat_curve(run):
    path = run.record_path(VIT, "smoothing")
    frame = records.read_record(path)
    about = frame.attrs
    records.write_record(path, frame.assign(correct=False, radius=0.0, prediction=-1), about)
    (axis,) = figures.certified_curves(run, [VIT]).axes
    assert axis.lines[0].get_xdata() == pytest.approx([0, CEILING])
    assert axis.lines[0].get_ydata() == pytest.approx([0, 0])


def test_robust_overfitting_draws_histories_and_the_epoch_kept(run):
    figure = figures.robust_overfitting(run, [ROBUST_RESNET, ROBUST_VIT])
    above = by_title(figure, "ResNet-18, adversarial")
    assert above.get_title(loc="left").endswith("under attack: 35.0 % kept, 30.0 % last")
    drawn = {line.get_label(): line for line in above.lines}
    assert drawn["train_accuracy"].get_ydata() == pytest.approx([30, 60, 90])
    assert drawn["validation_accuracy"].get_ydata() == pytest.approx([40, 70, 60])
    assert drawn["validation_robust_accuracy"].get_ydata() == pytest.approx([20, 35, 30])
    kept = [line.get_xydata()[0].tolist() for line in above.lines if line.get_label() == "kept"]
    assert kept == [[2, pytest.approx(70)], [2, pytest.approx(35)]]
    below = figure.axes[2]
    assert below.lines[0].get_ydata() == pytest.approx([2, 1, 2 / 3])
    assert "PGD with" in footer(figure) and DEVICE in footer(figure)
    assert "epoch kept" in legend(figure)


def test_robust_overfitting_needs_models_validated_under_attack(run):
    with pytest.raises(ValueError, match="resnet18-standard was not validated under attack"):
        figures.robust_overfitting(run, [RESNET])


def test_robust_overfitting_breaks_into_rows(tmp_path):
    names = [
        f"{architecture}-{training}"
        for architecture in ("resnet18", "vit_small")
        for training in ("adversarial", "purely_adversarial")
    ]
    run = make_run(tmp_path, models=dict.fromkeys(names, (14, 7, 5, 6)))
    figure = figures.robust_overfitting(run, names)
    assert len(figure.axes) == 8
    tops = {round(axis.get_position().y1, 2) for axis in figure.axes if axis.get_title(loc="left")}
    assert len(tops) == 2


def test_accuracy_against_budget_has_intervals():
    curves = {"ResNet-18, standard": ([0, 2, 8], [0.9, 0.4, 0.0], 50)}
    figure = figures.accuracy_against_budget(curves, budget=8, footer="stamp")
    (axis,) = figure.axes
    (drawn,) = axis.containers
    assert drawn.lines[0].get_xydata() == pytest.approx(np.array([[0, 90], [2, 40], [8, 0]]))
    ends = [segment[:, 1] for segment in drawn.lines[2][0].get_segments()]
    assert ends[1] == pytest.approx(wilson(20, 50))
    assert ends[2] == pytest.approx(wilson(0, 50), abs=1e-9)
    assert axis.get_xlabel() == "Budget in l-infinity (255ths)"
    assert [t.get_text() for t in axis.texts] == ["8/255"]
    assert footer(figure) == "stamp"
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["ResNet-18, standard"]


def test_accuracy_against_budget_spaces_budgets_by_logarithm():
    curves = {"a": ([8, 16, 32, 64, 128], [0.5, 0.2, 0.0, 0.0, 0.0], 100)}
    (axis,) = figures.accuracy_against_budget(curves, log=True).axes
    steps = np.diff(axis.transData.transform([(b, 0) for b in (8, 16, 32, 64)])[:, 0])
    assert steps == pytest.approx([steps[0]] * 3)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "at least one"),
        ({"a": ([1, 2], [0.5], 10)}, "2 budgets and 1 accuracies"),
        ({"a": ([1, 2], [50, 20], 10)}, "fractions between 0 and 1"),
    ],
)
def test_accuracy_against_budget_refuses_what_does_not_fit(curves, message):
    with pytest.raises(ValueError, match=message):
        figures.accuracy_against_budget(curves)


def test_autoattack_stages_add_up(run):
    (axis,) = figures.autoattack_stages(run, [ROBUST_RESNET]).axes
    widths = [bar.get_width() for bar in axis.patches]
    # Still right 3 of 8; Square 1, FAB-T 0, APGD-T 1, APGD-CE 2, PGD not used, wrong clean 1.
    assert widths == pytest.approx([37.5, 12.5, 0, 12.5, 25, 0, 12.5])
    assert sum(widths) == pytest.approx(100)
    (tick,) = [line for line in axis.lines if line.get_label() == "PGD"]
    assert list(tick.get_xdata()) == pytest.approx([62.5, 62.5])
    assert [t.get_text() for t in axis.get_yticklabels()] == ["ResNet-18, adversarial"]


def test_autoattack_stages_name_only_what_broke_images(run):
    figure = figures.autoattack_stages(run, [ROBUST_RESNET, VIT])
    assert legend(figure) == [
        "still right",
        "broken by Square",
        "broken by APGD-T",
        "broken by APGD-CE",
        "wrong when clean",
        "right under PGD",
    ]
    assert "n = 8 test images" in footer(figure)


@pytest.mark.parametrize(
    ("draw", "kind"),
    [(figures.certified_curves, "smoothing"), (figures.autoattack_stages, "autoattack")],
)
def test_missing_records_are_named(run, draw, kind):
    run.record_path(ROBUST_VIT, kind).unlink()
    with pytest.raises(RecordError, match=f"no {kind} record of {ROBUST_VIT}"):
        draw(run)


def test_figures_are_legible(run):
    drawn = (
        figures.certified_curves(run),
        figures.robust_overfitting(run, [ROBUST_RESNET, ROBUST_VIT]),
        figures.accuracy_against_budget({"a": ([1, 2], [0.5, 0.1], 10)}),
        figures.autoattack_stages(run),
    )
    for figure in drawn:
        figure.draw_without_rendering()
        assert figure.get_size_inches()[0] == figures.WIDTH
        texts = [t for t in figure.findobj(match=lambda a: hasattr(a, "get_fontsize"))]
        texts = [t for t in texts if getattr(t, "get_text", str)() and t.get_visible()]
        assert min(t.get_fontsize() for t in texts) >= 8
        box = figure.get_tightbbox()
        assert box.x0 >= -0.05 and box.x1 <= figures.WIDTH + 0.05


def test_budget_curves_have_the_papers_marks_where_the_images_are_the_papers(tmp_path):
    curve = {1: (14, 12), 2: (8, 5), 8: (4, 0)}
    for profile, marks in (("cpu", 2), ("smoke", 0)):
        run = make_run(tmp_path / profile, profile=profile, budgets={"eps": [*curve]})
        add_record(run, RESNET, "budgets", budgets_record(curve))
        (axis,) = figures.budget_curves(run, [RESNET], "fgsm").axes
        (drawn,) = axis.containers
        found = np.array([[0, 80], [1, 70], [2, 40], [8, 20]])
        assert drawn.lines[0].get_xydata() == pytest.approx(found)
        lines = {line.get_label(): line.get_xydata()[0].tolist() for line in axis.lines}
        assert ("paper" in lines, "crossing" in lines) == (marks > 0, marks > 0)
        if marks:
            assert lines["paper"] == [8, 31.2]
            assert lines["crossing"] == [pytest.approx(2 + 6 * 8.8 / 20), 31.2]
        figure = figures.budget_curves(run, [RESNET])
        (drawn,) = figure.axes[0].containers
        assert drawn.lines[0].get_ydata() == pytest.approx([80, 60, 25, 0])
        title = figure.axes[0].get_title(loc="left")
        assert title == "Accuracy under PGD (20 steps, 1 start), n = 20"
        assert DEVICE in footer(figure)
    run.record_path(RESNET, "budgets").unlink()
    with pytest.raises(RecordError, match=f"no budgets record of {RESNET}"):
        figures.budget_curves(run, [RESNET])
