import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from litotes.batch import Moment, SignedBatch, from_groups, from_pairs
from litotes.catalog import parse
from litotes.chain import Chain
from litotes.objectives import ByDifficulty, Cached, InfoNCE, LearnedTemperature, ProgressiveInfoNCE, Reweighted
from litotes.scoring import Cosine


def at(u):
    return Moment(0, 0, u)


def of_probabilities(*positive):
    """A batch whose anchors give their positive these probabilities at temperature 1."""
    p = torch.tensor(positive, dtype=torch.float64)
    return from_groups(torch.stack([p, 1 - p], dim=1).log())


@st.composite
def batches(draw):
    """Float64: one positive a row or none, missing and doubted candidates."""
    b, c = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    grid = lambda values: torch.tensor(draw(st.lists(values, min_size=b * c, max_size=b * c))).reshape(b, c)
    scores = grid(st.floats(-1, 1, width=32) | st.just(-math.inf)).double()
    made = from_groups(scores, torch.tensor(draw(st.lists(st.integers(-1, c - 1), min_size=b, max_size=b))))
    sign = torch.where(grid(st.sampled_from([True, True, True, False])), made.sign, 0)
    return made.replace(sign=sign, weight=grid(st.sampled_from([0.0, 0.5, 1.0])).double())


@given(batches(), st.sampled_from(["sample", "candidate"]))
def test_without_emphasis_it_is_infonce(batch, level):
    plain = InfoNCE(0.3)(batch).item()
    assert ProgressiveInfoNCE(0.3, 0.0, level=level)(batch).item() == pytest.approx(plain, abs=1e-12)
    assert ProgressiveInfoNCE(0.3, 5.0, level=level)(batch, now=at(0.5)).item() == pytest.approx(plain, abs=1e-12)
    terms = ProgressiveInfoNCE(0.3, 5.0, level=level).terms(batch, now=at(0.9))
    assert list(terms) == ["loss", "unweighted"] and terms["unweighted"].item() == pytest.approx(plain, abs=1e-12)


def test_weights_of_an_easy_and_a_difficult_anchor_by_hand():
    scores = torch.tensor([[40.0, 0.0], [0.0, 40.0]], dtype=torch.float64)  # d = 0 and 1
    batch, part = from_groups(scores), ProgressiveInfoNCE(1.0, math.log(3))
    assert part.difficulty(batch).tolist() == pytest.approx([0, 1], abs=1e-12)
    assert part.weights(batch, now=at(1.0)).tolist() == pytest.approx([0.5, 1.5])
    assert part.weights(batch, now=at(0.0)).tolist() == pytest.approx([1.5, 0.5])


@pytest.mark.parametrize("u, loss", [(1.0, 1.288545), (0.5, 0.916291), (0.0, 0.544036)])
def test_the_loss_of_two_anchors_by_hand(u, loss):
    batch, part = of_probabilities(0.8, 0.2), ProgressiveInfoNCE(1.0)
    assert part.difficulty(batch).tolist() == pytest.approx([0.2, 0.8])
    assert part(batch, now=at(u)).item() == pytest.approx(loss, abs=1e-6)
    assert part.weights(batch, now=at(1.0)).tolist() == pytest.approx([0.462950, 1.537050], abs=1e-6)


@given(batches(), st.floats(0, 1), st.sampled_from([0.5, 2.0, 20.0]))
def test_the_mean_weight_of_believed_anchors_is_one_and_harder_ones_have_more_at_the_end(batch, u, kappa_max):
    part = ProgressiveInfoNCE(0.3, kappa_max)
    _, believed = InfoNCE(0.3).per_anchor(batch)
    has = believed > 0
    weights, d = part.weights(batch, now=at(u)), part.difficulty(batch)
    assert weights[~has].eq(0).all()
    if has.any():
        assert weights[has].mean().item() == pytest.approx(1)
    per_belief = (weights / believed)[has][d[has].argsort()]
    steps = per_belief.diff()
    assert (steps <= 1e-9).all() if u <= 0.5 else (steps >= -1e-9).all()


@given(batches(), st.floats(0, 1))
def test_its_cost_is_that_of_infonce_with_weights_frozen_as_constants(batch, u):
    part = ProgressiveInfoNCE(0.3, 4.0)
    ours, theirs = (batch.scores.clone().requires_grad_() for _ in range(2))
    part(batch.replace(scores=ours), now=at(u)).backward()
    frozen = part.weights(batch, now=at(u))
    cost, _ = InfoNCE(0.3).per_anchor(batch.replace(scores=theirs))
    (frozen * cost).sum().div(max(int((frozen > 0).sum()), 1)).backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_equal_difficulties_and_a_single_anchor_have_weight_one():
    for u in (0.0, 0.3, 1.0):
        assert ProgressiveInfoNCE(1.0, 20.0).weights(of_probabilities(0.3, 0.3, 0.3), now=at(u)).tolist() == [1] * 3
        single = of_probabilities(0.1)
        assert ProgressiveInfoNCE(1.0, 20.0)(single, now=at(u)).item() == pytest.approx(-math.log(0.1))


