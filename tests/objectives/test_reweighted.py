import math

import pytest
import torch

from litotes.batch import Moment, from_groups
from litotes.chain import Chain
from litotes.objectives import Cached, Hinge, InfoNCE, MarginMSE, PairwiseLogistic, Reweighted, Sum, Symmetric
from litotes.scoring import Dot


def batch(weight=(1.0, 1.0, 1.0), positive=(0, 0, 0)):
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    given = from_groups(scores, torch.tensor(positive))
    return given.replace(weight=torch.tensor(weight, dtype=torch.float64)[:, None].expand(3, 2).contiguous())


def give(*factors):
    return lambda cost, batch, now: torch.tensor(factors, dtype=torch.float64)


COSTS = [math.log1p(math.exp(-1)), math.log1p(math.exp(1)), math.log(2)]


@pytest.mark.parametrize("part", [PairwiseLogistic(), Hinge(2.0), InfoNCE(1.0)])
def test_factors_of_one_change_nothing(part):
    given = batch((1.0, 0.5, 0.25))
    for average in ("term", "anchor", "count"):
        same = Reweighted(part, give(1, 1, 1), average)
        assert same.terms(given)["loss"] == same.terms(given)["unweighted"]
    assert Reweighted(part, give(1, 1, 1))(given).item() == pytest.approx(part(given).item(), rel=1e-12)


@pytest.mark.parametrize(
    "average, want",
    [
        ("term", (0.5 * 2 * COSTS[0] + 3 * COSTS[1]) / (0.5 * 2 + 3)),
        ("anchor", (2 * COSTS[0] + 3 * COSTS[1]) / 5),
        ("count", (0.5 * 2 * COSTS[0] + 3 * COSTS[1]) / 3),
    ],
)
def test_the_three_averages_by_hand(average, want):
    given = batch()  # InfoNCE's belief is that of the positive
    weight = torch.tensor([[0.5, 1.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    part = Reweighted(InfoNCE(1.0), give(2, 3, 5), average)
    assert part(given.replace(weight=weight)).item() == pytest.approx(want, rel=1e-12)


def test_only_count_lets_a_weigher_shrink_the_loss():
    given = batch()
    for average, ratio in [("term", 1.0), ("anchor", 1.0), ("count", 0.1)]:
        whole, tenth = (Reweighted(InfoNCE(1.0), give(*f), average)(given) for f in ([1, 1, 1], [0.1, 0.1, 0.1]))
        assert tenth.item() == pytest.approx(ratio * whole.item(), rel=1e-12)


def test_rows_without_a_positive_are_not_counted_and_costs_of_nothing_have_gradient_zero():
    given = batch(positive=(0, -1, 0))
    part = Reweighted(InfoNCE(1.0), give(1, 7, 1), "count")
    assert part(given).item() == pytest.approx((COSTS[0] + COSTS[2]) / 2, rel=1e-12)
    scores = given.scores.clone().requires_grad_()
    none = Reweighted(InfoNCE(1.0), give(0, 1, 0))
    loss = none(given.replace(scores=scores))
    loss.backward()
    assert loss.item() == 0 and scores.grad.eq(0).all()
    assert none.weights(given).tolist() == [0, 0, 0]


def test_the_weigher_sees_costs_batch_and_moment_and_gets_no_gradient():
    seen = []

    def weigher(cost, batch, now):
        seen.append((cost, batch, now))
        return batch.scores.sum(dim=1).exp() + cost

    given, now = batch(), Moment(3, 0, 0.5)
    scores = given.scores.clone().requires_grad_()
    given = given.replace(scores=scores)
    part = Reweighted(InfoNCE(1.0), weigher)
    part(given, now=now).backward()
    cost, got, when = seen[0]
    assert cost.tolist() == pytest.approx(COSTS) and not cost.requires_grad and got is given and when is now
    fixed = weigher(cost, given, now).detach()
    again = given.scores.detach().clone().requires_grad_()
    costs, _ = InfoNCE(1.0).per_anchor(given.replace(scores=again))
    ((fixed * costs).sum() / fixed.sum()).backward()
    assert torch.allclose(scores.grad, again.grad, rtol=1e-12)
    assert part.weights(given, now=now).mean().item() == pytest.approx(1)
    assert torch.allclose(part.weights(given), 3 * fixed / fixed.sum())


def test_it_is_an_objective_of_a_chain_and_can_be_reweighted_again():
    twice = Reweighted(Reweighted(InfoNCE(1.0), give(1, 2, 3)), give(1, 2, 3))
    assert twice(batch()).item() == pytest.approx(Reweighted(InfoNCE(1.0), give(1, 4, 9))(batch()).item(), rel=1e-12)
    assert Chain(Dot(), twice)(batch()).item() == twice(batch()).item()


def test_what_it_cannot_take_is_named():
    for whole in (Sum((1, InfoNCE())), Symmetric(InfoNCE()), Cached(InfoNCE()), Chain(InfoNCE()), Dot(), "infonce"):
        with pytest.raises(ValueError, match="Reweighted: objective must be an objective with costs per anchor, got"):
            Reweighted(whole, give(1))
    with pytest.raises(ValueError, match=r"Reweighted: weigher must be a part or callable \(cost, batch, now\), got 2"):
        Reweighted(InfoNCE(), 2)
    with pytest.raises(ValueError, match="Reweighted: average must be one of 'term', 'anchor', 'count', got 'sum'"):
        Reweighted(InfoNCE(), give(1), "sum")
    with pytest.raises(ValueError, match=r"Reweighted: weigher must give \[3\] factors, got \[2\]"):
        Reweighted(InfoNCE(), give(1, 2))(batch())
    assert Reweighted(MarginMSE(), give(1)).needs == ("scores", "teacher")
