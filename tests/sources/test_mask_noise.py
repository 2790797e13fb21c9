"""Masking leaves special tokens, padding and the other segment alone, and draws at its rate."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.sources.perturbed.mask_noise import MaskNoise

SPECIAL, MASK = (1, 2), 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tokens(seed=0, b=4, n=30):
    ids = torch.randint(1, 50, (b, n), generator=generator(seed))
    there = torch.arange(n)[None, :] < torch.tensor([n, n - 5, 3, 0])[:b, None]
    return torch.where(there, ids, 0), there


@given(st.integers(0, 99), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from(["all", "answer", "context"]))
def test_only_free_tokens_of_the_segment_are_masked(seed, rate, segment):
    ids, there = tokens(seed)
    segments = (torch.arange(30)[None, :] >= 12).long().expand_as(ids)
    made = MaskNoise(MASK, SPECIAL, rate, segment)(ids, there, segments, generator=generator(seed))
    in_segment = {"all": torch.ones_like(there), "answer": segments == 1, "context": segments == 0}[segment]
    free = there & in_segment & (ids != 1) & (ids != 2)
    assert torch.equal(made[~free], ids[~free])
    assert ((made == ids) | (made == MASK)).all()
    if rate == 1:
        assert (made[free] == MASK).all()
    if rate == 0:
        assert torch.equal(made, ids)


def test_the_rate_is_met_and_the_draw_is_the_generators():
    ids = torch.full((100, 1000), 7)
    noise = MaskNoise(MASK, SPECIAL, 0.15)
    one, two, other = (noise(ids, ids > 0, generator=generator(seed)) for seed in (0, 0, 1))
    assert abs((one == MASK).float().mean().item() - 0.15) < 0.005
    assert torch.equal(one, two) and not torch.equal(one, other) and (ids == 7).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MaskNoise(MASK, SPECIAL, 1.1), r"rate must be in \[0, 1\], got 1.1"),
        (lambda: MaskNoise(MASK, SPECIAL, segment="question"), "segment must be"),
        (lambda: MaskNoise(MASK, SPECIAL, segment="answer")(*tokens(), generator=generator()), "needs segment_ids"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
