"""Figures drawn from known records: what they show, read back from their artists."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from test_tables import DEVICE, HISTORY, RESNET, VIT, make_run

from rslib import figures
from rslib.records import RecordError


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
    assert validation.get_label() == f"{figures.tables.architecture_label(RESNET)}, validation"
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
    heights = [bar.get_height() for bar in success.patches]
    # FGSM leaves 4 and 2 of 8 images, PGD 1 and 0.
    assert heights == pytest.approx([50, 75, 87.5, 100])
    assert [mark[1] for mark in paper_marks(success)] == pytest.approx(
        [67.1, 68.5, 99.9, 100], abs=0.05
    )
    plane = by_title(figure, "Accuracy and robustness")
    points = {c.get_label(): c.lines[0].get_xydata()[0].tolist() for c in plane.containers}
    assert points == {RESNET: [pytest.approx(80), 10], VIT: [75, 0]}
    hollow = {
        line.get_label(): line.get_xydata()[0].tolist()
        for line in plane.lines
        if "paper" in line.get_label()
    }
    assert hollow == {f"{RESNET}, paper": [94.8, 0.1], f"{VIT}, paper": [91.2, 0.0]}
    low, high = plane.get_xlim()
    assert low < 75 and high > 94.8
    assert {"FGSM", "PGD"} <= set(legend(figure))


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
    run._record_path(VIT, "fgsm").unlink()
    with pytest.raises(RecordError, match="no fgsm record of vit_small-standard"):
        figures.figure2(run)


def test_figures_are_closed_legible_and_leave_the_style_alone(run):
    before = dict(plt.rcParams)
    figure = figures.figure2(run)
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before
    assert figure.get_size_inches()[0] == figures.WIDTH
    figure.canvas.draw()
    texts = [t for t in figure.findobj(plt.Text) if t.get_text() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 8
    box = figure.get_tightbbox()
    assert box.x0 >= -0.05 and box.x1 <= figures.WIDTH + 0.05


def test_image_grid_shows_images_titles_and_outlines():
    images = torch.zeros(12, 3, 4, 4, dtype=torch.uint8)
    images[0] = 255
    masks = torch.zeros(12, 4, 4, dtype=torch.bool)
    masks[0, 1:3, 1:3] = True
    figure = figures.image_grid(
        images, [f"class {k}" for k in range(12)], masks=masks, columns=5, footer="stamp"
    )
    shown = [axis for axis in figure.axes if axis.images]
    assert (len(figure.axes), len(shown)) == (15, 12)
    assert shown[0].images[0].get_array().min() == 1
    assert shown[11].get_title() == "class 11"
    outline = shown[0].collections[0].get_segments()
    assert len(outline) == 8  # a square of 2 x 2 pixels has a border of 8 pixel sides
    corners = np.concatenate(outline)
    assert (corners.min(), corners.max()) == (0.5, 2.5)
    assert footer(figure) == "stamp"


def test_image_grid_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="2 titles for 3 images"):
        figures.image_grid(torch.zeros(3, 3, 4, 4), ["a", "b"])
    with pytest.raises(ValueError, match="needed"):
        figures.image_grid(torch.zeros(3, 4, 4, 3))
    with pytest.raises(ValueError, match=r"span \[0, 2\]"):
        figures.image_grid(torch.full((1, 3, 4, 4), 2.0) * torch.tensor([0.0, 1, 1, 1]))


def test_attack_anatomy_magnifies_and_compares():
    x = torch.full((2, 3, 4, 4), 0.5)
    x_adv = x.clone()
    x_adv[0, 0, 0, 0] += 8 / 255
    x_adv[1, :, 1, 1] -= 4 / 255
    before = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1]])
    after = torch.tensor([[0.2, 0.8, 0.0], [0.1, 0.3, 0.6]])
    figure = figures.attack_anatomy(
        x, x_adv, before, after, ["cat", "dog", "ship"], labels=[0, 1], eps=8 / 255, top=1
    )
    assert len(figure.axes) == 8
    clean, change, attacked, belief = figure.axes[:4]
    assert clean.get_title() == "cat\nclean: cat, 90 %"
    assert attacked.get_title() == "\nattacked: dog, 80 %"
    assert change.get_title() == "change, ×16\n≤ 8/255"
    magnified = np.asarray(change.images[0].get_array())
    assert magnified[0, 0] == pytest.approx([1, 0.5, 0.5], abs=1e-6)
    second = np.asarray(figure.axes[5].images[0].get_array())
    assert second[1, 1] == pytest.approx([0.25] * 3, abs=1e-6)
    assert [t.get_text() for t in belief.get_yticklabels()] == ["dog", "cat"]
    assert [bar.get_width() for bar in belief.patches] == pytest.approx([10, 90, 80, 20])


def test_attack_anatomy_takes_one_image_and_refuses_mismatches():
    x, p = torch.rand(3, 4, 4), torch.tensor([0.5, 0.5])
    assert len(figures.attack_anatomy(x, x, p, p, ["cat", "dog"]).axes) == 4
    with pytest.raises(ValueError, match="shapes disagree"):
        figures.attack_anatomy(x, x, p, p, ["cat", "dog", "ship"])


def test_loss_trace_starts_at_step_0():
    figure = figures.loss_trace({"ResNet-18": torch.tensor([0.1, 1.0, 2.0])}, footer="stamp")
    (axis,) = figure.axes
    assert axis.lines[0].get_xydata() == pytest.approx(np.array([[0, 0.1], [1, 1], [2, 2]]))
    assert axis.get_legend().get_texts()[0].get_text() == "ResNet-18"
    assert footer(figure) == "stamp"
