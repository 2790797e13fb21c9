"""Items of a clip: which embedding is whose positive, and what stands against it."""

import pytest
import torch

from litotes.batch import SignedBatch
from litotes.sources.memory.track import TrackMemory
from litotes.sources.structured.clip_items import ConsistentItems
from litotes.training.chains import ctvis_loss


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clip(t=4, q=5, seed=0):
    return torch.randn(t, q, 3, generator=generator(seed)) + 0.5


def items(assign, prob=0.0, embeds=None, **more):
    assign = torch.tensor(assign)
    embeds = clip(len(assign)) if embeds is None else embeds
    return embeds, ConsistentItems(prob, **more)(embeds, assign, generator=generator())


def test_the_positive_is_the_last_embedding_or_the_memory():
    assign = [[0, 1], [2, 3], [1, -1], [4, 0]]
    embeds, batch = items(assign)
    assert list(zip(batch.rows["frame"].tolist(), batch.rows["object"].tolist(), strict=True)) == [
        (1, 0), (1, 1), (2, 0), (3, 0), (3, 1)
    ]  # fmt: skip
    assert torch.equal(batch.own[:, 0], torch.stack([embeds[at] for at in [(0, 0), (0, 1), (1, 2), (2, 1), (1, 3)]]))
    assert torch.equal(batch.anchors, torch.stack([embeds[at] for at in [(1, 2), (1, 3), (2, 1), (3, 4), (3, 0)]]))
    _, averaged = items(assign, 1.0)
    memory = TrackMemory()
    for t, seen in enumerate(([0, 1], [2, 3], [1])):
        memory.update(torch.arange(len(seen)), embeds[t, seen])
    assert torch.allclose(averaged.own[3:, 0], memory.state()[1], atol=1e-6)  # as of the frame before
    assert torch.equal(averaged.own[:2, 0], embeds[0, :2])


def test_first_appearances_look_ahead_and_single_ones_are_no_items():
    embeds, batch = items([[0, -1, -1], [0, 3, -1], [0, -1, 2], [0, 4, -1]])
    found = {
        (f, o): x
        for f, o, x in zip(batch.rows["frame"].tolist(), batch.rows["object"].tolist(), batch.own[:, 0], strict=True)
    }
    assert set(found) == {(1, 0), (2, 0), (3, 0), (1, 1), (3, 1)}
    assert torch.equal(found[1, 1], embeds[3, 4]) and torch.equal(found[3, 1], embeds[1, 3])


def test_negatives_are_all_other_embeddings_of_the_frame_before():
    _, batch = items([[0, -1], [1, -1], [2, 3], [0, 1]])
    by = {
        at: sign
        for at, sign in zip(
            zip(batch.rows["frame"].tolist(), batch.rows["object"].tolist(), strict=True),
            batch.sign.tolist(),
            strict=True,
        )
    }
    assert by[2, 0] == [1, -1, 0, -1, -1, -1]  # its own embedding in frame 1 is no negative
    assert by[2, 1] == [1, -1, -1, -1, -1, -1]  # not visible in frame 1: all five are
    assert by[3, 1] == [1, -1, -1, -1, 0, -1]


def test_memories_as_negatives():
    embeds, batch = items([[0, 1, -1], [2, 3, 4], [1, -1, 2]], negatives="memory", memory=TrackMemory("last"))
    assert batch.sign.tolist() == [[1, 0, -1, 0], [1, -1, 0, 0], [1, -1, -1, 0], [1, 0, -1, -1], [1, -1, -1, 0]]
    assert torch.equal(batch.own[3, 2:], torch.stack([embeds[1, 3], embeds[1, 4]]))
    _, both = items([[0, 1, -1], [2, 3, 4], [1, -1, 2]], negatives="both", memory=TrackMemory("last"))
    assert both.sign.shape == (5, 1 + 5 + 3) and torch.equal(both.sign[:, 6:], batch.sign[:, 1:])


@pytest.mark.parametrize("prob, reached", [(1.0, {(0, 0), (1, 0), (2, 0)}), (0.0, {(1, 0), (2, 0)})])
def test_gradient_reaches_the_past_through_the_memory_only(prob, reached):
    embeds = clip(3, 2).abs().requires_grad_()  # alike, so that beta is not 0
    assign = torch.tensor([[0], [0], [0]])
    batch = ConsistentItems(prob)(embeds, assign, generator=generator())
    item = batch.rows["frame"] == 2
    one = SignedBatch(None, batch.sign[item], batch.weight[item], batch.anchors[item], own=batch.own[item])
    ctvis_loss()(one).backward()
    got = {tuple(at) for at in (embeds.grad != 0).any(dim=-1).nonzero().tolist()}
    assert got == reached | {(1, 1)}  # and the other embedding of the frame before, as negative


