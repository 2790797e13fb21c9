"""litotes audit, as a user calls it."""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture
def flawed(tmp_path):
    """20 rows of three negatives; the first has a copy of its positive, the second its query, the third one less."""
    parts = ["wing", "lift", "drag", "flow", "heat"]
    rows = [
        {
            "query": f"{parts[i % 5]} of {i}",
            "pos": [f"the {parts[i % 5]} {i}"],
            "neg": [f"{parts[(i + j) % 5]} {i * j}" for j in (1, 2, 3)],
        }
        for i in range(20)
    ]
    rows[0]["neg"][1] = rows[0]["pos"][0].upper()
    rows[1]["neg"][2] = rows[1]["query"]
    rows[2]["neg"].pop()
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_it_says_what_is_wrong_writes_a_page_and_changes_nothing(litotes, flawed, tmp_path):
    before = flawed.read_bytes()
    said = litotes("audit", "set.jsonl", "--no-model").out
    assert said.startswith("2 of 59 negatives are copies") and "Without a model" in said
    assert re.search(r"^Equal to a positive +positive +1 +1\.7.% +goes *$", said, re.MULTILINE)
    assert (tmp_path / "audit.html").read_text().startswith("<!doctype html>")
    assert flawed.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["audit.html", "set.jsonl"]
    assert max(map(len, said.split("\n\n")[1].splitlines())) <= 80
    again = litotes("audit", "set.jsonl", "--no-model", code=2)
    assert "audit.html exists" in again.err
    litotes("audit", "set.jsonl", "--no-model", "--overwrite")


def test_json_says_the_same_and_the_repaired_set_reads_back(litotes, flawed, tmp_path):
    said = litotes("audit", "set.jsonl", "--no-model", "--repaired", "new.jsonl", "--json").json()
    assert said["found"]["positive"] == said["found"]["query"] == said["found"]["short"] == 1
    assert said["false_negatives_at_most"] is None and said["certain_false_negatives"] == 1
    assert said["done"] == {"positive: taken out": 1, "query: taken out": 1} and said["identical"] is False
    changes = [json.loads(line) for line in (tmp_path / said["changes"]).read_text().splitlines()]
    assert [(one["row"], one["why"]) for one in changes] == [(1, "positive"), (2, "query")]
    told = litotes("convert", "new.jsonl", "e.run", "--from", "flagembedding").out
    assert "read as positives" not in told
    clean = litotes("audit", "new.jsonl", "--no-model", "--repaired", "newer.jsonl", "--overwrite").out
    assert "nothing had to be changed" in clean
    assert (tmp_path / "newer.jsonl").read_bytes() == (tmp_path / "new.jsonl").read_bytes()


def test_with_a_model_and_a_test_set(litotes, flawed, model, tmp_path):
    test = tmp_path / "test.tsv"
    test.write_text("anchor\tpositive\nWING of 5\tsomething else\n")
    options = ("--model", model, "--test", test, "--test-from", "pairs", "--cache", "v", "--repaired", "new.jsonl")
    said = litotes(
        "audit", "set.jsonl", *options, "--leave", "filler", "--vetter", "score_window(high=0.999)", "--json"
    ).json()
    assert said["found"]["test-query"] == 1 and said["test"]["equal"] == 1
    assert said["done"]["test-query: rows left out"] == 1 and not [kind for kind in said["done"] if "filler" in kind]
    assert said["false_negatives_at_most"] is None and any("Too few queries" in note for note in said["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-model", "--model", "x"], "--model needs a model"),
        (["--no-model", "--vetter", "same_text"], "--vetter reads scores"),
        (["--leave", "filler"], "--leave belongs to --repaired"),
        (["--changes", "c.jsonl"], "--changes belongs to --repaired"),
        (["--test-split", "dev"], "--test-split belongs to --test"),
        (["--repaired", "r.jsonl", "--leave", "fillers"], "did you mean filler"),
        (["--near", "1.5"], "near must be in (0, 1], got 1.5"),
        (["--vetter", "same_txt"], "did you mean same_text"),
        (["--from", "triplet"], "did you mean triplets"),
        (["--option", "colour=red"], "--option 'colour' is not known"),
        (["--option", "threshold=high"], "expected a number, got 'high'"),
        (["--test", "nowhere.jsonl"], "nothing at nowhere.jsonl"),
    ],
)
def test_what_has_no_meaning_is_refused_before_a_model_is_loaded(litotes, flawed, no_model, options, message):
    assert message in litotes("audit", "set.jsonl", *options, code=2).err


def test_a_bad_row_is_named_or_counted(litotes, tmp_path):
    (tmp_path / "s.jsonl").write_text(
        '{"query": "q", "pos": ["p"], "neg": ["n"]}\n{"query": 3, "pos": ["p"], "neg": []}\n'
    )
    assert "s.jsonl:2: field 'query': found 3 (int)" in litotes("audit", "s.jsonl", "--no-model", code=2).err
    skipped = litotes("audit", "s.jsonl", "--no-model", "--skip-bad")
    assert "skipped 1 bad rows" in skipped.err and "0 of 1 negatives" in skipped.out
