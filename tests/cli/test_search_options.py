"""How the default source searches, and what it may find, said on the command line."""

import json

import pyarrow.parquet as pq
import pytest


def test_an_approximate_search_is_measured_and_told(litotes, world, model):
    pytest.importorskip("faiss")
    given = ("mine", world, "--model", model, "--split", "train", "--depth", 5, "--no-vet", "--json")
    notes = litotes(*given, "--search", "hnsw", "--out", "a.parquet").json()["notes"]
    assert sorted(name.rpartition(": ")[2] for name in notes) == [
        "effort",
        "queries searched exactly",
        "recall",
        "search",
    ]
    assert any(value == "hnsw" for value in notes.values())
    litotes(*given, "--out", "e.parquet")
    one, other = (pq.read_table(name, columns=["anchor", "candidate", "score"]) for name in ("a.parquet", "e.parquet"))
    assert one.equals(other)  # of 30 documents an index finds all


def test_conditions_are_spelled_in_a_source_and_missing_columns_are_named(litotes, world):
    lines = (world / "corpus.jsonl").read_text().splitlines()
    rows = [json.loads(line) | {"group": str(i % 2), "date": f"2024-01-{i + 1:02}"} for i, line in enumerate(lines)]
    (world / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = "bm25(depth=30, only='group=1')"
    litotes("mine", world, "--no-model", "--split", "train", "--no-vet", "--source", source, "--out", "e.parquet")
    table = pq.read_table("e.parquet").to_pylist()
    found = {row["candidate"] for row in table if row["sign"] < 0}
    assert found and all(int(name[1:]) % 2 for name in found)
    apart = ("--source", "bm25(depth=3, apart=group)", "--out", "f.parquet")
    refused = litotes("mine", world, "--no-model", "--split", "train", *apart, code=2)
    assert "Bm25: apart names 'group'; the columns of world/queries are id, text" in refused.err


def test_where_search_has_no_meaning(litotes, world):
    assert (
        "--search has no meaning with --no-model" in litotes("mine", world, "--no-model", "--search", "ivf", code=2).err
    )
    refused = litotes("mine", world, "--source", "dense(depth=5)", "--search", "ivf", code=2)
    assert "--search is for the default source" in refused.err
    assert "search must be 'exact', 'auto'" in litotes("mine", world, "--search", "annoy", code=2).err
