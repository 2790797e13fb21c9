"""Skill negatives: texts of related labels as negatives teach what a label means, not only how it is spelled.

One balanced logistic regression per concept over frozen vectors, from distant labels. Baseline: 10 random negatives per
positive. Control: half of them from siblings. Treated: that half split over siblings, spelling and meaning. Same number
of negatives, same solver, same penalty; labels above and below are left out in every arm.
"""

from __future__ import annotations

import numpy as np
from claims.worlds.skills import Draw, draw, logistic, make_world

from litotes.audit.claims import Claim
from litotes.audit.metrics.rp_at_k import rp_at_k
from litotes.data.anchors import Anchors
from litotes.search.space import Space
from litotes.sources.structured.taxonomy import TaxonomyNegatives

CLAIM = Claim(
    claim="Negatives from siblings, spelling and meaning together beat random ones on texts that do not name the label",
    metric="RP@5 on glosses of nouns below a concept that do not name it",
    direction="higher",
    data="WordNet: 414 noun concepts, about 70,000 glosses that name one, 1,500 test glosses; MiniLM vectors, frozen",
    minutes=3.5,
    beats=("baseline",),
    paper="Design of Negative Sampling Strategies for Distantly Supervised Skill Extraction (arXiv:2209.05987)",
)

PENALTY = 3e-5  # of 1e-5 to 1e-2 in steps of 3, the best for the baseline on held-out literal texts of seed 100
ARMS = {
    "baseline": TaxonomyNegatives(["random"]),
    "siblings": TaxonomyNegatives(["siblings"]),
    "treated": TaxonomyNegatives(["siblings", "levenshtein", "cosine"]),
}


def run(seed: int) -> dict[str, float]:
    world = draw(seed)
    found: dict[str, float] = {}
    for arm, part in ARMS.items():
        scores, share = _train(world, part, seed, PENALTY)
        found[arm] = scores["implicit"]
        found[f"{arm}_literal"] = scores["literal"]
        found[f"{arm}_hard_share"] = share
    return found


def _train(world: Draw, part: TaxonomyNegatives, seed: int, penalty: float) -> tuple[dict[str, float], float]:
    """RP@5 on each test, and the share of negatives that came from a hard strategy."""
    task, labels = world.collection, make_world().labels
    seeded = TaxonomyNegatives(part.strategies, seed=seed)
    space = Space(world.names, world.x)
    anchors = Anchors.of(task, "train")
    found = seeded.prepare(task, space)(anchors)
    row = {key: i for i, key in enumerate(task.queries["id"].to_pylist())}
    weights, bias = np.zeros((len(labels), world.x.shape[1])), np.full(len(labels), -np.inf)
    place = {int(query): i for i, query in enumerate(anchors.query)}
    for i, label in enumerate(labels):
        if row[label] not in place:
            continue  # nothing names it: no classifier, and nothing earned
        anchor = place[row[label]]
        yes, no = anchors.positives.row(anchor), found.document[found.anchor == anchor]
        y = np.arange(len(yes) + len(no)) < len(yes)
        weights[i], bias[i] = logistic(world.x[np.concatenate([yes, no])], y, penalty)
    scores = {name: rp_at_k(x @ weights.T + bias, truth, 5) for name, (x, truth) in world.tests.items()}
    hard = [not name.startswith("taxonomy:random") for name in found.sources]
    return scores, float(np.array(hard)[found.finder].mean())
