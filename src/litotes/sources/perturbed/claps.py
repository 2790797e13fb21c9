"""Imposter and distant target: a decoder's hidden states moved to where they are near but wrong, or far but right."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.ops import unit

Head = Callable[[Tensor], Tensor]
IGNORED = -100


def imposter(hidden: Tensor, head: Head, labels: Tensor, eps: float = 1.0) -> Tensor:
    """Hidden states a small step towards less likely tokens: near the target, and no longer it.

        h~_t = h_t + eps g_t / |g_t|,    g = gradient of the mean token cross-entropy of head(h) against the labels

    A position without a gradient (label -100) does not move.

    In:   hidden [B, T, D], what head maps to [B, T, V] logits; labels int64 [B, T].
    Out:  [B, T, D], a constant: no gradient reaches hidden or head, and nobody's .grad is touched, also under no_grad.
    Cost: one forward and backward of the head.
    Args:
        eps: length of the step, >= 0.
    Raises:
        ValueError: eps is out of range.
    Source: Contrastive Learning with Adversarial Perturbations for Conditional Text Generation (arXiv:2012.07280),
        equation 5.
    """
    _checked("imposter", eps=eps)

    def surprise(h: Tensor) -> Tensor:
        return F.cross_entropy(head(h).flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)

    return _step(hidden.detach(), surprise, eps)


def distant_target(
    enc: Tensor,
    enc_mask: Tensor,
    hidden: Tensor,
    dec_mask: Tensor,
    head: Head,
    project: Head,
    temperature: float = 0.1,
    eps: float = 3.0,
    eps_restore: float | None = None,
) -> Tensor:
    """Hidden states a large step away from their source, then pulled back to say the same tokens: far, and still right.

        A   h- = h  + eps          * direction in which the contrast of pooled sources and targets rises
        B   h^ = h- - eps_restore  * direction in which KL(softmax head(h) || softmax head(h-)) rises

    each token's direction of length 1. The divergence need not fall in B where its step is as long as that of A and
    the vocabulary is small; then give a shorter eps_restore.

    In:   enc [B, S, D] and hidden [B, T, D] with masks [B, S] and [B, T] (0 = padding); head to logits; project, the
          map before pooling.
    Out:  [B, T, D], a constant, as of `imposter`.
    Cost: two forwards and backwards of head and projection.
    Args:
        temperature: of the contrast, > 0. eps: step A, >= 0. eps_restore: step B, >= 0; None = eps.
    Raises:
        ValueError: an argument is out of range, or a row is all padding.
    Source: arXiv:2012.07280, equations 7 to 9 with the signs of the released code; eps_restore ours.
    """
    back = eps if eps_restore is None else eps_restore
    _checked("distant_target", eps=eps, eps_restore=back)
    if not temperature > 0:
        raise ValueError(f"distant_target: temperature must be > 0, got {temperature!r}")
    source, target = enc.detach(), hidden.detach()
    own = torch.arange(len(target), device=target.device)

    def contrast(h: Tensor) -> Tensor:
        cosines = unit(pooled(source, enc_mask, project)) @ unit(pooled(h, dec_mask, project)).T
        return F.cross_entropy(cosines.float() / temperature, own)

    with torch.no_grad():
        wanted = head(target).float().log_softmax(dim=-1)
    there = dec_mask.to(wanted.dtype)

    def divergence(h: Tensor) -> Tensor:
        each = F.kl_div(head(h).float().log_softmax(dim=-1), wanted, reduction="none", log_target=True).sum(dim=-1)
        return (each * there).sum() / there.sum()

    return _step(_step(target, contrast, eps), divergence, -back)


def pooled(x: Tensor, mask: Tensor, project: Head) -> Tensor:
    """Mean over the positions of mask [B, T] of project(x), [B, D]; what padding holds does not matter.

    Raises:
        ValueError: a row is all padding (on a GPU this waits for the device).
    """
    there = mask.bool()
    count = there.sum(dim=1, keepdim=True)
    if bool((count == 0).any()):
        raise ValueError(f"pooled: row {int((count[:, 0] == 0).int().argmax())} is all padding")
    return torch.where(there[..., None], project(x), 0).sum(dim=1) / count


def _step(h: Tensor, cost: Callable[[Tensor], Tensor], eps: float) -> Tensor:
    """A step of length |eps| per token along the cost's gradient (against it for eps < 0); 0 where there is none."""
    with torch.enable_grad():
        leaf = h.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cost(leaf), leaf)
    wide = gradient.float()  # in half precision the norm would underflow
    wide = wide / wide.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    length = wide.norm(dim=-1, keepdim=True)
    return h + (eps * wide / length.clamp(min=1e-12)).to(h.dtype)


def _checked(part: str, **lengths: float) -> None:
    for name, value in lengths.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{part}: {name} must be >= 0 and finite, got {value!r}")
