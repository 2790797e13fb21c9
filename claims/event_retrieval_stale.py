"""Event-driven retrieval, its hard negatives: stale ones teach to tell the event that is meant from other events.

Both arms are the fusion of `event_retrieval`, with the same cases, steps and start; the baseline has the negatives of
the batch alone.
"""

from __future__ import annotations

from claims.event_retrieval import DATA, PAPER, trained

from litotes.audit.claims import Claim

CLAIM = Claim(
    claim="Stale negatives beside those of the batch lower the share of stale first answers",
    metric="share of queries whose first answer is another sense of the word",
    direction="lower",
    data=DATA,
    minutes=2.0,
    paper=PAPER,
)


def run(seed: int) -> dict[str, float]:
    found = {"treated": trained(seed, "treated"), "baseline": trained(seed, "in_batch")}
    values = {arm: measured["stale"] for arm, measured in found.items()}
    return values | {f"mrr_{arm}": measured["mrr"] for arm, measured in found.items()}
