from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors, normalise
from litotes.data.collection import Collection, judgements_table
from litotes.errors import BadInput
from litotes.sources.structured.stale import StaleNegatives

DAY = date(2024, 5, 31)
UNKNOWN = "same topic, but event or time unknown"


def collection(queries, documents, positives, order=None):
    """Queries and documents are (topic, event, time); their texts are their ids unless a fourth value says other."""
    order = list(range(len(documents))) if order is None else order
    names = ("topic", "event", "date")

    def table(letter, rows, order):
        columns = {"id": [f"{letter}{i:02}" for i in order], "text": [(*rows[i], f"{letter} {i}")[3] for i in order]}
        kinds = (pa.string(), pa.string(), pa.date32() if any(isinstance(r[2], date) for r in rows) else pa.float64())
        for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            columns[name] = pa.array([rows[i][place] for i in order], kind)
        return pa.table(columns)

    qrels = judgements_table(
        [f"q{q:02}" for q, _ in positives], [f"d{d:02}" for _, d in positives], [1.0] * len(positives)
    )
    return Collection("made", table("q", queries, range(len(queries))), table("d", documents, order), {"train": qrels})


def found(part, world):
    """Documents by name for each anchor, in order of rank; what is counted as unknown; what is short."""
    anchors = Anchors.of(world, "train")
    find = part.prepare(world)
    made = find(anchors)
    names, asked = world.corpus["id"].to_pylist(), world.queries["id"].to_pylist()
    out = {asked[row]: [] for row in anchors.query}
    for a, document, rank in zip(made.anchor, made.document, made.rank, strict=True):
        row = out[asked[anchors.query[a]]]
        assert rank == len(row)
        row.append(names[document])
    assert np.isnan(made.score).all() and made.source == "stale"
    return out, find.notes[UNKNOWN], dict(made.short)


def test_only_another_event_of_the_topic_is_stale():
    documents = [("A", "1", None), ("A", "2", None), ("A", "2", None), ("B", "1", None)]
    world = collection([("A", "2", None)], documents, [(0, 1)])
    assert found(StaleNegatives(), world) == ({"q00": ["d00"]}, 0, {"stale": 1})


def test_the_same_event_at_another_time_is_stale_and_without_a_time_nobody_can_tell():
    days = [-40, -8, -7, 0, 7, 8, None]
    documents = [("A", "1", None if day is None else DAY + timedelta(day)) for day in days]
    world = collection([("A", "1", DAY)], documents, [(0, 3)])
    rows, unknown, _ = found(StaleNegatives(9, window=7), world)
    assert sorted(rows["q00"]) == ["d00", "d01", "d05"] and unknown == 1
    assert found(StaleNegatives(9), world)[:2] == ({"q00": []}, 0)
    timeless = collection([("A", "1", None)], [("A", "1", DAY), ("A", "2", DAY), ("A", "1", None)], [(0, 2)])
    assert found(StaleNegatives(9, window=7), timeless)[:2] == ({"q00": []}, 2)


values = st.sampled_from(["A", "B", None])
times = st.sampled_from([0.0, 3.0, 7.0, 7.5, 40.0, None])
rows = st.tuples(values, values, times)


@st.composite
def worlds(draw):
    queries, documents = draw(st.lists(rows, min_size=1, max_size=4)), draw(st.lists(rows, min_size=1, max_size=9))
    texts = draw(st.lists(st.sampled_from(["a", "A ", "b", "c", "d"]), min_size=9, max_size=9))
    documents = [(*row, text) for row, text in zip(documents, texts, strict=False)]
    pairs = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(documents) - 1))
    positives = draw(st.lists(pairs, min_size=1, max_size=4, unique=True))
    return queries, documents, positives


