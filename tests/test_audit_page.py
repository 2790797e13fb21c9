"""The page on audits says what was measured, and every option and kind that there is."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guide" / "audit.md").read_text(encoding="utf-8")


@pytest.fixture
def planted(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("audit_planted")
    for name in ("audit_planted", "_harness"):
        sys.modules.pop(name, None)


def test_the_page_is_what_the_results_say(planted):
    figures = json.loads(planted.RESULT.read_text(encoding="utf-8"))
    assert planted.written(PAGE, figures) == PAGE and figures["page"] == "guide/audit.md"
    for row in [*figures["table"]["rows"], *figures["estimates"]["rows"]]:
        assert planted.markdown({"columns": row, "rows": []}).splitlines()[0] in PAGE


def test_every_kind_was_planted_and_found_on_both_collections(planted):
    from litotes.audit.negatives import KINDS

    rows = json.loads(planted.RESULT.read_text(encoding="utf-8"))["table"]["rows"]
    kinds = [name for name in KINDS if name != "test-text"]
    assert [(row[0], row[1]) for row in rows] == [(world, kind) for world in ("WordNet", "Cranfield") for kind in kinds]
    for world, kind, count, _, recall, precision in rows:
        assert count >= 30
        if kind != "suspect":  # whose figures are told as they are
            assert float(recall.split()[0]) > 0.85 and float(precision.split()[0]) > 0.95, (world, kind)


def test_an_estimate_lies_below_what_was_planted_only_where_its_assumption_is_broken(planted):
    rows = json.loads(planted.RESULT.read_text(encoding="utf-8"))["estimates"]["rows"]
    assert planted.BROKEN in [what for _, what, *_ in rows]  # the failure is shown
    for _, what, share, _, ends in rows:
        low, high = re.findall(r"[\d.]+", ends)
        assert float(low) <= float(high) and (what == planted.BROKEN or float(share.split()[0]) <= float(high))


def test_every_kind_and_every_option_of_the_page_exists():
    from typer.main import get_command

    from litotes.audit.negatives import KINDS
    from litotes.cli.app import app

    for name in KINDS:
        assert f"`{name}`" in PAGE
    known = {flag for one in get_command(app).commands["audit"].params for flag in one.opts}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= known


@pytest.mark.slow
def test_planted_defects_are_found_again(planted, tmp_path):
    """A small world, planted and audited as the benchmark does."""
    from litotes.data.encoder import Encoder

    encoder = Encoder(planted.MODEL)
    world = planted.wordnet(encoder, documents=1000, queries=250)
    made = planted.plant(world, 7)
    assert planted.plant(world, 7).rows == made.rows and planted.plant(world, 8).rows != made.rows
    found = planted.judged(made, planted.audited(made, encoder, tmp_path, repaired=True))
    for kind in ("query", "positive", "positive-elsewhere", "repeated", "everywhere", "test-query", "short"):
        assert found[kind]["hit"] == found[kind]["planted"] > 0, kind
        assert found[kind]["found"] - found[kind]["other"] - found[kind]["hit"] <= 2, kind
    for kind in ("near-query", "near-positive", "filler"):
        assert found[kind]["hit"] >= 0.8 * found[kind]["planted"] > 0, kind
    from litotes.audit.negatives import audit_negatives

    again = audit_negatives(
        tmp_path / "repaired.jsonl", encoder=encoder, test=tmp_path / "test.jsonl", test_format="flagembedding"
    )
    for kind in (
        "query",
        "near-query",
        "positive",
        "near-positive",
        "positive-elsewhere",
        "repeated",
        "test-query",
    ):
        assert again.found[kind] == 0, kind
