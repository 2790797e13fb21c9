import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.vetting_truth import Share, share_suspicious, vetting_truth
from litotes.data.collection import Collection
from litotes.errors import BadInput
from litotes.evidence import doubt, make

QUERIES, DOCUMENTS, PARTS = ["a", "b"], ["u", "v", "w", "x"], ["guide", "margin"]
RELATIONS = ["hypernym", "shared_lemma"]
pairs = [(q, d) for q in QUERIES for d in DOCUMENTS]


def collection_of(related):
    side = lambda ids: pa.table({"id": ids, "text": [f"text {i}" for i in ids]})
    table = pa.table(
        {
            name: pa.array([row[i] for row in related], pa.string())
            for i, name in enumerate(("query", "document", "relation"))
        }
    )
    return Collection("c", side(QUERIES), side(DOCUMENTS), {}, table)


related = st.lists(
    st.tuples(st.sampled_from(QUERIES), st.sampled_from(DOCUMENTS), st.sampled_from(RELATIONS)), unique=True
)
beliefs = st.sampled_from([0.0, 0.25, 0.5])


@st.composite
def evidences(draw):
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    sign = [draw(st.sampled_from([-1, -1, -1, 0, 1])) for _ in chosen]
    grade = [draw(st.sampled_from([None, None, None, 0.0])) for _ in chosen]
    prior = [draw(st.sampled_from([1.0, 1.0, 0.5, 0.0])) for _ in chosen]
    table = make([q for q, _ in chosen], [d for _, d in chosen], sign, grade=grade, prior=prior, source="s")
    for part in PARTS:
        rows = pa.array([draw(st.booleans()) for _ in chosen])
        table = doubt(table, rows, draw(beliefs), part, judged=draw(st.booleans()))
    return table


def slowly(evidence, related, line):
    """The definitions, one row at a time: name -> [hits, total]."""
    count = {name: [0, 0] for name in ("base", "precision", "recall", "left")}

    def add(name, hit):
        cell = count.setdefault(name, [0, 0])
        cell[0] += hit
        cell[1] += 1

    for relation in {r for *_, r in related}:
        count[f"relation {relation}"] = [0, 0]
    unjudged = [row for row in evidence if row["sign"] == -1 and row["grade"] is None]
    shown = {d["part"] for row in unjudged for d in row["doubts"] if d["belief"] <= line}
    for part in shown:
        count[f"precision {part}"], count[f"recall {part}"] = [0, 0], [0, 0]
    for row in unjudged:
        kinds = {r for q, d, r in related if (q, d) == (row["anchor"], row["candidate"])}
        rejected, suspicious = row["weight"] <= line, bool(kinds)
        add("base", suspicious)
        add("precision" if rejected else "left", suspicious)
        if suspicious:
            add("recall", rejected)
        for kind in kinds:
            add(f"relation {kind}", rejected)
        by = {d["part"] for d in row["doubts"] if d["belief"] <= line}
        for part in shown:
            if part in by:
                add(f"precision {part}", suspicious)
            if suspicious:
                add(f"recall {part}", part in by)
    return {name: tuple(cell) for name, cell in count.items()}


@given(evidences(), related, st.sampled_from([0.0, 0.25, 0.9]))
def test_it_is_its_definition(evidence, related, line):
    truth = vetting_truth(evidence, collection_of(related), line=line)
    found = {name: getattr(truth, name) for name in ("base", "precision", "recall", "left")}
    found |= {f"relation {name}": share for name, share in truth.relations.items()}
    for part, both in truth.parts.items():
        found |= {f"precision {part}": both.precision, f"recall {part}": both.recall}
    assert {name: (share.hits, share.total) for name, share in found.items()} == slowly(
        evidence.to_pylist(), related, line
    )


@given(evidences(), related)
def test_what_is_left_is_what_training_would_use_and_order_does_not_matter(evidence, related):
    collection = collection_of(related)
    truth = vetting_truth(evidence, collection)
    assert share_suspicious(evidence, collection) == truth.left
    turned = evidence.take(pa.array(range(len(evidence) - 1, -1, -1)))
    assert vetting_truth(turned, collection) == truth
    assert truth.recall.hits == truth.precision.hits
    assert (
        truth.base.hits == truth.left.hits + truth.precision.hits
        and truth.base.total == truth.left.total + truth.precision.total
    )


def test_by_hand():
    """Four negatives, two suspicious; margin rejects one of each, guide only the hypernym."""
    evidence = make(["a"] * 5, ["u", "v", "w", "x", "u"][:4] + ["u"], [-1] * 5, source="s").slice(0, 4)
    evidence = doubt(evidence, pa.array([True, False, True, False]), 0.0, "margin")
    evidence = doubt(evidence, pa.array([True, False, False, False]), 0.0, "guide")
    truth = vetting_truth(
        evidence, collection_of([("a", "u", "hypernym"), ("a", "v", "shared_lemma"), ("a", "v", "hypernym")])
    )
    assert (
        truth.base == Share(2, 4)
        and truth.precision == Share(1, 2)
        and truth.recall == Share(1, 2)
        and truth.left == Share(1, 2)
    )
    assert truth.relations == {"hypernym": Share(1, 2), "shared_lemma": Share(0, 1)}
    assert truth.parts["margin"].precision == Share(1, 2) and truth.parts["guide"].precision == Share(1, 1)


def test_the_interval_is_wilsons():
    """5 of 10: centre 1/2, half width z / (2 sqrt(10 + z^2)); 0 of 10: [0, z^2 / (10 + z^2)]; of nothing: all."""
    z2 = 1.959963984540054**2
    low, high = Share(5, 10).interval
    assert (low + high) / 2 == pytest.approx(0.5) and high - low == pytest.approx(math.sqrt(z2) / math.sqrt(10 + z2))
    assert Share(0, 10).interval == (0.0, pytest.approx(z2 / (10 + z2)))
    assert Share(10, 10).interval == (pytest.approx(10 / (10 + z2)), 1.0)
    assert Share(0, 0).interval == (0.0, 1.0) and math.isnan(Share(0, 0).value)
    assert str(Share(5, 10)) == "0.500 [0.237, 0.763] (5 of 10)"


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_shrinks(total, data):
    hits = data.draw(st.integers(0, total))
    low, high = Share(hits, total).interval
    assert 0 <= low <= hits / total + 1e-12 and hits / total - 1e-12 <= high <= 1
    tight = Share(hits * 4, total * 4).interval
    assert tight[1] - tight[0] < high - low


def test_without_truth_or_with_unknown_ids_it_refuses():
    evidence = make(["a"], ["u"], [-1], source="s")
    known = collection_of([])
    bare = Collection("bare", known.queries, known.corpus)
    for ask in (vetting_truth, share_suspicious):
        with pytest.raises(ValueError, match="the collection 'bare' has no `related`"):
            ask(evidence, bare)
        with pytest.raises(BadInput, match="unknown id 'nobody'"):
            ask(make(["nobody"], ["u"], [-1], source="s"), known)
    for line in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"line must be in \[0, 1\), got {line}"):
            vetting_truth(evidence, known, line=line)
