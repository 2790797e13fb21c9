"""The slow copy follows, and gives no gradient."""

import pytest
import torch
from torch import nn

from litotes.training.momentum import MomentumEncoder


def test_it_keeps_the_share_of_the_old_and_copies_buffers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    slow = MomentumEncoder(model, momentum=0.75)
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight += 4
        model[1].running_mean += 1
    slow.update()
    assert torch.allclose(slow.copy[0].weight, before + 1)
    assert torch.equal(slow.copy[1].running_mean, model[1].running_mean)


def test_its_features_have_no_gradient_and_its_mode_is_its_own():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    slow = MomentumEncoder(model)
    slow.train()
    x = torch.randn(4, 2, requires_grad=True)
    assert torch.equal(slow(x), model[0](x)) and not slow(x).requires_grad
    assert all(not parameter.requires_grad for parameter in slow.parameters())
    assert len(list(slow.parameters())) == 2  # the followed model's are not among them


@pytest.mark.parametrize("momentum", [1.0, -0.1, float("nan")])
def test_momentum_is_checked(momentum):
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\)"):
        MomentumEncoder(nn.Linear(1, 1), momentum)
