import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, doubt, from_groups, from_labels, from_pairs, signs, soft_signs, two_views

sizes = st.integers(0, 4)


def ints(*shape, low=0, high=4):
    count = math.prod(shape)
    numbers = st.lists(st.integers(low, high), min_size=count, max_size=count)
    return numbers.map(lambda values: torch.tensor(values, dtype=torch.int64).reshape(shape))


@st.composite
def meetings(draw):
    """Arguments of `signs`: few ids, so that duplicates and known positives meet often."""
    b, h = draw(sizes), draw(st.integers(0, 2))
    c = b * (1 + h)
    given = {"drawn": draw(st.none() | ints(b, low=-1, high=c - 1))} if c else {}
    given["of"] = draw(st.none() | ints(c, low=-1, high=max(b - 1, 0)))
    given["others"] = draw(st.sampled_from(["silent", "pull"]))
    given["in_batch"] = draw(st.booleans() | ints(b, high=1).map(lambda x: x == 1))
    return draw(ints(b)), draw(ints(c)), draw(sizes.flatmap(lambda p: ints(p, 2))), given


def slowly(anchor_id, candidate_id, positives, drawn=None, of=None, others="silent", in_batch=True):
    """The definition, one pair at a time."""
    b, c = len(anchor_id), len(candidate_id)
    known, h = set(map(tuple, positives.tolist())), (c - b) // max(b, 1)
    drawn = list(range(b)) if drawn is None else drawn.tolist()
    of = [j if j < b else (j - b) // h for j in range(c)] if of is None else of.tolist()
    for i in range(b):
        meets = in_batch if isinstance(in_batch, bool) else bool(in_batch[i])
        for j in range(c):
            twin = drawn[i] >= 0 and candidate_id[j] == candidate_id[drawn[i]]
            if j == drawn[i]:
                yield 1
            elif not meets and of[j] != i:
                yield 0
            elif twin or (int(anchor_id[i]), int(candidate_id[j])) in known:
                yield 1 if others == "pull" else 0
            else:
                yield -1


@given(meetings())
def test_signs_are_their_definition(meeting):
    anchor_id, candidate_id, positives, given = meeting
    sign = signs(anchor_id, candidate_id, positives, **given)
    assert sign.dtype == torch.int8 and sign.shape == (len(anchor_id), len(candidate_id))
    assert sign.flatten().tolist() == list(slowly(anchor_id, candidate_id, positives, **given))


def test_signs_by_hand():
    # rows 0 and 1 are one query (id 7); column 2 repeats candidate 0; (8, 1) is a known positive beside the drawn ones
    anchors, candidates, known = torch.tensor([7, 7, 8]), torch.tensor([0, 1, 0, 5, 6, 5]), torch.tensor([[8, 1]])
    silent = signs(anchors, candidates, known)
    assert silent.tolist() == [[1, -1, 0, -1, -1, -1], [-1, 1, -1, -1, -1, -1], [0, 0, 1, -1, -1, -1]]
    assert signs(anchors, candidates, known, others="pull")[2].tolist() == [1, 1, 1, -1, -1, -1]
    alone = signs(anchors, candidates, known, in_batch=torch.tensor([True, False, True]))
    assert alone[1].tolist() == [0, 1, 0, 0, -1, 0] and torch.equal(alone[[0, 2]], silent[[0, 2]])


def test_large_ids_are_not_mixed_up():
    big = 2**62
    sign = signs(torch.tensor([big, -big]), torch.tensor([big - 1, -5]), torch.tensor([[big, -5], [-big, big]]))
    assert sign.tolist() == [[1, 0], [-1, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"others": "push"}, "others must be 'silent' or 'pull', got 'push'"),
        ({"positives": torch.zeros(3, dtype=torch.int64)}, r"positives must be \[P, 2\]"),
        ({"candidate_id": torch.zeros(1, dtype=torch.int64)}, "row i draws column i, but 2 rows meet 1 columns"),
        ({"drawn": torch.zeros(3, dtype=torch.int64)}, r"drawn must be \[2\], got \[3\]"),
        ({"of": torch.zeros(3, dtype=torch.int64)}, r"of must be \[4\], got \[3\]"),
        ({"in_batch": torch.tensor([1, 0])}, "in_batch must be bool"),
        ({"candidate_id": torch.arange(5), "in_batch": False}, "3 negatives cannot be shared out among 2 rows"),
    ],
)
def test_signs_name_what_does_not_fit(change, message):
    given = {"anchor_id": torch.arange(2), "candidate_id": torch.arange(4), "positives": torch.empty(0, 2).long()}
    with pytest.raises(ValueError, match=message):
        signs(**given | change)


