import math

import pytest
import torch

from litotes.batch import Moment, from_groups
from litotes.objectives import InfoNCE, LearnedTemperature, ScheduledTemperature, SoftTargetInfoNCE


@pytest.mark.parametrize("objective", [InfoNCE, SoftTargetInfoNCE])
def test_a_learned_temperature_divides_like_a_number_and_is_learned(objective):
    scores = torch.tensor([[0.4, 0.1, -0.2]])
    learned = LearnedTemperature(0.2)
    part = objective(learned)
    assert [name for name, _ in part.named_parameters()] == ["temperature.log_scale"]
    assert part(from_groups(scores)).item() == pytest.approx(objective(0.2)(from_groups(scores)).item(), rel=1e-6)
    part(from_groups(scores)).backward()
    step = 1e-3
    up, down = (objective(0.2 * math.exp(-s))(from_groups(scores.double())).item() for s in (step, -step))
    assert learned.log_scale.grad.item() == pytest.approx((up - down) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(
    "parameter, slope, passes",
    [(6.0, 1.0, False), (6.0, -1.0, True), (3.0, 1.0, True), (-1.0, -1.0, False), (-1.0, 1.0, True)],
)
def test_at_a_bound_only_the_way_back_is_open(parameter, slope, passes):
    """T falls as the parameter grows: a gradient of -slope on T asks for a step of the sign of slope."""
    learned = LearnedTemperature(0.1, min_scale=1.0, max_scale=100.0)
    with torch.no_grad():
        learned.log_scale.fill_(parameter)
    (slope * learned()).backward()
    assert learned().item() == pytest.approx(min(max(math.exp(-parameter), 0.01), 1.0), rel=1e-6)
    assert (learned.log_scale.grad.item() != 0) == passes


def test_without_bounds_nothing_is_clamped():
    learned = LearnedTemperature(0.001, max_scale=None)
    assert learned().item() == pytest.approx(0.001, rel=1e-5)
    assert LearnedTemperature(0.01)().item() == pytest.approx(0.01, rel=1e-5)  # on the bound itself


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0.0,), "init must be > 0 and finite, got 0.0"),
        ((0.07, 0.0), "min_scale must be > 0 and finite, got 0.0"),
        ((0.07, None, math.inf), "max_scale must be > 0 and finite, got inf"),
        ((0.001,), r"1 / init must be in \[0.0, 100.0\], got init=0.001"),
        ((2.0, 1.0), r"1 / init must be in \[1.0, 100.0\], got init=2.0"),
    ],
)
def test_a_bad_learned_temperature_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"LearnedTemperature: {message}"):
        LearnedTemperature(*arguments)


@pytest.mark.parametrize("shape, half", [("linear", 0.205), ("geometric", math.sqrt(0.4 * 0.01)), ("cosine", 0.205)])
def test_a_schedule_starts_and_ends_where_it_says(shape, half):
    schedule = ScheduledTemperature(0.4, 0.01, shape)
    at = [schedule(Moment(0, 0, x)) for x in (0.0, 0.5, 1.0, 1.5)]
    assert at == pytest.approx([0.4, half, 0.01, 0.01])


def test_a_cosine_schedule_is_slow_at_its_ends():
    assert ScheduledTemperature(1.0, 0.5)(Moment(0, 0, 0.25)) == pytest.approx(0.5 + 0.25 * (1 + math.sqrt(0.5)))


def test_a_schedule_needs_to_know_the_time_and_hands_it_through():
    batch = from_groups(torch.tensor([[0.4, 0.1]]))
    part = InfoNCE(ScheduledTemperature(0.4, 0.2, "linear"))
    assert part(batch, now=Moment(5, 0, 0.5)).item() == pytest.approx(InfoNCE(0.3)(batch).item(), rel=1e-6)
    with pytest.raises(ValueError, match="needs to know where training stands: pass now="):
        part(batch)
    with pytest.raises(ValueError, match="shape must be 'linear', 'geometric' or 'cosine', got 'step'"):
        ScheduledTemperature(0.4, 0.2, "step")


def test_temperatures_are_spelled_inside_objectives():
    assert str(InfoNCE(ScheduledTemperature(0.4, 0.2))) == (
        "infonce(temperature=scheduled_temperature(start=0.4, end=0.2, shape=cosine), positives=each, average=term)"
    )
