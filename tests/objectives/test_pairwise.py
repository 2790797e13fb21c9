import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups
from litotes.objectives import Hinge, MarginMSE

AVERAGES = ["term", "anchor", "positive", "count", "sum"]


@st.composite
def batches(draw):
    """Small, in float64, rows with several positives or none, teachers with gaps."""
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def grid(values):
        flat = draw(st.lists(values, min_size=b * c, max_size=b * c))
        return torch.tensor(flat, dtype=torch.float64).reshape(b, c)

    scores = grid(st.sampled_from([-0.5, 0.0, 0.25]) | st.floats(-1, 1) | st.just(-math.inf))
    teacher = grid(st.floats(-8, 8) | st.just(math.nan))
    sign = grid(st.sampled_from([-1, -1, 0, 1])).to(torch.int8)
    return SignedBatch(scores, sign, grid(st.sampled_from([0.0, 0.25, 1.0])), pairs={"teacher": teacher})


def rows(batch):
    """Per row: positives and negatives that exist, as (score, weight, teacher)."""
    for i in range(len(batch.sign)):
        row = [
            (
                batch.scores[i, j].item(),
                batch.weight[i, j].item(),
                batch.pairs["teacher"][i, j].item(),
                batch.sign[i, j].item(),
            )
            for j in range(batch.sign.shape[1])
            if batch.scores[i, j] != -math.inf
        ]
        yield [e[:3] for e in row if e[3] > 0], [e[:3] for e in row if e[3] < 0]


def averaged(how, anchors, existing, positive_weight):
    """anchors: per anchor a list of (cost, weight)."""
    total = sum(w * c for terms in anchors for c, w in terms)
    weight = sum(w for terms in anchors for _, w in terms)
    if how == "anchor":
        means = [sum(w * c for c, w in t) / sum(w for _, w in t) for t in anchors if sum(w for _, w in t)]
        return sum(means) / len(means) if means else 0.0
    divisor = {"term": weight, "sum": 1, "count": existing, "positive": positive_weight}[how]
    return total / divisor if divisor else 0.0


def hinge_slowly(part, batch):
    anchors, existing, positive_weight = [], 0, 0.0
    for positives, negatives in rows(batch):
        terms = []
        if part.k is not None:
            believed = [n for n in negatives if n[1] > 0]
            negatives = sorted(believed, key=lambda n: -n[0])[: part.k]
        for s_p, w_p, _ in positives:
            positive_weight += w_p
            existing += len(negatives)
            costs = [max(0.0, part.margin - s_p + s_n) for s_n, _, _ in negatives]
            if part.weight_temperature is not None and negatives:
                hard = [n[0] / part.weight_temperature if c else 0.0 for n, c in zip(negatives, costs, strict=True)]
                total = sum(math.exp(h - max(hard)) for h in hard)
                costs = [c * math.exp(h - max(hard)) / total for c, h in zip(costs, hard, strict=True)]
            terms += [(c, w_p * n[1]) for c, n in zip(costs, negatives, strict=True)]
        anchors.append(terms)
    return averaged(part.average, anchors, existing, positive_weight)


hinges = st.builds(
    lambda margin, k, warm, average: Hinge(margin, k, 0.1 if warm and k else None, average),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([None, 1, 2, 9]),
    st.booleans(),
    st.sampled_from(AVERAGES),
)


@given(hinges, batches())
def test_hinge_is_its_formula(part, batch):
    for average in AVERAGES:
        part.average = average
        assert part(batch).item() == pytest.approx(hinge_slowly(part, batch), abs=1e-12, rel=1e-9)


@given(hinges, batches())
def test_hinge_pulls_positives_pushes_negatives_and_leaves_the_rest(part, batch):
    scores = batch.scores.clone().requires_grad_()
    weight = batch.weight.clone().requires_grad_()
    part(batch.replace(scores=scores, weight=weight)).backward()
    pull = scores.grad
    assert pull.isfinite().all() and weight.grad.isfinite().all()
    assert (pull[batch.sign > 0] <= 0).all()
    if part.weight_temperature is None:
        assert (pull[batch.sign < 0] >= 0).all() and pull.sum(dim=1).abs().max() < 1e-12
    assert (pull[(batch.weight == 0) | (batch.sign == 0) | (batch.scores == -math.inf)] == 0).all()


