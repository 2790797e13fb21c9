"""What `litotes mine --plan` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from litotes.cli.say import remark, rows, say, table


def tell_plan(plan: Any, title: str, *, json: bool) -> None:
    """Print a plan: as JSON under the names of its fields, or as figures and a table of workers."""
    from litotes.memory import spell_bytes

    if json:
        say(asdict(plan) | {"workers": {str(count): asdict(share) for count, share in plan.workers.items()}})
        return
    figures = {
        "vectors": f"{spell_bytes(plan.vector_bytes)} ({plan.dimensions} dimensions, float32)",
        "disk besides evidence": spell_bytes(plan.disk_bytes),
        "evidence": f"about {spell_bytes(plan.evidence_bytes)}",
        "memory here": f"at most {spell_bytes(plan.memory_bytes)}",
        "memory per worker": f"about {spell_bytes(plan.worker_bytes)} and pages of mapped files",
        "operations to encode": _flops(plan.encode_flops, plan.rates["encode_gflops"]),
        "operations to search": _flops(plan.search_flops, plan.rates["search_gflops"]),
        "queries": plan.queries,
        "documents": plan.documents,
        "anchors": plan.anchors,
        "candidates per anchor": plan.depth,
        "texts to encode": plan.texts,
        "tokens, padded": plan.tokens,
        "texts/s here": round(plan.rates["texts"]),
    }
    rows(figures, title)
    here = plan.seconds
    lines = [["here", *_times(here["encode"], here["search"], here["total"]), "0 MB"]]
    lines += [
        [f"{count} on Ray", *_times(share.encode, share.search, share.total), spell_bytes(share.network)]
        for count, share in sorted(plan.workers.items())
    ]
    print()
    table(["workers", "encode", "search", "in all", "network"], lines)
    for note in plan.assumed:
        remark(f"assumed: {note}")


def _times(*seconds: float) -> list[str]:
    return [_spelled(each) for each in seconds]


def _spelled(seconds: float) -> str:
    """ "0.4 s", "12 s", "8 min", "5.2 h", "3.1 days" """
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{seconds / 86400:,.1f} days"


def _flops(count: float, rate: float) -> str:
    return f"{count:.2e} at {rate:,.0f} GFLOP/s" if count else "none"
