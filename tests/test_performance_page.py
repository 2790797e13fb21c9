"""The performance page says what the figures say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def performance(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("performance")
    for name in ("performance", "_harness"):
        sys.modules.pop(name, None)


def test_the_page_is_what_the_results_say(performance):
    assert performance.PAGE.read_text(encoding="utf-8") == performance.written()


def test_every_figure_of_every_result_is_on_the_page(performance):
    page = performance.PAGE.read_text(encoding="utf-8")
    results = sorted((BENCHMARKS / "results").glob("*.json"))
    assert results
    for path in results:
        figures = json.loads(path.read_text(encoding="utf-8"))
        if "page" in figures:  # a page of its own, with a test of its own
            continue
        assert figures["command"].split()[1] == f"benchmarks/{figures['name']}.py" and figures["command"] in page
        for row in figures["table"]["rows"]:
            assert len(row) == len(figures["table"]["columns"])
            for cell in row:
                assert performance.shown(cell) in page
        for note in figures.get("notes", ()):
            assert note in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0449, "2.04"),
        (20.449, "20.4"),
        (204.49, "204"),
        (12345.6, "12,346"),
        (3, "3"),
        (True, "True"),
        ("all", "all"),
        ({"min": 1.0, "median": 2.5, "max": 11.0}, "2.50 (1.00 to 11.0)"),
    ],
)
def test_three_digits_are_enough(performance, value, text):
    assert performance.shown(value) == text


def test_a_table_has_one_cell_per_column(performance):
    import _harness

    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        _harness.table(["a", "b"], [[1, 2], [3]])
