"""New columns lie where they belong, and say what they are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_pairs
from litotes.columns import append_own, append_shared
from litotes.scoring import Cosine, Dot


def batch_of(b, own, seed=0, scored=False):
    g = torch.Generator().manual_seed(seed)
    batch = from_pairs(torch.randn(b, 3, generator=g), torch.randn(b, 3, generator=g))
    batch = batch.replace(pairs={"teacher": torch.rand(b, b, generator=g), "count": torch.ones(b, b, dtype=torch.long)})
    batch = Dot()(batch) if scored else batch
    if own:
        batch = append_own(batch, torch.randn(b, own, 3, generator=g), -torch.ones(b, own, dtype=torch.int8), part="x")
    return Dot()(batch) if scored else batch


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_scores_of_what_was_there_are_the_same_wherever_the_new_columns_lie(b, own, more, scored):
    batch, g = batch_of(b, own, scored=scored), torch.Generator().manual_seed(9)
    features, sign = torch.randn(more, 3, generator=g), torch.ones(b, more, dtype=torch.int8)
    made = append_shared(batch, features, sign, torch.full((b, more), 0.5), part="x")
    before, after = Dot()(batch).scores, Dot()(made).scores
    assert made.shared == b + more and made.private == own
    assert torch.equal(after[:, :b], before[:, :b]) and torch.equal(after[:, b + more :], before[:, b:])
    assert torch.equal(after[:, b : b + more], batch.anchors @ features.T)
    assert (made.weight[:, b : b + more] == 0.5).all() and (made.weight[:, b + more :] == 1).all()
    assert (made.sign[:, b : b + more] == 1).all() and torch.equal(made.sign[:, b + more :], batch.sign[:, b:])
    teacher, count = made.pairs["teacher"], made.pairs["count"]
    assert teacher[:, b : b + more].isnan().all() and torch.equal(teacher[:, :b], batch.pairs["teacher"][:, :b])
    assert (count[:, b : b + more] == 0).all() and count.dtype == torch.long


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_own_columns_go_behind_all_others_and_scores_stay(b, own, more):
    batch, g = batch_of(b, own, scored=True), torch.Generator().manual_seed(9)
    features = torch.randn(b, more, 3, generator=g)
    made = append_own(batch, features, -torch.ones(b, more, dtype=torch.int8), part="x")
    assert made.scores is batch.scores and made.private == own + more
    scores = Dot()(made).scores
    assert torch.equal(scores[:, : b + own], batch.scores)
    assert scores[:, b + own :] == pytest.approx(torch.einsum("bd,bkd->bk", batch.anchors, features))


def test_extras_of_columns_are_filled_where_their_meaning_is_known_and_asked_for_elsewhere():
    batch = batch_of(2, 1)
    made = append_shared(
        batch, torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.int8), columns={"id": torch.tensor([7, 8])}, part="x"
    )
    assert made.columns["of"].tolist() == [0, 1, -1, -1] and made.columns["role"].tolist() == [1, 1, -1, -1]
    assert made.columns["id"].tolist() == [-1, -1, 7, 8, -1]  # the last is the own column's
    strange = batch.replace(columns={**batch.columns, "length": torch.tensor([3, 4])})
    with pytest.raises(ValueError, match="Mine: columns has 'length', which the new columns lack"):
        append_shared(strange, torch.zeros(1, 3), torch.zeros(2, 1, dtype=torch.int8), part="Mine")
    given_one = append_shared(
        strange,
        torch.zeros(1, 3),
        torch.zeros(2, 1, dtype=torch.int8),
        columns={"length": torch.tensor([5])},
        part="x",
    )
    assert given_one.columns["length"].tolist() == [3, 4, 5]


def test_a_batch_without_candidates_gets_its_first():
    batch = SignedBatch(None, torch.zeros(2, 0, dtype=torch.int8), torch.zeros(2, 0), torch.eye(2), torch.zeros(0, 2))
    made = Cosine()(append_shared(batch, torch.eye(2), torch.ones(2, 2, dtype=torch.int8), part="x"))
    assert torch.equal(made.scores, torch.eye(2))