@given(st.integers(1, 3), st.integers(0, 3), st.booleans())
def test_pairs_come_as_positives_then_negatives_anchor_major(b, h, flat):
    anchors, positives, negatives = torch.randn(b, 2), torch.randn(b, 2), torch.randn(b, h, 2)
    batch = from_pairs(anchors, positives, negatives.reshape(b * h, 2) if flat else negatives)
    assert torch.equal(batch.candidates, torch.cat([positives, *negatives]))
    assert batch.columns["of"].tolist() == [*range(b), *(i for i in range(b) for _ in range(h))]
    assert batch.columns["role"].tolist() == [1] * b + [-1] * b * h and batch.rows["positive"].tolist() == list(
        range(b)
    )
    expected = -torch.ones(b, b + b * h, dtype=torch.int8)
    expected[range(b), range(b)] = 1
    assert torch.equal(batch.sign, expected) and (batch.weight == 1).all() and batch.scores is None


def test_pairs_with_ids_silence_known_positives_and_duplicates():
    x = torch.randn(2, 3)
    ids = torch.tensor([3, 4]), torch.tensor([0, 1, 0, 9])
    batch = from_pairs(x, x, torch.randn(2, 1, 3), ids=ids, known=torch.tensor([[4, 9]]))
    assert batch.sign.tolist() == [[1, -1, 0, -1], [-1, 1, -1, 0]]
    assert torch.equal(batch.rows["id"], ids[0]) and torch.equal(batch.columns["id"], ids[1])
    alone = from_pairs(x, x, torch.randn(2, 1, 3), ids=ids, in_batch=False)
    assert alone.sign.tolist() == [[1, 0, 0, 0], [0, 1, 0, -1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positives": torch.zeros(3, 2)}, r"positives must have the shape of anchors \[2, 2\], got \[3, 2\]"),
        ({"negatives": torch.zeros(3, 2)}, r"negatives must be \[B, H, D\] or \[B \* H, D\] for B = 2 anchors"),
        ({"negatives": torch.zeros(4, 2, 2)}, r"negatives must be .* got \[4, 2, 2\]"),
        ({"ids": (torch.arange(2), torch.arange(3))}, r"ids must be \[2\] and \[2\], got \[2\] and \[3\]"),
        ({"known": torch.zeros(1, 2).long()}, "no ids were given"),
        ({"weight": torch.ones(2, 3)}, r"weight must have the shape of sign \[2, 2\]"),
    ],
)
def test_pairs_name_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        from_pairs(**{"anchors": torch.zeros(2, 2), "positives": torch.zeros(2, 2)} | change)


def test_groups_are_signed_by_the_place_of_the_positive():
    scores = torch.tensor([[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]], dtype=torch.float64)
    batch = from_groups(scores)
    assert batch.sign.tolist() == [[1, -1, -1], [1, -1, -1]] and batch.rows["positive"].tolist() == [0, 0]
    assert batch.scores is scores and batch.weight.dtype == torch.float64
    valid = torch.tensor([[True, True, False], [False, True, True]])
    batch = from_groups(scores, torch.tensor([2, -1]), valid)
    assert batch.sign.tolist() == [[-1, -1, 0], [0, -1, -1]] and batch.rows["positive"].tolist() == [-1, -1]
    for bad in (3, -2):
        with pytest.raises(ValueError, match=rf"positive must be in \[-1, 2\], got {bad}"):
            from_groups(scores, bad)


