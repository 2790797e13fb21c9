from collections import Counter
from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import Collection
from litotes.errors import BadInput
from litotes.evidence import SCHEMA, add, check, describe, make, order, select, undoubt, with_scorer, with_texts
from litotes.evidence.table import misplaced

MINI = {"name": "mini", "checksum": "ab" * 32, "similarity": "cosine"}
ANCHORS = ["b", "a", "é", "\U00010000", "\uffff"]  # UTF-16 would order the last two the other way round
GRADES = {("a", "x"): 2.0, ("b", "y"): 0.0, ("é", "x"): 0.0}
SCORES = {pair: i / 4 - 1 for i, pair in enumerate((a, c) for a in ANCHORS for c in "xyzw")}


@st.composite
def tables(draw, size=12):
    """Evidence with each pair once; a pair has one score and one grade, known in some tables and unknown in others."""
    pairs = draw(st.lists(st.sampled_from(sorted(SCORES)), unique=True, max_size=size))
    return with_scorer(pa.Table.from_pylist([draw(one_row(*pair)) for pair in pairs], SCHEMA), MINI)


@st.composite
def one_row(draw, anchor, candidate):
    value = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    grade = GRADES.get((anchor, candidate)) if draw(st.booleans()) else None
    sign = draw(st.sampled_from([-1, 0, 1])) if grade is None else (1 if grade else -1)
    names = draw(st.lists(st.sampled_from(["bm25", "dense", "random"]), unique=True, max_size=3))
    parts = sorted(draw(st.sets(st.sampled_from(["gist()", "margin"]))))
    row = {"anchor": anchor, "candidate": candidate, "sign": sign, "grade": grade, "prior": draw(value)}
    row["score"] = SCORES[anchor, candidate] if draw(st.booleans()) else None
    row["found"] = [{"source": name, "rank": draw(st.integers(0, 3)), "score": None} for name in names]
    row["doubts"] = [{"part": part, "belief": draw(value), "seen": None, "line": None} for part in parts]
    return row | {"weight": min([row["prior"]] + [d["belief"] for d in row["doubts"]])}


def place(row):
    score = row["score"]
    return row["anchor"].encode(), -row["sign"], score is None, -(score or 0), row["candidate"].encode()


def added(one, other):
    """The definition of `add`, one pair at a time."""
    held = {(row["anchor"], row["candidate"]): row for row in one.to_pylist()}
    for new in other.to_pylist():
        key = new["anchor"], new["candidate"]
        if key not in held:
            held[key] = new
            continue
        old = held[key]
        rank = lambda row: (row["grade"] is not None, [0, -1, 1].index(row["sign"]))
        winners = [row for row in (old, new) if rank(row) == max(rank(old), rank(new))]
        merged = dict(winners[0])
        merged["grade"] = new["grade"] if old["grade"] is None else old["grade"]
        merged["score"] = new["score"] if old["score"] is None else old["score"]
        merged["prior"] = max(row["prior"] for row in winners)
        merged["found"] = list({f["source"]: f for row in (old, new) for f in row["found"]}.values())
        doubts = {d["part"]: d for row in winners for d in row["doubts"]}
        merged["doubts"] = [doubts[part] for part in sorted(doubts)]
        merged["weight"] = min([merged["prior"]] + [d["belief"] for d in merged["doubts"]])
        held[key] = merged
    return sorted(held.values(), key=place)


@given(tables())
def test_the_stored_order_is_by_bytes_then_sign_then_score(table):
    assert order(table).to_pylist() == sorted(table.to_pylist(), key=place)
    assert order(table).schema.equals(table.schema, check_metadata=True)


@given(tables(), st.randoms(use_true_random=False))
def test_rows_out_of_order_are_seen(table, random):
    shuffled = table.take(pa.array(random.sample(range(len(table)), len(table)), pa.int64()))
    assert not misplaced(order(shuffled)).any()
    assert misplaced(shuffled).any() == (not shuffled.equals(order(table)))


