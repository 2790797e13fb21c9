import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch
from litotes.catalog import parse
from litotes.chain import Chain
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.sources.soft.teacher_target import TeacherTarget


@st.composite
def batches(draw):
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    grid = lambda values: torch.tensor([[draw(values) for _ in range(c)] for _ in range(b)], dtype=torch.float64)
    scores, teacher = grid(st.floats(-2, 2) | st.just(-math.inf)), grid(st.floats(-9, 9) | st.just(math.nan))
    sign = grid(st.sampled_from([-1, 0, 1])).to(torch.int8)
    return SignedBatch(scores, sign, grid(st.sampled_from([0, 0.25, 1])), pairs={"teacher": teacher})


@given(batches(), st.sampled_from([0.1, 1.0, 5.0]))
def test_it_is_its_formula(batch, temperature):
    made = TeacherTarget(temperature)(batch)
    for i, row in enumerate(batch.pairs["teacher"].tolist()):
        there = [
            j
            for j, g in enumerate(row)
            if not math.isnan(g) and batch.sign[i, j] and batch.weight[i, j] and batch.scores[i, j] != -math.inf
        ]
        top = max((row[j] for j in there), default=0.0)
        masses = {j: math.exp((row[j] - top) / temperature) for j in there}
        expected = [masses.get(j, 0.0) / max(sum(masses.values()), 1e-300) for j in range(len(row))]
        assert made.pairs["target"][i].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(made.sign, batch.sign) and torch.equal(made.weight, batch.weight)


@given(batches(), st.floats(-3, 3))
def test_a_constant_on_all_scores_of_the_teacher_changes_nothing(batch, constant):
    moved = batch.replace(pairs={"teacher": batch.pairs["teacher"] + constant})
    a, b = (TeacherTarget()(one).pairs["target"] for one in (batch, moved))
    torch.testing.assert_close(a, b)


def test_the_gradient_is_that_of_the_divergence_from_the_teacher_and_vanishes_at_the_teacher():
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    sign = torch.tensor([[1, -1, -1, -1]] * 3, dtype=torch.int8)
    chain = Chain(TeacherTarget(), SoftTargetInfoNCE(1.0))

    def gradient(scores):
        scores = scores.detach().clone().requires_grad_()
        chain(SignedBatch(scores, sign, torch.ones(3, 4, dtype=torch.float64), pairs={"teacher": teacher})).backward()
        return scores.grad

    student = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    expected = (student.softmax(dim=1) - teacher.softmax(dim=1)) / 3
    torch.testing.assert_close(gradient(student), expected.detach())
    assert gradient(teacher).abs().max() < 1e-15 and teacher.grad is None


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_a_bad_temperature_is_named(bad):
    with pytest.raises(ValueError, match="temperature must be > 0 and finite"):
        TeacherTarget(bad)


def test_a_batch_without_a_teacher_is_refused():
    batch = SignedBatch(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.int8), torch.ones(1, 1))
    with pytest.raises(ValueError, match="pairs has no 'teacher', it has nothing"):
        TeacherTarget()(batch)
    assert str(parse("teacher_target(temperature=2.0)")) == "teacher_target(temperature=2.0, teacher=teacher)"
