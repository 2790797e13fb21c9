"""The geometry of the drawings: where things stand, in percent of the width and the height. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from litotes.audit.report.words import count, interval, number, share, signed
from litotes.audit.results_schema import Results, Scores


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside [low, high], at most `most` of them."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def forest(results: Results, measure: str) -> dict[str, Any]:
    """Differences of one measure against the baseline: a point and its interval per arm, 0 always in sight."""
    rows = []
    for arm in results.arms:
        change = arm.metrics[measure].change if measure in arm.metrics else None
        if change is None:
            continue
        ends = change.interval or [change.value, change.value]
        verdict = "higher" if ends[0] > 0 else "lower" if ends[1] < 0 else "not shown"
        rows.append((arm.title, change, ends, verdict if change.interval else "no interval"))
    low = min(0.0, *(min(ends[0], change.value) for _, change, ends, _ in rows))
    high = max(0.0, *(max(ends[1], change.value) for _, change, ends, _ in rows))
    room = 0.06 * ((high - low) or 1.0)
    low, high = low - room, high + room
    place = _scale(low, high)
    marks = ticks(low, high, 5)
    digits = _digits(marks)
    return {
        "measure": measure,
        "zero": place(0.0),
        "ticks": [(place(mark), signed(mark, digits) if abs(mark) > 1e-12 else "0") for mark in marks],
        "rows": [
            {
                "title": title, "verdict": verdict,
                "x": place(change.value), "low": place(ends[0]), "high": place(ends[1]),
                "change": signed(change.value), "interval": interval(ends, plus=True) if change.interval else "",
                "p": None if change.p is None else "< 0.001" if change.p < 0.001 else number(change.p),
            }
            for title, change, ends, verdict in rows
        ],
    }  # fmt: skip


def histogram(scores: Scores) -> dict[str, Any]:
    """Three distributions over one axis, each as the share of its own total, so that rare and common compare."""
    place = _scale(scores.edges[0], scores.edges[-1])
    named = [
        ("positives", "Positives", scores.positives),
        ("kept", "Kept negatives", scores.kept),
        ("rejected", "Rejected", scores.rejected),
    ]
    shares = {name: [n / (sum(counts) or 1) for n in counts] for name, _, counts in named}
    top = max(max(row) for row in shares.values()) or 1.0
    digits = _digits(ticks(scores.edges[0], scores.edges[-1]))
    series = []
    for name, title, counts in named:
        if not sum(counts):
            continue
        line = [f"{place(scores.edges[0])},100"]
        for left, right, part in zip(scores.edges, scores.edges[1:], shares[name], strict=False):
            height = round(100 - 94 * part / top, 2)
            line += [f"{place(left)},{height}", f"{place(right)},{height}"]
        line.append(f"{place(scores.edges[-1])},100")
        series.append({"name": name, "title": title, "total": count(sum(counts)), "line": " ".join(line)})
    return {
        "series": series,
        "ticks": [(place(mark), number(mark, digits)) for mark in ticks(scores.edges[0], scores.edges[-1])],
        "bins": [
            {
                "x": round((place(left) + place(right)) / 2, 3),
                "label": f"{number(left, 2)} to {number(right, 2)}",
                "values": [
                    {"title": title, "text": f"{count(counts[i])} ({share(shares[name][i])})"}
                    for name, title, counts in named
                    if sum(counts)
                ],
            }
            for i, (left, right) in enumerate(zip(scores.edges, scores.edges[1:], strict=False))
        ],
    }


def curves(results: Results) -> dict[str, Any]:
    """Loss over steps, one line per arm; long curves are drawn faint with their running mean on top."""
    titles = {arm.name: arm.title for arm in results.arms}
    drawn = {name: sorted(points, key=lambda p: p.step) for name, points in (results.curves or {}).items() if points}
    everything = [point for points in drawn.values() for point in points]
    if not everything:
        return {"series": [], "x": [], "y": [], "stops": []}
    first, last = min(p.step for p in everything), max(p.step for p in everything)
    low, high = min(p.loss for p in everything), max(p.loss for p in everything)
    room = 0.04 * ((high - low) or 1.0)
    low, high = max(0.0, low - room) if low >= 0 else low - room, high + room
    across, up = _scale(first, last), _scale(low, high)
    y = ticks(low, high, 5)
    series = []
    for place, (name, points) in enumerate(drawn.items()):
        losses = [point.loss for point in points]
        smooth = _running_mean(losses, max(1, len(losses) // 25)) if len(losses) > 60 else None
        at = [across(point.step) for point in points]
        series.append({
            "name": name, "title": titles[name], "colour": place % 6 + 1, "last": number((smooth or losses)[-1]),
            "raw": _line(at, losses, up), "smooth": _line(at, smooth, up) if smooth else None,
        })  # fmt: skip
    return {
        "series": series,
        "x": [(across(mark), f"{mark:,.0f}") for mark in ticks(first, last) if mark == round(mark)],
        "y": [(100 - up(mark), number(mark, _digits(y))) for mark in y],
        "stops": _stops(drawn, titles, across),
    }


def bars(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int, float]]:
    """(label, count, length in percent of the longest)."""
    longest = max((n for _, n in rows), default=0) or 1
    return [(label, n, round(100 * n / longest, 2)) for label, n in rows]


def _stops(drawn: dict[str, Any], titles: dict[str, str], across: Any) -> list[dict[str, Any]]:
    """The steps that can be pointed at (at most 200), each with the loss of every arm that has one there."""
    by_step: dict[int, dict[str, float]] = {}
    for name, points in drawn.items():
        for point in points:
            by_step.setdefault(point.step, {})[name] = point.loss
    steps = sorted(by_step)
    chosen = steps[:: max(1, math.ceil(len(steps) / 200))]
    return [
        {
            "x": across(step),
            "label": f"step {count(step)}",
            "values": [
                {"title": titles[name], "text": number(by_step[step][name]) if name in by_step[step] else "\u2013"}
                for name in drawn
            ],
        }
        for step in chosen
    ]


def _scale(low: float, high: float) -> Any:
    width = (high - low) or 1.0
    return lambda value: round(100 * (value - low) / width, 3)


def _line(at: list[float], values: list[float], up: Any) -> str:
    return " ".join(f"{x},{round(100 - up(value), 2)}" for x, value in zip(at, values, strict=True))


def _running_mean(values: list[float], reach: int) -> list[float]:
    """Each value averaged with up to `reach` neighbours on both sides."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, i - reach), min(len(values), i + reach + 1)) for i in range(len(values))]
    return [(sums[stop] - sums[start]) / (stop - start) for start, stop in spans]


def _digits(marks: Sequence[float]) -> int:
    """As many decimals as tell the marks apart."""
    gap = min((b - a for a, b in zip(marks, marks[1:], strict=False)), default=1.0)
    return max(0, math.ceil(-math.log10(gap) - 1e-9))
