import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch
from litotes.ops import (
    ema_,
    keep_under,
    line_under,
    pair_gaps,
    pairwise_kl,
    top_negatives,
    unit,
    weighted_mean,
    whisker_mask,
    yes_no_score,
)

few = st.sampled_from([-1.0, 0.0, 0.5, 1.0])  # few values: many ties
margins = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 2, width=32)
strategies = st.sampled_from(["absolute", "relative"])


def grid(values, b, c):
    cells = st.lists(values, min_size=b * c, max_size=b * c)
    return cells.map(lambda v: torch.tensor(v, dtype=torch.float64).reshape(b, c))


@st.composite
def batches(draw):
    b, c = draw(st.integers(0, 3)), draw(st.integers(0, 6))
    sign = draw(grid(st.sampled_from([-1, -1, 0, 1]), b, c)).to(torch.int8)
    return SignedBatch(
        draw(grid(few | st.just(-math.inf), b, c)), sign, draw(grid(st.sampled_from([0.0, 0.25, 1.0]), b, c))
    )


@given(
    grid(few | st.floats(-8, 8, width=32), 2, 4),
    st.lists(few | st.just(math.nan), min_size=2, max_size=2),
    margins,
    strategies,
)
def test_what_stays_under_the_line_is_its_formula_in_float32(scores, reference, margin, strategy):
    keep = keep_under(scores, torch.tensor(reference, dtype=torch.float64), margin, strategy)
    for i, r in enumerate(np.array(reference, np.float32)):
        line = r - np.float32(margin) * (1 if strategy == "absolute" else abs(r))
        for j, s in enumerate(scores[i].tolist()):
            assert keep[i, j].item() == (math.isnan(r) or bool(np.float32(s) <= line))


@pytest.mark.parametrize("margin, r, line", [(0.5, 1.0, 0.5), (0.5, -1.0, -1.5), (0.5, 0.0, 0.0), (0.2, 1.0, 0.8)])
def test_equality_keeps_and_the_relative_line_lies_below_the_positive_whatever_its_sign(margin, r, line):
    above = float(np.nextafter(np.float32(line), np.float32(9)))
    assert keep_under(torch.tensor([[line, above]]), torch.tensor([r]), margin).tolist() == [[True, False]]


@given(grid(st.floats(-4, 4, width=32), 2, 4), grid(st.floats(-4, 4, width=32), 2, 1), margins, margins, strategies)
def test_a_deeper_line_never_keeps_more(scores, reference, one, other, strategy):
    shallow, deep = (keep_under(scores, reference, m, strategy) for m in sorted([one, other]))
    assert (shallow | ~deep).all()


@pytest.mark.parametrize("strategy", ["absolute", "relative"])
@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("none", [math.nan, -math.inf])
def test_without_a_positive_everything_stays(none, margin, strategy):
    assert keep_under(torch.tensor([[5.0, -math.inf]]), torch.tensor([none]), margin, strategy).all()


def test_near_ties_of_half_precision_are_compared_in_float32():
    scores = torch.tensor([[0.996]], dtype=torch.bfloat16)  # rounds to 0.99609375
    assert not keep_under(scores, torch.tensor([0.996]), 0.0).item()
    assert line_under(scores, 0.0, "absolute").dtype == torch.float32


def test_a_bad_line_is_named():
    with pytest.raises(ValueError, match="strategy must be 'absolute' or 'relative', got 'percent'"):
        keep_under(torch.zeros(1, 1), torch.zeros(1), 0.0, "percent")
    for bad in (-0.1, math.nan):
        with pytest.raises(ValueError, match="margin must be >= 0, got"):
            keep_under(torch.zeros(1, 1), torch.zeros(1), bad)


