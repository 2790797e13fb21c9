"""Remine: the evidence a run started with, under the eyes of another model."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from litotes.data.encoder import Encoder
from litotes.evidence import Evidence, doubt, make
from litotes.search.space import Space
from litotes.sources.mined.dense import Mined
from litotes.training.remine import Remine
from litotes.training.rows import TrainingRows
from litotes.vetting.relative_margin import RelativeMargin

VETTER = RelativeMargin(0.05)


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return Encoder(tiny_model, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def given(world, encoder):
    """Evidence with a silent pair that the model ranks first, a judged negative, doubts of the vetter and another."""
    collection, evidence = world
    query = encoder.encode(collection.query_texts()[:1], "query")[0]
    order = np.argsort(-(encoder.encode(collection.document_texts(), "document") @ query))
    known = evidence.filter(pc.equal(evidence["anchor"], "q00"))["candidate"].to_pylist()
    first = next(name for name in (f"d{j:02}" for j in order) if name not in known)
    more = make(["q00", "q01"], [first, "d21"], [0, -1], grade=pa.array([None, 0.0], pa.float32()), source="people")
    both = pa.concat_tables([evidence, more.replace_schema_metadata(evidence.schema.metadata)])
    negative = np.flatnonzero((both["sign"].to_numpy() < 0) & both["grade"].is_null().to_numpy())
    rows = np.zeros(len(both), bool)
    rows[negative[::2]] = True
    both = doubt(both, rows, 0.25, "zeal")
    return collection, doubt(both, ~rows, 0.125, str(VETTER))


def remade(given, encoder, out, depth=5, vetters=(VETTER,), evidence=None):
    collection, first = given
    anchors = np.arange(24)
    remine = Remine(first if evidence is None else evidence, collection, anchors, [Mined(depth=depth)], vetters)
    return remine(encoder, out), Evidence.open(out).read()


def slowly(given, encoder, depth):
    """The definition, one anchor at a time: {(anchor, candidate): row}."""
    collection, first = given
    queries = encoder.encode(collection.query_texts(), "query")
    documents = encoder.encode(collection.document_texts(), "document")
    names = collection.corpus["id"].to_pylist()
    said = {(row["anchor"], row["candidate"]): row for row in first.to_pylist()}
    out = {}
    for i, anchor in enumerate(collection.queries["id"].to_pylist()):
        score = Space(queries, documents).pairs(np.full(len(names), i), np.arange(len(names)))
        held = {c: dict(row) for (a, c), row in said.items() if a == anchor}
        free = [j for j, name in enumerate(names) if held.get(name, {"sign": -1})["sign"] < 0]
        best = sorted(free, key=lambda j: (-score[j], j))[:depth]
        for j in best:
            held.setdefault(names[j], {"sign": -1, "grade": None, "doubts": []})
        line = min(score[names.index(c)] for c, row in held.items() if row["sign"] > 0) * np.float32(1)
        line = line - abs(line) * np.float32(0.05)
        for c, row in held.items():
            seen = score[names.index(c)]
            parts = {d["part"]: d["belief"] for d in row["doubts"] if d["part"] != str(VETTER)}
            if row["sign"] < 0 and row["grade"] is None and seen > line:
                parts[str(VETTER)] = 0.0
            weight = min([row.get("prior", 1.0), *parts.values()])
            out[anchor, c] = (row["sign"], row["grade"], weight, seen, parts)
    return out


def test_it_is_its_definition(given, encoder, tmp_path):
    counts, made = remade(given, encoder, tmp_path / "made")
    expected = slowly(given, encoder, depth=5)
    seen = {}
    for row in made.to_pylist():
        doubts = {entry["part"]: entry["belief"] for entry in row["doubts"]}
        seen[row["anchor"], row["candidate"]] = row["sign"], row["grade"], row["weight"], row["score"], doubts
    assert seen == expected
    assert counts["rows"] == len(made) and counts["found"] == 24 * 5
    assert counts["fresh"] == len(made) - len(given[1]) > 0
    believed = [row["score"] for row in made.to_pylist() if row["sign"] < 0 and row["weight"] > 0]
    assert counts["scores"]["negatives"] == pytest.approx(np.mean(believed))
    assert counts["scores"]["positives"] == pytest.approx(
        np.mean([row["score"] for row in made.to_pylist() if row["sign"] > 0])
    )
    assert set(counts["doubted"]) == {"zeal", str(VETTER)} and all(counts["doubted"].values())
    assert not list(tmp_path.glob("*.vectors"))


def test_it_depends_on_the_first_evidence_and_the_model_alone(given, encoder, tmp_path):
    collection, first = given
    _, one = remade(given, encoder, tmp_path / "one")
    shuffled = first.take(pa.array(np.random.default_rng(0).permutation(len(first))))
    stored = Evidence.of(tmp_path / "stored", shuffled)
    _, other = remade(given, encoder, tmp_path / "other", evidence=stored)
    assert one.equals(other)
    again, twice = remade(given, encoder, tmp_path / "one")  # over what is there
    assert twice.equals(one)


def test_anchors_that_are_not_trained_on_are_left_out(given, encoder, tmp_path):
    collection, first = given
    _, whole = remade(given, encoder, tmp_path / "whole")
    Remine(first, collection, np.array([3, 5, 5]), [Mined(depth=5)], [VETTER])(encoder, tmp_path / "part")
    part = Evidence.open(tmp_path / "part").read()
    kept = whole.filter(pc.is_in(whole["anchor"], value_set=pa.array(["q03", "q05"])))
    assert part.equals(kept)


def test_without_sources_the_first_negatives_are_scored_and_doubted_anew(given, encoder, tmp_path):
    collection, first = given
    counts = Remine(first, collection, np.arange(24), [], [VETTER])(encoder, tmp_path / "made")
    made = Evidence.open(tmp_path / "made").read()
    assert counts["fresh"] == counts["found"] == 0 and len(made) == len(first)
    assert made["score"].null_count == 0


@pytest.mark.parametrize("per", ["anchor", "pair"])
def test_renewed_rows_are_the_same_rows_with_other_negatives(given, encoder, tmp_path, per):
    collection, first = given
    _, made = remade(given, encoder, tmp_path / "made")
    rows = TrainingRows.of(first, collection, n=2, per=per, seed=3)
    new = rows.renewed(made)
    assert (new.anchor == rows.anchor).all() and (new.positives.items == rows.positives.items).all()
    assert (new.positives.offsets == rows.positives.offsets).all() and new.seed == 3 and new.n == 2
    alone = TrainingRows.of(made, collection, n=2)
    place = {int(anchor): i for i, anchor in enumerate(alone.anchor)}
    for i, anchor in enumerate(new.anchor):
        assert new.negatives.row(i).tolist() == alone.negatives.row(place[int(anchor)]).tolist()
    assert new.counts["bare"] == sum(len(new.negatives.row(i)) == 0 for i in range(len(new)))
    assert new.counts["short"] == sum(len(new.negatives.row(i)) < 2 for i in range(len(new)))


def test_a_row_of_whose_anchor_nothing_is_said_any_more_has_no_negatives(world):
    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=3)
    less = evidence.filter(pc.not_equal(evidence["anchor"], "q03"))
    new = rows.renewed(less)
    assert len(new) == 24 and len(rows.negatives.row(3)) == 3 and len(new.negatives.row(3)) == 0
    assert all((new.negatives.row(i) == rows.negatives.row(i)).all() for i in range(24) if i != 3)
