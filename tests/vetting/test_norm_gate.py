import math

import pytest
import torch

from litotes.batch import SignedBatch
from litotes.vetting.norm_gate import NormGate


def test_longer_anchors_are_doubted_equality_stays_and_own_columns_are_seen():
    anchors = torch.tensor([[1.0, 0.0], [1.0001, 0.0]])
    own = torch.tensor([[[0.5, 0.0]], [[0.0, 2.0]]])
    sign = torch.tensor([[1, -1, -1], [1, -1, 0]], dtype=torch.int8)
    batch = SignedBatch(None, sign, torch.full((2, 3), 0.5), anchors, torch.tensor([[1.0, 0.0], [0.0, 2.0]]), own=own)
    made = NormGate()(batch)
    assert made.weight.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    assert made.notes["norm_gate(max_ratio=1.0)"].item() == 2
    assert torch.equal(NormGate()(made).weight, made.weight)
    for loose in (math.inf, 3.0):
        assert torch.equal(NormGate(loose)(batch).weight, batch.weight)


@pytest.mark.parametrize("ratio", [0, -1, math.nan])
def test_the_ratio_is_checked(ratio):
    with pytest.raises(ValueError, match="NormGate: max_ratio must be > 0"):
        NormGate(ratio)
