"""The losses of NGAME and TAS-Balanced, by the numbers of their papers' blocks."""

import math

import pytest
import torch

from litotes.batch import SignedBatch, from_groups, from_pairs
from litotes.catalog import parse
from litotes.chain import Chain
from litotes.objectives import Hinge, MarginMSE
from litotes.scoring import Dot
from litotes.training.chains import dual_supervision, ngame_loss


def hinge_of(chain, scores, sign=None):
    """The objective of a chain on scores that are given."""
    batch = from_groups(scores)
    return chain.objective(batch if sign is None else batch.replace(sign=torch.tensor(sign, dtype=torch.int8)))


# ---- NGAME


def test_the_emphasised_hinge_by_hand():
    """Scores 0.8 (positive), 0.7, 0.3: hinges 0.2 and 0; softmax([7, 0]) = [0.999089, 0.000911]."""
    row = torch.tensor([[0.8, 0.7, 0.3]])
    assert hinge_of(ngame_loss(0.3, 2, None), row).item() == pytest.approx(0.1, rel=1e-5)
    assert hinge_of(ngame_loss(0.3, 2), row).item() == pytest.approx(0.2 * 0.999089 / 2, rel=1e-5)


def test_a_known_label_in_the_batch_never_counts():
    for other in (-0.9, 0.7, 0.99):
        scores = torch.tensor([[0.8, other, 0.7, 0.3]], requires_grad=True)
        loss = hinge_of(ngame_loss(0.3, 2), scores, [[1, 0, -1, -1]])
        loss.backward()
        assert loss.item() == pytest.approx(0.099909, rel=1e-5) and scores.grad[0, 1] == 0
        assert (scores.grad[0, [0, 2]] != 0).all()


def test_one_slot_is_the_hardest_negative_and_all_slots_are_all():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = from_groups(scores, torch.arange(5))
    off = scores.masked_fill(torch.eye(5, dtype=torch.bool), -math.inf)
    own = scores.diagonal()
    hardest = torch.relu(off.amax(dim=1) - own + 0.3).mean()
    for temperature in (None, 0.01, 0.1, 5.0):
        assert ngame_loss(0.3, 1, temperature).objective(batch).item() == pytest.approx(hardest.item(), rel=1e-12)
    every = torch.relu(off - own[:, None] + 0.3)[~torch.eye(5, dtype=torch.bool)].mean()
    for k in (4, 10):
        assert ngame_loss(0.3, k, None).objective(batch).item() == pytest.approx(every.item(), rel=1e-12)


def test_rows_that_lack_negatives_have_fewer_slots():
    scores = torch.tensor([[0.8, 0.7, 0.3], [0.5, 0.6, 0.9], [0.1, 0.2, 0.3]], requires_grad=True)
    sign = [[1, -1, -1], [1, -1, 0], [1, 0, 0]]
    loss = hinge_of(ngame_loss(0.3, 2, None), scores, sign)
    assert loss.item() == pytest.approx((0.2 + 0 + 0.4) / 3, rel=1e-5)
    for margin in (0.3, 50.0):  # a masked entry makes no hinge, whatever the margin
        alone = hinge_of(ngame_loss(margin, 3), scores[2:], [[1, 0, 0]])
        assert alone.item() == 0.0
    loss.backward()
    assert scores.grad.isfinite().all() and (scores.grad[2] == 0).all()


def test_the_scores_are_cosines_and_the_spelling_reads_back():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    loss = ngame_loss()
    assert loss(from_pairs(x, 5 * x.flip(0))).item() == pytest.approx(loss(from_pairs(2 * x, x.flip(0))).item())
    for chain in (loss, dual_supervision(), dual_supervision(0.5, guide=True), dual_supervision(0.5, "kl", True)):
        assert str(parse(str(chain))) == str(chain)


# ---- TAS-Balanced


def teachers(batch, own, inbatch):
    """Own scores only where a row brought the column; in-batch scores everywhere."""
    mine = batch.columns["of"][None, :] == torch.arange(len(batch.sign))[:, None]
    return batch.replace(
        pairs={"teacher": torch.where(mine, own, math.nan), "teacher_inbatch": inbatch.expand_as(batch.sign)}
    )


def drawn(b=3, d=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    make = lambda: torch.randn(b, d, generator=random, dtype=torch.float64)
    q, p, n = make(), make(), make()
    return q, p, n, torch.randn(b, 2 * b, generator=random, dtype=torch.float64)


def slowly(q, p, n, teacher, second, alpha):
    """The loss as the paper writes it, term by term."""
    b = len(q)
    s = lambda i, x: (q[i] @ x).item()
    pair = [((s(i, p[i]) - s(i, n[i])) - (teacher[i, i] - teacher[i, b + i]).item()) ** 2 for i in range(b)]
    others = [(i, j) for i in range(b) for j in range(b) if i != j]
    both = [
        [((s(i, p[i]) - s(i, x[j])) - (second[i, i] - second[i, shift + j]).item()) ** 2 for i, j in others]
        for x, shift in ((p, 0), (n, b))
    ]
    mean = lambda terms: sum(terms) / len(terms) if terms else 0.0
    return mean(pair) + alpha * (mean(both[0]) + mean(both[1])) / 2


@pytest.mark.parametrize("b", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.75, 2.0])
def test_dual_supervision_is_its_formula(b, alpha):
    q, p, n, second = drawn(b)
    teacher = second.flip(1) * 3
    batch = teachers(from_pairs(q, p, n), teacher, second)
    assert dual_supervision(alpha)(batch).item() == pytest.approx(slowly(q, p, n, teacher, second, alpha), rel=1e-9)