@given(sizes.flatmap(lambda b: st.tuples(ints(b, high=2), st.none() | sizes.flatmap(lambda c: ints(c, high=2)))))
def test_labels_pull_the_same_and_push_the_other(labels):
    y, other = labels
    anchors, candidates = torch.zeros(len(y), 2), None if other is None else torch.zeros(len(other), 2)
    batch = from_labels(anchors, y, candidates, other)
    columns = y if other is None else other
    expected = [[0 if other is None and i == j else 1 if a == b else -1 for j, b in enumerate(columns.tolist())]
                for i, a in enumerate(y.tolist())]  # fmt: skip
    assert batch.sign.tolist() == expected and batch.candidates is (anchors if other is None else candidates)


def test_labels_and_candidates_go_together():
    with pytest.raises(ValueError, match="candidates and other go together"):
        from_labels(torch.zeros(1, 2), torch.tensor([0]), other=torch.tensor([0]))


@given(sizes)
def test_of_two_views_the_twin_is_pulled(b):
    u, v = torch.randn(b, 3), torch.randn(b, 3)
    batch = two_views(u, v)
    twin = [(i + b) if i < b else i - b for i in range(2 * b)]
    assert torch.equal(batch.anchors, torch.cat([u, v])) and batch.rows["positive"].tolist() == twin
    expected = [[0 if i == j else 1 if j == twin[i] else -1 for j in range(2 * b)] for i in range(2 * b)]
    assert batch.sign.tolist() == expected
    with pytest.raises(ValueError, match="both views must have one shape"):
        two_views(u, torch.randn(b + 1, 3))


def test_soft_targets_are_signs_with_belief_and_no_gradient():
    target = torch.tensor([[0.0, 0.25, 1.0]], dtype=torch.float64, requires_grad=True)
    sign, weight = soft_signs(target)
    assert sign.tolist() == [[-1, 1, 1]] and sign.dtype == torch.int8
    assert weight.tolist() == [[1.0, 0.25, 1.0]] and weight.dtype == torch.float64 and not weight.requires_grad


def batch(b=2, c=3, m=0, **more):
    sign = -torch.ones(b, c + m, dtype=torch.int8)
    given = {"scores": torch.zeros(b, c + m), "sign": sign, "weight": torch.ones(b, c + m)}
    return SignedBatch(**given | more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sign": torch.ones(2, 3)}, r"sign must be int8 \[B, C\], got torch.float32 \[2, 3\]"),
        ({"sign": torch.ones(3, dtype=torch.int8)}, r"sign must be int8 \[B, C\], got torch.int8 \[3\]"),
        ({"scores": None}, "needs scores, or anchors with candidates or own columns"),
        ({"scores": None, "anchors": torch.zeros(2, 4)}, "needs scores, or anchors with candidates"),
        ({"scores": torch.zeros(2, 4)}, r"scores must have the shape of sign \[2, 3\], got \[2, 4\]"),
        ({"scores": torch.zeros(3, 2)}, r"scores must have the shape of sign \[2, 3\], got \[3, 2\]"),
        ({"scores": torch.zeros(2)}, r"scores must have the shape of sign \[2, 3\], got \[2\]"),
        ({"scores": torch.zeros(2, 1, 9)}, r"scores must have the shape of sign"),
        ({"scores": torch.zeros(2, 3).long()}, "scores must be floating point, got torch.int64"),
        ({"weight": torch.ones(2, 2)}, r"weight must have the shape of sign \[2, 3\], got \[2, 2\]"),
        ({"weight": torch.ones(2, 3).long()}, "weight must be floating point, got torch.int64"),
        ({"pairs": {"teacher": torch.ones(2, 2)}}, r"pairs\['teacher'\] must have the shape of sign"),
        ({"anchors": torch.zeros(3, 4)}, r"anchors must have one entry per row \(2\), got 3"),
        ({"rows": {"id": torch.zeros(3)}}, r"rows\['id'\] must have one entry per row \(2\), got 3"),
        ({"own": torch.zeros(3, 1, 4)}, r"own must have one entry per row \(2\), got 3"),
        ({"own": torch.zeros(2, 4)}, r"own must be \[B, M, D\], got \[2, 4\]"),
        ({"candidates": torch.zeros(3)}, r"candidates must be \[C, D\], got \[3\]"),
        ({"candidates": torch.zeros(2, 4)}, "2 candidates and 0 own columns do not make the 3 columns of sign"),
        ({"own": torch.zeros(2, 4, 4)}, "0 candidates and 4 own columns do not make the 3 columns of sign"),
        (
            {"scores": None, "anchors": torch.zeros(2, 4), "own": torch.zeros(2, 1, 4)},
            "2 shared columns have neither scores nor candidates",
        ),
        ({"scores": torch.zeros(2, 2)}, "3 shared columns have neither scores nor candidates"),
        ({"columns": {"id": torch.zeros(2)}}, r"columns\['id'\] must have one entry per column, got 2"),
    ],
)
def test_the_gate_names_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=f"SignedBatch: {message}"):
        batch(**change)


