"""The contrast of masked answers by hand, and attention that sees only the frames of its span."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.training.chains import masked_answer_contrast
from litotes.training.multiple_choice import LocalAlignedAttention, MultipleChoice, choices


def drawn(b=3, k=5, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    anchor, reps, scores = (torch.randn(*shape, generator=g) for shape in ((b, d), (b, k, d), (b, k)))
    return anchor, reps, scores, torch.randint(0, k, (b,), generator=g)


def test_the_contrast_by_hand():
    anchor, reps = torch.tensor([[1.0, 0.0]]), torch.tensor([[[1.0, 0.0]] + 4 * [[0.0, 1.0]]])
    chain, zero = masked_answer_contrast(), torch.tensor([0])
    assert chain(choices(anchor, reps, zero)).item() == pytest.approx(0.904832, abs=1e-6)
    assert chain(choices(anchor, reps[:, :1].expand(1, 5, 2), zero)).item() == pytest.approx(math.log(5), abs=1e-6)


@given(st.integers(1, 4), st.integers(2, 10), st.integers(0, 50))
def test_it_is_cross_entropy_and_does_not_see_the_order_or_padding(b, k, seed):
    anchor, reps, scores, target = drawn(b, k, seed=seed)
    chain, qa = masked_answer_contrast(), MultipleChoice()
    wanted = F.cross_entropy((anchor[:, None] * reps).sum(-1), target)
    assert chain(choices(anchor, reps, target)).item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    place = order.argsort()[target]
    loss = qa(scores, target, anchor, reps)[0].item()
    assert qa(scores[:, order], place, anchor, reps[:, order])[0].item() == pytest.approx(loss, rel=1e-4)
    wide = torch.cat([reps, torch.full((b, 1, 4), 1e4)], dim=1)
    valid = torch.arange(k + 1).expand(b, -1) < k
    padded = qa(torch.cat([scores, torch.full((b, 1), 1e4)], 1), target, anchor, wide, valid=valid)[0]
    assert padded.item() == pytest.approx(loss, rel=1e-5)


def test_an_anchor_that_is_not_masked_is_its_own_positive():
    _, reps, _, target = drawn()
    anchor = reps[torch.arange(3), target]
    wanted = F.cross_entropy((anchor[:, None] * reps).sum(-1), target)
    assert masked_answer_contrast()(choices(anchor, reps, target)).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_weights_of_zero_are_cross_entropy_bit_by_bit_and_both_sides_learn():
    anchor, reps, scores, target = drawn()
    spans = torch.randn(3, 6), torch.randint(-1, 2, (3, 6))
    plain = MultipleChoice(0, 0)(scores, target, anchor, reps, spans)[0]
    assert torch.equal(plain, F.cross_entropy(scores, target)) and torch.equal(
        MultipleChoice()(scores, target)[0], plain
    )
    anchor.requires_grad_()
    reps.requires_grad_()
    loss, parts = MultipleChoice(1, 1)(scores, target, anchor, reps, spans)
    loss.backward()
    assert torch.equal(parts["answer"], plain)  # the contrast changes no score
    assert set(parts) == {"answer", "contrast", "localisation"} and loss.item() == pytest.approx(
        sum(part.item() for part in parts.values()), rel=1e-5
    )
    assert (anchor.grad != 0).all() and (reps.grad != 0).any(dim=-1).all()
    there = spans[1] >= 0
    wanted = F.binary_cross_entropy_with_logits(spans[0][there], spans[1][there].float())
    assert parts["localisation"].item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("bad", [-1, 5])
def test_a_target_that_is_no_column_is_named(bad):
    anchor, reps, scores, target = drawn()
    target[1] = bad
    for call in (lambda: choices(anchor, reps, target), lambda: MultipleChoice()(scores, target)):
        with pytest.raises(ValueError, match=rf"target\[1\] = {bad} is none of the K = 5"):
            call()
    with pytest.raises(ValueError, match="contrast must be >= 0"):
        MultipleChoice(-1)
    with pytest.raises(ValueError, match="similarity"):
        masked_answer_contrast("l2")


def test_candidates_of_other_rows_join_on_request():
    anchor, reps, _, target = drawn(1)
    chain = masked_answer_contrast()
    assert chain(choices(anchor, reps, target, in_batch=True)).item() == pytest.approx(
        chain(choices(anchor, reps, target)).item(), rel=1e-6
    )
    anchor, reps, _, target = drawn(3)
    wanted = F.cross_entropy(anchor @ reps.flatten(0, 1).T, torch.arange(3) * 5 + target)
    assert chain(choices(anchor, reps, target, in_batch=True)).item() == pytest.approx(wanted.item(), rel=1e-5)


def attention(seed=0):
    torch.manual_seed(seed)
    return LocalAlignedAttention(8), torch.randn(2, 3, 4, 8), torch.randn(2, 5, 8)


def test_a_sentence_sees_the_frames_of_its_span_only():
    part, tokens, frames = attention()
    mask = torch.zeros(2, 3, 5, dtype=torch.bool)
    mask[:, 0, :2] = mask[:, 1, 2:] = True  # the third sentence has no frames
    other = frames.clone()
    other[:, 2:] += 100
    one, two = part(tokens, frames, mask), part(tokens, other, mask)
    assert (
        torch.equal(one[:, 0], two[:, 0])
        and torch.equal(one[:, 2], two[:, 2])
        and not torch.equal(one[:, 1], two[:, 1])
    )
    assert (part.attend(tokens, frames, mask)[:, 2] == 0).all() and one.isfinite().all()
    frames.requires_grad_()
    part(tokens, frames, mask).sum().backward()
    assert frames.grad.isfinite().all()


def test_a_mask_of_true_is_global_attention():
    part, tokens, frames = attention(1)
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    slow = torch.stack(
        [torch.softmax(part.weight(tokens[b, j]) @ frames[b].T, dim=-1) @ frames[b] for b in range(2) for j in range(3)]
    ).view(2, 3, 4, 8)
    assert torch.allclose(part.attend(tokens, frames, mask), slow, atol=1e-6)
