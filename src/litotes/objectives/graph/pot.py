"""POT: how close a node of a graph provably stays to its twin, whichever edges an augmentation drops."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.base import Objective
from litotes.objectives.graph.bounds import layer_bounds, relaxation
from litotes.ops import unit

Gcn = tuple[Tensor, Tensor, Tensor, Tensor]


class NodeCompactness:
    """A lower bound, over all edge droppings within a budget, of how much nearer a node is to its twin than to others.

        w_i = v_i - mean over j != i of v_j,    v = unit(embeddings of the other view);    score_i <= w_i . z_i

    z is the output of a two-layer GCN, act(A act(A X W1 + b1) W2 + b2). The units are bounded over all adjacencies in
    range, act is replaced by the line that is below where its coefficient is positive and above where it is negative,
    and so the score is linear in the adjacency of the present augmentation. It can be trained: gradients reach W1, b1,
    W2, b2 and the other view, none reaches the bounds of the adjacency.

    `sound` and `anchor` make a bound. The released code takes the hidden units of the whole graph for granted
    (`nominal`) and for a neighbour's hidden units that neighbour's coefficients (`own`): cheaper, and above the true
    value in half of all cases.

    Cost: "anchor" O(edges hidden) memory, "own" O(n hidden).

    Args:
        slope: of act below 0, in [0, 1]; 0 = ReLU.
        second_layer: "sound" or "nominal". rows: "anchor" or "own".
    Raises:
        ValueError: an argument is out of range.
    Source: Provable Training for Graph Contrastive Learning (arXiv:2309.13944), theorems 2 and 3; that anchor rows are
        meant is our reading, they are what the proof needs.
    """

    def __init__(
        self,
        slope: float = 0.0,
        second_layer: Literal["sound", "nominal"] = "sound",
        rows: Literal["anchor", "own"] = "anchor",
    ):
        if not 0 <= slope <= 1:
            raise ValueError(f"NodeCompactness: slope must be in [0, 1], got {slope!r}")
        if second_layer not in ("sound", "nominal"):
            raise ValueError(f"NodeCompactness: second_layer must be 'sound' or 'nominal', got {second_layer!r}")
        if rows not in ("anchor", "own"):
            raise ValueError(f"NodeCompactness: rows must be 'anchor' or 'own', got {rows!r}")
        self.slope, self.second_layer, self.rows = float(slope), second_layer, rows

    def __call__(
        self,
        x: Tensor,
        gcn: Gcn,
        other: Tensor,
        adjacency: Tensor,
        bounds: tuple[Tensor, Tensor],
        nodes: Tensor | None = None,
        whole: Tensor | None = None,
    ) -> Tensor:
        """Scores [n], or of `nodes` int64 [m].

        In:   x [n, F]; gcn (W1 [F, h], b1 [h], W2 [h, k], b2 [k]); other [n, k], the twin view's embeddings;
              adjacency, normalised, of the augmentation that this view is (sparse or dense [n, n]); bounds, of
              `augmentation_bounds`; whole, the normalised adjacency of the graph ("nominal" needs it).
        Raises:
            ValueError: gcn is not of two layers, or `whole` lacks.
        """
        w1, b1, w2, b2 = _two_layers(gcn)
        first, second = self._units(x, gcn, bounds, whole)
        s1, shift1 = relaxation(*first, self.slope)
        s2, shift2 = relaxation(*second, self.slope)
        w = contrast_direction(other)
        l2 = s2 * w
        v = l2 @ w2.T
        constant = (l2 * (torch.where(w >= 0, 0, shift2) + b2)).sum(dim=1)
        hidden = adjacency @ (x @ w1) + b1
        if self.rows == "own":
            per_node = (s1 * (v * hidden + v.clamp(max=0) * shift1)).sum(dim=1, keepdim=True)
            return _picked((adjacency @ per_node)[:, 0] + constant, nodes)
        edges = adjacency if adjacency.is_sparse else adjacency.to_sparse()
        edges = edges.coalesce()
        (i, j), values = edges.indices(), edges.values()
        if nodes is not None:
            kept = torch.isin(i, nodes)
            i, j, values = i[kept], j[kept], values[kept]
        lifted, raised = s1 * hidden, s1 * shift1
        reached = (v[i] * lifted[j] + v[i].clamp(max=0) * raised[j]).sum(dim=1)
        return _picked(constant.index_add(0, i, values * reached), nodes)

    @torch.no_grad()
    def certify(self, x: Tensor, gcn: Gcn, other: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
        """A bound [n] for every augmentation in budget at once, from intervals alone; lower than the scores, mostly."""
        _, (low, high) = NodeCompactness(self.slope)._units(x, gcn, bounds, None)
        w = contrast_direction(other)
        return torch.where(w >= 0, w * self._act(low), w * self._act(high)).sum(dim=1)

    def _units(
        self, x: Tensor, gcn: Gcn, bounds: tuple[Tensor, Tensor], whole: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Bounds of the units of both layers before act."""
        w1, b1, w2, b2 = _two_layers(gcn)
        upper, lower = bounds
        first = layer_bounds(upper, lower, x @ w1, x @ w1, b1)
        if self.second_layer == "nominal":
            if whole is None:
                raise ValueError("NodeCompactness: second_layer='nominal' needs the whole graph's adjacency")
            low = high = self._act(whole @ (x @ w1) + b1) @ w2
        else:
            least, most = self._act(first[0]), self._act(first[1])
            low = least @ w2.clamp(min=0) + most @ w2.clamp(max=0)
            high = most @ w2.clamp(min=0) + least @ w2.clamp(max=0)
        return first, layer_bounds(upper, lower, low, high, b2)

    def _act(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.slope)


class Compactness(Objective):
    """Push up how compact nodes provably are: the mean over rows of log(1 + exp(-score)).

    In:   SignedBatch with `rows["compactness"]` float [B], of `NodeCompactness`; of two views, one after the other.
    Out:  scalar >= 0; log 2 where every score is 0.
    Cost: O(B).
    Raises:
        ValueError: the batch has no such rows.
    Source: Provable Training for Graph Contrastive Learning (arXiv:2309.13944), equation 11.
    """

    needs = ("compactness",)

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        if "compactness" not in batch.rows:
            raise ValueError('Compactness: needs rows["compactness"] in the batch, of NodeCompactness')
        score = batch.rows["compactness"]
        return F.softplus(-score.to(torch.promote_types(score.dtype, torch.float32))).mean()


def contrast_direction(other: Tensor) -> Tensor:
    """w [n, k]: each twin's unit vector minus the mean of all others'; sums to 0 over the nodes.

    Raises:
        ValueError: fewer than two nodes.
    """
    n = len(other)
    if n < 2:
        raise ValueError(f"contrast_direction: needs at least 2 nodes, got {n}")
    v = unit(other)
    return v * (n / (n - 1)) - v.sum(dim=0) / (n - 1)


def _two_layers(gcn: Gcn) -> Gcn:
    if len(gcn) != 4:
        raise ValueError(f"NodeCompactness: exactly two GCN layers (W1, b1, W2, b2), got {len(gcn)} tensors")
    return gcn


def _picked(score: Tensor, nodes: Tensor | None) -> Tensor:
    return score if nodes is None else score[nodes]
