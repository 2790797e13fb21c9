import math

import pytest
import torch

from litotes.batch import Moment, from_groups, from_pairs
from litotes.catalog import parse
from litotes.chain import Chain
from litotes.objectives import (
    Cached,
    Hinge,
    InfoNCE,
    LearnedTemperature,
    MarginMSE,
    Only,
    ScheduledTemperature,
    SoftTargetInfoNCE,
    Sum,
    Symmetric,
)
from litotes.scoring import Cosine, Dot
from litotes.training.chains import gist_loss


def batch(b=4, h=2, d=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    make = lambda n: torch.randn(n, d, generator=random, dtype=torch.float64)
    return from_pairs(make(b), make(b), make(b * h) if h else None)


def test_both_directions_are_the_mean_of_two_cross_entropies():
    scores = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = [torch.nn.functional.cross_entropy(s / 0.1, torch.arange(6)) for s in (scores, scores.T)]
    given = from_groups(scores, torch.arange(6))
    assert Symmetric(InfoNCE(0.1))(given).item() == pytest.approx((want[0] + want[1]).item() / 2, rel=1e-12)
    assert Symmetric(InfoNCE(0.1), share=0.25)(given).item() == pytest.approx((0.75 * want[0] + 0.25 * want[1]).item())
    assert Symmetric(InfoNCE(0.1), total="sum")(given).item() == pytest.approx((want[0] + want[1]).item(), rel=1e-12)


def test_mined_negatives_take_no_part_in_the_way_back():
    scored = Cosine()(batch())
    forward, back = InfoNCE(0.1)(scored), InfoNCE(0.1)(scored.T)
    square = scored.scores[:, :4].T
    assert back.item() == pytest.approx(
        torch.nn.functional.cross_entropy(square / 0.1, torch.arange(4)).item(), rel=1e-12
    )
    terms = Symmetric(InfoNCE(0.1)).terms(scored)
    assert list(terms) == ["loss", "forward", "backward"]
    assert [t.item() for t in terms.values()] == pytest.approx(
        [(forward + back).item() / 2, forward.item(), back.item()]
    )


def test_each_direction_may_have_its_own_objective():
    scores, target = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    given = from_groups(scores, torch.arange(2)).replace(pairs={"target": target})
    both = Symmetric(SoftTargetInfoNCE(1.0), InfoNCE(1.0), total="sum")
    assert both(given).item() == pytest.approx(1.16442, abs=1e-5)
    assert both.needs == ("scores",)


def test_a_sum_weighs_its_terms_and_names_them():
    scored = Dot()(batch()).replace(pairs={"teacher": torch.zeros(4, 12, dtype=torch.float64)})
    parts = [InfoNCE(1.0), MarginMSE(), InfoNCE(0.5)]
    whole = Sum((1.0, parts[0]), (0.5, parts[1]), (2, parts[2]))
    each = [part(scored).item() for part in parts]
    assert whole(scored).item() == pytest.approx(each[0] + 0.5 * each[1] + 2 * each[2], rel=1e-12)
    terms = whole.terms(scored)
    assert list(terms) == ["loss", "infonce", "margin_mse", "infonce_2"]
    assert [t.item() for t in terms.values()] == pytest.approx([whole(scored).item(), *each], rel=1e-12)
    assert whole.needs == ("scores", "teacher")


def test_a_term_with_a_scorer_of_its_own_scores_afresh():
    plain = batch()
    both = Chain(Cosine(), Sum((1, InfoNCE(0.1)), (1, Chain(Dot(), InfoNCE(2.0))), (1, Chain(InfoNCE(0.3)))))
    want = sum(
        Chain(*parts)(plain).item() for parts in [(Cosine(), InfoNCE(0.1)), (Dot(), InfoNCE(2.0)), (InfoNCE(0.3),)]
    )
    assert both(plain).item() == pytest.approx(want, rel=1e-12)


def test_time_reaches_every_term():
    schedule = InfoNCE(ScheduledTemperature(0.4, 0.2, "linear"))
    scored, now = Cosine()(batch()), Moment(0, 0, 1.0)
    for whole in (Sum((1, schedule)), Symmetric(schedule), Only("own", schedule)):
        assert type(whole)(*_again(whole, InfoNCE(0.2)))(scored).item() == pytest.approx(whole(scored, now=now).item())


def _again(whole, part):
    return {"Sum": [(1, part)], "Symmetric": [part], "Only": ["own", part]}[type(whole).__name__]


@pytest.mark.parametrize(
    "part, columns",
    [
        ("own", lambda i: [4 + 2 * i, 5 + 2 * i]),
        ("foreign", lambda i: [j for j in range(12) if j not in (i, 4 + 2 * i, 5 + 2 * i)]),
        ("foreign positives", lambda i: [j for j in range(4) if j != i]),
        ("foreign negatives", lambda i: [j for j in range(4, 12) if j not in (4 + 2 * i, 5 + 2 * i)]),
    ],
)
def test_only_the_named_columns_are_seen(part, columns):
    scored = Cosine()(batch())
    scores = scored.scores.clone().requires_grad_()
    loss = Only(part, InfoNCE(0.5))(scored.replace(scores=scores))
    loss.backward()
    want = 0.0
    for i in range(4):
        assert scores.grad[i].nonzero().flatten().tolist() == sorted([i, *columns(i)])
        z = scored.scores[i] / 0.5
        want += math.log1p(sum(math.exp(z[j] - z[i]) for j in columns(i))) / 4
    assert loss.item() == pytest.approx(want, rel=1e-12)
    cost, believed = Only(part, InfoNCE(0.5)).per_anchor(scored)
    assert cost.mean().item() == pytest.approx(want, rel=1e-12) and believed.tolist() == [1] * 4


def test_columns_that_only_a_row_sees_are_its_own():
    given = batch(h=0)
    own = torch.randn(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    more = torch.full((4, 3), -1, dtype=torch.int8)
    wide = given.replace(
        sign=torch.cat([given.sign, more], dim=1), weight=torch.ones(4, 7), own=own, columns=given.columns
    )
    seen = Only("own", Hinge(9.0))._seen(Cosine()(wide)).sign
    assert seen[:, 4:].eq(-1).all() and seen[:, :4].eq(torch.eye(4)).all()
    assert Only("foreign", Hinge(9.0))._seen(Cosine()(wide)).sign[:, 4:].eq(0).all()


def test_what_cannot_be_combined_is_refused():
    for make, message in [
        (lambda: Symmetric(Cosine()), r"Symmetric: forward must be an objective, got cosine\(\)"),
        (lambda: Symmetric(InfoNCE(), share=1.5), r"Symmetric: share must be in \[0, 1\], got 1.5"),
        (lambda: Symmetric(InfoNCE(), total="max"), "Symmetric: total must be 'mean' or 'sum', got 'max'"),
        (lambda: Sum(), "Sum: needs at least one pair"),
        (lambda: Sum(InfoNCE()), "a term is a pair"),
        (lambda: Sum((math.nan, InfoNCE())), "Sum: weights must be >= 0 and finite, got nan"),
        (lambda: Only("all", InfoNCE()), "Only: part must be 'own', .* got 'all'"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            make()
    with pytest.raises(ValueError, match="Only: columns has no 'of'"):
        Only("own", InfoNCE())(from_groups(torch.zeros(2, 2)))


@pytest.mark.parametrize(
    "part",
    [
        InfoNCE(ScheduledTemperature(0.4, 0.2), "joint", "count"),
        InfoNCE(LearnedTemperature(0.05, None, None)),
        Symmetric(SoftTargetInfoNCE(0.1, 0.1), InfoNCE(), 0.25, "sum"),
        Sum((1, InfoNCE()), (0.5, Chain(Dot(), MarginMSE("other", "anchor")))),
        Only("foreign positives", Hinge(0.3, 10, 0.1, "count", True)),
        Cached(gist_loss(0.05, 0.1, "relative"), 8),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_is_spelled_reads_back(part):
    again = parse(str(part))
    assert type(again) is type(part) and str(again) == str(part)


def test_combinations_are_spelled_with_their_parts():
    infonce = "infonce(temperature=0.05, positives=each, average=term)"
    assert str(Symmetric(InfoNCE())) == f"symmetric(forward={infonce}, backward=None, share=0.5, total=mean)"
    assert str(Sum((1, InfoNCE()))) == f"sum([1.0, {infonce}])"
    assert str(Only("foreign positives", InfoNCE())) == f"only(part='foreign positives', objective={infonce})"