def test_scores_may_be_narrower_while_columns_wait_for_the_scorer():
    waiting = batch(anchors=torch.zeros(2, 4), candidates=torch.zeros(3, 4), scores=torch.zeros(2, 1))
    assert waiting.exists.tolist() == [[True] * 3] * 2 and waiting.shared == 3 and waiting.private == 0
    assert waiting.T.scores is None and waiting.T.sign.shape == (3, 2)
    mixed = batch(m=2, own=torch.zeros(2, 2, 4), candidates=torch.zeros(3, 4))
    assert (mixed.shared, mixed.private) == (3, 2)
    assert batch(columns={"side": torch.zeros(3)}, m=2, own=torch.zeros(2, 2, 4)).columns["side"].shape == (3,)


def test_a_pair_exists_that_has_a_sign_and_no_score_of_minus_infinity():
    sign = torch.tensor([[1, 0, -1, -1]], dtype=torch.int8)
    scores = torch.tensor([[0.0, 1.0, -math.inf, -9.0]])
    assert SignedBatch(scores, sign, torch.ones(1, 4)).exists.tolist() == [[True, False, False, True]]


@given(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2), st.booleans())
def test_turning_twice_gives_back_all_that_turning_keeps(b, c, m, scored):
    sign, weight = torch.randint(-1, 2, (b, c + m), dtype=torch.int8), torch.rand(b, c + m)
    there = SignedBatch(
        torch.randn(b, c + m) if scored else None, sign, weight, torch.randn(b, 3), torch.randn(c, 3),
        own=torch.randn(b, m, 3) if m else None, common=(torch.zeros(2), torch.ones(2)),
        rows={"id": torch.arange(b), "guide": torch.randn(b, 2), "positive": torch.zeros(b).long()},
        columns={"id": torch.arange(c + m), "guide": torch.randn(c, 2), "of": torch.arange(c), "role": torch.arange(c)},
        pairs={"teacher": torch.randn(b, c + m)}, notes={"x": torch.tensor(1)},
    )  # fmt: skip
    turned, back = there.T, there.T.T
    assert turned.sign.shape == (c, b) and turned.anchors is there.candidates and turned.candidates is there.anchors
    assert torch.equal(turned.sign.T, sign[:, :c]) and torch.equal(turned.weight.T, weight[:, :c])
    assert torch.equal(turned.columns["id"], there.rows["id"]) and turned.columns["guide"] is there.rows["guide"]
    assert torch.equal(turned.rows["id"], there.columns["id"][:c]) and set(turned.rows) == {"id", "guide"}
    assert back.own is turned.own is turned.common is None and not turned.notes
    for name in ("sign", "weight") + (("scores",) if scored else ()):
        assert torch.equal(getattr(back, name), getattr(there, name)[:, :c])
    assert torch.equal(back.pairs["teacher"], there.pairs["teacher"][:, :c])
    assert back.anchors is there.anchors and back.candidates is there.candidates


