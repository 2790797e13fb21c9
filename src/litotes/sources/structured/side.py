"""SideNegatives: wrong partners for one side of a pair or the other; which one decides what a model gets good at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.evidence import add, check, make
from litotes.sources.draws import below, numbers
from litotes.spelling import spell

_TRIES = 64  # draws before the rest is looked through: an anchor with nearly everything as a positive is rare


@dataclass(frozen=True)
class SideNegatives:
    """Add k negatives per positive pair by keeping one side of it and drawing the other.

        candidate   the anchor stays, the candidate is drawn: trains to find candidates (an image, wrong sentences)
        anchor      the candidate stays, the anchor is drawn: trains to find anchors (a sentence, wrong images)
        both        each negative is of the first kind with probability `mix`

    Draws are even over the ids that stand on that side of a positive pair, and never a known positive of what stays.
    They depend on seed and pair alone, not on the order of rows. The same pair may come up twice and is one row.

    In:   evidence; its rows of sign +1 are the positives.
    Out:  that evidence with rows of sign -1, source "side:candidate" or "side:anchor"; what is known keeps its sign. A
          pair that has no partner left on a side gets none there, and fewer rows in all.
    Cost: O(positives k).

    Args:
        side: "candidate", "anchor" or "both". mix: in [0, 1]. k: per pair, >= 1. seed: a whole number.
    Raises:
        ValueError: an argument is out of range, or the table is no evidence.
    Source: Deep Learning Applied to Image and Text Matching (arXiv:1601.03478), on how negatives are drawn; the form of
        the draw is ours.
    """

    side: Literal["candidate", "anchor", "both"] = "both"
    mix: float = 0.5
    k: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side not in ("candidate", "anchor", "both"):
            raise ValueError(f"SideNegatives: side must be 'candidate', 'anchor' or 'both', got {self.side!r}")
        if not 0 <= self.mix <= 1:
            raise ValueError(f"SideNegatives: mix must be in [0, 1], got {self.mix!r}")
        if not (isinstance(self.k, int) and self.k >= 1):
            raise ValueError(f"SideNegatives: k must be a whole number >= 1, got {self.k!r}")

    def __call__(self, evidence: pa.Table) -> pa.Table:
        """The evidence with its negatives."""
        check(evidence)
        up = evidence.filter(pc.greater(evidence["sign"], 0))
        names = [np.array(up[side].to_pylist(), dtype=object) for side in ("anchor", "candidate")]
        known = set(zip(*(side.tolist() for side in names), strict=True))
        pools = [np.array(sorted(set(side.tolist())), dtype=object) for side in names]
        stream = np.array([self._stream(a, c) for a, c in zip(*names, strict=True)], np.uint64)
        made: dict[str, tuple[list[str], list[str]]] = {"side:candidate": ([], []), "side:anchor": ([], [])}
        for number in range(self.k):
            first = number * (_TRIES + 1)
            share = numbers(stream, np.array(first)) / np.float64(2**64)
            left = self.side == "candidate" or (self.side == "both") & (share < self.mix)
            keeps = np.broadcast_to(left, stream.shape)
            for at in range(len(stream)):
                anchor, candidate = names[0][at], names[1][at]
                source, pool = ("side:candidate", pools[1]) if keeps[at] else ("side:anchor", pools[0])
                drawn = self._draw(stream[at : at + 1], first + 1, pool, known, anchor, candidate, bool(keeps[at]))
                if drawn is not None:
                    made[source][0].append(anchor if keeps[at] else drawn)
                    made[source][1].append(drawn if keeps[at] else candidate)
        for source, (anchors, candidates) in made.items():
            if anchors:
                pairs = sorted(set(zip(anchors, candidates, strict=True)))
                new = make([a for a, _ in pairs], [c for _, c in pairs], -1, source=source)
                evidence = add(evidence, new)
        return evidence

    def _draw(
        self,
        stream: np.ndarray,
        first: int,
        pool: np.ndarray,
        known: set[tuple[str, str]],
        anchor: str,
        candidate: str,
        keeps_anchor: bool,
    ) -> str | None:
        """One partner from the pool that is no known positive; None if there is none."""

        def fits(name: str) -> bool:
            return ((anchor, name) if keeps_anchor else (name, candidate)) not in known

        tries = below(numbers(stream, np.arange(first, first + _TRIES)), len(pool))
        for place in tries.tolist():
            if fits(pool[place]):
                return str(pool[place])
        rest = [name for name in pool.tolist() if fits(name)]
        return str(rest[int(tries[0]) % len(rest)]) if rest else None

    def _stream(self, anchor: str, candidate: str) -> int:
        digest = hashlib.blake2b(f"{self.seed}\0{anchor}\0{candidate}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little")

    def __str__(self) -> str:
        return spell(self)
