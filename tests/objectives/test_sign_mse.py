"""Scores are drawn to where their sign wants them."""

import pytest
import torch

from litotes.batch import SignedBatch
from litotes.objectives.pairwise.sign_mse import SignMSE


def test_by_hand_and_absence_is_silence():
    scores = torch.tensor([[0.5, 0.5, 9.0], [1.0, -torch.inf, 0.2]], requires_grad=True)
    sign = torch.tensor([[1, -1, 0], [1, -1, -1]], dtype=torch.int8)
    weight = torch.tensor([[1.0, 0.5, 1.0], [1.0, 1.0, 0.0]])
    batch = SignedBatch(scores, sign, weight)
    assert SignMSE()(batch).item() == pytest.approx((0.25 + 0.0) / 2)
    assert SignMSE(average="term")(batch).item() == pytest.approx(0.375 / 2.5)
    assert SignMSE(0.5, 0.5)(batch).item() == pytest.approx(0.125)
    SignMSE()(batch).backward()
    assert scores.grad[0, 2] == 0 and scores.grad[1].abs().sum() == 0 and scores.grad[0, 0] < 0 < scores.grad[0, 1]
    nothing = SignMSE()(batch.replace(weight=torch.zeros(2, 3)))
    assert nothing.item() == 0 and nothing.requires_grad
    cost, believed = SignMSE().per_anchor(batch)
    assert cost.tolist() == pytest.approx([0.25, 0.0]) and believed.tolist() == [1.5, 1.0]
    with pytest.raises(ValueError, match="positive must be finite"):
        SignMSE(float("inf"))