def test_columns_scored_against_the_positive_have_no_transpose():
    side = batch(columns={"side": torch.tensor([0, 0, 1], dtype=torch.int8)})
    with pytest.raises(ValueError, match="side 1"):
        _ = side.T
    assert batch(columns={"side": torch.zeros(3, dtype=torch.int8)}).T.sign.shape == (3, 2)


@st.composite
def doubts(draw, size=6):
    grid = lambda values: torch.tensor(draw(st.lists(values, min_size=size, max_size=size))).reshape(2, 3)
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    there = batch(sign=grid(st.sampled_from([-1, 0, 1])).to(torch.int8), weight=grid(values))
    belief = lambda: draw(values) if draw(st.booleans()) else grid(values)
    return there, [(grid(st.booleans()), belief()) for _ in range(2)]


@given(doubts())
def test_a_doubt_lowers_by_minimum_where_there_is_a_pair_and_is_counted(drawn):
    there, ((doubted, belief), _) = drawn
    made = doubt(there, doubted, belief, reason="gist()")
    cells = (there.weight, there.sign, doubted, torch.as_tensor(belief).expand(2, 3))
    weights, count = [], 0
    for w, s, d, b in zip(*(cell.flatten().tolist() for cell in cells), strict=True):
        lowered = min(w, b) if d and s != 0 else w
        weights.append(lowered)
        count += lowered < w
    assert made.weight.flatten().tolist() == weights and made.notes["gist()"].item() == count
    assert made.sign is there.sign and made.scores is there.scores


@given(doubts())
def test_doubts_may_come_in_any_order_and_twice(drawn):
    there, (one, other) = drawn
    a = doubt(doubt(there, *one, reason="a"), *other, reason="b")
    b = doubt(doubt(there, *other, reason="b"), *one, reason="a")
    assert torch.equal(a.weight, b.weight)
    again = doubt(a, *one, reason="a")
    assert torch.equal(again.weight, a.weight) and again.notes["a"].item() == a.notes["a"].item()


@given(doubts())
def test_belief_gets_no_gradient_and_a_learned_weight_keeps_its_own(drawn):
    there, ((doubted, belief), _) = drawn
    assume(isinstance(belief, torch.Tensor))
    belief, weight = belief.clone().requires_grad_(), there.weight.clone().requires_grad_()
    made = doubt(there.replace(weight=weight), doubted, belief, reason="a")
    made.weight.sum().backward()
    assert belief.grad is None
    lowered = made.weight.detach() < there.weight
    assert torch.equal(weight.grad, (~lowered).float())  # where both are equal nothing was lowered


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_the_door_names_who_asked_for_what(bad):
    with pytest.raises(ValueError, match=r"belief must be in \[0, 1\], got .* from gist"):
        doubt(batch(), torch.ones(2, 3, dtype=torch.bool), bad, reason="gist()")
    for doubted in (torch.ones(2, 3), torch.ones(2, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"doubted must be bool \[2, 3\], got .* from gist"):
            doubt(batch(), doubted, reason="gist()")


def test_notes_of_one_reason_add_up_and_the_batch_before_keeps_its_own():
    before = batch(notes={"a": torch.tensor(2)})
    after = before.noted({"a": torch.tensor(3), "b": torch.tensor(1)})
    assert {k: v.item() for k, v in after.notes.items()} == {"a": 5, "b": 1} and before.notes["a"].item() == 2