def test_the_loss_by_hand():
    def batch(*negatives):
        own = torch.tensor([[[1.0, 0.0], *negatives]])
        sign = torch.tensor([[1] + [-1] * len(negatives)], dtype=torch.int8)
        return SignedBatch(None, sign, torch.ones(sign.shape), torch.tensor([[1.0, 0.0]]), own=own)

    for negatives, embed, aux in (
        ([[0.0, 1.0]], 0.313262, 0.0),
        ([[0.0, 1.0], [1.0, 0.0]], 0.861995, 1 / 3),
        ([], 0, 0),
    ):
        assert ctvis_loss(1, 0)(batch(*negatives)).item() == pytest.approx(embed, abs=1e-6)
        assert ctvis_loss(0, 1)(batch(*negatives)).item() == pytest.approx(aux, abs=1e-6)
        assert ctvis_loss()(batch(*negatives)).item() == pytest.approx(2 * embed + 3 * aux, abs=1e-5)


def test_several_positives_meet_all_negatives_and_absent_ones_are_not_there():
    torch.manual_seed(0)
    anchor, own = torch.randn(1, 3), torch.randn(1, 5, 3)
    sign = torch.tensor([[1, 1, -1, -1, -1]], dtype=torch.int8)
    s = (own[0] @ anchor[0]).tolist()
    wanted = torch.tensor([[n - p for p in s[:2]] for n in s[2:]]).exp().sum().add(1).log().item()
    made = SignedBatch(None, sign, torch.ones(1, 5), anchor, own=own)
    assert ctvis_loss(1, 0)(made).item() == pytest.approx(wanted, rel=1e-5)
    one = made.replace(sign=torch.tensor([[1, 0, -1, -1, -1]], dtype=torch.int8))
    wanted = torch.nn.functional.cross_entropy(torch.tensor([[s[0], *s[2:]]]), torch.tensor([0])).item()
    assert ctvis_loss(1, 0)(one).item() == pytest.approx(wanted, rel=1e-5)
    huge = one.replace(own=torch.where(torch.arange(5)[None, :, None] == 1, 1e4, own))
    assert ctvis_loss()(huge).item() == pytest.approx(ctvis_loss()(one).item(), rel=1e-6)


def test_large_products_are_finite_and_no_items_are_nothing_with_a_graph():
    embeds = (100 * clip(2)).requires_grad_()
    loss = ctvis_loss()(ConsistentItems()(embeds, torch.tensor([[0], [1]]), generator=generator()))
    loss.backward()
    assert loss.isfinite() and embeds.grad.isfinite().all()
    embeds.grad = None
    batch = ConsistentItems()(embeds, torch.tensor([[0, -1], [-1, 1]]), generator=generator())
    loss = ctvis_loss()(batch)
    loss.backward()
    assert len(batch.sign) == 0 and loss.item() == 0 and (embeds.grad == 0).all()


def test_clips_do_not_see_each_other():
    one, two = (clip(3, 4, 1), torch.tensor([[0, 1], [1, 2], [3, -1]])), (clip(5, 6, 2), torch.tensor([[0]] * 5))
    part = ConsistentItems(1.0)
    there, back = (part.over(order, generator=generator()) for order in ((one, two), (two, one)))
    assert ctvis_loss()(there).item() == pytest.approx(ctvis_loss()(back).item(), rel=1e-5)
    sizes = [len(part(*c, generator=generator()).sign) for c in (one, two)]
    alone = [ctvis_loss()(part(*c, generator=generator())).item() for c in (one, two)]
    wanted = sum(n * loss for n, loss in zip(sizes, alone, strict=True)) / sum(sizes)
    assert ctvis_loss()(there).item() == pytest.approx(wanted, rel=1e-5)  # the mean over all items


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ConsistentItems(1.5), r"memory_prob must be in \[0, 1\]"),
        (lambda: ConsistentItems(negatives="none"), "negatives must be"),
        (lambda: items([[0]], embeds=clip(1)), "T >= 2"),
        (lambda: items([[0, 1], [2, 2]]), "at most once"),
        (lambda: items([[0], [5]]), "at most once"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
