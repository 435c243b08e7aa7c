"""Maps fitted to the images' colors: an independent implementation, and what they gain."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from scipy.special import expit
from scipy.stats import multivariate_normal

from rslib import data
from rslib.saliency import NotSaliency, proxy_masks, refine


def blurred(masks, generator):
    """Maps as coarse as a network's: 4 x 4 places, and noise."""
    coarse = torch.nn.functional.avg_pool2d(masks.float().unsqueeze(1), 8)
    coarse = coarse + 0.1 * torch.randn(coarse.shape, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear").squeeze(1)


def by_hand(values, image, steps):
    evidence = (values - values.mean()) / values.std()
    inside = expit(evidence)
    colors = image.transpose(1, 2, 0).reshape(-1, 3)
    for _ in range(steps):
        logs = []
        for weights in (inside.ravel(), 1 - inside.ravel()):
            mean = np.average(colors, axis=0, weights=weights)
            spread = np.cov(colors.T, aweights=weights, ddof=0) + 1e-3 * np.eye(3)
            logs.append(multivariate_normal(mean, spread).logpdf(colors))
        ones = uniform_filter(np.ones_like(values), 3, mode="constant")
        beside = uniform_filter(2 * inside - 1, 3, mode="constant") / ones
        inside = expit(evidence + (logs[0] - logs[1]).reshape(values.shape) + 2 * beside)
    return inside


@pytest.fixture(scope="module")
def seen():
    shapes = data.load("shapes", "test", n=100)
    maps = blurred(shapes.masks, torch.Generator().manual_seed(0))
    return shapes.images.float() / 255, maps, shapes.masks


def test_refined_maps_are_those_of_plain_numpy(seen):
    x, maps, _ = (each[:3].double() for each in seen)
    found = refine(maps, x, steps=4)
    for one, image, values in zip(found, x, maps, strict=True):
        assert one.numpy() == pytest.approx(by_hand(values.numpy(), image.numpy(), 4), abs=1e-4)


def test_colors_bring_masks_nearer_to_the_exact_ones(seen):
    x, maps, exact = seen
    before, after = (
        ((m & exact).flatten(1).sum(1) / (m | exact).flatten(1).sum(1)).mean()
        for m in (proxy_masks(maps)[0], proxy_masks(refine(maps, x))[0])
    )
    assert after > before + 0.1


def test_what_says_nothing_stays_so(seen):
    x, maps, _ = (each[:3] for each in seen)
    flat = torch.zeros_like(maps)
    assert proxy_masks(refine(flat, x))[1].all()
    grey = torch.full_like(x, 0.5)  # colors say nothing: the map decides
    kept = refine(maps, grey)
    assert kept.isfinite().all() and (kept.flatten(1).argmax(1) >= 0).all()
    assert ((kept > 0.5) == (maps > maps.mean((1, 2), keepdim=True))).float().mean() > 0.95
    with pytest.raises(NotSaliency):
        refine(maps * torch.nan, x)
