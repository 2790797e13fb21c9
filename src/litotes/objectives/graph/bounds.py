"""Bounds over all edge-dropping augmentations of a graph: on its adjacency, on a GCN's units, and on a ReLU."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_budget(edge_index: Tensor, n: int, drop_rate: float) -> Tensor:
    """Edges that each node may lose, int64 [n]: min(max(d - 1, 0), round(drop_rate d)) at d neighbours.

    Raises:
        ValueError: drop_rate is not in [0, 1).
    """
    if not 0 <= drop_rate < 1:
        raise ValueError(f"drop_budget: drop_rate must be in [0, 1), got {drop_rate!r}")
    degree = torch.bincount(edge_index[0], minlength=n)
    return torch.minimum((degree - 1).clamp(min=0), (drop_rate * degree).round().long())


def normalised_adjacency(edge_index: Tensor, n: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 as a coalesced sparse [n, n], D with the self loops.

    In:   edge_index int64 [2, E], both directions of every edge, no self loops, no edge twice.
    Raises:
        ValueError: there is a self loop.
    """
    rows, columns = _with_loops(edge_index, n)
    degree = torch.bincount(rows, minlength=n).float()
    return _sparse(rows, columns, (degree[rows] * degree[columns]).rsqrt(), n)


def augmentation_bounds(edge_index: Tensor, n: int, drop_rate: float) -> tuple[Tensor, Tensor]:
    """Upper and lower bound of every entry of the normalised adjacency while each node loses edges within its budget.

        upper   1 / sqrt((d_i + 1 - q_i) (d_j + 1 - q_j)) on edges and the diagonal
        lower   0 on edges, 1 / (d_i + 1) on the diagonal

    Out:  two coalesced sparse [n, n] of one pattern, that of A + I; no gradient.
    Cost: O(E); the same for every step of training, so made once.
    Raises:
        ValueError: drop_rate is not in [0, 1), or there is a self loop.
    Source: Provable Training for Graph Contrastive Learning (arXiv:2309.13944), theorem 1.
    """
    budget = drop_budget(edge_index, n, drop_rate)
    rows, columns = _with_loops(edge_index, n)
    degree = torch.bincount(rows, minlength=n)
    most = (degree - budget).float()
    lower = torch.where(rows == columns, 1 / degree[rows].float(), 0.0)
    return _sparse(rows, columns, (most[rows] * most[columns]).rsqrt(), n), _sparse(rows, columns, lower, n)


def out_of_range(edge_index: Tensor, kept: Tensor, n: int, drop_rate: float) -> Tensor:
    """Share of nodes that lost more edges than their budget, 0-d: there a bound promises nothing.

    Args:
        kept: the edges of the augmentation, int64 [2, E'].
    """
    lost = torch.bincount(edge_index[0], minlength=n) - torch.bincount(kept[0], minlength=n)
    return (lost > drop_budget(edge_index, n, drop_rate)).float().mean()


def drop_edges(
    edge_index: Tensor, n: int, drop_rate: float, *, generator: torch.Generator, within: float | None = None
) -> Tensor:
    """The edges left when each (both directions at once) is dropped with this probability: int64 [2, E'].

    Args:
        within: a drop rate whose budget no node exceeds: edges are taken back, in a drawn order, where one would.
    """
    edge_index = edge_index[:, edge_index[0] < edge_index[1]]
    draw = torch.rand(edge_index.shape[1], device=edge_index.device, generator=generator)
    dropped = draw < drop_rate
    if within is not None:
        both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        left = drop_budget(both, n, within).tolist()
        for edge in draw.argsort()[: int(dropped.sum())].tolist():
            a, b = edge_index[:, edge].tolist()
            dropped[edge] = left[a] > 0 and left[b] > 0
            if dropped[edge]:
                left[a], left[b] = left[a] - 1, left[b] - 1
    kept = edge_index[:, ~dropped]
    return torch.cat([kept, kept.flip(0)], dim=1)


def layer_bounds(upper: Tensor, lower: Tensor, low: Tensor, high: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds of A X + b for A between `lower` >= 0 and `upper`, X between `low` and `high`: (low, high) [n, h]."""
    least = upper @ low.clamp(max=0) + lower @ low.clamp(min=0)
    most = upper @ high.clamp(min=0) + lower @ high.clamp(max=0)
    return least + bias, most + bias


def relaxation(low: Tensor, high: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Lines around a (leaky) ReLU on [low, high]: s x below it and s (x + B) above it. Gives s and B >= 0.

    low >= 0: 1 and 0. high <= 0: slope and 0. Else s = (high - slope low) / (high - low) and
    B = (slope - 1) high low / (high - slope low).

    Source: as in CROWN (arXiv:1811.00866), with parallel lines.
    """
    crosses = (low < 0) & (high > 0)
    u, l = torch.where(crosses, high, 1), torch.where(crosses, low, -1)  # noqa: E741, no 0 / 0 and no gradient of it
    s = torch.where(crosses, (u - slope * l) / (u - l), torch.where(low >= 0, 1.0, slope))
    return s, torch.where(crosses, (slope - 1) * u * l / (u - slope * l), 0)


def _with_loops(edge_index: Tensor, n: int) -> tuple[Tensor, Tensor]:
    if bool((edge_index[0] == edge_index[1]).any()):
        raise ValueError("graph bounds: edge_index must have no self loops; they are added here")
    own = torch.arange(n, device=edge_index.device)
    return torch.cat([edge_index[0], own]), torch.cat([edge_index[1], own])


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, n: int) -> Tensor:
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (n, n), check_invariants=True).coalesce()