@given(tables(), tables())
def test_add_is_its_definition_and_gives_evidence(one, other):
    both = add(one, other)
    assert both.to_pylist() == added(one, other)
    assert both.schema.equals(one.schema, check_metadata=True)
    check(both)


@given(tables(), tables(), tables())
def test_adding_three_tables_gives_the_same_in_either_grouping(a, b, c):
    assert add(add(a, b), c).equals(add(a, add(b, c)))


@given(tables())
def test_adding_what_is_there_changes_nothing(table):
    assert add(table, table).equals(order(table)) and add(table, table.slice(0, 3)).equals(order(table))


@given(tables(), st.sets(st.sampled_from(sorted(SCORES))))
def test_being_found_again_never_lowers_belief(table, pairs):
    sign = {(row["anchor"], row["candidate"]): row["sign"] for row in table.to_pylist()}
    found = [pair for pair in sorted(pairs) if pair in sign]
    more = make([a for a, _ in found], [c for _, c in found], [sign[p] for p in found], prior=0.5, source="again")
    before = {(r["anchor"], r["candidate"]): r["weight"] for r in table.to_pylist()}
    after = {(r["anchor"], r["candidate"]): r["weight"] for r in add(table, more).to_pylist()}
    assert after.keys() == before.keys() and all(after[pair] >= before[pair] for pair in before)


def one(sign, grade=None, prior=1.0, score=None, source="s", candidate="x", scorer=MINI):
    return make(["a"], [candidate], sign, grade=grade, prior=prior, score=score, source=source, scorer=scorer)


@pytest.mark.parametrize(
    ("first", "second", "sign", "prior"),
    [
        (one(1), one(-1), 1, 1.0),
        (one(0), one(-1), -1, 1.0),
        (one(0), one(1), 1, 1.0),
        (one(1, prior=0.25), one(-1, prior=0.75), 1, 0.25),
        (one(1), one(-1, grade=0.0, prior=0.5), -1, 0.5),
        (one(-1, prior=0.25), one(-1, prior=0.75), -1, 0.75),
        (one(-1, grade=0.0), one(0, grade=0.0), -1, 1.0),
    ],
)
def test_which_sign_wins(first, second, sign, prior):
    for both in (add(first, second), add(second, first)):
        assert both["sign"].to_pylist() == [sign] and both["prior"].to_pylist() == [prior]


def test_conflicts_are_refused_and_name_the_pair():
    with pytest.raises(BadInput, match=r"two different scores for the pair \('a', 'x'\)"):
        add(one(1, score=0.5), one(1, score=0.25))
    with pytest.raises(BadInput, match=r"two different grades for the pair \('a', 'x'\)"):
        add(one(1, grade=1.0), one(1, grade=2.0))
    with pytest.raises(ValueError, match="scores of two scorers.*rescore"):
        add(one(1, score=0.5), one(1, score=0.5, candidate="y", scorer=MINI | {"checksum": "cd"}))
    assert len(add(one(1, score=0.5), one(1, candidate="y", scorer=None))) == 2


@given(tables(), st.integers(0, 4))
def test_top_selects_positives_and_the_best_believed_negatives(table, n):
    expected = []
    for _, group in groupby(sorted(table.to_pylist(), key=place), key=lambda row: row["anchor"]):
        left = n
        for row in group:
            believed = row["sign"] < 0 and row["weight"] > 0
            if row["sign"] > 0 or (believed and left > 0):
                expected.append(row)
                left -= believed
    assert select(table, n).to_pylist() == expected


@given(tables(20), st.integers(0, 4), st.integers(0, 2**70), st.randoms(use_true_random=False))
def test_a_random_draw_depends_on_seed_and_ids_only(table, n, seed, random):
    drawn = select(table, n, "random", seed)
    moved = table.take(pa.array(random.sample(range(len(table)), len(table)), pa.int64()))
    assert select(moved, n, "random", seed).equals(drawn)
    for anchor in ANCHORS:  # drawn alone, an anchor gets the same
        keep = lambda rows, a=anchor: rows.filter(pa.array([x == a for x in rows["anchor"].to_pylist()], pa.bool_()))
        assert select(keep(table), n, "random", seed).equals(keep(drawn))
        believed = lambda rows: {r["candidate"] for r in rows.to_pylist() if r["sign"] < 0 and r["weight"] > 0}
        there, got = believed(keep(table)), believed(keep(drawn))
        assert got <= there and len(got) == min(n, len(there))
        smaller = believed(keep(select(table, max(n - 1, 0), "random", seed)))
        assert smaller <= got  # one more negative is one more, not another draw
    assert [r for r in drawn.to_pylist() if r["sign"] > 0] == [r for r in order(table).to_pylist() if r["sign"] > 0]


