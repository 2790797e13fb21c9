import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.listwise.ar2 import Ar2


def group(retriever, ranker, positive=0, valid=None):
    batch = from_groups(torch.as_tensor(retriever), positive, valid)
    return batch.replace(pairs={"teacher": torch.as_tensor(ranker)})


@st.composite
def batches(draw):
    """Small, in float64: positives anywhere or nowhere, pairs that do not exist, weights of 0, unscored pairs."""
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    grid = lambda values: torch.tensor([[draw(values) for _ in range(c)] for _ in range(b)], dtype=torch.float64)
    drawn = torch.tensor([draw(st.integers(-1, c - 1)) for _ in range(b)])
    sign = grid(st.sampled_from([-1, -1, -1, 0, 1])).to(torch.int8)
    sign[drawn >= 0, drawn[drawn >= 0]] = 1
    scores = grid(st.floats(-3, 3) | st.just(-math.inf))
    ranker = grid(st.floats(-3, 3) | st.just(math.nan))
    weight = grid(st.sampled_from([0.0, 0.25, 1.0]))
    return SignedBatch(scores, sign, weight, rows={"positive": drawn}, pairs={"teacher": ranker})


objectives = st.builds(
    Ar2,
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([1.0, 2.0]),
    include_positive=st.booleans(),
    adv_reduction=st.sampled_from(["mean", "sum"]),
    eps=st.sampled_from([0.0, 1e-7, 0.1]),
)


def slowly(part, batch):
    """The formulas of the docstring, one row at a time: (adversarial, distillation)."""
    fooled = taught = believed = 0.0
    for i, d in enumerate(batch.rows["positive"].tolist()):
        there = lambda j, i=i: (
            batch.scores[i, j] > -math.inf and batch.weight[i, j] > 0 and not batch.pairs["teacher"][i, j].isnan()
        )
        if d < 0 or not there(d):
            continue
        w = batch.weight[i, d].item()
        members = [(d, 1.0)]
        members += [
            (j, batch.weight[i, j].item()) for j in range(batch.sign.shape[1]) if batch.sign[i, j] < 0 and there(j)
        ]
        z = {j: math.exp(batch.scores[i, j].item() / part.temperature) for j, _ in members}
        t = {j: batch.pairs["teacher"][i, j].item() for j, _ in members}
        q = {j: math.exp(t[j] / part.teacher_temperature) for j, _ in members}
        total, q_total = sum(n * z[j] for j, n in members), sum(n * q[j] for j, n in members)
        taught += w * -sum(n * q[j] / q_total * math.log(z[j] / total + part.eps) for j, n in members)
        inner = members if part.include_positive else members[1:]
        total = sum(n * z[j] for j, n in inner)
        fooled += w * sum(-math.log1p(math.exp(t[j] - t[d])) * n * math.log(z[j] / total + part.eps) for j, n in inner)
        believed += w
    n = believed or 1.0
    return (fooled if part.adv_reduction == "sum" else fooled / n), taught / n


@given(objectives, batches())
def test_it_is_its_formula(part, batch):
    fooled, taught = slowly(part, batch)
    said = part.terms(batch)
    assert said["adversarial"].item() == pytest.approx(fooled, abs=1e-9)
    assert said["distillation"].item() == pytest.approx(taught, abs=1e-9)
    assert said["loss"].item() == pytest.approx(part.adv_weight * fooled + (1 - part.adv_weight) * taught, abs=1e-9)


@given(objectives, batches())
def test_absent_pairs_get_no_gradient_and_nothing_is_ever_nan(part, batch):
    scores, weight = batch.scores.clone().requires_grad_(), batch.weight.clone().requires_grad_()
    ranker = batch.pairs["teacher"].clone().requires_grad_()
    loss = part(batch.replace(scores=scores, weight=weight, pairs={"teacher": ranker}))
    loss.backward()
    absent = (batch.sign == 0) | (batch.weight == 0) | (batch.scores == -math.inf) | batch.pairs["teacher"].isnan()
    assert (scores.grad[absent] == 0).all() and scores.grad.isfinite().all() and weight.grad.isfinite().all()
    assert ranker.grad is None
    nobody = batch.rows["positive"] < 0
    assert (scores.grad[nobody] == 0).all()


def test_the_value_of_the_closed_form():
    said = Ar2(eps=0.0).terms(group([[0.0, 0.0]], [[1.0, 0.0]]))
    assert said["adversarial"].item() == pytest.approx(0.697589, abs=1e-6)
    assert said["distillation"].item() == pytest.approx(0.693147, abs=1e-6)
    assert said["loss"].item() == pytest.approx(0.695368, abs=1e-6)
    dearer = Ar2(1.0, eps=0.0, adv_reduction="sum").terms(group([[0.0, 0.0]] * 3, [[1.0, 0.0]] * 3))
    assert dearer["loss"].item() == pytest.approx(3 * 0.697589, abs=3e-6)
    assert dearer["distillation"].item() == pytest.approx(0.693147, abs=1e-6)


def test_without_the_adversary_it_is_soft_cross_entropy():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 6, generator=draw, dtype=torch.float64).requires_grad_()
    ranker = torch.randn(4, 6, generator=draw, dtype=torch.float64)
    loss = Ar2(0.0, eps=0.0)(group(scores, ranker))
    p, q = scores.softmax(1), ranker.softmax(1)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, q))
    torch.testing.assert_close(torch.autograd.grad(loss, scores)[0], (p - q).detach() / 4)


