import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from litotes.batch import SignedBatch, from_pairs
from litotes.scoring import (
    ClippedCosine,
    Cosine,
    Dot,
    NegL2,
    NormAsymmetric,
    PositiveMargin,
    PosteriorKL,
    directed_similarity,
)

SCORERS = [Cosine(), Dot(), NegL2(), NegL2(squared=False)]
each_scorer = pytest.mark.parametrize("scorer", SCORERS, ids=str)


def slowly(scorer, x, y):
    """The definition of one score, in Python numbers."""
    x, y = x.double().tolist(), y.double().tolist()
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    if isinstance(scorer, Dot):
        return dot
    if isinstance(scorer, Cosine):
        norm = math.hypot(*x) * math.hypot(*y)
        return dot / norm if norm else 0.0
    distance = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return -distance if scorer.squared else -math.sqrt(distance)


value = st.sampled_from([0.0, 1.0, -2.0]) | st.integers(-64, 64).map(lambda i: i / 16)


@st.composite
def batches(draw):
    """Features with some columns appended and unscored, own columns, and sides."""
    b, c, m = draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.integers(0, 2))
    cells = lambda *shape: torch.tensor(
        draw(st.lists(value, min_size=math.prod(shape), max_size=math.prod(shape))), dtype=torch.float64
    ).reshape(shape)
    done = draw(st.none() | st.integers(0, c + m))
    rows, columns = {}, {}
    if c and draw(st.booleans()):
        rows["positive"] = torch.tensor(draw(st.lists(st.integers(-1, c - 1), min_size=b, max_size=b)))
        columns["side"] = torch.tensor(draw(st.lists(st.integers(0, 1), min_size=c, max_size=c)), dtype=torch.int8)
    return SignedBatch(
        None if done is None else torch.full((b, done), 77.0, dtype=torch.float64),
        -torch.ones(b, c + m, dtype=torch.int8), torch.ones(b, c + m), cells(b, 3), cells(c, 3),
        own=cells(b, m, 3) if m else None, rows=rows, columns=columns,
    )  # fmt: skip


@given(batches(), st.sampled_from(SCORERS))
def test_every_column_without_a_score_gets_its_own_and_no_other_changes(batch, scorer):
    made = scorer(batch).scores
    done = 0 if batch.scores is None else batch.scores.shape[1]
    assert made.shape == batch.sign.shape and (made[:, :done] == 77.0).all()
    side = batch.columns.get("side")
    for i, anchor in enumerate(batch.anchors):
        for j in range(done, made.shape[1]):
            candidate = batch.candidates[j] if j < batch.shared else batch.own[i, j - batch.shared]
            if j < batch.shared and side is not None and side[j] == 1:
                drawn = batch.rows["positive"][i]
                expected = slowly(scorer, batch.candidates[drawn], candidate) if drawn >= 0 else -math.inf
            else:
                expected = slowly(scorer, anchor, candidate)
            assert made[i, j].item() == pytest.approx(expected, abs=1e-12)


@each_scorer
def test_own_columns_that_were_scored_before_keep_their_scores(scorer):
    own = torch.randn(2, 3, 4)
    sign = -torch.ones(2, 4, dtype=torch.int8)
    batch = SignedBatch(torch.full((2, 2), 7.0), sign, torch.ones(2, 4), torch.randn(2, 4), torch.randn(1, 4), own=own)
    made = scorer(batch).scores
    assert (made[:, :2] == 7).all()  # the shared one and the first of the own ones
    expected = [[slowly(scorer, batch.anchors[i], own[i, j]) for j in (1, 2)] for i in range(2)]
    assert torch.allclose(made[:, 2:], torch.tensor(expected), atol=1e-5)


@each_scorer
def test_a_scored_batch_comes_back_as_it_is_and_one_without_features_is_refused(scorer):
    sign, weight = -torch.ones(1, 2, dtype=torch.int8), torch.ones(1, 2)
    scored = SignedBatch(torch.zeros(1, 2), sign, weight)
    assert scorer(scored) is scored
    own = SignedBatch(torch.zeros(1, 1), sign, weight, own=torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="1 columns lack scores and the batch has no features"):
        scorer(own)
    with pytest.raises(ValueError, match=r"rows\['positive'\]"):
        columns = {"side": torch.ones(2, dtype=torch.int8)}
        scorer(SignedBatch(None, sign, weight, torch.zeros(1, 3), torch.zeros(2, 3), columns=columns))


@each_scorer
def test_half_precision_is_widened_before_anything_is_multiplied(scorer):
    x, y = torch.randn(4, 64).bfloat16(), torch.randn(4, 64).bfloat16()
    made = scorer(from_pairs(x, y)).scores
    assert made.dtype == torch.float32
    assert torch.equal(made, scorer(from_pairs(x.float(), y.float())).scores)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as trainers run losses; it would multiply in bf16
        assert torch.equal(scorer(from_pairs(x, y)).scores, made)


def test_the_widest_input_decides():
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    assert Cosine()(from_pairs(x, y.double())).scores.dtype == torch.float64
    batch = from_pairs(x, y)
    exact = torch.full((2, 1), 1 / 3, dtype=torch.float64)
    assert torch.equal(Cosine()(batch.replace(scores=exact)).scores[:, :1], exact)


@each_scorer
def test_gradients_are_those_of_the_formula(scorer):
    torch.manual_seed(0)
    x, y, own = torch.randn(2, 3).double(), torch.randn(4, 3).double(), torch.randn(2, 2, 3).double()
    sign = -torch.ones(2, 6, dtype=torch.int8)
    rows, columns = {"positive": torch.tensor([1, -1])}, {"side": torch.tensor([0, 0, 0, 1], dtype=torch.int8)}

    def scores(x, y, own):
        made = scorer(SignedBatch(None, sign, torch.ones(2, 6), x, y, own=own, rows=rows, columns=columns)).scores
        return made[made > -math.inf]

    assert torch.autograd.gradcheck(scores, [v.requires_grad_() for v in (x, y, own)])