def test_dual_supervision_by_hand():
    eye, zeros = torch.eye(2), torch.zeros(2, 4)
    batch = teachers(from_pairs(eye, eye, torch.zeros(2, 2)), zeros, zeros)
    assert dual_supervision()(batch).item() == pytest.approx(1.75)
    assert dual_supervision(0.0)(batch).item() == pytest.approx(1.0)
    q, p, n, _ = drawn()
    scores = Dot()(from_pairs(q, p, n)).scores
    assert dual_supervision()(teachers(from_pairs(q, p, n), scores, scores)).item() == pytest.approx(0, abs=1e-12)
    three = SignedBatch(torch.tensor([[2.0, 1.0]]), torch.tensor([[1, -1]], dtype=torch.int8), torch.ones(1, 2))
    for a, c in ((0.0, 0.0), (7.0, -4.0)):  # a constant on either side is free
        moved = three.replace(scores=three.scores + a, pairs={"teacher": torch.tensor([[5.0, 2.0]]) + c})
        assert MarginMSE()(moved).item() == pytest.approx(4.0)


def test_the_second_teacher_is_never_asked_about_a_row_s_own_negative():
    q, p, n, second = drawn()
    batch = from_pairs(q, p, n)
    value = lambda scores: dual_supervision()(teachers(batch, second, scores)).item()
    own_negative, own_positive = second.clone(), second.clone()
    for i in range(3):
        own_negative[i, 3 + i] += 5
        own_positive[i, i] += 5
    assert value(own_negative) == value(second) and value(own_positive) != value(second)


def test_no_gradient_reaches_a_guide_and_one_row_alone_has_no_in_batch_loss():
    q, p, n, second = drawn()
    guide = [torch.randn(k, 6, dtype=torch.float64).requires_grad_() for k in (3, 6)]
    student = q.requires_grad_()
    batch = teachers(from_pairs(student, p, n), second, second)
    batch = batch.replace(rows={**batch.rows, "guide": guide[0]}, columns={**batch.columns, "guide": guide[1]})
    for inbatch in ("margin_mse", "kl"):
        student.grad = None
        dual_supervision(0.75, inbatch, guide=True)(batch).backward()
        assert student.grad.abs().sum() > 0 and all(g.grad is None for g in guide)
    q, p, n, second = drawn(1)
    alone = teachers(from_pairs(q, p, n), second, second)
    assert dual_supervision(9.0)(alone).item() == pytest.approx(dual_supervision(0.0)(alone).item())


def test_the_listwise_form_pulls_towards_the_guide_s_shares():
    """Its gradient in the scores is softmax(student) - softmax(guide), per row, times alpha / B."""
    b, alpha = 3, 0.6
    q, p, n, second = drawn(b)
    guide = torch.randn(b, 5, dtype=torch.float64), torch.randn(2 * b, 5, dtype=torch.float64)
    batch = from_pairs(q, p, n)
    batch = batch.replace(rows={**batch.rows, "guide": guide[0]}, columns={**batch.columns, "guide": guide[1]})
    scores = Dot()(batch).scores.clone().requires_grad_()
    chain = dual_supervision(alpha, "kl", guide=True)
    seen = teachers(batch, Dot()(batch).scores, second)  # the pair teacher agrees with the student: no gradient
    shares = (guide[0].float() @ guide[1].float().T).softmax(dim=1)
    seen = seen.replace(pairs={**seen.pairs, "target": shares}, scores=scores)
    chain.objective(seen).backward()
    want = alpha / b * (scores.detach().softmax(dim=1) - shares)
    assert torch.allclose(scores.grad, want, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dual_supervision(-0.1), "alpha must be >= 0 and finite, got -0.1"),
        (lambda: dual_supervision(math.nan), "alpha must be >= 0 and finite, got nan"),
        (lambda: dual_supervision(inbatch="mse"), "inbatch must be 'margin_mse' or 'kl', got 'mse'"),
        (lambda: dual_supervision(inbatch="kl"), "inbatch='kl' needs guide=True"),
        (lambda: ngame_loss(margin=-1), "Hinge: margin must be >= 0"),
        (lambda: ngame_loss(k=0), "Hinge: k must be an integer >= 1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_both_losses_are_compositions():
    assert isinstance(ngame_loss(), Chain) and isinstance(ngame_loss().objective, Hinge)
    assert set(dual_supervision().needs) == {"features", "teacher", "teacher_inbatch"}
    assert "guide" in dual_supervision(guide=True).needs and "teacher_inbatch" not in dual_supervision(guide=True).needs
