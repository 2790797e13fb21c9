"""A memory is what its history says, by hand; nothing is detached and clips do not see each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.sources.memory.track import TrackMemory


def one(memory, vector, name=0, **more):
    memory.update(torch.tensor([name]), torch.tensor([vector]), **more)
    return memory.state()[1][0].tolist()


def test_the_share_of_the_new_is_how_alike_the_history_was():
    memory = TrackMemory()
    one(memory, [1.0, 0.0])
    assert one(memory, [0.6, 0.8]) == pytest.approx([0.76, 0.48])
    assert one(memory, [0.0, -1.0]) == pytest.approx([0.76, 0.48])  # mean cosine (0 - 0.8) / 2: no share


@pytest.mark.parametrize(
    "mode, wanted", [("last", [0.0, 4.0]), ("mean", [1.0, 2.0]), ("momentum", [0.75 * 0.75 * 2 + 0.375, 1.375])]
)
def test_other_means(mode, wanted):
    memory = TrackMemory(mode)
    for vector in ([2.0, 0.0], [1.0, 2.0], [0.0, 4.0]):
        last = one(memory, vector)
    wanted = [0.75 * (0.75 * 2 + 0.25), 0.75 * 0.5 + 1.0] if mode == "momentum" else wanted
    assert last == pytest.approx(wanted)


def slow(frames, cap):
    """The definition, object by object."""
    memory, history = {}, {}
    for frame in frames:
        for name, e in frame.items():
            if name in memory:
                h = torch.stack(history[name][-cap:] if cap else history[name])
                beta = torch.cosine_similarity(h, e[None], dim=1).mean().clamp(min=0)
                memory[name] = (1 - beta) * memory[name] + beta * e
            else:
                memory[name] = e
            history.setdefault(name, []).append(e)
    return memory


@given(st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=8), st.sampled_from([None, 1, 3]), st.integers(0, 9))
def test_it_is_its_definition(frames, cap, seed):
    g = torch.Generator().manual_seed(seed)
    clip = [{name: torch.randn(3, generator=g) + 0.5 for name in sorted(names)} for names in frames]
    memory = TrackMemory(max_history=cap)
    for frame in clip:
        memory.update(torch.tensor(list(frame), dtype=torch.int64), torch.stack([*frame.values(), torch.zeros(3)])[:-1])
    wanted = slow(clip, cap)
    ids, held = memory.state()
    assert sorted(ids.tolist()) == sorted(wanted)
    for name, vector in zip(ids.tolist(), held, strict=True):
        assert torch.allclose(vector, wanted[name], atol=1e-5)
        assert memory.seen[ids.tolist().index(name)] == sum(name in names for names in frames)


def test_gradients_reach_all_that_was_seen():
    memory, past = TrackMemory(), [torch.tensor([[1.0, x]], requires_grad=True) for x in (0.1, 0.5, 0.9)]
    for e in past:
        memory.update(torch.tensor([7]), e)
    memory.state()[1].sum().backward()
    assert all((e.grad != 0).any() for e in past)


def test_the_gradient_is_that_of_the_definition():
    torch.manual_seed(0)
    past = (torch.rand(4, 1, 3, dtype=torch.float64) + 0.1).requires_grad_()
    memory = TrackMemory()
    for e in past:
        memory.update(torch.tensor([7]), e)
    (ours,) = torch.autograd.grad(memory.state()[1].square().sum(), past)
    (wanted,) = torch.autograd.grad(slow([{7: e[0]} for e in past], None)[7].square().sum(), past)
    assert torch.allclose(ours, wanted)


def test_noise_writes_a_random_embedding_into_what_is_away():
    memory, g = TrackMemory("last", noise=1.0), torch.Generator().manual_seed(0)
    pool = torch.tensor([[5.0, 5.0]])
    one(memory, [1.0, 0.0], 0, pool=pool, generator=g)
    one(memory, [0.0, 1.0], 1, pool=pool, generator=g)
    assert memory.state()[1].tolist() == [[5.0, 5.0], [0.0, 1.0]]
    with pytest.raises(ValueError, match="needs a generator"):
        memory.update(torch.tensor([0]), pool)


def test_reset_forgets_and_bad_input_is_named():
    memory = TrackMemory()
    one(memory, [1.0, 0.0])
    memory.reset()
    with pytest.raises(ValueError, match="empty"):
        memory.state()
    assert one(memory, [0.0, 3.0]) == [0.0, 3.0]
    with pytest.raises(ValueError, match="each id once"):
        memory.update(torch.tensor([1, 1]), torch.ones(2, 2))
    for call, message in (
        (lambda: TrackMemory("ema"), "mode"),
        (lambda: TrackMemory(noise=1.1), r"noise must be in \[0, 1\]"),
        (lambda: TrackMemory(momentum=float("nan")), "momentum"),
        (lambda: TrackMemory(max_history=0), "max_history"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
