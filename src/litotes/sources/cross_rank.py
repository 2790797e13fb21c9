"""CrossRank: candidates of all processes as negatives of every process, with gradients that find their way home."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.columns import append_shared
from litotes.spelling import spell


class CrossRank(nn.Module):
    """Append the other processes' shared candidates behind the local ones. Anchors stay local.

    A foreign candidate is a negative; it gets sign 0 where its id is that of a positive of the row (`columns["id"]`),
    so that one document on two processes is not pushed and pulled at once. Processes may bring different numbers of
    candidates: the missing ones are padding of sign 0.

    The gradient of a foreign candidate is summed over all processes that met it and returned to the one that computed
    it. With the averaging of DistributedDataParallel this is the gradient of the mean of all processes' losses.
    Without an initialised process group, or alone in one, the batch comes back as it is.

    In:   SignedBatch with shared `candidates` [C, D]; `columns["id"]` int64 if copies are to be known.
    Out:  the batch with (world - 1) * max C more shared columns, those of the other ranks in the order of ranks;
          `columns["of"]` is -1 there, `columns["role"]`, "id" and "guide" are the sender's, pairs are NaN.
    Cost: one all-gather of features (and one all-reduce of their gradients), O(B C world) pairs; sizes are exchanged,
          which waits for the device once.
    Raises:
        ValueError: the batch has no shared candidates.
    Source: as OpenAI CLIP and OpenCLIP gather features (arXiv:2103.00020), with gradients to all processes.
    """

    stage = "source"
    needs = ("features",)
    gives = ()

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the columns of other processes."""
        if batch.candidates is None:
            raise ValueError("CrossRank: needs shared candidates in the batch")
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return batch
        rank, world = dist.get_rank(), dist.get_world_size()
        count, device = len(batch.candidates), batch.candidates.device
        counts = torch.zeros(world, dtype=torch.int64, device=device)
        counts[rank] = count
        dist.all_reduce(counts)
        most = int(counts.max())
        others = [other for other in range(world) if other != rank]
        gathered = _Gather.apply(_padded(batch.candidates, most))  # [world, most, D]
        features = gathered[others].flatten(0, 1)
        there = (torch.arange(most, device=device)[None, :] < counts[others][:, None]).flatten()

        extras = {"of": torch.full_like(there, -1, dtype=torch.int64)}
        for name in batch.columns:
            if name not in ("of", "side"):
                extras[name] = _gathered(_padded(batch.columns[name][:count], most), world)[others].flatten(0, 1)
        sign = torch.where(there, -1, 0).to(torch.int8).expand(len(batch.sign), -1)
        if "id" in extras:
            sign = sign.masked_fill(self._copies(batch, extras["id"]), 0)
        return append_shared(batch, features, sign, columns=extras, part="CrossRank")

    def _copies(self, batch: SignedBatch, ids: Tensor) -> Tensor:
        """Bool [B, K]: a foreign id is that of one of the row's positives, or of what is silent for it (sign 0)."""
        local = batch.columns["id"][: batch.shared]
        quiet = (batch.sign[:, : batch.shared] >= 0) & (local >= 0)[None, :]
        same = (local[:, None] == ids[None, :]) & (ids >= 0)[None, :]
        return (quiet.float() @ same.float()) > 0

    def __str__(self) -> str:
        return spell(self)


class _Gather(torch.autograd.Function):
    """Every process's [N, D] as [world, N, D]; the gradient of each is summed over all processes and sent home."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _gathered(x.contiguous(), dist.get_world_size())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[dist.get_rank()]


def _gathered(x: Tensor, world: int) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(world)]
    dist.all_gather(parts, x.contiguous())
    return torch.stack(parts)


def _padded(x: Tensor, count: int) -> Tensor:
    return torch.cat([x, x.new_zeros(count - len(x), *x.shape[1:])]) if len(x) < count else x
