"""ProjectorPair: a projector that learns and a slow copy of it, over one shared backbone."""

from __future__ import annotations

import math

from torch import Tensor, nn

from litotes.training.momentum import MomentumEncoder


class ProjectorPair(nn.Module):
    """A student projector behind dropout, and a teacher that follows it, for one backbone that both share.

    Projector: (linear, batch norm without parameters by the batch's own statistics, ReLU) twice, then linear. Dropout
    is of single elements. Call `update()` before the teacher's pass of a step.

    Args:
        inputs, hidden, outputs: widths, >= 1. momentum: share of the old teacher that stays, in [0, 1).
        dropout: before the student's projector, in [0, 1).
    Raises:
        ValueError: an argument is out of range.
    Source: Large-Scale 3D Medical Image Pre-training with Geometric Context Priors (arXiv:2410.09890). The released
        code drops out whole rows; here it is elements.
    """

    def __init__(
        self, inputs: int, hidden: int = 1024, outputs: int = 1024, momentum: float = 0.9, dropout: float = 0.2
    ):
        super().__init__()
        for name, value in (("inputs", inputs), ("hidden", hidden), ("outputs", outputs)):
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"ProjectorPair: {name} must be a whole number >= 1, got {value!r}")
        if not (0 <= dropout < 1 and math.isfinite(dropout)):
            raise ValueError(f"ProjectorPair: dropout must be in [0, 1), got {dropout!r}")
        self.dropout = nn.Dropout(dropout)
        self.student = nn.Sequential(*_layer(inputs, hidden), *_layer(hidden, hidden), nn.Linear(hidden, outputs))
        self.teacher = MomentumEncoder(self.student, momentum, train_mode=True)

    def forward(self, features: Tensor) -> Tensor:
        """The student's projection: [N, inputs] -> [N, outputs]."""
        projected: Tensor = self.student(self.dropout(features))
        return projected

    def teach(self, features: Tensor) -> Tensor:
        """The teacher's projection, without gradient."""
        projected: Tensor = self.teacher(features.detach())
        return projected

    def update(self) -> None:
        """The teacher follows the student one step."""
        self.teacher.update()


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    norm = nn.BatchNorm1d(outputs, affine=False, track_running_stats=False)
    return [nn.Linear(inputs, outputs), norm, nn.ReLU()]