@given(batches())
def test_pair_gaps_are_all_differences_with_the_product_of_beliefs(batch):
    gap, weight = pair_gaps(batch)
    b, c = batch.sign.shape
    rows = [[j for j in range(c) if batch.exists[i, j] and batch.sign[i, j] > 0] for i in range(b)]
    p = max(map(len, rows), default=0)
    assert gap.shape == weight.shape == (b, min(max(p, 1), c), c) and gap.isfinite().all()
    for i, positives in enumerate(rows):
        for k in range(gap.shape[1]):
            for j in range(c):
                if k < len(positives) and batch.exists[i, j] and batch.sign[i, j] < 0:
                    pos = positives[k]
                    assert gap[i, k, j] == batch.scores[i, pos] - batch.scores[i, j]
                    assert weight[i, k, j] == batch.weight[i, pos] * batch.weight[i, j]
                else:
                    assert gap[i, k, j] == weight[i, k, j] == 0


@given(batches())
def test_gaps_of_pairs_that_are_not_there_have_no_gradient(batch):
    scores, weight = batch.scores.clone().requires_grad_(), batch.weight.clone().requires_grad_()
    gap, w = pair_gaps(batch.replace(scores=scores, weight=weight))
    (gap.square() * w).sum().backward()
    assert scores.grad.isfinite().all() and weight.grad.isfinite().all()
    assert (scores.grad[~batch.exists] == 0).all() and (weight.grad[~batch.exists] == 0).all()


@given(batches(), st.integers(1, 8))
def test_the_top_negatives_are_the_best_believed_ones_ties_to_the_lowest_column(batch, k):
    columns, valid = top_negatives(batch, k)
    b, c = batch.sign.shape
    assert columns.shape == valid.shape == (b, min(k, c))
    for i in range(b):
        field = [j for j in range(c) if batch.exists[i, j] and batch.sign[i, j] < 0 and batch.weight[i, j] > 0]
        best = sorted(field, key=lambda j: (-batch.scores[i, j].item(), j))[:k]
        assert columns[i][valid[i]].tolist() == best
        assert valid[i].tolist() == [True] * len(best) + [False] * (columns.shape[1] - len(best))


def test_ties_go_to_the_lowest_column_in_wide_batches_too():
    scores = (torch.arange(4096) % 3).float()[None]  # long rows are sorted by another algorithm than short ones
    columns, valid = top_negatives(SignedBatch(scores, -torch.ones(1, 4096).char(), torch.ones(1, 4096)), 1000)
    assert columns[0].tolist() == list(range(2, 3000, 3))
    assert valid.all()


def test_what_was_not_scored_cannot_be_ranked():
    waiting = SignedBatch(
        torch.zeros(1, 1), -torch.ones(1, 2, dtype=torch.int8), torch.ones(1, 2), torch.zeros(1, 3), torch.zeros(2, 3)
    )
    for ask in (pair_gaps, lambda batch: top_negatives(batch, 1)):
        with pytest.raises(ValueError, match="run a scorer first"):
            ask(waiting)
    for bad in (0, -1):
        with pytest.raises(ValueError, match=f"k must be >= 1, got {bad}"):
            top_negatives(waiting, bad)


@given(
    st.lists(st.tuples(st.floats(-4, 4), st.sampled_from([0.0, 0.25, 1.0])), max_size=5), st.sampled_from([0.5, 2.0])
)
def test_the_weighted_mean_is_its_formula_and_free_of_a_common_factor(pairs, factor):
    values, weight = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).T
    total = sum(w for _, w in pairs)
    expected = sum(v * w for v, w in pairs) / total if total else 0.0
    assert weighted_mean(values, weight).item() == pytest.approx(expected, abs=1e-12)
    assert weighted_mean(values, factor * weight).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_values_of_weight_0_may_be_anything(nothing):
    values = torch.tensor([1.0, nothing, 3.0], requires_grad=True)
    weight = torch.tensor([1.0, 0.0, 3.0], requires_grad=True)
    mean = weighted_mean(values, weight)
    mean.backward()
    assert mean.item() == 2.5 and values.grad.tolist() == [0.25, 0.0, 0.75] and weight.grad.isfinite().all()


def test_an_empty_mean_is_0_with_a_graph():
    values, weight = torch.tensor([math.nan, 2.0], requires_grad=True), torch.zeros(2, requires_grad=True)
    mean = weighted_mean(values, weight)
    mean.backward()
    assert mean.item() == 0 and values.grad.tolist() == [0, 0] and weight.grad.isfinite().all()
    assert weighted_mean(torch.zeros(0), torch.zeros(0)).item() == 0


