"""Pictures of images and attacks, read back from their artists."""

import numpy as np
import pytest
import torch

from rslib.report import figures


def footer(figure):
    return "\n".join(t.get_text() for t in figure.texts if t.get_gid() == "footer")


def test_image_grid_shows_images_titles_and_outlines():
    images = torch.zeros(12, 3, 4, 4, dtype=torch.uint8)
    images[0] = 255
    masks = torch.zeros(12, 4, 4, dtype=torch.bool)
    masks[0, 1:3, 1:3] = True
    figure = figures.image_grid(
        images, [f"class {k}" for k in range(12)], masks=masks, columns=5, footer="stamp"
    )
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == len(figure.axes) == 12
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
