"""Figures drawn from known records: what they show, read back from their artists."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rslib.report import figures
from rslib.store.records import RecordError
from tests.helpers.known_run import DEVICE, HISTORY, RESNET, ROBUST_RESNET, VIT, make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def cifar_run(tmp_path):
    return make_run(tmp_path, profile="cpu")


def by_title(figure, title):
    (axis,) = [a for a in figure.axes if a.get_title(loc="left") == title]
    return axis


def footer(figure):
    return "\n".join(t.get_text() for t in figure.texts if t.get_gid() == "footer")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def paper_marks(axis):
    return [line.get_xydata()[0].tolist() for line in axis.lines if line.get_label() == "paper"]


def test_figure1_draws_histories_and_accuracies(cifar_run):
    figure = figures.figure1(cifar_run)
    dynamics = by_title(figure, "Training dynamics")
    validation = dynamics.lines[0]
    assert validation.get_label() == "ResNet-18, validation"
    assert validation.get_ydata() == pytest.approx([40, 70, 60])
    assert dynamics.lines[1].get_ydata() == pytest.approx([30, 60, 90])
    assert dynamics.lines[2].get_xydata().tolist() == [[2, pytest.approx(70)]]  # the epoch kept
    test = by_title(figure, "Test accuracy")
    assert [bar.get_height() for bar in test.patches] == pytest.approx([80, 75])
    assert [t.get_text() for t in test.get_xticklabels()] == ["ResNet-18", "ViT-Small"]
    assert paper_marks(test) == [[0, 94.8], [1, 91.2]]
    assert legend(figure)[:2] == ["ResNet-18", "ViT-Small"]
    assert "paper (hollow)" in legend(figure)


def test_figure2_draws_success_and_plane(cifar_run):
    figure = figures.figure2(cifar_run)
    success = by_title(figure, "Attack success")
    lengths = [bar.get_width() for bar in success.patches]
    # Of 8 images FGSM leaves 4, 7, 2 and 6, PGD 1, 5, 0 and 3.
    assert lengths == pytest.approx([50, 12.5, 75, 25, 87.5, 37.5, 100, 62.5])
    places = [bar.get_y() + bar.get_height() / 2 for bar in success.patches]
    assert places == pytest.approx([-0.19, 0.81, 1.81, 2.81, 0.19, 1.19, 2.19, 3.19])
    assert [t.get_text() for t in success.get_yticklabels()] == [
        "ResNet-18\nstandard",
        "ResNet-18\nadversarial",
        "ViT-Small\nstandard",
        "ViT-Small\nadversarial",
    ]
    assert [mark[0] for mark in paper_marks(success)] == pytest.approx(
        [67.1, 16.7, 68.5, 17.1, 99.9, 48.0, 100, 53.4], abs=0.05
    )
    plane = by_title(figure, "Accuracy and robustness")
    points = {c.get_label(): c.lines[0].get_xydata()[0].tolist() for c in plane.containers}
    assert points[RESNET] == [pytest.approx(80), 10]
    assert points[ROBUST_RESNET] == [pytest.approx(70), 50]
    assert points[VIT] == [75, 0]
    hollow = {
        line.get_label(): line.get_xydata()[0].tolist()
        for line in plane.lines
        if "paper" in line.get_label()
    }
    assert hollow[f"{RESNET}, paper"] == [94.8, 0.1]
    assert hollow[f"{ROBUST_RESNET}, paper"] == [86.9, 45.2]
    low, high = plane.get_xlim()
    assert low < 65 and high > 94.8
    assert {"FGSM", "PGD", "standard", "adversarial"} <= set(legend(figure))


def test_figure2_stays_legible_with_eight_models(tmp_path):
    objectives = ("standard", "adversarial", "purely_adversarial", "trades")
    names = [f"{a}-{o}" for a in ("resnet18", "vit_small") for o in objectives]
    figure = figures.figure2(make_run(tmp_path, models=dict.fromkeys(names, (14, 7, 5, 6))), names)
    figure.draw_without_rendering()
    success = by_title(figure, "Attack success")
    boxes = [t.get_window_extent() for t in [*success.texts, *success.get_yticklabels()]]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])
    plane = by_title(figure, "Accuracy and robustness")
    assert len({c.lines[0].get_marker() for c in plane.containers}) == 4
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width
    assert figure.get_tightbbox().x1 <= figures.WIDTH + 0.05


def test_intervals_are_drawn_both_ways(run):
    plane = by_title(figures.figure2(run, [RESNET]), "Accuracy and robustness")
    (point,) = plane.containers
    assert point.has_xerr and point.has_yerr
    horizontal = point.lines[2][0].get_segments()[0]
    assert horizontal[:, 0] == pytest.approx([58.4, 91.9], abs=0.05)  # Wilson, 16 of 20


def test_paper_marks_only_on_the_papers_data(run):
    for figure in (figures.figure1(run), figures.figure2(run)):
        assert not any(paper_marks(axis) for axis in figure.axes)
        assert "paper (hollow)" not in legend(figure)


def test_every_result_says_where_it_comes_from(run):
    drawn = (
        figures.figure1(run),
        figures.figure2(run),
        figures.reliability_diagram(run),
        figures.learning_rates(run),
    )
    for figure in drawn:
        for part in ("profile smoke", "Shapes", DEVICE, "seed 0", "ResNet-18: width 8"):
            assert part in footer(figure)
    for figure in drawn[:3]:
        assert "n = 20 test images" in footer(figure)
    assert "(FGSM and PGD 10)" in footer(drawn[1])


def test_reliability_diagram_shows_the_bins(run):
    figure = figures.reliability_diagram(run, [RESNET])
    axis = by_title(figure, "ResNet-18")
    data = axis.containers[0].lines[0].get_xydata()
    assert data == pytest.approx(np.array([[0.6, 0.8], [0.9, 0.8]]))
    assert "ECE 0.150" in axis.texts[0].get_text()
    by_mass = figures.reliability_diagram(run, [RESNET], binning="mass")
    assert by_title(by_mass, "ResNet-18").containers


def test_learning_rates_are_relative_to_the_recipe(run):
    (axis,) = figures.learning_rates(run, [RESNET]).axes
    expected = [row["learning_rate"] / 0.1 for row in HISTORY]
    assert axis.lines[0].get_ydata() == pytest.approx(expected)


def test_missing_records_are_named(run):
    run.record_path(VIT, "fgsm").unlink()
    with pytest.raises(RecordError, match="no fgsm record of vit_small-standard"):
        figures.figure2(run)


def test_figures_are_closed_legible_and_leave_the_style_alone(run):
    before = dict(plt.rcParams)
    figure = figures.figure2(run)
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before
    assert figure.get_size_inches()[0] == figures.WIDTH
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(plt.Text) if t.get_text() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 8
    box = figure.get_tightbbox()
    assert box.x0 >= -0.05 and box.x1 <= figures.WIDTH + 0.05