def test_a_random_draw_is_even_and_changes_with_the_seed():
    table = make(["a"] * 4, list("wxyz"), -1, source="s")
    draws = Counter(select(table, 1, "random", seed)["candidate"][0].as_py() for seed in range(800))
    assert sum((count - 200) ** 2 / 200 for count in draws.values()) < 16.3  # chi-squared, 3 degrees, 1 in 1000


@pytest.mark.parametrize("bad", [{"n": -1}, {"n": 1, "how": "best"}])
def test_select_refuses(bad):
    with pytest.raises(ValueError, match="select: (n must be >= 0|how must be 'top' or 'random', got 'best')"):
        select(one(1), **bad)


@given(st.lists(tables(), max_size=2))
def test_describe_counts(parts):
    parts = [pa.Table.from_pylist([r | {"anchor": f"{i}{r['anchor']}"} for r in part.to_pylist()], SCHEMA)
             for i, part in enumerate(parts)]  # fmt: skip
    summary, rows = describe(parts), [row for part in parts for row in part.to_pylist()]
    anchors = {row["anchor"] for row in rows}
    believed = Counter(row["anchor"] for row in rows if row["sign"] < 0 and row["weight"] > 0)
    assert summary.rows == len(rows) and summary.anchors == len(anchors)
    assert summary.positives == sum(row["sign"] > 0 for row in rows)
    assert summary.negatives == sum(row["sign"] < 0 for row in rows)
    assert summary.believed == believed.total()
    assert summary.judged == sum(row["grade"] is not None for row in rows)
    assert summary.unscored == sum(row["score"] is None for row in rows)
    assert summary.without_positive == len(anchors - {row["anchor"] for row in rows if row["sign"] > 0})
    assert summary.sources == Counter(f["source"] for row in rows for f in row["found"])
    assert summary.parts == Counter(d["part"] for row in rows for d in row["doubts"])
    assert summary.believed_per_anchor == Counter(believed[anchor] for anchor in anchors)
    for n in range(4):
        assert summary.short(n) == sum(believed[anchor] < n for anchor in anchors)
    if len(parts) == 1:
        assert describe(parts[0]) == summary


def test_texts_come_from_the_collection():
    texts = lambda ids, **more: pa.table({"id": ids, "text": [f"text of {i}" for i in ids], **more})
    corpus = texts(["y", "x"], title=["Y", None])
    collection = Collection("c", texts(["b", "a"]), corpus)
    table = make(["a", "b", "a"], ["x", "y", "y"], -1, source="s")
    made = with_texts(table, collection)
    assert made.drop_columns(["anchor_text", "candidate_text"]).equals(table)
    assert made["anchor_text"].to_pylist() == ["text of a", "text of b", "text of a"]
    assert made["candidate_text"].to_pylist() == ["text of x", "Y text of y", "Y text of y"]
    with pytest.raises(BadInput, match="unknown id 'z'"):
        with_texts(make(["a"], ["z"], -1, source="s"), collection)


def test_the_views_serve_the_empty_table():
    nothing = undoubt(SCHEMA.empty_table(), "x")
    assert len(order(nothing)) == len(add(nothing, nothing)) == len(select(nothing, 3)) == 0
    assert len(select(nothing, 3, "random")) == 0 and describe(nothing).rows == describe([]).anchors == 0
    assert add(nothing, one(1)).equals(add(one(1), nothing)) and np.array_equal(add(one(1), nothing)["sign"], [1])
