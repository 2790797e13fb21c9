"""litotes mine and a recipe with sources that read a column: what documents are, and where labels stand."""

from __future__ import annotations

import json

import pytest

from litotes.evidence import Evidence, found_entries


@pytest.fixture
def columns(world):
    """The small world with a modality for every document and query, and labels (queries) under parents."""
    for side in ("corpus", "queries"):
        path = world / f"{side}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for i, row in enumerate(rows):
            row["modality"] = "image" if i % 2 else "text"
            if side == "queries":
                row["taxonomy"] = f"p{i % 3}|all" if i < 4 else "rest"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return world


def pairs(path):
    """(anchor, candidate, source) of all that was found, by its last finder."""
    table = Evidence.open(path).read()
    entries = found_entries(table).to_pylist()
    rows = table.select(["anchor", "candidate"]).to_pylist()
    return {(int(rows[e["row"]]["anchor"][1:]), int(rows[e["row"]]["candidate"][1:]), e["source"]) for e in entries}


def test_documents_of_the_wrong_kind_and_deep_ones_of_the_right_kind_are_mined(litotes, columns, model):
    source = "attribute_aware(top_k=20, skip=10, per_anchor=6)"
    said = litotes("mine", columns, "--model", model, "--no-vet", "--source", source, "--out", "e", "--json").json()
    found = {one for one in pairs("e") if one[2] != "qrels"}
    assert {source for _, _, source in found} == {"modality:wrong", "modality:unsatisfactory"}
    assert all((a % 2 == c % 2) == (source == "modality:unsatisfactory") and a != c for a, c, source in found)
    assert said["rows"] == len(found) + 10 and any("anchors with neither" in name for name in said["notes"])
    missing = litotes(
        "mine", columns, "--model", model, "--source", "attribute_aware(column=tongue)", "--out", "x", code=2
    )
    assert "column names 'tongue'; the columns of world/corpus are" in missing.err


def test_texts_of_related_labels_are_mined_without_a_model(litotes, columns):
    source = "taxonomy(strategies=[siblings, levenshtein], per_positive=4)"
    litotes("mine", columns, "--no-model", "--no-vet", "--source", source, "--out", "e")
    found = {one for one in pairs("e") if one[2] != "qrels"}
    groups = [{0, 1, 2, 3}, {4, 5, 6, 7, 8, 9}]
    siblings = [(a, c) for a, c, source in found if source == "taxonomy:siblings"]
    assert siblings and all(any({a, c} <= group for group in groups) for a, c in siblings)
    assert len(found) == 40 and {"taxonomy:random", "taxonomy:levenshtein"} <= {source for _, _, source in found}


def test_a_recipe_names_them(tmp_path, model):
    """WordNet's own columns: the part of speech is what a document is, its lexicographer file is its parent."""
    from litotes.recipe.run import run

    recipe = tmp_path / "structure.toml"
    recipe.write_text(f"""
[collection]
documents = 300
train_anchors = 30
test_queries = 10

[encoder]
model = "{model}"
dtype = "float32"

[train]
batch_size = 10
precision = "fp32"

[evaluate]
measures = ["MRR@10"]
depth = 10
resamples = 100

[[arms]]
name = "kinds"
title = "by part of speech"
sources = ["attribute_aware(column=group, per_anchor=2)"]
vetters = []

[[arms]]
name = "siblings"
title = "by lexicographer file"
sources = ["taxonomy(hard_fraction=1.0, per_positive=2)"]
vetters = []
""")
    results = run(recipe, runs=tmp_path / "runs")
    assert [arm["name"] for arm in results["arms"]] == ["kinds", "siblings"]
    sources = set()
    for manifest in (tmp_path / "runs").rglob("manifest.json"):
        if (manifest.parent / "mining.json").exists():
            sources |= set(Evidence.open(manifest.parent).describe().sources)
    assert {"group:wrong", "group:unsatisfactory", "taxonomy:siblings"} <= sources
