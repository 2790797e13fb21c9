"""PEG: counting easy anchors more at first and difficult ones more later helps where some labels are wrong.

Baseline: the same InfoNCE with every anchor alike. Further arms: the schedule reversed, and difficult anchors counted
more from the beginning. Same batches, steps, optimiser and start in every arm.
"""

from __future__ import annotations

import torch
from claims.worlds.example_glosses import Draw, drawn
from torch import nn

from litotes.audit.claims import Claim
from litotes.batch import Moment, from_pairs
from litotes.objectives.contrastive.progressive import ProgressiveInfoNCE
from litotes.ops import unit
from litotes.scoring import Cosine

CLAIM = Claim(
    claim="InfoNCE that weighs anchors from easy to difficult (-2 to +2) beats InfoNCE that weighs all alike",
    metric="MRR@10 on clean held-out queries",
    direction="higher",
    data="WordNet word in use to gloss, 8,000 pairs of which 15 % are wrong, 20,000 glosses, frozen MiniLM vectors",
    minutes=2.0,
    paper="Towards Robust Text Retrieval with Progressive Learning (arXiv:2311.11691)",
)

TRAIN, TEST, NOISE, STEPS, BATCH, TEMPERATURE = 8_000, 1_000, 0.15, 500, 256, 0.05
LEARNING_RATE = 1e-4  # of 3e-5 to 3e-3, the one that is best for the baseline on seed 100
ARMS = {
    "baseline": ProgressiveInfoNCE(TEMPERATURE, 0.0),
    "treated": ProgressiveInfoNCE(TEMPERATURE, 2.0, "linear"),
    "reversed": ProgressiveInfoNCE(TEMPERATURE, 2.0, [[0, 2], [1, -2]]),
    "hard_always": ProgressiveInfoNCE(TEMPERATURE, 2.0, "constant"),
}


def run(seed: int) -> dict[str, float]:
    draw = drawn(TRAIN, TEST, NOISE, seed)
    glosses = draw.glosses
    found = {"untrained": draw.reciprocal_rank(glosses.queries, glosses.documents)}
    for name, head in trained(draw, ARMS, LEARNING_RATE, STEPS, seed).items():
        with torch.no_grad():
            found[name] = draw.reciprocal_rank(unit(head(glosses.queries)), unit(head(glosses.documents)))
    return found


def trained(
    draw: Draw, arms: dict[str, ProgressiveInfoNCE], rate: float, steps: int, seed: int
) -> dict[str, nn.Linear]:
    """A head per arm, one for both sides, from the identity, over the same batches."""
    glosses, heads = draw.glosses, {name: _head() for name in arms}
    optimisers = {name: torch.optim.Adam(head.parameters(), lr=rate) for name, head in heads.items()}
    for step, rows in enumerate(draw.batches(steps, BATCH, seed)):
        positive, hard = torch.from_numpy(draw.label[rows]), torch.from_numpy(glosses.hard[rows].reshape(-1))
        ids = torch.from_numpy(rows), torch.cat([positive, hard])
        given = from_pairs(glosses.queries[rows], glosses.documents[positive], glosses.documents[hard], ids=ids)
        now = Moment(step, step * BATCH // TRAIN, step / steps)
        for name, head in heads.items():
            batch = given.replace(anchors=head(given.anchors), candidates=head(given.candidates))
            loss = arms[name](Cosine()(batch), now=now)
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
    return heads


def _head() -> nn.Linear:
    head = nn.Linear(384, 384, bias=False)
    nn.init.eye_(head.weight)
    return head