@each_scorer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_and_equal_vectors_have_finite_gradients(scorer, dtype):
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=dtype, requires_grad=True)
    y = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=dtype, requires_grad=True)
    made = scorer(from_pairs(x.float(), y.float())).scores
    made.sum().backward()
    assert made.isfinite().all()
    if dtype != torch.float16 or not isinstance(scorer, Cosine):  # 1 / 1e-12 is no float16
        assert x.grad.isfinite().all() and y.grad.isfinite().all()
    assert made.diagonal().tolist() == {"Dot": [0, 5], "NegL2": [0, 0]}.get(
        type(scorer).__name__, [0, pytest.approx(1)]
    )


def test_close_vectors_keep_their_distance():
    x = torch.tensor([[1000.0, 0.0]])
    assert NegL2()(from_pairs(x, x + torch.tensor([[0.0, 0.125]]))).scores.item() == -0.015625  # |x|^2 is 1e6


def test_clipped_cosines_are_cosines_where_they_are_positive():
    x, y = torch.randn(20, 2), torch.randn(20, 2)
    assert torch.equal(ClippedCosine()(from_pairs(x, y)).scores, Cosine()(from_pairs(x, y)).scores.clamp(min=0))


def test_divergences_by_hand_and_directed():
    p, r, far = (torch.tensor(v).log() for v in ([0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]))
    batch = from_pairs(torch.stack([p, r]) + 5, torch.stack([r, p]))  # a constant on a row of logits is nothing
    scores = PosteriorKL()(batch).scores
    assert scores.tolist() == [
        [pytest.approx(-0.085123, abs=2e-6), pytest.approx(0, abs=1e-6)],
        [pytest.approx(0, abs=1e-6), pytest.approx(-0.092033, abs=2e-6)],
    ]
    apart = PosteriorKL()(from_pairs(p[None], far[None])), PosteriorKL()(from_pairs(far[None], p[None]))
    assert [s.scores.item() for s in apart] == pytest.approx([-1.292822, -1.399648], abs=2e-6)
    leaf = p[None].clone().requires_grad_()
    other = far[None].clone().requires_grad_()
    PosteriorKL(detach_target=True)(from_pairs(leaf, other)).scores.sum().backward()
    assert leaf.grad is None and other.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["additive", "angular"])
def test_a_margin_lowers_positives_alone_and_once(kind):
    torch.manual_seed(0)
    x, y = torch.randn(5, 8).double(), torch.randn(5, 8).double()
    plain, scorer = Cosine()(from_pairs(x, y)).scores, PositiveMargin(kind=kind, margin=0.3)
    made = scorer(from_pairs(x, y))
    own = torch.eye(5, dtype=torch.bool)
    assert torch.equal(made.scores[~own], plain[~own])
    wanted = plain[own] - 0.3 if kind == "additive" else (plain[own].arccos() + 0.3).cos()
    assert torch.allclose(made.scores[own], wanted)
    assert torch.equal(scorer(made).scores, made.scores)
    assert torch.equal(PositiveMargin(kind=kind, margin=0.0)(from_pairs(x, y)).scores, plain)


def test_an_angular_margin_never_rewards_a_worse_positive_and_has_finite_gradients_at_its_ends():
    s = torch.linspace(-1, 1, 401, dtype=torch.float64, requires_grad=True)
    batch = SignedBatch(s[:, None], torch.ones(401, 1, dtype=torch.int8), torch.ones(401, 1))
    scorer = PositiveMargin(Dot(), "angular", 0.5)
    harder = scorer._harder(batch.scores)[:, 0]
    assert (harder.diff() > 0).all() and (harder <= s).all()
    harder.sum().backward()
    assert s.grad.isfinite().all() and (s.grad > 0).all()
    assert harder[-1].item() == pytest.approx(math.cos(0.5), abs=1e-5)


def test_a_directed_similarity_lets_the_smaller_find_the_larger():
    small, large = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.2, 1.6]])
    assert directed_similarity(small, large).item() == pytest.approx(0.6)
    assert directed_similarity(large, small).item() == -1
    assert directed_similarity(small, small).item() == 1  # equality passes
    assert directed_similarity(small * 1.0001, small).item() == -1
    assert directed_similarity(large, small, math.inf).item() == pytest.approx(0.6)
    assert torch.equal(NormAsymmetric(2.5)(from_pairs(large, small)).scores, directed_similarity(large, small, 2.5))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PositiveMargin(kind="soft"), "kind must be 'additive' or 'angular', got 'soft'"),
        (lambda: PositiveMargin(margin=1.6), r"margin must be in \[0, pi / 2\), got 1.6"),
        (lambda: PositiveMargin(kind="additive", margin=math.nan), "margin must be in .0, infinity., got nan"),
        (lambda: NormAsymmetric(0), "max_ratio must be > 0, got 0"),
    ],
)
def test_arguments_of_scorers_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_spelling_reads_back():
    from litotes.spelling import parse

    assert str(Cosine()) == "cosine()" and str(NegL2(False)) == "neg_l2(squared=False)"
    from litotes import catalog

    for part in (PositiveMargin(Cosine(), "additive", 0.35), PosteriorKL(True), ClippedCosine(), NormAsymmetric(1.5)):
        assert str(catalog.parse(str(part))) == str(part)
    assert parse(str(NegL2())).arguments == {"squared": True} and isinstance(Dot(), nn.Module)
