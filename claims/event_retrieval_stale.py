"""Event-driven retrieval, its hard negatives: stale ones teach to tell the event that is meant from other events.

Both arms are the fusion of `event_retrieval`, with the same cases, steps and start; the baseline has the negatives of
the batch alone.
"""

from __future__ import annotations

from claims.worlds.event_arms import trained

from litotes.audit.claims import Claim

CLAIM = Claim(
    claim="Stale negatives beside those of the batch lower the share of stale first answers",
    metric="share of queries whose first answer is another sense of the word",
    direction="lower",
    data="WordNet nouns of 2 to 6 senses, 3,000 words to train, 600 to test; 20,000 definitions; frozen MiniLM",
    minutes=2.0,
    paper="Event-driven Real-time Retrieval in Web Search (arXiv:2312.00372)",
)


def run(seed: int) -> dict[str, float]:
    found = {"treated": trained(seed, "treated"), "baseline": trained(seed, "in_batch")}
    values = {arm: measured["stale"] for arm, measured in found.items()}
    return values | {f"mrr_{arm}": measured["mrr"] for arm, measured in found.items()}
