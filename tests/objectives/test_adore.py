import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups
from litotes.objectives import Adore, PairwiseLogistic

LISTED = torch.tensor([[2.0, 1.0, 0.0]])


def ranked(scores=LISTED, positive=1):
    return from_groups(scores, positive)


def test_the_value_of_a_list_of_three_by_hand():
    assert Adore()(ranked()).item() == pytest.approx(0.354421, abs=1e-6)  # (0.656631 + 0.052210) / 2
    assert Adore(metric_cut=3)(ranked()).item() == pytest.approx(0.354421, abs=1e-6)
    assert Adore(metric_cut=None)(ranked()).item() == pytest.approx(0.354421, abs=1e-6)  # None cuts nothing


def test_without_a_metric_it_is_the_mean_over_pairs():
    assert Adore("none")(ranked()).item() == pytest.approx(0.813262, abs=1e-6)
    assert Adore("none")(ranked()).item() == PairwiseLogistic(average="anchor")(ranked()).item()


def test_behind_the_cut_only_pairs_with_one_foot_before_it_count():
    assert Adore(metric_cut=1)(ranked()).item() == pytest.approx(0.656631 * 2 / 2, abs=1e-6)
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]], requires_grad=True)
    loss = Adore(metric_cut=1)(ranked(scores, 2))
    loss.backward()
    assert loss.item() == pytest.approx(math.log1p(math.exp(2)) / 3, abs=1e-6)  # of three pairs, one counts
    assert scores.grad[0, 1] == 0 and scores.grad[0, 3] == 0


def test_the_swap_of_ndcg_is_measured_against_the_best_list():
    gain = [1 / math.log2(1 + r) for r in (1, 2, 3)]
    batch = ranked().replace(sign=torch.tensor([[-1, 1, 1]], dtype=torch.int8))
    pairs = [(gain[0] - gain[1]) * math.log1p(math.e), (gain[0] - gain[2]) * math.log1p(math.exp(2))]
    assert Adore("ndcg")(batch).item() == pytest.approx(sum(pairs) / (gain[0] + gain[1]) / 2, abs=1e-6)

    disbelieved = batch.replace(weight=torch.tensor([[1.0, 1.0, 0.0]]))
    assert Adore("ndcg")(disbelieved).item() == pytest.approx(pairs[0] / gain[0], abs=1e-6)


@st.composite
def lists(draw):
    """Ranked lists in float64, with several positives, holes and doubts."""
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    grid = lambda values: draw(st.lists(values, min_size=b * c, max_size=b * c))
    scores = torch.tensor(grid(st.floats(-3, 3) | st.just(-math.inf)), dtype=torch.float64).reshape(b, c)
    sign = torch.tensor(grid(st.sampled_from([-1, -1, 0, 1])), dtype=torch.int8).reshape(b, c)
    weight = torch.tensor(grid(st.sampled_from([0.0, 0.5, 1.0])), dtype=torch.float64).reshape(b, c)
    return SignedBatch(scores.sort(dim=1, descending=True).values, sign, weight)


def slowly(part, batch):
    """The definition, one pair of a list at a time."""
    cut = part.metric_cut or math.inf
    gain = {
        "rr": lambda r: 1 / r if r <= cut else 0.0,
        "ndcg": lambda r: 1 / math.log2(1 + r) if r <= cut else 0.0,
    }.get(part.metric)
    anchors = []
    for i in range(len(batch.sign)):
        there = [j for j in range(batch.sign.shape[1]) if batch.exists[i, j]]
        best = 1.0
        if part.metric == "ndcg":
            believed = sum(batch.sign[i, j] > 0 and batch.weight[i, j] > 0 for j in there)
            best = sum(gain(r) for r in range(1, believed + 1)) or 1.0
        total = weight = 0.0
        for p in (j for j in there if batch.sign[i, j] > 0):
            for n in (j for j in there if batch.sign[i, j] < 0):
                w = (batch.weight[i, p] * batch.weight[i, n]).item()
                cost = math.log1p(math.exp(-(batch.scores[i, p] - batch.scores[i, n]).item() / part.temperature))
                total += w * cost * (1 if gain is None else abs(gain(p + 1) - gain(n + 1)) / best)
                weight += w
        if weight:
            anchors.append(total / weight)
    return sum(anchors) / len(anchors) if anchors else 0.0


parts = st.builds(
    Adore, st.sampled_from(["rr", "ndcg", "none"]), st.sampled_from([None, 1, 2, 200]), st.sampled_from([1.0, 0.3])
)


@given(parts, lists())
def test_it_is_its_definition(part, batch):
    assert part(batch).item() == pytest.approx(slowly(part, batch), rel=1e-9, abs=1e-12)


@given(parts, lists(), st.floats(-5, 5))
def test_a_constant_on_all_scores_of_a_list_changes_nothing(part, batch, shift):
    assert part(batch.replace(scores=batch.scores + shift)).item() == pytest.approx(part(batch).item(), abs=1e-9)


def test_a_doubted_negative_leaves_sum_and_divisor_and_not_the_ranks_of_the_others():
    batch = ranked().replace(weight=torch.tensor([[0.0, 1.0, 1.0]]))
    assert Adore()(batch).item() == pytest.approx(0.052210, abs=1e-6)


def test_a_list_of_positives_only_costs_nothing():
    scores = torch.tensor([[2.0, 1.0], [2.0, 1.0]], requires_grad=True)
    batch = ranked(scores, 0).replace(sign=torch.tensor([[1, 1], [1, -1]], dtype=torch.int8))
    loss = Adore()(batch)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * math.log1p(math.exp(-1)), abs=1e-6)  # the mean is over the other one
    assert scores.grad.isfinite().all() and scores.grad[0].eq(0).all()


def test_what_it_cannot_take_is_named():
    with pytest.raises(ValueError, match="Adore: metric must be 'rr', 'ndcg' or 'none', got 'map'"):
        Adore("map")
    for bad in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"Adore: metric_cut must be an integer >= 1 or None, got {bad}"):
            Adore(metric_cut=bad)
    with pytest.raises(ValueError, match="temperature must be > 0 and finite, got 0"):
        Adore(temperature=0)
