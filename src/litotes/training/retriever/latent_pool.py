"""LatentAttentionPool: tokens look up a learnt dictionary before they are averaged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litotes.ops import unit


class LatentAttentionPool(nn.Module):
    """One vector per text out of its token states: every token attends to r learnt vectors, then the tokens that count
    are averaged. A mean weighs all directions of a state alike, and the last token carries only what reached it; the
    dictionary lets pooling learn what of a state belongs into the vector.

        Q = W_q LN(X);  [K; V] = W_kv LN(L);  Y = X + W_o softmax(Q K^T / sqrt(head_dim)) V
        Z = Y + FF(LN(Y)),  FF(y) = W_2 (a * GELU(b)),  [a; b] = W_1 y
        e = sum over the tokens of m_t Z_t / sum of m_t, of length 1 if `normalize`

    Tokens are the queries, the dictionary L [latents, dim] is keys and values: there are no positions, padding has no
    part in the softmax, and each token is computed by itself.

    In:   `hidden` [B, T, dim] float; `mask` [B, T] bool or 0/1, 1 = the token counts: no padding, and no token of an
          instruction (`counted_tokens` makes it). What stands where it is 0 may be anything, NaN included.
    Out:  [B, dim] in the dtype of `hidden`; the mean is formed in float32 or wider.
    Cost: O(B T (dim * heads * head_dim + ff_mult dim^2)); one host synchronisation, to refuse a mask without tokens.

    Args:
        dim: of the token states, >= 1.
        latents: size r of the dictionary, drawn from N(0, 1); >= 1.
        heads: of the attention, >= 1.
        head_dim: of each head, >= 1; None = dim // heads, which `heads` must divide then. The published model has 8
            heads of 4096 over states of 4096.
        ff_mult: inner width of FF as a multiple of dim, >= 1.
        normalize: scale vectors to length 1.
        zero_init: W_o and W_2 start at 0: the module starts as the masked mean.
    Raises:
        ValueError: an argument is out of range; shapes do not fit; a row of the mask has no token (it is named).
    Source: NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models (arXiv:2405.17428), section
        3.1. Residuals, both layer norms and the gate are those of the released model; the paper writes O =
        softmax(Q K^T) V and an MLP.

    Example:
        >>> pool = LatentAttentionPool(dim=8, latents=4, heads=2)
        >>> list(pool(torch.randn(2, 5, 8), torch.ones(2, 5)).shape)
        [2, 8]
    """

    def __init__(
        self,
        dim: int,
        latents: int = 512,
        heads: int = 8,
        head_dim: int | None = None,
        ff_mult: int = 4,
        normalize: bool = True,
        zero_init: bool = False,
    ):
        super().__init__()
        for name, value in {"dim": dim, "latents": latents, "heads": heads, "ff_mult": ff_mult}.items():
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"LatentAttentionPool: {name} must be a whole number >= 1, got {value!r}")
        if head_dim is None and dim % heads:
            raise ValueError(
                f"LatentAttentionPool: heads must divide dim {dim} unless head_dim is given, got {heads!r}"
            )
        if head_dim is not None and not (isinstance(head_dim, int) and head_dim >= 1):
            raise ValueError(f"LatentAttentionPool: head_dim must be a whole number >= 1 or None, got {head_dim!r}")
        self.dim, self.latents, self.heads, self.head_dim = dim, latents, heads, head_dim
        self.ff_mult, self.normalize, self.zero_init = ff_mult, bool(normalize), bool(zero_init)
        inner = heads * (dim // heads if head_dim is None else head_dim)
        self.dictionary = nn.Parameter(torch.randn(latents, dim))
        self.norm_tokens, self.norm_latents, self.norm_mixed = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)
        self.widen = nn.Linear(dim, 2 * ff_mult * dim)
        self.narrow = nn.Linear(ff_mult * dim, dim)
        if zero_init:
            for parameter in (self.to_out.weight, self.narrow.weight, self.narrow.bias):
                nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        self._check(hidden, mask)
        counts = mask.bool()[:, :, None]
        x = torch.where(counts, hidden, 0)  # each token is computed by itself: what does not count is only kept finite
        mixed = x + self.attended(x)
        value, gate = self.widen(self.norm_mixed(mixed)).chunk(2, dim=-1)
        states = mixed + self.narrow(value * F.gelu(gate))
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        pooled = torch.where(counts, states, 0).sum(dim=1) / counts.sum(dim=1)
        return (unit(pooled) if self.normalize else pooled).to(hidden.dtype)

    def attended(self, x: Tensor) -> Tensor:
        """W_o softmax(Q K^T / sqrt(head_dim)) V for token states x [B, T, dim]: what the dictionary adds to each."""
        b, t, _ = x.shape
        q = self.to_q(self.norm_tokens(x)).view(b, t, self.heads, -1).transpose(1, 2)
        k, v = self.to_kv(self.norm_latents(self.dictionary)).view(1, self.latents, 2, self.heads, -1).unbind(dim=2)
        k, v = (each.transpose(1, 2).expand(b, -1, -1, -1) for each in (k, v))
        read = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(read.transpose(1, 2).reshape(b, t, -1))
        return out

    def _check(self, hidden: Tensor, mask: Tensor) -> None:
        if hidden.ndim != 3 or hidden.shape[2] != self.dim:
            raise ValueError(f"LatentAttentionPool: hidden must be [B, T, {self.dim}], got {list(hidden.shape)}")
        if mask.shape != hidden.shape[:2]:
            expected = list(hidden.shape[:2])
            raise ValueError(f"LatentAttentionPool: mask must be [B, T] = {expected}, got {list(mask.shape)}")
        empty = ~mask.bool().any(dim=1)
        if bool(empty.any()):
            row = int(empty.nonzero()[0])
            raise ValueError(f"LatentAttentionPool: mask must leave a token in every row, row {row} has none")

    def extra_repr(self) -> str:
        return f"dim={self.dim}, latents={self.latents}, heads={self.heads}, head_dim={self.head_dim}"


def counted_tokens(attention_mask: Tensor, prompt_length: int | Tensor) -> Tensor:
    """Bool [B, T]: the tokens behind the first `prompt_length` ones of each text; padding may stand on either side.

    Args:
        attention_mask: [B, T], 1 = a token. prompt_length: number of tokens, for all rows or one per row [B].
    """
    there = attention_mask.bool()
    length = torch.as_tensor(prompt_length, device=attention_mask.device).reshape(-1, 1)
    return there & (there.cumsum(dim=1) > length)
