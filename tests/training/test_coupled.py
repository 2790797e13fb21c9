import copy
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from litotes.batch import from_groups
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.training.learner import Learner
from litotes.training.ranker.cet import Couple, CoupledRanker
from litotes.training.ranker.coupled import CoupledLoss
from litotes.vetting.cet import cet_weight


@st.composite
def logits(draw, least=1, most=4):
    """rel_pos, rel_neg, sel_pos, sel_neg in float64."""
    b, m = draw(st.integers(1, 4)), draw(st.integers(least, most))
    values = st.floats(-4, 4)
    grid = lambda *shape: (
        torch.tensor(draw(st.lists(values, min_size=math.prod(shape), max_size=math.prod(shape))))
        .double()
        .reshape(shape)
    )
    return grid(b), grid(b, m), grid(b), grid(b, m)


def test_the_value_of_the_closed_form():
    one, zero = torch.ones(1), torch.zeros(1, 1)
    relevance, selection = CoupledLoss()(one, zero, zero[0], zero)
    assert relevance.item() == pytest.approx(0.626523, abs=1e-6)
    assert selection.item() == pytest.approx(1.386294, abs=1e-6)


@given(logits(most=1), st.sampled_from([1.0, 10.0]), st.sampled_from(["none", "mean"]))
def test_with_one_negative_it_is_the_weighted_pairwise_loss(given_, temperature, normalize):
    rel_pos, rel_neg, sel_pos, sel_neg = given_
    relevance, selection = CoupledLoss(temperature, None, normalize)(*given_)
    of_r, of_s = (cet_weight(x, temperature, None, normalize) for x in (sel_neg, rel_neg))
    torch.testing.assert_close(relevance, (of_r * F.softplus(rel_neg - rel_pos[:, None])).mean())
    torch.testing.assert_close(selection, (of_s * F.softplus(sel_neg - sel_pos[:, None])).mean())


@given(logits(least=2))
def test_with_several_it_is_the_listwise_loss_with_weights_inside(given_):
    rel_pos, rel_neg, _, sel_neg = given_
    w = 1 + sel_neg.exp()
    v = w / w.mean(dim=1, keepdim=True)
    field = rel_pos.exp() + (v * rel_neg.exp()).sum(1)
    torch.testing.assert_close(CoupledLoss(1.0, None)(*given_)[0], (field.log() - rel_pos).mean())


@given(logits(), st.floats(-2, 2))
def test_equal_weights_within_a_query_are_the_ordinary_loss(given_, level):
    rel_pos, rel_neg, sel_pos, sel_neg = given_
    level = level + torch.arange(len(rel_pos), dtype=torch.float64)[:, None]
    relevance, _ = CoupledLoss(1.0)(rel_pos, rel_neg, sel_pos, level.expand_as(sel_neg))
    plain = InfoNCE(1.0)(from_groups(torch.cat([rel_pos[:, None], rel_neg], dim=1)))
    if rel_neg.shape[1] > 1:
        torch.testing.assert_close(relevance, plain)


@given(logits(most=1))
def test_a_high_temperature_doubles_the_gradient_and_a_mean_of_one_takes_that_back(given_):
    rel_pos, rel_neg, sel_pos, sel_neg = given_
    leaf = rel_neg.clone().requires_grad_()
    slope = lambda loss: torch.autograd.grad(loss, leaf)[0]
    plain = slope(F.softplus(leaf - rel_pos[:, None]).mean())
    both = slope(CoupledLoss(1e30)(rel_pos, leaf, sel_pos, sel_neg)[0])
    even = slope(CoupledLoss(1e30, normalize="mean")(rel_pos, leaf, sel_pos, sel_neg)[0])
    torch.testing.assert_close(both, 2 * plain, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(even, plain, rtol=1e-12, atol=1e-15)


@given(logits(), st.floats(-3, 3))
def test_no_weight_passes_a_gradient_and_positives_make_none(given_, other):
    leaves = [x.clone().requires_grad_() for x in given_]
    relevance, selection = CoupledLoss(1.0)(*leaves)
    of_r = torch.autograd.grad(relevance, leaves, allow_unused=True, retain_graph=True)
    of_s = torch.autograd.grad(selection, leaves, allow_unused=True)
    assert of_r[2] is of_r[3] is None and of_s[0] is of_s[1] is None
    rel_pos, rel_neg, sel_pos, sel_neg = given_
    assert torch.equal(CoupledLoss(1.0)(rel_pos, rel_neg, sel_pos + other, sel_neg)[0], relevance.detach())


@given(logits(), st.integers(1, 3))
def test_padding_and_doubted_negatives_change_nothing(given_, more):
    rel_pos, rel_neg, sel_pos, sel_neg = given_
    if rel_neg.shape[1] == 1:
        return  # one negative and padding are a list: another loss
    b, m = rel_neg.shape
    padded = [torch.cat([x, torch.full((b, more), 9.0, dtype=x.dtype)], dim=1) for x in (rel_neg, sel_neg)]
    belief = torch.cat([torch.ones(b, m), torch.zeros(b, more)], dim=1)
    with_padding = CoupledLoss(1.0)(rel_pos, padded[0], sel_pos, padded[1], belief=belief)
    torch.testing.assert_close(with_padding, CoupledLoss(1.0)(*given_))


def test_huge_logits_are_capped_or_refused():
    ones, huge = torch.ones(2), torch.full((2, 1), 1e4)
    capped = CoupledLoss(max_weight=100.0)(ones, huge, ones, huge)
    assert all(loss.isfinite() for loss in capped) and capped[0].item() == pytest.approx(100 * (1e4 - 1))
    with pytest.raises(ValueError, match="max_weight"):
        CoupledLoss(max_weight=None)(ones, huge, ones, huge)
    with pytest.raises(ValueError, match=r"CoupledLoss: expected \[B\], \[B, M\]"):
        CoupledLoss()(ones[:1], huge, ones, huge)


FEATURES = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))