@given(batches())
def test_every_negative_is_one_of_as_many_hardest(batch):
    assert Hinge(0.4, k=99)(batch).item() == pytest.approx(Hinge(0.4)(batch).item(), rel=1e-12, abs=1e-14)


@given(batches())
def test_per_anchor_costs_make_up_the_mean(batch):
    for part in (Hinge(0.5), MarginMSE()):
        cost, believed = part.per_anchor(batch)
        total = (cost * believed).sum() / (believed.sum() if believed.sum() > 0 else 1)
        assert total.item() == pytest.approx(part(batch).item(), rel=1e-12, abs=1e-14)


def test_the_ten_hardest_with_emphasis_by_hand():
    """A row [0.8 (positive), 0.7, 0.3], margin 0.3, two slots: hinges 0.2 and 0."""
    batch = from_groups(torch.tensor([[0.8, 0.7, 0.3]]))
    assert Hinge(0.3, k=2, average="count")(batch).item() == pytest.approx(0.1, rel=1e-5)
    assert Hinge(0.3, k=2, weight_temperature=0.1, average="count")(batch).item() == pytest.approx(0.099909, rel=1e-5)
    assert Hinge(0.3, k=1, weight_temperature=0.1)(batch).item() == pytest.approx(0.2, rel=1e-5)


def test_rows_of_different_length_share_one_count_of_slots():
    """Rows with 2, 1 and 0 negatives: hinges [0.2, 0], [0.4] and none make 0.6 / 3."""
    scores = torch.tensor([[0.8, 0.7, 0.3], [0.5, 0.6, 0.9], [0.1, 0.9, 0.9]])
    valid = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    batch = from_groups(scores, valid=valid)
    assert Hinge(0.3, k=2, average="count")(batch).item() == pytest.approx(0.2, rel=1e-5)
    assert Hinge(0.3, k=2, weight_temperature=0.1)(batch).isfinite()


def test_bidirectional_ranking_by_hand():
    """S = [[.9, .85], [.2, .5]], margin 0.1: rows cost 0.05, columns 0.45, whatever is shared out."""
    from litotes.objectives import Symmetric

    scores = torch.tensor([[0.9, 0.85], [0.2, 0.5]], requires_grad=True)
    batch = from_groups(scores, torch.arange(2))
    for share, wanted in [(0.0, 0.05), (1.0, 0.45), (0.5, 0.25)]:
        assert Symmetric(Hinge(0.1, average="sum"), share=share)(batch).item() == pytest.approx(wanted, rel=1e-5)
        mean = Symmetric(Hinge(0.1, average="positive"), share=share)(batch)
        assert mean.item() == pytest.approx(wanted / 2, rel=1e-5)
    Symmetric(Hinge(0.1, average="sum"))(batch).backward()
    assert scores.grad.tolist() == [[-0.5, 1.0], [0.0, -0.5]]


def test_the_emphasis_is_steered_by_its_gradient_unless_it_is_detached():
    scores = torch.tensor([[0.8, 0.7, 0.65]], dtype=torch.float64)
    slopes = []
    for detach in (False, True):
        leaf = scores.clone().requires_grad_()
        Hinge(0.3, 2, 0.1, "sum", detach)(from_groups(leaf)).backward()
        slopes.append(leaf.grad)
    hard = (scores[0, 1:] / 0.1).softmax(dim=0)
    assert torch.allclose(slopes[1][0, 1:], hard) and not torch.allclose(slopes[0], slopes[1])
    leaf = scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: Hinge(0.3, 2, 0.1, "sum")(from_groups(s)), (leaf,))


