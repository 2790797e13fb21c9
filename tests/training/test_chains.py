import math

import pytest
import torch
import torch.nn.functional as F

from litotes.batch import from_pairs
from litotes.training.chains import Star


def drawn(b=4, h=2, d=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    make = lambda n: torch.randn(n, d, generator=random, dtype=torch.float64)
    return make(b), make(b), make(b * h)


def slowly(q, p, hard, known=(), random_weight=None):
    """All pairs one by one: (i, j) of other positives and of every hard document, known positives left out."""
    own, foreign = [], []
    for i in range(len(q)):
        for j in range(len(p)):
            if j != i and (i, j) not in known:
                foreign.append(F.softplus(q[i] @ p[j] - q[i] @ p[i]).item())
        for j in range(len(hard)):
            if (i, len(p) + j) not in known:
                side = own if j // (len(hard) // len(q)) == i else foreign
                side.append(F.softplus(q[i] @ hard[j] - q[i] @ p[i]).item())
    mean = lambda terms: sum(terms) / len(terms) if terms else 0.0
    return mean(own + foreign) if random_weight is None else random_weight * mean(foreign) + mean(own)


def test_two_orthogonal_pairs_by_hand():
    eye = torch.eye(2)
    assert Star()(from_pairs(eye, eye)).item() == pytest.approx(0.313262, abs=1e-6)
    assert Star()(from_pairs(eye, eye, torch.zeros(2, 1, 2))).item() == pytest.approx(0.313262, abs=1e-6)


@pytest.mark.parametrize("random_weight", [None, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("h", [0, 1, 3])
def test_it_is_its_definition(random_weight, h):
    q, p, hard = drawn(h=h)
    batch = from_pairs(q, p, hard if h else None)
    assert Star(random_weight)(batch).item() == pytest.approx(slowly(q, p, hard, (), random_weight), rel=1e-9)


def test_a_hard_document_that_is_a_known_positive_of_another_query_is_no_negative_for_it():
    q, p, hard = drawn(h=1)
    ids = (torch.arange(4), torch.arange(8))
    known = torch.tensor([[0, 5]])  # the hard document of row 1 answers query 0
    leaf = hard.clone().requires_grad_()
    query = q.clone().requires_grad_()
    loss = Star()(from_pairs(query, p, leaf, ids=ids, known=known))
    assert loss.item() == pytest.approx(slowly(q, p, hard, {(0, 5)}), rel=1e-9)
    loss.backward()
    moved = hard.clone()
    moved[1] += 3.0
    again = Star(0.5)(from_pairs(q, p, moved, ids=ids, known=known)).item()
    assert again == pytest.approx(slowly(q, p, moved, {(0, 5)}, 0.5), rel=1e-9)
    first = q[0].clone().requires_grad_()
    Star()(from_pairs(torch.cat([first[None], q[1:]]), p, moved, ids=ids, known=known)).backward()
    assert torch.allclose(first.grad, query.grad[0])  # what query 0 learns does not depend on it


def test_a_constant_on_the_scores_of_a_query_changes_nothing():
    q, p, hard = drawn(h=1)
    shifted = [torch.cat([x, torch.ones(len(x), 1)], dim=1) for x in (p, hard)]
    queries = torch.cat([q, torch.arange(4.0)[:, None] - 1.5], dim=1)
    for part in (Star(), Star(0.7)):
        assert part(from_pairs(queries, *shifted)).item() == pytest.approx(
            part(from_pairs(q, p, hard)).item(), rel=1e-9
        )


def test_the_temperature_divides_and_large_products_stay_finite():
    q, p, hard = drawn(h=1)
    assert Star(temperature=0.5)(from_pairs(q, p, hard)).item() == pytest.approx(
        Star()(from_pairs(2 * q, p, hard)).item(), rel=1e-9
    )
    assert math.isfinite(Star()(from_pairs(100 * q, 100 * p, 100 * hard)).item())


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_what_it_cannot_take_is_named(bad):
    with pytest.raises(ValueError, match=f"Star: random_weight must be >= 0 and finite or None, got {bad}"):
        Star(bad)
    with pytest.raises(ValueError, match=f"Star: temperature must be > 0 and finite, got {bad}"):
        Star(temperature=bad)