def test_descent_raises_the_negative_that_fools_the_ranker():
    fools = [-1.0, -0.1]  # r: log sigmoid(0 - D) = r  <=>  D = log(exp(-r) - 1)
    ranker = [[0.0, *(math.log(math.expm1(-r)) for r in fools)]]
    scores = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    batch = group(scores, torch.tensor(ranker, dtype=torch.float64))
    Ar2(1.0, include_positive=False, eps=0.0)(batch).backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[0.0, -0.45, 0.45]], dtype=torch.float64))


def test_one_negative_alone_has_no_adversarial_gradient():
    scores = torch.tensor([[0.3, -0.7]], requires_grad=True)
    Ar2(1.0, include_positive=False, eps=0.0)(group(scores, [[0.1, 2.0]])).backward()
    assert scores.grad.tolist() == [[0.0, 0.0]]


@given(objectives, batches(), st.floats(-5, 5), st.floats(-5, 5), st.randoms(use_true_random=False))
def test_constants_and_the_order_of_columns_are_free(part, batch, one, other, random):
    moved = batch.replace(scores=batch.scores + one, pairs={"teacher": batch.pairs["teacher"] + other})
    assert part(moved).item() == pytest.approx(part(batch).item(), abs=1e-9)
    c = batch.sign.shape[1]
    order = torch.tensor(random.sample(range(c), c))
    drawn = batch.rows["positive"]
    place = torch.where(drawn < 0, -1, order.argsort()[drawn.clamp(min=0)])
    mixed = SignedBatch(
        batch.scores[:, order], batch.sign[:, order], batch.weight[:, order],
        rows={"positive": place}, pairs={"teacher": batch.pairs["teacher"][:, order]},
    )  # fmt: skip
    assert part(mixed).item() == pytest.approx(part(batch).item(), abs=1e-9)


@given(objectives, st.floats(-100, 100), st.floats(-100, 100))
def test_a_padded_column_with_any_score_changes_nothing(part, score, ranker):
    bare = group([[0.5, -0.5]], [[1.0, 2.0]])
    padded = group([[0.5, -0.5, score]], [[1.0, 2.0, ranker]], valid=torch.tensor([[True, True, False]]))
    assert part(padded).item() == pytest.approx(part(bare).item(), abs=1e-6)


@given(objectives)
def test_two_half_believed_copies_are_one_negative(part):
    one = group([[0.5, -0.5, 1.0]], [[1.0, 2.0, -1.0]])
    two = group([[0.5, -0.5, 1.0, 1.0]], [[1.0, 2.0, -1.0, -1.0]])
    two = two.replace(weight=torch.tensor([[1.0, 1.0, 0.5, 0.5]]))
    if not part.eps:  # eps is added to the p of each copy
        assert part(two).item() == pytest.approx(part(one).item(), abs=1e-6)
    assert part(two).isfinite()


@pytest.mark.parametrize("eps", [0.0, 1e-7])
@pytest.mark.parametrize("include", [True, False])
def test_huge_scores_neither_overflow_nor_vanish(eps, include):
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = Ar2(eps=eps, include_positive=include)(group(scores, [[-1e4, 1e4, 0.0], [1e4, -1e4, 0.0]]))
    loss.backward()
    assert loss.isfinite() and scores.grad.isfinite().all()


def test_the_rankers_own_loss_is_infonce_of_temperature_one():
    draw = torch.Generator().manual_seed(1)
    scores = torch.randn(5, 16, generator=draw)
    loss = InfoNCE(1.0)(from_groups(scores))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, torch.zeros(5, dtype=torch.long)))
    valid = torch.rand(5, 16, generator=draw) < 0.7
    valid[:, 0] = True
    left = torch.nn.functional.cross_entropy(scores.masked_fill(~valid, -math.inf), torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(InfoNCE(1.0)(from_groups(scores, 0, valid)), left)


@given(batches(), st.booleans())
def test_its_rows_average_to_the_loss(batch, include):
    part = Ar2(include_positive=include)
    cost, believed = part.per_anchor(batch)
    total = (cost * believed).sum() / believed.sum().clamp(min=1e-300)
    assert part(batch).item() == pytest.approx(total.item(), abs=1e-9)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"adv_weight": 1.1}, r"adv_weight must be in \[0, 1\]"),
        ({"adv_weight": math.nan}, "adv_weight"),
        ({"temperature": 0.0}, "temperature"),
        ({"teacher_temperature": math.inf}, "teacher_temperature must be > 0 and finite"),
        ({"adv_reduction": "max"}, "adv_reduction must be 'mean' or 'sum'"),
        ({"eps": -1e-9}, "eps must be >= 0"),
        ({"teacher": ""}, "teacher must be the name"),
    ],
)
def test_gates(arguments, message):
    with pytest.raises(ValueError, match=f"Ar2: {message}" if message != "temperature" else message):
        Ar2(**arguments)


def test_a_batch_without_a_ranker_or_a_positive_is_refused():
    bare = from_groups(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="Ar2: pairs has no 'teacher', it has nothing"):
        Ar2()(bare)
    with pytest.raises(ValueError, match=r'Ar2: needs the column of the drawn positive in rows\["positive"\]'):
        Ar2()(bare.replace(rows={}, pairs={"teacher": torch.zeros(1, 2)}))
    with pytest.raises(ValueError, match="adv_reduction='sum'"):
        Ar2(adv_reduction="sum").per_anchor(group([[0.0, 0.0]], [[0.0, 0.0]]))
