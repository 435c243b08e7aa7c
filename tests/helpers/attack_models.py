"""Small models and images that the attack tests share."""

import copy
import functools

import torch
from torch import nn

from rslib.attacks import pgd


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*rows):
    """Images of one row of pixels each: (B, 1, 1, W)."""
    return torch.tensor(rows).view(len(rows), 1, 1, -1)


class TwoPixels(nn.Module):
    """Linear in an image of two pixels (a, b): logits (3a - 4b + bias, 0).

    Label 0 is right while 3a - 4b + bias > 0. The loss of label 0 grows fastest against (3, -4), so
    its gradient has signs (-, +) and direction (-0.6, 0.8), wherever one stands.
    """

    def __init__(self, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, -4.0]))
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        score = x.flatten(1) @ self.weight + self.bias
        return torch.stack([score, torch.zeros_like(score)], 1)


class Dip(nn.Module):
    """One pixel a, two classes: label 0 is wrong only within 0.04 of a = 0.6, where a dip lies.

    Further than ``reach`` from 0.6 the logits are flat, so that no gradient leads there.
    """

    def __init__(self, reach=1.0):
        super().__init__()
        self.reach = reach

    def forward(self, x):
        score = (x.flatten(1)[:, 0] - 0.6).abs().clamp(max=self.reach) - 0.04
        return torch.stack([score, torch.zeros_like(score)], 1)


def striped_set(n, seed=0):
    """A four-class set of 32x32 RGB images: noisy stripes, told apart by direction and color."""
    generator = seeded(seed)
    y = torch.arange(n) % 4
    phase = 1.5 * torch.rand(n, 1, 1, generator=generator)
    place = torch.arange(32.0)
    rows = torch.sin(0.4 * place.view(1, 32, 1) + phase).expand(n, 32, 32)
    columns = torch.sin(0.4 * place.view(1, 1, 32) + phase).expand(n, 32, 32)
    pattern = torch.where((y % 2 == 0).view(n, 1, 1), rows, columns)
    color = torch.where(
        (y < 2).view(n, 1), torch.tensor([1.0, 0.3, 0.1]), torch.tensor([0.1, 0.3, 1.0])
    )
    x = 0.5 + 0.08 * pattern.unsqueeze(1) * color.view(n, 3, 1, 1)
    x = x + 0.12 * torch.randn(x.shape, generator=generator)
    return x.clamp(0, 1), y


def small_cnn(seed=0):
    """An untrained net with everything that eval mode matters for: batch norm and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8, momentum=0.3),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16, momentum=0.3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(256, 4),
        )


def trained_cnn():
    """A fresh copy of the small net trained briefly on the striped set; in eval mode."""
    return copy.deepcopy(_trained_cnn())


@functools.cache
def _trained_cnn():
    x, y = striped_set(256, seed=1)
    model = small_cnn()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    order = seeded()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(6):
            for index in torch.randperm(len(x), generator=order).split(32):
                optimizer.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(model(x[index]), y[index]).backward()
                optimizer.step()
    model.zero_grad(set_to_none=True)
    return model.eval()


def patterned_set(n, seed):
    """Ten faint smooth patterns under noise, as 8-bit images of 10 x 10 pixels."""
    patterns = nn.functional.interpolate(torch.randn(10, 3, 4, 4, generator=seeded(1234)), size=10)
    patterns = patterns / patterns.flatten(1).abs().mean(1).view(-1, 1, 1, 1)
    generator = seeded(seed)
    y = torch.arange(n) % 10
    x = 0.5 + 0.06 * patterns[y] + 0.08 * torch.randn(n, 3, 10, 10, generator=generator)
    return (x.clamp(0, 1) * 255).round() / 255, y


def train_on_patterns(*, eps, epochs):
    """A small net, trained on clean images or, with a budget, on adversarial ones."""
    x, y = patterned_set(500, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(144, 10),
        )
    optimizer, order = torch.optim.Adam(model.parameters(), lr=5e-3), seeded(0)
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=order).split(50):
            batch, labels = x[index], y[index]
            if eps:
                options = {"eps": eps, "step_size": eps / 2, "num_steps": 3}
                batch = pgd(model, batch, labels, **options, generator=order)
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(batch), labels).backward()
            optimizer.step()
    model.zero_grad(set_to_none=True)
    return model.eval()
