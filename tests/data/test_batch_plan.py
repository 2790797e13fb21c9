"""Batches: every row once, within the budget, and hardly any padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.batch_plan import batch_plan, end_to_end_plan

lengths = st.lists(st.sampled_from([1, 2, 3, 3, 4, 9, 40]) | st.integers(1, 60), max_size=60).map(
    lambda x: np.array(x, int)
)
budgets = st.sampled_from([1, 10, 64, 1000])


@given(lengths, budgets)
def test_every_row_once_shortest_first_and_never_over_the_budget(lengths, budget):
    plan = batch_plan(lengths, budget)
    assert sorted(row for batch in plan for row in batch.tolist()) == list(range(len(lengths)))
    in_order = [(int(lengths[row]), row) for batch in plan for row in batch.tolist()]
    assert in_order == sorted(in_order)
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in plan) and all(map(len, plan))


@given(lengths, budgets)
def test_a_batch_mixes_lengths_only_while_it_is_small(lengths, budget):
    for batch in batch_plan(lengths, budget):
        own = lengths[batch]
        before_longest = own[own < own.max()]  # what was there before the last length joined
        assert len(before_longest) == 0 or len(before_longest) * before_longest.max() < budget / 4


def test_by_hand():
    plan = batch_plan(np.array([5, 2, 2, 2, 2, 5, 5]), 10)
    assert [batch.tolist() for batch in plan] == [[1, 2, 3, 4], [0, 5], [6]]


@given(lengths, budgets)
def test_end_to_end_every_row_once_shortest_first_and_no_batch_that_could_take_one_more(lengths, budget):
    plan = end_to_end_plan(lengths, budget)
    in_order = [(int(lengths[row]), row) for batch in plan for row in batch.tolist()]
    assert in_order == sorted(zip(lengths.tolist(), range(len(lengths)), strict=True)) and all(map(len, plan))
    assert all(len(batch) == 1 or lengths[batch].sum() <= budget for batch in plan)
    assert all(lengths[a].sum() + lengths[b[0]] > budget for a, b in zip(plan, plan[1:], strict=False))


def test_end_to_end_by_hand():
    plan = end_to_end_plan(np.array([5, 2, 2, 2, 2, 5, 11, 5]), 10)
    assert [batch.tolist() for batch in plan] == [[1, 2, 3, 4], [0, 5], [7], [6]]


@pytest.mark.parametrize("make", [batch_plan, end_to_end_plan])
@pytest.mark.parametrize("bad", [0, -1, float("nan")])
def test_a_bad_budget_is_named(make, bad):
    with pytest.raises(ValueError, match=f"{make.__name__}: budget must be >= 1, got {bad}"):
        make(np.array([1]), bad)
