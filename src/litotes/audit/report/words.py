"""Numbers as people read them, and the sentence at the top."""

from __future__ import annotations

import math
from collections.abc import Sequence

from litotes.audit.results_schema import Arm, Results

MINUS = "\u2212"
TIE = "\u00a0"  # a measure and its number stay on one line


def number(value: float, digits: int = 3) -> str:
    """0.6453 -> "0.645"; a true minus sign; no "-0.000"."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """0.031 -> "+0.031"; what rounds to nothing is "0.000"."""
    text = number(value, digits)
    return f"+{text}" if float(f"{value:.{digits}f}") > 0 else text


def interval(ends: Sequence[float], plus: bool = False) -> str:
    """[0.62, 0.66] -> "[0.620, 0.660]"."""
    low, high = (signed(end) if plus else number(end) for end in ends)
    return f"[{low}, {high}]"


def share(value: float) -> str:
    """0.0162 -> "1.6 %"."""
    return f"{number(100 * value, 1)}\u202f%"


def count(value: float) -> str:
    """14520 -> "14,520"."""
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    """203.4 -> "203", 2.14 -> "2.1"."""
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def excerpt(text: str, length: int = 280) -> str:
    """The start of a long text, cut between words; "" where all of it is short enough to be shown at once."""
    if len(text) <= length + 60:
        return ""
    start = text[:length]
    return (start.rsplit(None, 1)[0] if any(letter.isspace() for letter in start) else start) + " \u2026"


def baseline(results: Results) -> Arm | None:
    """The arm all others are compared with: the one without changes, where the others have them."""
    plain = [arm for arm in results.arms if all(metric.change is None for metric in arm.metrics.values())]
    return plain[0] if plain and len(plain) < len(results.arms) else None


def headline(results: Results) -> str:
    """What happened, in a sentence, from the first measure. It claims no more than the intervals show."""
    measure = next(iter(results.arms[0].metrics))
    reference = baseline(results)
    compared = []
    for arm in results.arms:
        metric = arm.metrics.get(measure)
        if metric and metric.change:
            compared.append((arm, metric, metric.change, metric.change.interval or [-math.inf, math.inf]))
    if not compared or reference is None:
        having = [(arm.metrics[measure].value, arm.title) for arm in results.arms if measure in arm.metrics]
        value, title = max(having, key=lambda pair: pair[0])
        return f"{_start(title)} reaches {measure}{TIE}{number(value)}."

    above = [row for row in compared if row[3][0] > 0]
    best, metric, change, (low, high) = max(above or compared, key=lambda row: row[1].value)
    than, only, reached = inside(reference.title), len(compared) == 1, f"{measure}{TIE}{number(metric.value)}"
    ends = f" (interval {signed(low)} to {signed(high)})" if change.interval else ""
    size = number(abs(change.value))
    if low > 0:
        return f"{_start(best.title)} reaches {reached}: {size} above {than}{ends}."
    if high < 0:
        which = "The only arm" if only else "Even the best arm"
        return f"{which}, {inside(best.title)}, falls below {than}: {reached}, {size} less{ends}."
    fact = f"at {reached}, a change of {signed(change.value)}{ends}"
    if only:
        return f"{_start(best.title)} is not shown to differ from {than}: {fact}."
    return f"No arm is shown to beat {than}: the best, {inside(best.title)}, is {fact}."


def inside(title: str) -> str:
    """A title inside a sentence: "Mined + vetted" -> "mined + vetted"; names in capitals stay."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _start(title: str) -> str:
    """A title at the start of a sentence."""
    return title[:1].upper() + title[1:]
