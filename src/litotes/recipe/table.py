"""The table of arms, for a terminal."""

from __future__ import annotations

from typing import Any

COLUMNS = ("nDCG@10", "MRR@10", "Recall@100")


def arms_table(results: dict[str, Any]) -> Any:
    """A rich table of the results, at most 80 columns wide: a row per arm, intervals under the values."""
    from rich.markup import escape
    from rich.table import Table

    arms = results["arms"]
    measures = [name for name in COLUMNS if name in arms[0]["metrics"]] or list(arms[0]["metrics"])[:3]
    truth = any(arm.get("suspicious") is not None for arm in arms)
    title = f"{results['name']} on {results['collection']['name']}"
    table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 1, 1, 0), pad_edge=False)
    table.add_column("arm", min_width=8, max_width=11, overflow="fold")
    for measure in measures:
        name = measure if len(measure) <= 9 else measure.replace("@", "\n@")
        table.add_column(name, justify="right", min_width=9, max_width=9, overflow="fold")
    table.add_column(f"change in\n{measures[0]}", justify="right", min_width=11, max_width=11, overflow="fold")
    for name in (
        "nega-\ntives",
        "judged\nfalse",
        *(["suspi-\ncious"] if truth else []),
        "sec",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in arms:
        change = arm["metrics"][measures[0]]["change"]
        table.add_row(
            escape(arm["title"]),
            *(_value(arm["metrics"][measure]) for measure in measures),
            "" if change is None else _change(change),
            _count(arm["negatives"]),
            _share(arm["judged_false"]),
            *([_share(arm.get("suspicious"))] if truth else []),
            _count(arm["seconds"]["total"]),
        )
    return table


def _value(metric: dict[str, Any]) -> str:
    low, high = metric["interval"]
    return f"{metric['value']:.3f}\n[dim]{_bare(low)}-{_bare(high)}[/dim]"


def _change(change: dict[str, Any]) -> str:
    low, high = change["interval"]
    colour = "green" if low > 0 else "red" if high < 0 else "default"
    return f"[{colour}]{change['value']:+.3f}[/{colour}]\n[dim]{_bare(low, '+')} {_bare(high, '+')}[/dim]"


def _bare(value: float, sign: str = "") -> str:
    """0.123 -> ".123", +0.123 -> "+.123"; the zero is left out to save room, but not of 10.5."""
    text = f"{value:{sign}.3f}"
    digits = text.lstrip("+-")
    return text.removesuffix(digits) + digits.removeprefix("0")


def _count(value: float) -> str:
    """5,000 -> "5,000", 1,234,567 -> "1235k": five signs at most up to 10 million."""
    return f"{value:,.0f}" if value < 10_000 else f"{value:.0f}" if value < 100_000 else f"{value / 1000:.0f}k"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def remarks(results: dict[str, Any]) -> list[str]:
    """What the table must be read with, one line each."""
    truth = any(arm.get("suspicious") is not None for arm in results["arms"])
    task = results["collection"]
    texts = ", ".join(f"{arm['name']} {arm['texts_per_step']:.0f}" for arm in results["arms"] if arm["steps"])
    sizes = ("documents", "train_anchors", "test_queries")
    lines = [
        "{:,} documents, {:,} training anchors, {:,} test queries".format(*(task[size] for size in sizes)),
        *([f"texts per step: {texts}"] if texts else []),
        "judged false: share of the arm's negatives that the recipe's vetters reject",
        *(["suspicious: share that the collection's own relations tie to the query"] if truth else []),
        *results["notes"],
    ]
    return lines
