"""Sample4Geo: batches of neighbours on the map, then of neighbours in the model's space, beat shuffled batches.

Further arms: the map alone, the model's space alone. The same loss, steps, optimiser and start in all arms; the noise
of a training view is drawn anew each time it is used.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from claims.worlds.planet import LATENT, VIEW, Planet, make_planet
from torch import Tensor, nn

from litotes.audit.claims import Claim
from litotes.batch import from_pairs
from litotes.batching import NeighbourBatches
from litotes.search.gps import gps_neighbours
from litotes.training.chains import sample4geo_loss

CLAIM = Claim(
    claim="Batches filled with map neighbours at first and visual neighbours later beat shuffled batches",
    metric="R@1 from view A to view B, held-out places",
    direction="higher",
    data="A generated planet: 6,000 places in two noisy views, 1,500 more for the test",
    minutes=2.0,
    paper="Sample4Geo: Hard Negative Sampling For Cross-View Geo-Localisation (arXiv:2303.11851)",
)

TRAIN, TEST, BATCH, EPOCHS, EVERY = 6_000, 1_500, 32, 30, 3
SELECT, DEPTH, HIDDEN, LEARNING_RATE = 16, 32, 64, 1e-3
ARMS = {"baseline": (False, False), "treated": (True, True), "map_only": (True, False), "visual_only": (False, True)}


class TwoViews(nn.Module):
    """An input layer for each view, then layers that both share; vectors of length 1."""

    def __init__(self, seed: int):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.inputs = nn.ModuleList(nn.Linear(VIEW, HIDDEN) for _ in range(2))
            self.shared = nn.Sequential(nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, LATENT))

    def forward(self, x: Tensor, view: int) -> Tensor:
        return F.normalize(self.shared(self.inputs[view](x)), dim=1)


def run(seed: int) -> dict[str, float]:
    planet = make_planet(TRAIN + TEST, seed)
    lists, _ = gps_neighbours(planet.places[:TRAIN].numpy(), DEPTH, "euclidean")
    test = torch.arange(TRAIN, TRAIN + TEST)
    fixed = torch.Generator().manual_seed(seed + 10_000)
    held = [planet.seen(view, test, fixed) for view in range(2)]
    found: dict[str, float] = {}
    for arm, (by_map, by_looks) in ARMS.items():
        part = NeighbourBatches(SELECT, DEPTH, EVERY if by_looks else None)
        model, loss = train(planet, part, lists if by_map else None, seed)
        with torch.no_grad():
            best = (model(held[0], 0) @ model(held[1], 1).T).argmax(dim=1)
        found |= {arm: (best == torch.arange(TEST)).float().mean().item(), f"last_loss_{arm}": loss}
    return found


def train(planet: Planet, part: NeighbourBatches, lists: np.ndarray | None, seed: int) -> tuple[TwoViews, float]:
    """The model, and the mean loss of its last epoch."""
    model, chain = TwoViews(seed), sample4geo_loss()
    optimiser = torch.optim.AdamW([*model.parameters(), *chain.parameters()], lr=LEARNING_RATE, foreach=True)
    noise = torch.Generator().manual_seed(seed)
    batcher = part.over(TRAIN, BATCH, seed=seed, lists=lists)
    everything, costs = torch.arange(TRAIN), []
    for epoch in range(EPOCHS):
        batcher.set_epoch(epoch)
        if batcher.renews(epoch):
            with torch.no_grad():
                batcher.refresh(tuple(model(planet.seen(view, everything, noise), view) for view in range(2)))
        for batch in batcher:
            rows = torch.tensor(batch)
            sides = [model(planet.seen(view, rows, noise), view) for view in range(2)]
            loss = chain(from_pairs(*sides))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if epoch == EPOCHS - 1:
                costs.append(loss.item())
    return model, float(np.mean(costs))