def test_weights_of_rows_count_for_every_column():
    assert weighted_mean(torch.tensor([[1.0, 3.0], [9.0, 9.0]]), torch.tensor([[1.0], [0.0]])).item() == 2.0


def test_unit_vectors_have_length_1_and_zero_stays_zero():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]], requires_grad=True)
    y = unit(x)
    y.sum().backward()
    assert y[:2].tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]] and x.grad.isfinite().all()
    assert y[2, 0].item() == pytest.approx(1e-8)  # below 1e-12 the norm counts as 1e-12


@given(st.floats(-30, 30, width=16), st.floats(-30, 30, width=16), st.sampled_from([-1024.0, 0.0, 1024.0]))
def test_yes_is_the_share_of_true_and_a_constant_added_to_both_changes_nothing(true, false, constant):
    logits = torch.tensor([true, false], dtype=torch.float64)
    score = yes_no_score(logits[0], logits[1])
    assert score.item() == pytest.approx(logits.softmax(0)[0].item(), rel=1e-12)
    assert yes_no_score(logits[0] + constant, logits[1] + constant).item() == pytest.approx(score.item(), rel=1e-9)
    assert score + yes_no_score(logits[1], logits[0]) == pytest.approx(1)


def test_yes_by_hand_at_the_edges_and_in_half_precision():
    true, false = torch.tensor([2.0, 5.0, 1.0, -math.inf]), torch.tensor([0.0, 5.0, -math.inf, 1.0])
    assert yes_no_score(true, false).tolist() == [pytest.approx(0.880797, abs=5e-7), 0.5, 1.0, 0.0]
    half = yes_no_score(torch.tensor(8.0, dtype=torch.bfloat16), torch.tensor([0.0, -0.01], dtype=torch.bfloat16))
    assert half.dtype == torch.float32 and half[0] < half[1]  # 8.01 is 8 in bfloat16


@given(st.integers(0, 5), st.integers(1, 4), st.integers(0, 99))
def test_divergences_of_all_pairs_are_those_of_a_double_loop(n, c, seed):
    x = 5 * torch.randn(n, c, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    made = pairwise_kl(x)
    p = x.softmax(dim=1)
    for i in range(n):
        for j in range(n):
            wanted = sum(float(p[i, k]) * math.log(float(p[i, k]) / float(p[j, k])) for k in range(c))
            assert made[i, j].item() == pytest.approx(wanted, abs=1e-9)
    assert (made > -1e-7).all()


def test_divergences_have_finite_gradients_far_apart_and_widen_half_precision():
    x = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    made = pairwise_kl(x)
    made.sum().backward()
    assert x.grad.isfinite().all() and made[0, 1].item() == pytest.approx(200)
    assert pairwise_kl(torch.zeros(1, 2).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("whisker, kept", [(1.5, 7), (1.0, 7), (0.0, 5), (math.inf, 8)])
def test_whiskers_by_hand_ends_included(whisker, kept):
    values = torch.tensor([0.9, -0.1, 0.0, 0.05, 0.1, 0.12, 0.15, 0.2], dtype=torch.float64)
    assert int(whisker_mask(values, whisker).sum()) == kept
    assert whisker == math.inf or not whisker_mask(values, whisker)[0]


def test_whiskers_of_few_and_equal_values():
    assert whisker_mask(torch.tensor([3.0]), 0.0).tolist() == [True]
    assert whisker_mask(torch.zeros(0), 1.5).shape == (0,)
    assert whisker_mask(torch.ones(5), 1.5).all()
    with pytest.raises(ValueError, match="whisker must be >= 0, got -1"):
        whisker_mask(torch.ones(2), -1)


def test_a_moving_average_keeps_the_share_of_the_old():
    from torch import nn

    target, source = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        target.weight.fill_(1.0)
        source.weight.fill_(3.0)
    ema_(target, source, 0.75)
    assert target.weight.item() == 1.5 and source.weight.item() == 3.0
    with pytest.raises(ValueError, match="differ in"):
        ema_(target, nn.Linear(1, 1, bias=False), 0.5)
