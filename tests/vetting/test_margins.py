"""RelativeMargin, AbsoluteMargin, ScoreWindow and PeerLine against their formulas."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.evidence import SCHEMA, with_scorer
from litotes.ops import keep_under
from litotes.vetting.absolute_margin import AbsoluteMargin
from litotes.vetting.peer_line import PeerLine
from litotes.vetting.relative_margin import RelativeMargin
from litotes.vetting.score_window import ScoreWindow

SCORER = {"name": "drawn", "checksum": "0", "similarity": "dot"}
scores = st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0]) | st.floats(-8, 8, width=32)  # few values: many ties
one_row = st.fixed_dictionaries(
    {
        "anchor": st.sampled_from("ab"),
        "sign": st.sampled_from([-1, -1, 0, 1]),
        "score": scores,
        "grade": st.sampled_from([None, None, 0.0]),
    }
)
rows = st.lists(one_row, max_size=4) | st.lists(one_row, min_size=8, max_size=24)


def whole(row, i):
    score = 0.5 if row["sign"] == 1 and row["score"] is None else row["score"]
    return row | {"candidate": str(i), "score": score, "prior": 1.0, "weight": 1.0, "found": [], "doubts": []}


def table(rows):
    return with_scorer(pa.Table.from_pylist([whole(row, i) for i, row in enumerate(rows)], SCHEMA), SCORER)


def of(*scored):
    return table([{"anchor": "a", "sign": sign, "score": score, "grade": None} for sign, score in scored])


evidence = rows.map(table)
margins = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1, width=32)
references = st.sampled_from(["min", "max", "mean"])
parts = (
    st.builds(RelativeMargin, margins, references)
    | st.builds(AbsoluteMargin, margins, references)
    | st.builds(PeerLine, st.sampled_from(["sum", "factor"]), margins)
)


def broken(part, score, known):
    """Line and verdict of the definition, in float32."""
    if not known:
        return None, False
    f, margin = np.float32, np.float32(part.margin)
    name = "min" if isinstance(part, PeerLine) else part.reference
    r = f({"min": min, "max": max, "mean": lambda x: sum(x) / len(x)}[name](known))
    if isinstance(part, RelativeMargin):
        return r - abs(r) * margin, f(score) > r - abs(r) * margin
    if isinstance(part, AbsoluteMargin):
        return r - margin, f(score) > r - margin
    if part.rule == "sum":
        return r - margin, f(score) + margin > r
    return r * margin, f(score) > r * margin


@given(parts, evidence)
def test_it_is_its_definition(part, evidence):
    before, made = evidence.to_pylist(), part(evidence).to_pylist()
    for row, out in zip(before, made, strict=True):
        known = [p["score"] for p in before if p["anchor"] == row["anchor"] and p["sign"] == 1]
        expected = row
        if row["sign"] == -1 and row["score"] is not None and row["grade"] is None:
            line, above = broken(part, row["score"], known)
            if above:
                entry = {"part": str(part), "belief": 0.0, "seen": row["score"], "line": float(line)}
                expected = row | {"weight": 0.0, "doubts": [entry]}
        assert out == expected


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12),
    st.floats(-8, 8, width=32),
    st.sampled_from([0.0, 0.05, 0.1, 1 / 3, 1.0]),
)
def test_disk_and_tensor_draw_one_line(scores, r, margin):
    rows = of((1, r), *((-1, score) for score in scores))
    for part, strategy in ((RelativeMargin(margin), "relative"), (AbsoluteMargin(margin), "absolute")):
        kept = part(rows)["weight"].to_numpy()[1:] > 0
        assert kept.tolist() == keep_under(torch.tensor([scores]), torch.tensor([r]), margin, strategy)[0].tolist()


@given(evidence, margins, margins, st.sampled_from([RelativeMargin, AbsoluteMargin]))
def test_a_deeper_line_never_believes_more(evidence, one, other, kind):
    shallow, deep = (kind(m)(evidence)["weight"].to_numpy() for m in sorted([one, other]))
    assert (deep <= shallow).all()


@pytest.mark.parametrize("margin, r, line", [(0.5, 1.0, 0.5), (0.5, -1.0, -1.5), (0.5, 0.0, 0.0), (0.2, 1.0, 0.8)])
def test_the_relative_line_lies_below_the_positive_whatever_its_sign(margin, r, line):  # (0.2, 1, 0.8): float32 only
    above = float(np.nextafter(np.float32(line), np.float32(9)))
    assert RelativeMargin(margin)(of((1, r), (-1, line), (-1, above)))["weight"].to_pylist() == [1.0, 1.0, 0.0]


def test_the_factor_line_lies_above_a_negative_positive_and_ours_does_not():
    rows = of((1, -1.0), (-1, -0.96), (-1, -1.04), (-1, -1.06))
    assert PeerLine("factor", 0.95)(rows)["weight"].to_pylist() == [1.0, 1.0, 1.0, 1.0]
    assert RelativeMargin(0.05)(rows)["weight"].to_pylist() == [1.0, 0.0, 0.0, 1.0]


@given(evidence, scores, scores)
def test_a_window_is_its_definition(evidence, low, high):
    if low is None and high is None:
        low = 0.0
    if low is not None and high is not None:
        low, high = sorted([low, high])
    part = ScoreWindow(low, high)
    for row, out in zip(evidence.to_pylist(), part(evidence).to_pylist(), strict=True):
        free = row["sign"] == -1 and row["grade"] is None and row["score"] is not None
        bound = high if free and high is not None and row["score"] > high else None
        bound = low if free and low is not None and row["score"] < low else bound
        doubts = [] if bound is None else [{"part": str(part), "belief": 0.0, "seen": row["score"], "line": bound}]
        assert out == row | {"doubts": doubts, "weight": 0.0 if doubts else 1.0}


def test_a_window_is_compared_in_float32():
    assert ScoreWindow(high=0.1)(of((-1, float(np.float32(0.1)))))["weight"].to_pylist() == [1.0]


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_bad_relative_margin_is_named_with_its_range(bad):
    with pytest.raises(ValueError, match=rf"RelativeMargin: margin must be in \[0, 1\], got {bad}"):
        RelativeMargin(margin=bad)


@pytest.mark.parametrize("bad", [-0.01, float("nan"), float("inf")])
def test_a_bad_absolute_margin_is_named_with_its_range(bad):
    with pytest.raises(ValueError, match=f"AbsoluteMargin: margin must be >= 0 and finite, got {bad}"):
        AbsoluteMargin(margin=bad)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RelativeMargin(reference="median"), "RelativeMargin: reference must be"),
        (lambda: AbsoluteMargin(reference="median"), "AbsoluteMargin: reference must be"),
        (lambda: ScoreWindow(), "ScoreWindow: low or high must be given"),
        (lambda: ScoreWindow(float("nan")), "ScoreWindow: low must be finite or None, got nan"),
        (lambda: ScoreWindow(high=float("inf")), "ScoreWindow: high must be finite or None, got inf"),
        (lambda: ScoreWindow(1.0, 0.0), "ScoreWindow: low must be <= high, got low=1.0 and high=0.0"),
        (lambda: PeerLine("product", 1.0), "PeerLine: rule must be 'sum' or 'factor'"),
        (lambda: PeerLine("sum", float("nan")), "PeerLine: margin must be finite, got nan"),
    ],
)
def test_other_gates(make, message):
    with pytest.raises(ValueError, match=message):
        make()