def net(seed, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def couple(
    names=("relevance", "selection"),
    dropout=0.0,
    seeds=(0, 1),
    m=1,
    chunk=None,
    normalize="mean",
    kind=torch.optim.AdamW,
):
    nets = {"relevance": net(seeds[0], dropout), "selection": net(seeds[1], dropout)}

    def side(name):
        module = nets[name]
        optimiser = kind(module.parameters(), lr=0.05)
        return Learner(module, optimiser), lambda q, d: module(
            FEATURES[torch.from_numpy(q)[:, None], torch.from_numpy(d)]
        )[:, :, 0]

    def groups(rows, epoch):
        return rows, np.tile(np.arange(1 + m), (len(rows), 1)), torch.ones(len(rows), m)

    sides = {name: side(name) for name in names}
    made = Couple(
        CoupledLoss(1.0, normalize=normalize), 4, 6, groups, sides["relevance"], sides["selection"], seed=2, chunk=chunk
    )
    return made, nets


def weights(nets):
    return {f"{name}.{key}": value.clone() for name, one in nets.items() for key, value in one.state_dict().items()}


def test_the_order_of_the_two_updates_changes_no_bit():
    (one, nets), (other, swapped) = couple(), couple()
    other.learners = dict(reversed(other.learners.items()))
    other.scores = dict(reversed(other.scores.items()))
    assert list(other.scores) == ["selection", "relevance"]
    one.phases(5).run()
    other.phases(5).run()
    assert all(torch.equal(a, b) for a, b in zip(weights(nets).values(), weights(swapped).values(), strict=True))


def test_a_step_is_both_losses_with_the_weights_from_before_it():
    made, nets = couple(normalize="none")
    twins = copy.deepcopy(nets)
    turns = made.phases(3)
    optimisers = {name: torch.optim.AdamW(twin.parameters(), lr=0.05) for name, twin in twins.items()}
    from litotes.training.order import rows_of_step

    for step in range(3):
        rows = torch.from_numpy(rows_of_step(step, 4, 6, 2)[0])
        f = {name: twin(FEATURES[rows, :2])[:, :, 0] for name, twin in twins.items()}
        losses = {
            name: ((1 + f[other][:, 1].detach().exp()) * F.softplus(f[name][:, 1] - f[name][:, 0])).mean()
            for name, other in (("relevance", "selection"), ("selection", "relevance"))
        }
        for name, loss in losses.items():
            optimisers[name].zero_grad()
            loss.backward()
        for optimiser in optimisers.values():
            optimiser.step()
        said = turns.step()
        for name, loss in losses.items():
            assert said[name].item() == pytest.approx(loss.item(), rel=1e-5)
    for name, value in weights(twins).items():
        torch.testing.assert_close(weights(nets)[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("m", [1, 3])
def test_pieces_give_the_batch(m):
    (whole, nets), (pieces, cut) = couple(m=m, kind=torch.optim.SGD), couple(m=m, chunk=3, kind=torch.optim.SGD)
    whole.phases(3).run()
    pieces.phases(3).run()
    for a, b in zip(weights(nets).values(), weights(cut).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_weights_come_from_models_at_rest():
    made, nets = couple(dropout=0.5)
    seen = []
    keep = made.loss.emphasis
    made.loss.emphasis = lambda other, belief=None: seen.append(other.clone()) or keep(other, belief)
    phases = made.phases(1)
    from litotes.training.order import rows_of_step

    rows = torch.from_numpy(rows_of_step(0, 4, 6, 2)[0])
    with torch.no_grad():
        expected = [nets[name].eval()(FEATURES[rows, 1:2])[:, :, 0] for name in ("selection", "relevance")]
    phases.step()
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True)) and nets["relevance"].training


def test_two_equal_models_are_warned_of_and_stay_equal():
    with pytest.warns(UserWarning, match="identical parameters"):
        made, nets = couple(seeds=(3, 3))
    made.phases(4).run()
    one, other = nets.values()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        couple(seeds=(3, 4))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"selection": " "}, "CoupledRanker: selection must be"),
        ({"debias_temperature": 0.0}, "debias_temperature"),
        ({"negatives": 0}, "CoupledRanker: negatives must be a whole number >= 1, got 0"),
        ({"chunk": 0}, "CoupledRanker: chunk must be"),
        ({"how": "last"}, "CoupledRanker: how must be 'top' or 'random'"),
        ({"clip": math.nan}, "CoupledRanker: clip must be > 0"),
        ({"learning_rate": math.nan}, "CoupledRanker: learning_rate must be > 0"),
        ({"batch_size": 0}, "CoupledRanker: batch_size"),
    ],
)
def test_gates(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoupledRanker(**arguments)
