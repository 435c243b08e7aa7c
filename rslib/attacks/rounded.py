"""A model meant to fail the reliability checks: it hides its gradient and protects nothing."""

from torch import Tensor, nn


class RoundedInput(nn.Module):
    """A model behind an input rounded to a few levels, at least 2.

    Rounding has a zero derivative almost everywhere, so gradient attacks find nothing to follow,
    while other attacks fool the model as easily as before (obfuscated gradients; Athalye et al.,
    2018, section 4).

    Raises:
        ValueError: fewer than 2 levels.
    """

    def __init__(self, model: nn.Module, *, levels: int) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels={levels!r} must be at least 2")
        self.model = model
        self.steps = levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (B, 3, H, W) in [0, 1], rounded."""
        return self.model((x * self.steps).round() / self.steps)
