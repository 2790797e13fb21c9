"""Voco: values by hand, a slow twin over volumes, who gets gradients, and the ends of the logarithm."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, soft_signs
from litotes.chain import Chain
from litotes.objectives.contrastive.voco import Voco, from_volumes
from litotes.scoring import ClippedCosine
from litotes.training.projector_pair import ProjectorPair

ALONE = Voco(inter_weight=0.0, reg_weight=0.0)


def scored(y, s):
    y, s = torch.as_tensor(y)[None].float(), torch.as_tensor(s)[None]
    return SignedBatch(s, soft_signs(y)[0], torch.ones_like(y), pairs={"target": y})


def drawn(v=3, n=2, k=4, d=5, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    sizes = [(v, n, d), (v, k, d), (v, n, d), (v, k, d)]
    q, b, qt, bt = (torch.randn(*size, generator=random, dtype=dtype) for size in sizes)
    labels = torch.rand(v, n, k, generator=random).mul(3).sub(1.2).clamp(min=0)
    return [q, b, qt, bt, labels / labels.sum(2, keepdim=True).clamp(min=1e-3)]


def run(parts, **more):
    return Chain(ClippedCosine(), Voco(**more)).terms(from_volumes(*parts))


def test_the_fit_by_hand():
    found = ALONE.terms(scored([0.25, 0.75, 0.0], [0.25, 0.5, 0.2]))
    assert found["pos"].item() == pytest.approx(0.215762, abs=1e-5)
    assert found["neg"].item() == pytest.approx(0.223144, abs=1e-5)
    assert found["loss"].item() == pytest.approx(0.438905, abs=1e-5)
    square = Voco(0.0, 0.0, "square").terms(scored([0.25, 0.75, 0.0], [0.25, 0.5, 0.2]))
    assert square["neg"].item() == pytest.approx(0.04, abs=1e-6) and square["pos"] == found["pos"]


def test_a_perfect_fit_costs_nothing_and_the_worst_is_finite():
    assert abs(ALONE(scored([0.3, 0.7, 0.0], [0.3, 0.7, 0.0]))) < 1e-5
    s = torch.tensor([1.0, 1.0], requires_grad=True)
    found = ALONE.terms(scored([1.0, 0.0], s))
    assert found["neg"].item() == pytest.approx(13.8155, abs=1e-3)
    found["loss"].backward()
    assert s.grad[1].item() == pytest.approx(1e6, rel=1e-3)
    over = ALONE(scored([0.0, 1.0], [1 + 1e-5, 1.0]))
    assert over.isfinite() and over.item() == pytest.approx(13.8155, abs=1e-3)
    spike = ALONE(scored([1.0, 0.0], [0.0, 0.0]))
    assert spike.item() == pytest.approx(-math.log(1e-6), abs=1e-3)


def test_without_negatives_that_half_is_zero_and_belief_counts():
    found = ALONE.terms(scored([0.5, 0.5], [0.2, 0.9]))
    assert found["neg"] == 0 and found["loss"].isfinite()
    batch = scored([1.0, 0.0, 0.0], [0.8, 0.5, 0.1])
    kept = ALONE(batch.replace(weight=torch.tensor([[1.0, 0.0, 1.0]])))
    assert kept.item() == pytest.approx(ALONE(scored([1.0, 0.0], [0.8, 0.1])).item(), abs=1e-6)


@pytest.mark.parametrize("vectors, value", [([[1.0, 0], [1, 0]], 1), ([[1.0, 0], [0, 1]], 0), ([[1.0, 0], [-1, 0]], 0)])
def test_the_regulariser_by_hand(vectors, value):
    bases = torch.tensor([vectors, vectors])
    parts = [torch.randn(2, 1, 2), bases, torch.randn(2, 1, 2), bases, torch.full((2, 1, 2), 0.5)]
    assert run(parts)["reg"].item() == pytest.approx(value, abs=1e-6)


def test_the_last_base_is_always_the_detached_side():
    parts = drawn()
    bases = parts[1].abs_().requires_grad_()  # acute angles all
    run(parts)["reg"].backward()
    assert (bases.grad[:, -1] == 0).all() and (bases.grad[:, :-1].abs().sum((0, 2)) > 0).all()


@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 5), st.integers(0, 99), st.sampled_from(["log", "square"]))
def test_it_is_the_sum_over_volumes_written_out(v, n, k, seed, negative):
    parts = drawn(v, n, k, seed=seed)
    q, b, qt, bt, labels = parts
    cos = lambda x, y: F.cosine_similarity(x, y, dim=0).clamp(min=0)

    def fit(y, s):
        up = sum(y[i, j] * -torch.log(1 - (y[i, j] - s[i, j]).abs() + 1e-6) for i in range(n) for j in range(k))
        zeros = [s[i, j] for i in range(n) for j in range(k) if y[i, j] == 0]
        far = (lambda x: -torch.log(1 - x + 1e-6)) if negative == "log" else (lambda x: x**2)
        return up / (y.sum() + 1e-6) + sum(map(far, zeros)) / (len(zeros) + 1e-6)

    table = lambda x, y: torch.stack([torch.stack([cos(i, j) for j in y]) for i in x])
    want = {"intra": 0.0, "inter": 0.0, "reg": 0.0}
    for i in range(v):
        nxt = (i + 1) % v
        want["intra"] += fit(labels[i], table(q[i], bt[i])) / v
        if v > 1:
            want["inter"] += fit(table(qt[i], bt[nxt]), table(q[i], b[nxt])) / v
        pairs = [cos(b[i, x], b[i, y]) ** 2 for x in range(k) for y in range(x + 1, k)]
        want["reg"] += sum(pairs) / len(pairs) / v
    found = run(parts, inter_weight=0.5, reg_weight=2.0, negative=negative)
    for name, value in want.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), name
    assert float(found["loss"]) == pytest.approx(float(want["intra"] + want["inter"] / 2 + 2 * want["reg"]), rel=1e-5)


def test_equal_students_and_teachers_agree_between_volumes():
    q, b, *_, labels = drawn()
    found = run([q, b, q, b, labels])["inter"]
    t = (F.normalize(q, dim=2) @ F.normalize(b.roll(-1, 0), dim=2).mT).clamp(min=0)
    assert (t == 0).any() and abs(found) < 1e-5
    assert run([q, b.flip(2), q, b, labels])["inter"] > 0.01


def test_the_teacher_gets_no_gradient_and_both_student_sides_do():
    parts = [part.requires_grad_() for part in drawn()[:4]] + [drawn()[4]]
    found = run(parts)
    (crops, bases) = torch.autograd.grad(found["inter"], parts[:2], retain_graph=True)
    assert (crops != 0).any() and (bases != 0).any()
    found["loss"].backward()
    assert parts[2].grad is None and parts[3].grad is None and (parts[0].grad != 0).any()


def test_order_of_bases_and_lengths_do_not_matter():
    parts = drawn()
    found = run(parts)
    order = torch.tensor([2, 0, 3, 1])
    turned = run([parts[0], parts[1][:, order], parts[2], parts[3][:, order], parts[4][..., order]])
    assert turned["intra"].item() == pytest.approx(found["intra"].item(), rel=1e-9)
    scaled = run([part * (i + 2) for i, part in enumerate(parts[:4])] + [parts[4]])
    assert all(scaled[name].item() == pytest.approx(found[name].item(), rel=1e-6) for name in found)


def test_one_volume_has_no_next_one_and_dead_positives_are_counted():
    assert run(drawn(v=1))["inter"] == 0
    found = ALONE.terms(scored([0.5, 0.5, 0.0], [0.0, 0.3, 0.2]))
    assert found["dead"].item() == 0.5


def test_gradients_in_double_precision():
    q, b, qt, bt, labels = drawn(v=2, n=1, k=3)
    loss = lambda q, b: run([q, b, qt, bt, labels], reg_weight=0.0)["loss"]
    assert torch.autograd.gradcheck(loss, (q.requires_grad_(), b.requires_grad_()))
    half = [part.bfloat16() for part in drawn()[:4]] + [drawn()[4]]
    assert run(half)["loss"].dtype == torch.float32


def test_the_teacher_follows_by_a_tenth_and_is_not_trained():
    torch.manual_seed(0)
    pair = ProjectorPair(6, 8, 5)
    with torch.no_grad():
        for parameter in pair.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = [parameter.clone() for parameter in pair.teacher.parameters()]
    pair.update()
    for old, new, student in zip(before, pair.teacher.parameters(), pair.student.parameters(), strict=True):
        assert torch.allclose(new, 0.9 * old + 0.1 * student, atol=1e-7)
    x = torch.randn(12, 6, requires_grad=True)
    assert not pair.teach(x).requires_grad and not list(pair.teacher.buffers())
    crops, bases = x[:4].reshape(2, 2, 6), x[4:].reshape(2, 4, 6)
    each = lambda f, y: f(y.flatten(0, 1)).unflatten(0, y.shape[:2])
    labels = torch.tensor([1.0, 0, 0, 0]).expand(2, 2, 4)
    taught = [each(pair.teach, crops), each(pair.teach, bases)]
    run([each(pair, crops), each(pair, bases), *taught, labels])["loss"].backward()
    assert all(parameter.grad is None for parameter in pair.teacher.parameters())
    assert all(parameter.grad is not None for parameter in pair.student.parameters())
    dropped = ProjectorPair(50, 8, 5, dropout=0.5).dropout(torch.ones(40, 50))
    assert (dropped != 0).any(dim=1).all() and (dropped == 0).any(dim=1).all()  # elements, not whole rows
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\)"):
        ProjectorPair(3, momentum=1.0)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
        ProjectorPair(3, dropout=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Voco(eps=0.0), r"eps must be in \(0, 1\)"),
        (lambda: Voco(inter_weight=-1.0), "inter_weight must be >= 0"),
        (lambda: Voco(negative="cube"), "negative must be 'log' or 'square'"),
        (lambda: from_volumes(*drawn(k=1)), "at least 2 bases per volume, got 1"),
        (lambda: from_volumes(*drawn()[:4], torch.zeros(3, 2, 5)), r"labels must be \[3, 2, 4\], got \[3, 2, 5\]"),
        (lambda: Voco()(scored([1.0, 0.0], [0.5, 0.5])), r"rows\['teacher'\] is not there; from_volumes makes"),
        (lambda: Voco(0.0)(scored([1.0, 0.0], [0.5, 0.5])), r"columns\['student'\] is not there"),
        (lambda: ALONE(scored([1.0], [0.5]).replace(pairs={})), r"pairs\['target'\] is not there"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
