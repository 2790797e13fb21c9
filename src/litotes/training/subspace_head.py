"""SubspaceHead: one vector as several, one for each view of a tree."""

from __future__ import annotations

from torch import Tensor, nn

from litotes.ops import unit


class SubspaceHead(nn.Module):
    """A linear map with tanh to `views` vectors of length 1: [B, inputs] -> [B, views, dim].

    Args:
        inputs, dim, views: >= 1.
    Raises:
        ValueError: an argument is out of range.
    Source: SPACE-2 (arXiv:2209.06638), section 3, as in its released code.
    """

    def __init__(self, inputs: int, dim: int = 768, views: int = 10):
        super().__init__()
        for name, value in (("inputs", inputs), ("dim", dim), ("views", views)):
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"SubspaceHead: {name} must be a whole number >= 1, got {value!r}")
        self.views, self.dim = views, dim
        self.map = nn.Linear(inputs, views * dim)

    def forward(self, x: Tensor) -> Tensor:
        """The vectors."""
        return unit(self.map(x).tanh().unflatten(-1, (self.views, self.dim)))