@given(batches(), st.sampled_from(["sample", "candidate"]), st.floats(0, 1))
def test_what_is_not_there_or_not_believed_changes_neither_cost_nor_difficulty(batch, level, u):
    part = ProgressiveInfoNCE(0.3, 3.0, level=level)
    silent = (batch.sign == 0) | (batch.weight == 0)
    loud = batch.replace(
        scores=torch.where(silent, 0.9, batch.scores), weight=torch.where(batch.sign == 0, 1, batch.weight)
    )
    assert part(loud, now=at(u)).item() == pytest.approx(part(batch, now=at(u)).item(), abs=1e-12)
    assert torch.equal(part.difficulty(loud), part.difficulty(batch))


def test_candidates_that_score_high_are_held_back_at_first_and_pushed_later():
    scores = torch.tensor([[0.5, 0.6, 0.1, -0.3]], dtype=torch.float64)
    log_weight = lambda u: 3 * (2 * u - 1) * (scores[0, 1:] - scores[0, 1:].mean())
    shares = {}
    for u in (0.0, 0.5, 1.0):
        leaf = scores.clone().requires_grad_()
        loss = ProgressiveInfoNCE(0.2, 3.0, level="candidate")(from_groups(leaf), now=at(u))
        loss.backward()
        field = (scores[0, 1:] / 0.2 + log_weight(u)).exp()
        positive = (scores[0, 0] / 0.2).exp()
        assert loss.item() == pytest.approx(-math.log(positive / (positive + field.sum())), rel=1e-12)
        # the log-weight is a constant: the gradient is the softmax share over the temperature
        assert leaf.grad[0, 1:].tolist() == pytest.approx((field / (positive + field.sum()) / 0.2).tolist(), rel=1e-9)
        shares[u] = (leaf.grad[0, 1] / leaf.grad[0, 1:].sum()).item()
    assert shares[0.0] < shares[0.5] < shares[1.0]


def test_the_mean_of_the_candidates_is_over_what_is_believed():
    whole = from_groups(torch.tensor([[0.5, 0.6, 0.1, 0.9]], dtype=torch.float64))
    without = from_groups(torch.tensor([[0.5, 0.6, 0.1]], dtype=torch.float64))
    part = ProgressiveInfoNCE(0.2, 3.0, level="candidate")
    doubted = whole.replace(weight=torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64))
    assert part(doubted, now=at(1.0)).item() == pytest.approx(part(without, now=at(1.0)).item(), rel=1e-12)
    twice = from_groups(torch.tensor([[0.5, 0.6, 0.1, 0.1]], dtype=torch.float64))
    halves = twice.replace(weight=torch.tensor([[1.0, 1.0, 0.5, 0.5]], dtype=torch.float64))
    assert part(halves, now=at(1.0)).item() == pytest.approx(part(without, now=at(1.0)).item(), rel=1e-12)


