"""POT: a provable bound on node compactness pushed up beside GRACE, or GRACE alone.

Images of handwritten digits are nodes, joined to their six nearest neighbours, and 15 % of the edges are moved at
random. Same epochs, start and augmentations in every arm.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from litotes.audit.claims import Claim
from litotes.batch import two_views
from litotes.objectives.graph.bounds import augmentation_bounds, drop_edges, normalised_adjacency, out_of_range
from litotes.objectives.graph.pot import NodeCompactness, contrast_direction
from litotes.training.chains import pot_loss

CLAIM = Claim(
    claim="GRACE with a bound on node compactness (weight 0.4) beats GRACE alone",
    metric="accuracy of a linear probe with 5 labels per class",
    direction="higher",
    data="a graph of 1,000 handwritten digits, 6 nearest neighbours, 15 % of the edges moved",
    minutes=2.5,
    paper="Provable Training for Graph Contrastive Learning (arXiv:2309.13944)",
)

NODES, NEIGHBOURS, MOVED, HIDDEN, DIM, DROPS, TEMPERATURE, EPOCHS = 1_000, 6, 0.15, 128, 64, (0.4, 0.3), 0.7, 60
RATE = 2e-3  # of 5e-4, 2e-3 and 5e-3, the one that is best for the baseline on seed 100
ARMS = {"baseline": (0.0, "anchor"), "treated": (0.4, "anchor"), "kappa_02": (0.2, "anchor"), "own_rows": (0.4, "own")}


def run(seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    images = load_digits()
    rows = random.permutation(len(images.target))[:NODES]
    x, y = torch.from_numpy(images.data[rows] / 16).float(), images.target[rows]
    edges = _edges(images.data[rows], random)
    found: dict[str, float] = {}
    for name, (kappa, variant) in ARMS.items():
        gcn, beyond = _trained(x, edges, kappa, variant, seed)
        found |= {
            (key if key == name else f"{key}_{name}"): value for key, value in _seen(name, gcn, x, y, edges, seed)
        }
        found["out_of_range"] = beyond
    return found


def _edges(pixels: np.ndarray, random: np.random.Generator) -> Tensor:
    """Edges int64 [2, E], both directions, none twice."""
    near = torch.from_numpy(PCA(10, random_state=0).fit_transform(pixels))
    neighbours = torch.cdist(near, near).fill_diagonal_(torch.inf).topk(NEIGHBOURS, largest=False).indices
    there = torch.zeros(NODES, NODES, dtype=torch.bool)
    there[torch.arange(NODES)[:, None], neighbours] = True
    pairs = (there | there.T).triu(1).nonzero().numpy()
    moved = random.random(len(pairs)) < MOVED
    pairs[moved, 1] = random.integers(0, NODES, moved.sum())
    adjacency = torch.zeros(NODES, NODES, dtype=torch.bool)
    adjacency[pairs[:, 0], pairs[:, 1]] = True
    return (adjacency | adjacency.T).fill_diagonal_(False).nonzero().T.contiguous()


class Gcn(nn.Module):
    """Two layers and, for training, a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.project = nn.Sequential(nn.Linear(DIM, DIM), nn.ELU(), nn.Linear(DIM, DIM))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        w1, b1, w2, b2 = self.weights
        return torch.relu(adjacency @ (torch.relu(adjacency @ (x @ w1) + b1) @ w2) + b2)

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """W1 [F, h], b1, W2 [h, k], b2."""
        return self.first.weight.T, self.first.bias, self.second.weight.T, self.second.bias


def _trained(x: Tensor, edges: Tensor, kappa: float, variant: str, seed: int) -> tuple[Gcn, float]:
    """The network, and the share of nodes that lost more edges than the bound allows for."""
    torch.manual_seed(seed)
    gcn, generator, beyond = Gcn(), torch.Generator().manual_seed(seed), 0.0
    optimiser = torch.optim.Adam(gcn.parameters(), lr=RATE, weight_decay=1e-5)
    loss_of = pot_loss(kappa, TEMPERATURE)
    second = "nominal" if variant == "own" else "sound"
    compact = NodeCompactness(second_layer=second, rows=variant)  # type: ignore[arg-type]
    bounds = [augmentation_bounds(edges, NODES, rate) for rate in DROPS]
    whole = normalised_adjacency(edges, NODES)
    for _ in range(EPOCHS):
        kept = [drop_edges(edges, NODES, rate, generator=generator) for rate in DROPS]
        adjacent = [normalised_adjacency(left, NODES) for left in kept]
        z = [gcn(x, adjacency) for adjacency in adjacent]
        batch = two_views(gcn.project(z[0]), gcn.project(z[1]))
        scores = torch.zeros(2 * NODES)
        if kappa:
            scores = torch.cat([compact(x, gcn.weights, z[1 - v], adjacent[v], bounds[v], whole=whole) for v in (0, 1)])
        loss = loss_of(batch.replace(rows={**batch.rows, "compactness": scores}))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        shares = [out_of_range(edges, left, NODES, rate) for left, rate in zip(kept, DROPS, strict=True)]
        beyond += float(sum(shares)) / 2 / EPOCHS
    return gcn, beyond


@torch.no_grad()
def _seen(name: str, gcn: Gcn, x: Tensor, y: np.ndarray, edges: Tensor, seed: int) -> list[tuple[str, float]]:
    whole, random = normalised_adjacency(edges, NODES), np.random.default_rng(seed)
    features = gcn(x, whole)
    features_unit = nn.functional.normalize(features, dim=1).numpy()
    right = []
    for _ in range(20):
        labelled = np.concatenate([random.choice(np.flatnonzero(y == digit), 5, replace=False) for digit in range(10)])
        rest = np.setdiff1d(np.arange(NODES), labelled)
        probe = LogisticRegression(C=10.0, max_iter=300).fit(features_unit[labelled], y[labelled])
        right.append(probe.score(features_unit[rest], y[rest]))
    generator, measured = torch.Generator().manual_seed(seed), []
    for _ in range(20):
        one, two = (
            gcn(x, normalised_adjacency(drop_edges(edges, NODES, r, generator=generator), NODES)) for r in DROPS
        )
        measured.append((contrast_direction(two) * nn.functional.normalize(one, dim=1)).sum(dim=1))
    compact = torch.stack(measured).mean(dim=0)
    bounds = augmentation_bounds(edges, NODES, DROPS[0])
    score = NodeCompactness()(x, gcn.weights, features, whole, bounds)
    certified = NodeCompactness().certify(x, gcn.weights, features, bounds) / features.norm(dim=1).clamp(min=1e-6)
    return [
        (name, float(np.mean(right))),
        ("compactness", float(compact.mean())),
        ("compactness_p10", float(compact.quantile(0.1))),
        ("share_positive", float((score > 0).float().mean())),
        ("certified", float(certified.mean())),
    ]
