"""What a search says of itself: how its answers were proved, and what that took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchReport:
    """How an exact search was proved.

    Args:
        queries: how many; every one of them is certified. Over shards a query counts once per shard.
        at_once: how many were so with one scoring of their survivors; near-ties need more rounds.
        finer: how many had so many near-ties that float32 products took over from bfloat16 ones.
        survivors_mean, survivors_max: documents per query that had to be scored by the definition at the end.
        engine: "compiled", "torch", or "definition" (masks left so few pairs that all were scored).
        precision: of the products, "bfloat16", "float32" or "float64".
    """

    queries: int
    at_once: int
    finer: int
    survivors_mean: float
    survivors_max: int
    engine: str
    precision: str

    def joined(self, other: SearchReport) -> SearchReport:
        """The report of both searches as one; where engines or precisions differ, all are named."""
        queries = self.queries + other.queries
        survivors = self.survivors_mean * self.queries + other.survivors_mean * other.queries
        return SearchReport(
            queries,
            self.at_once + other.at_once,
            self.finer + other.finer,
            survivors / queries if queries else 0.0,
            max(self.survivors_max, other.survivors_max),
            _named(self.engine, other.engine),
            _named(self.precision, other.precision),
        )

    def __str__(self) -> str:
        proved = f"{self.queries:,} queries certified, {self.at_once:,} at once, {self.finer:,} at finer precision"
        survivors = f"{self.survivors_mean:,.1f} survivors a query, at most {self.survivors_max:,}"
        return f"{proved}; {survivors}; {self.engine}, {self.precision}"


class Reports:
    """Takes the reports of many searches; `joined` is all of them as one, None before the first."""

    def __init__(self) -> None:
        self.joined: SearchReport | None = None

    def __call__(self, report: SearchReport) -> None:
        self.joined = report if self.joined is None else self.joined.joined(report)


def _named(one: str, other: str) -> str:
    return "+".join(sorted({*one.split("+"), *other.split("+")}))
