import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups
from litotes.objectives import LearnedTemperature, PairwiseLogistic

AVERAGES = ["term", "anchor", "positive", "count", "sum"]


@st.composite
def batches(draw):
    """Small, in float64: rows with several positives or none, missing pairs, and factors that need not be there."""
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def grid(values):
        flat = draw(st.lists(values, min_size=b * c, max_size=b * c))
        return torch.tensor(flat, dtype=torch.float64).reshape(b, c)

    scores = grid(st.sampled_from([-0.5, 0.0, 0.25]) | st.floats(-3, 3) | st.just(-math.inf))
    sign = grid(st.sampled_from([-1, -1, 0, 1])).to(torch.int8)
    factors = grid(st.sampled_from([0.0, 1.0, 3.5]))
    return SignedBatch(scores, sign, grid(st.sampled_from([0.0, 0.25, 1.0])), pairs={"emphasis": factors})


def slowly(batch, how, temperature, emphasised):
    """The definition, one pair at a time."""
    anchors, existing, positives = [], 0, 0.0
    for i in range(len(batch.sign)):
        row = [j for j in range(batch.sign.shape[1]) if batch.scores[i, j] != -math.inf]
        terms = []
        for p in (j for j in row if batch.sign[i, j] > 0):
            positives += batch.weight[i, p].item()
            for n in (j for j in row if batch.sign[i, j] < 0):
                existing += 1
                cost = math.log1p(math.exp(-(batch.scores[i, p] - batch.scores[i, n]).item() / temperature))
                factor = batch.pairs["emphasis"][i, n].item() if emphasised else 1.0
                terms.append((factor * cost, (batch.weight[i, p] * batch.weight[i, n]).item()))
        anchors.append(terms)
    total = sum(w * c for terms in anchors for c, w in terms)
    if how == "anchor":
        means = [sum(w * c for c, w in t) / sum(w for _, w in t) for t in anchors if sum(w for _, w in t)]
        return sum(means) / len(means) if means else 0.0
    believed = sum(w for terms in anchors for _, w in terms)
    divisor = {"term": believed, "sum": 1, "count": existing, "positive": positives}[how]
    return total / divisor if divisor else 0.0


@given(batches(), st.sampled_from(AVERAGES), st.sampled_from([0.5, 1.0, 4.0]), st.booleans())
def test_it_is_its_definition(batch, how, temperature, emphasised):
    part = PairwiseLogistic("emphasis" if emphasised else None, how, temperature)
    want = slowly(batch, how, temperature, emphasised)
    assert part(batch).item() == pytest.approx(want, rel=1e-9, abs=1e-12)
    cost, believed = part.per_anchor(batch)
    assert (cost * believed).sum().item() == pytest.approx(slowly(batch, "sum", temperature, emphasised), abs=1e-9)


@given(batches(), st.sampled_from(AVERAGES), st.floats(-5, 5))
def test_a_constant_on_all_scores_of_an_anchor_changes_nothing(batch, how, shift):
    part = PairwiseLogistic("emphasis", how)
    moved = batch.replace(scores=batch.scores + shift * torch.arange(len(batch.sign))[:, None])
    assert part(moved).item() == pytest.approx(part(batch).item(), rel=1e-9, abs=1e-9)


@given(batches())
def test_positives_are_raised_negatives_lowered_and_what_is_not_believed_is_left_alone(batch):
    scores = batch.scores.clone().requires_grad_()
    PairwiseLogistic(average="sum")(batch.replace(scores=scores)).backward()
    there = batch.exists & (batch.weight > 0)
    assert (scores.grad[there & (batch.sign > 0)] <= 0).all() and (scores.grad[there & (batch.sign < 0)] >= 0).all()
    assert (scores.grad[~there] == 0).all()


def test_gaps_as_large_as_raw_inner_products_do_not_overflow():
    scores = torch.tensor([[-600.0, 600.0], [600.0, -600.0]], requires_grad=True)
    cost, _ = PairwiseLogistic().per_anchor(from_groups(scores))
    assert cost.tolist() == [1200.0, 0.0]
    cost.sum().backward()
    assert scores.grad.tolist() == [[-1.0, 1.0], [0.0, 0.0]]


def test_an_emphasis_is_in_no_divisor_and_may_be_given_for_each_pair():
    batch = from_groups(torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]])).replace(
        sign=torch.tensor([[1, 1, -1], [1, -1, -1]], dtype=torch.int8)
    )
    plain, twice = PairwiseLogistic(), PairwiseLogistic(lambda batch: 2 * torch.ones(2, 2, 3))
    assert twice(batch).item() == pytest.approx(2 * plain(batch).item())

    def second_positive_only(batch):
        return torch.tensor([[[0.0], [1.0]], [[1.0], [0.0]]]).expand(2, 2, 3)

    want = (math.log1p(math.exp(0.5)) + 2 * math.log(2)) / 4
    assert PairwiseLogistic(second_positive_only)(batch).item() == pytest.approx(want)

    def last_negative_only(batch):
        return torch.tensor([0.0, 0.0, 1.0]).expand(2, 2, 3)

    want = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(0.5)) + math.log(2)) / 4
    assert PairwiseLogistic(last_negative_only)(batch).item() == pytest.approx(want)


def test_factors_without_a_pair_may_be_anything():
    scores = torch.tensor([[1.0, 0.0, 0.5]], requires_grad=True)
    batch = from_groups(scores).replace(weight=torch.tensor([[1.0, 1.0, 0.0]]))
    factors = torch.tensor([[math.nan, 2.0, math.inf]])
    loss = PairwiseLogistic(lambda batch: factors)(batch)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log1p(math.exp(-1)))
    assert scores.grad.isfinite().all() and scores.grad[0, 2] == 0


def test_a_learned_temperature_is_trained():
    temperature = LearnedTemperature(0.5)
    PairwiseLogistic(temperature=temperature)(from_groups(torch.tensor([[0.0, 1.0]]))).backward()
    assert temperature.log_scale.grad > 0


def test_without_a_pair_it_costs_nothing_with_a_gradient_of_zero():
    scores = torch.randn(2, 3, requires_grad=True)
    loss = PairwiseLogistic(average="count")(from_groups(scores, positive=-1))
    loss.backward()
    assert loss.item() == 0 and scores.grad.eq(0).all()


def test_what_it_cannot_take_is_named():
    with pytest.raises(ValueError, match="PairwiseLogistic: temperature must be > 0 and finite, got 0"):
        PairwiseLogistic(temperature=0)
    with pytest.raises(ValueError, match="PairwiseLogistic: average must be one of .*, got 'mean'"):
        PairwiseLogistic(average="mean")
    for bad in ("", 2.0):
        with pytest.raises(ValueError, match="PairwiseLogistic: emphasis must be None, a key of pairs, or a part"):
            PairwiseLogistic(bad)
    batch = from_groups(torch.zeros(1, 2))
    assert PairwiseLogistic("hard").needs == ("scores", "hard")
    with pytest.raises(ValueError, match="PairwiseLogistic: pairs has no 'hard', it has nothing"):
        PairwiseLogistic("hard")(batch)
    with pytest.raises(ValueError, match="PairwiseLogistic: common negatives"):
        PairwiseLogistic()(batch.replace(common=(torch.zeros(1), torch.ones(1))))
