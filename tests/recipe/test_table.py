import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.recipe.table import arms_table, remarks

words = st.text("abc []/-", min_size=1, max_size=60) | st.sampled_from(["[bold]x[/bold]", "Donau" * 12, "a" * 40])


def results(titles, negatives=5000, seconds=12.3, change=-0.2, truth=True, names=("nDCG@10", "MRR@10", "Recall@100")):
    ends = [change - 0.1, change + 0.1]
    metric = lambda other: {"value": 0.5, "interval": [0.48, 0.52], "change": other}
    return {
        "name": "n", "collection": {"name": "[wordnet]", "documents": 9, "train_anchors": 8, "test_queries": 7},
        "notes": ["a note"],
        "arms": [
            {
                "name": f"arm-{i}", "title": title, "negatives": negatives, "judged_false": 1.0, "steps": 3 * i,
                "suspicious": 1.0 if truth else None, "seconds": {"total": seconds}, "texts_per_step": 128.0,
                "metrics": {name: metric({"value": change, "interval": ends} if i else None) for name in names},
            }
            for i, title in enumerate(titles)
        ],
    }  # fmt: skip


def rendered(results, width=80):
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(arms_table(results))
    return out.getvalue()


@given(
    st.lists(words, min_size=1, max_size=3),
    st.integers(0, 9_999_999),
    st.floats(0, 99_999),
    st.floats(-0.99, 0.99),
    st.booleans(),
    st.lists(st.sampled_from(["nDCG@10", "Success@1000", "nDCG(dcg='exp-log2')@10", "MAP"]), min_size=1, unique=True),
)
def test_no_line_is_wider_than_80_and_nothing_is_cut(titles, negatives, seconds, change, truth, names):
    page = rendered(results(titles, negatives, seconds, change, truth, tuple(names)))
    assert max(map(len, page.splitlines())) <= 80 and "…" not in page
    wide = rendered(results(titles, negatives, seconds, change, truth, tuple(names)), width=300)
    assert re.sub(r"\s", "", page) == re.sub(r"\s", "", wide)  # as much is said where there is room
    column = "".join(line[:11].strip() for line in page.split("sec", 1)[1].splitlines())
    for title in titles:
        assert re.sub(r"\s", "", title) in re.sub(r"\s", "", column)


def test_numbers_as_they_stand():
    page = rendered(results(["plain", "other"], 1_234_567, 12345.6))
    assert ".480-.520" in page and "-.300 -.100" in page and "-0.200" in page
    assert "1235k" in page and "12346" in page and "100.0%" in page and "suspi-" in page
    assert "suspi-" not in rendered(results(["plain", "other"], truth=False))


@pytest.mark.parametrize("value, text", [(0.5, ".500"), (-0.5, "-.500"), (1.0, "1.000"), (10.5, "10.500"), (0, ".000")])
def test_the_zero_before_the_point_is_left_out_and_only_that(value, text):
    table = results(["a", "b"], change=0.3)
    table["arms"][0]["metrics"]["MAP"] = {"value": value, "interval": [value, value], "change": None}
    table["arms"][0]["metrics"] = {"MAP": table["arms"][0]["metrics"]["MAP"]}
    for arm in table["arms"][1:]:
        arm["metrics"] = {"MAP": {"value": value, "interval": [value, value], "change": None}}
    assert re.sub(r"\s", "", f"{text}-{text}") in re.sub(r"\s", "", rendered(table))


def test_remarks_explain_the_columns_that_are_there():
    lines = remarks(results(["plain", "other"]))
    assert lines[0] == "9 documents, 8 training anchors, 7 test queries"
    assert "texts per step: arm-1 128" in lines and lines[-1] == "a note"
    assert any(line.startswith("suspicious: ") for line in lines)
    untrained = remarks(results(["plain"], truth=False))
    assert not any(line.startswith(("suspicious", "texts per step")) for line in untrained)
