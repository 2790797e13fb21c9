"""The table of arms, for a terminal."""

from __future__ import annotations

from typing import Any

COLUMNS = ("nDCG@10", "MRR@10", "Recall@100")


def arms_table(results: dict[str, Any]) -> Any:
    """A rich table of the results, 80 columns wide: a row per arm, intervals under the values."""
    from rich.table import Table

    arms = results["arms"]
    measures = [name for name in COLUMNS if name in arms[0]["metrics"]] or list(arms[0]["metrics"])[:3]
    truth = any(arm.get("suspicious") is not None for arm in arms)
    title = f"{results['name']} on {results['collection']['name']}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 1, 0), pad_edge=False)
    table.add_column("arm", min_width=8, max_width=11)
    for measure in measures:
        table.add_column(measure.replace("@100", "\n@100"), justify="right", no_wrap=True)
    for name in (
        f"change in\n{measures[0]}",
        "nega-\ntives",
        "judged\nfalse",
        *(["suspi-\ncious"] if truth else []),
        "sec",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in arms:
        change = arm["metrics"][measures[0]]["change"]
        table.add_row(
            arm["title"],
            *(_value(arm["metrics"][measure]) for measure in measures),
            "" if change is None else _change(change),
            f"{arm['negatives']:,}",
            _share(arm["judged_false"]),
            *([_share(arm.get("suspicious"))] if truth else []),
            f"{arm['seconds']['total']:.0f}",
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
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


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
        f"texts per step: {texts}",
        "judged false: share of the arm's negatives that the recipe's vetters reject",
        *(["suspicious: share that the collection's own relations tie to the query"] if truth else []),
        *results["notes"],
    ]
    return lines