@pytest.mark.parametrize("level", ["sample", "candidate"])
def test_a_learned_temperature_gets_the_gradient_that_infonce_gives_it(level):
    batch = of_probabilities(0.8, 0.2)
    gradients = []
    for make in (lambda t: ProgressiveInfoNCE(t, 2.0, level=level), InfoNCE):
        temperature = LearnedTemperature(0.5)
        make(temperature)(batch, now=at(0.5)).backward()
        gradients.append(temperature.log_scale.grad.item())
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-6)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(5, 4, generator=random, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(x @ self.weight)


@pytest.mark.parametrize("chunk", [18, 9, 1])
@pytest.mark.parametrize("level", ["sample", "candidate"])
def test_a_pool_in_chunks_gives_the_same_loss_difficulties_and_gradients(chunk, level):
    random = torch.Generator().manual_seed(0)
    make = lambda n: torch.randn(n, 5, generator=random, dtype=torch.float64)
    columns = [make(6), make(18)]  # 18 candidates: in one chunk, in two, one by one
    columns[1][:6] = columns[0] + columns[1][:6] / 3
    seen = []

    class Watched(ProgressiveInfoNCE):
        def forward(self, batch, *, now=None, generator=None):
            seen.append(self.difficulty(batch))
            return super().forward(batch, now=now, generator=generator)

    def form(features):
        return from_pairs(features[0], features[1][:6], features[1][6:])

    chain, whole, pieces = Chain(Cosine(), Watched(0.2, 3.0, level=level)), Encoder(), Encoder()
    want = chain(form([whole(column) for column in columns]), now=at(0.8))
    want.backward()
    got = Cached(chain, chunk)(pieces, columns, form, now=at(0.8))
    got.backward()
    assert got.item() == pytest.approx(want.item(), abs=1e-12)
    assert torch.allclose(seen[0], seen[1], atol=1e-12) and seen[0].std() > 0.01
    assert torch.allclose(pieces.weight.grad, whole.weight.grad, atol=1e-12) and whole.weight.grad.abs().max() > 1e-3


@pytest.mark.parametrize(
    "schedule, power, want",
    [
        ("linear", 1.0, [-2, -1, 0, 1, 2]),
        ("linear", 2.0, [-2, -1.75, -1, 0.25, 2]),
        ("cosine", 1.0, [-2, -math.sqrt(2), 0, math.sqrt(2), 2]),
        ("step", 1.0, [-2, -2, 2, 2, 2]),
        ("constant", 1.0, [2] * 5),
        ([[0.25, 1], [0.75, -3]], 1.0, [1, 1, -1, -3, -3]),
        ([[0, -2], [0.5, -2], [0.5, 4], [1, 6]], 1.0, [-2, -2, 4, 5, 6]),
        ([[0.5, 7]], 1.0, [7] * 5),
    ],
)
def test_kappa_follows_its_schedule_and_depends_on_progress_alone(schedule, power, want):
    part = ByDifficulty(2.0, schedule, power)
    assert [part.kappa(Moment(9, 2, u)) for u in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(want)
    again = parse(str(part))  # as a resumed run builds it
    assert [again.kappa(at(u / 7)) for u in range(8)] == [part.kappa(Moment(u, 1, u / 7)) for u in range(8)]


def test_difficulty_may_be_measured_at_a_softer_temperature():
    batch = from_groups(torch.tensor([[0.3, 0.6, 0.0], [0.6, 0.3, 0.0]], dtype=torch.float64))
    hard, soft = ProgressiveInfoNCE(0.01), ProgressiveInfoNCE(0.01, difficulty_temperature=0.5)
    assert hard.difficulty(batch).tolist() == pytest.approx([1, 0], abs=1e-9)
    cost, _ = InfoNCE(0.5).per_anchor(batch)
    assert soft.difficulty(batch).tolist() == pytest.approx((1 - torch.exp(-cost)).tolist())
    assert soft(batch, now=at(1.0)).item() == pytest.approx(
        Reweighted(InfoNCE(0.01), ByDifficulty(2.0, "linear", 1.0, 0.5))(batch, now=at(1.0)).item()
    )


def test_common_negatives_make_an_anchor_harder():
    batch = of_probabilities(0.8, 0.2)
    more = batch.replace(common=(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)))
    assert (ProgressiveInfoNCE(1.0).difficulty(more) > ProgressiveInfoNCE(1.0).difficulty(batch)).all()
    level = ProgressiveInfoNCE(1.0, level="candidate")  # one negative a row: no candidate stands out
    assert level(more, now=at(1.0)).item() == pytest.approx(InfoNCE(1.0)(more).item())


def test_nothing_believed_costs_nothing():
    for level in ("sample", "candidate"):
        scores = torch.randn(2, 3, requires_grad=True)
        loss = ProgressiveInfoNCE(level=level)(from_groups(scores, -1), now=at(1.0))
        loss.backward()
        assert loss.item() == 0 and scores.grad.eq(0).all()


def test_where_training_stands_must_be_said_and_be_a_share():
    batch = of_probabilities(0.8, 0.2)
    for level in ("sample", "candidate"):
        with pytest.raises(ValueError, match="needs to know where training stands: pass now=Moment"):
            ProgressiveInfoNCE(level=level)(batch)
        for bad in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match=rf"progress must be in \[0, 1\], got {bad}"):
                ProgressiveInfoNCE(level=level)(batch, now=at(bad))
    assert ProgressiveInfoNCE(1.0, schedule="constant")(batch).item() == pytest.approx(1.288545, abs=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"temperature": 0}, "temperature must be > 0 and finite, got 0"),
        ({"kappa_max": -0.5}, r"kappa_max must be in \[0, 20\], got -0.5"),
        ({"kappa_max": 21}, r"kappa_max must be in \[0, 20\], got 21"),
        ({"kappa_max": math.nan}, r"kappa_max must be in \[0, 20\], got nan"),
        ({"power": 0}, "power must be > 0 and finite, got 0"),
        ({"schedule": "sine"}, "schedule must be 'linear', 'cosine', 'step', 'constant' or points, got 'sine'"),
        ({"schedule": []}, "schedule must be points"),
        ({"schedule": [[0.5, 21]]}, r"schedule must be points .* kappa in \[-20, 20\]"),
        ({"schedule": [[0.5, 1], [0.2, 1]]}, "schedule must be points in ascending order of progress"),
        ({"level": "row"}, "level must be 'sample' or 'candidate', got 'row'"),
        ({"difficulty_temperature": -1}, "difficulty_temperature must be > 0 and finite or None, got -1"),
        ({"level": "candidate", "difficulty_temperature": 1.0}, "difficulty_temperature is for level='sample'"),
    ],
)
def test_what_it_cannot_take_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"ProgressiveInfoNCE: {message}"):
        ProgressiveInfoNCE(**arguments)
    if set(arguments) <= {"kappa_max", "schedule", "power"}:
        with pytest.raises(ValueError, match=f"ByDifficulty: {message}"):
            ByDifficulty(**arguments)


def test_it_is_told_the_moment_inside_a_chain():
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    batch = from_pairs(features, features.flip(0))
    chain = Chain(Cosine(), ProgressiveInfoNCE(0.1))
    losses = [chain(batch, now=at(u)).item() for u in (0.0, 1.0)]
    assert isinstance(chain.prepare(batch), SignedBatch) and losses[0] < losses[1]