def slowly(part, queries, documents, positives):
    """The rule of the docstring, a pair at a time: (stale, unknown) for each query that is asked about."""
    out = {}
    for q in sorted({q for q, _ in positives}):
        right = {normalise(documents[d][3]) for p, d in positives if p == q}
        stale, unknown = set(), 0
        for i, (topic, event, time, text) in enumerate(documents):
            if topic is None or topic != queries[q][0] or normalise(text) in right:
                continue
            known = event is not None and queries[q][1] is not None
            timed = time is not None and queries[q][2] is not None
            far = part.window is not None and timed and abs(time - queries[q][2]) > part.window
            if part.window is not None and not timed:
                unknown += 1
            elif known and event != queries[q][1] or far:
                stale.add(f"d{i:02}")
            elif not known:
                unknown += 1
        out[f"q{q:02}"] = (stale, unknown)
    return out


@given(worlds(), st.sampled_from([None, 7, 3.5]))
def test_it_is_its_rule(world, window):
    part = StaleNegatives(99, window)
    expected = slowly(part, *world)
    made, unknown, short = found(part, collection(*world))
    assert {name: set(row) for name, row in made.items()} == {name: stale for name, (stale, _) in expected.items()}
    assert all(len(set(row)) == len(row) for row in made.values())
    assert unknown == sum(count for _, count in expected.values()) and short == {"stale": len(expected)}


@given(worlds(), st.integers(1, 3), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_draw_is_part_of_the_rule_and_does_not_depend_on_the_order_of_documents_or_the_slice(
    world, depth, seed, random
):
    part, order = StaleNegatives(depth, 7, seed), list(range(len(world[1])))
    made, _, short = found(part, collection(*world))
    everything, _, _ = found(StaleNegatives(99, 7, seed), collection(*world))
    assert made == {name: row[:depth] for name, row in everything.items()}
    assert short.get("stale", 0) == sum(len(row) < depth for row in everything.values())
    random.shuffle(order)
    assert found(part, collection(*world, order))[0] == made
    anchors = Anchors.of(collection(*world), "train")
    find, names = part.prepare(collection(*world)), collection(*world).corpus["id"].to_pylist()
    for a in range(len(anchors)):
        one = find(anchors[a : a + 1])
        assert [names[d] for d in one.document] == made[f"q{anchors.query[a]:02}"]


def test_the_draw_is_even():
    documents = [("A", str(i), None) for i in range(41)]
    world, counts = collection([("A", "0", None)], documents, [(0, 0)]), np.zeros(41)
    for seed in range(400):
        for name in found(StaleNegatives(10, seed=seed), world)[0]["q00"]:
            counts[int(name[1:])] += 1
    deviations = (counts[1:] - 100) / np.sqrt(400 * 0.25 * 0.75)
    assert counts[0] == 0 and abs(deviations).max() < 4 and 0.7 < deviations.std() < 1.3


def test_columns_may_have_other_names_and_one_that_is_not_there_is_named():
    world = collection([("A", "2", DAY)], [("A", "1", DAY), ("A", "2", DAY)], [(0, 1)])
    renamed = Collection(
        "other", world.queries.rename_columns(["id", "text", "t", "e", "when"]),
        world.corpus.rename_columns(["id", "text", "t", "e", "when"]), world.qrels,
    )  # fmt: skip
    assert found(StaleNegatives(1, 7, topic="t", event="e", time="when"), renamed)[0] == {"q00": ["d00"]}
    with pytest.raises(
        ValueError, match="StaleNegatives: topic names 'topic'; the columns of other/queries are id, text, t"
    ):
        StaleNegatives().prepare(renamed)
    with pytest.raises(ValueError, match="StaleNegatives: time names 'date'"):
        StaleNegatives(window=7, topic="t", event="e").prepare(renamed)
    StaleNegatives(topic="t", event="e").prepare(renamed)  # time is not looked at
    said = world.corpus.set_column(4, "date", pa.array(["yesterday", "2024-05-31"]))
    with pytest.raises(BadInput, match="yesterday"):
        StaleNegatives(window=7).prepare(Collection("said", world.queries, said, world.qrels))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be >= 1, got 0"),
        ({"window": 0}, "window must be > 0 days and finite, or None, got 0"),
        ({"window": float("nan")}, "window must be > 0 days and finite, or None, got nan"),
        ({"topic": ""}, "topic must be the name of a column, got ''"),
    ],
)
def test_the_gate(options, message):
    with pytest.raises(ValueError, match=f"StaleNegatives: {message}"):
        StaleNegatives(**options)