def test_equality_with_the_margin_costs_nothing_and_pulls_nothing():
    scores = torch.tensor([[0.5, 0.25]], requires_grad=True)
    loss = Hinge(0.25)(from_groups(scores))
    loss.backward()
    assert loss.item() == 0.0 and (scores.grad == 0).all()


def mse_slowly(part, batch):
    anchors, existing = [], 0
    for positives, negatives in rows(batch):
        terms = []
        for s_p, w_p, t_p in positives:
            for s_n, w_n, t_n in negatives:
                if not (math.isnan(t_p) or math.isnan(t_n)):
                    existing += 1
                    terms.append((((s_p - s_n) - (t_p - t_n)) ** 2, w_p * w_n))
        anchors.append(terms)
    return averaged(part.average, anchors, existing, None)


@given(st.builds(MarginMSE, st.just("teacher"), st.sampled_from(["term", "anchor", "count", "sum"])), batches())
def test_margin_mse_is_its_formula(part, batch):
    scores = batch.scores.clone().requires_grad_()
    loss = part(batch.replace(scores=scores))
    assert loss.item() == pytest.approx(mse_slowly(part, batch), abs=1e-12, rel=1e-9)
    loss.backward()
    assert (
        scores.grad.isfinite().all() and (scores.grad[(batch.weight == 0) | batch.pairs["teacher"].isnan()] == 0).all()
    )


@given(batches(), st.floats(-5, 5), st.floats(-5, 5))
def test_constants_on_either_side_change_nothing(batch, student, teacher):
    moved = batch.replace(scores=batch.scores + student, pairs={"teacher": batch.pairs["teacher"] + teacher})
    assert MarginMSE()(moved).item() == pytest.approx(MarginMSE()(batch).item(), rel=1e-9, abs=1e-9)


def test_margin_mse_by_hand_and_under_another_name():
    batch = from_groups(torch.tensor([[2.0, 1.0]])).replace(pairs={"other": torch.tensor([[5.0, 2.0]])})
    assert MarginMSE("other")(batch).item() == 4.0
    with pytest.raises(ValueError, match="MarginMSE: pairs has no 'teacher', it has 'other'"):
        MarginMSE()(batch)
    assert MarginMSE("other").needs == ("scores", "other")


def test_a_teacher_that_gives_infinity_has_not_scored():
    batch = from_groups(torch.tensor([[2.0, 1.0, 0.0]]))
    batch = batch.replace(pairs={"teacher": torch.tensor([[5.0, -math.inf, 4.0]])})
    assert MarginMSE()(batch).item() == 1.0
    two = batch.replace(sign=torch.tensor([[1, 1, -1]], dtype=torch.int8))
    for nothing in (-math.inf, math.inf, math.nan):  # only 1 - 0 against 7 - 4 is left
        assert MarginMSE()(two.replace(pairs={"teacher": torch.tensor([[nothing, 7.0, 4.0]])})).item() == 4.0


def test_common_negatives_mean_nothing_here():
    batch = from_groups(torch.zeros(1, 2)).replace(
        common=(torch.zeros(1), torch.ones(1)), pairs={"teacher": torch.zeros(1, 2)}
    )
    for part in (Hinge(), MarginMSE()):
        with pytest.raises(
            ValueError, match=f"{type(part).__name__}: common negatives have a meaning in a log-sum only"
        ):
            part(batch)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"margin": -0.1}, "margin must be >= 0 and finite, got -0.1"),
        ({"margin": math.nan}, "margin must be >= 0 and finite, got nan"),
        ({"k": 0}, "k must be an integer >= 1 or None, got 0"),
        ({"k": 2, "weight_temperature": 0.0}, "weight_temperature must be > 0 and finite or None, got 0.0"),
        ({"weight_temperature": 0.1}, "weight_temperature emphasises the slots of k; got k=None"),
        ({"average": "mean"}, "average must be one of 'term', .* got 'mean'"),
    ],
)
def test_bad_hinges_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"Hinge: {message}"):
        Hinge(**arguments)
