import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.evidence import SCHEMA, check, doubt, doubt_entries, found_entries, reason, source, undoubt

PARTS = ["guide", "margin(margin=0.05)", "zeal"]


def entry(part, belief, seen=None, line=None):
    return {"part": part, "belief": belief, "seen": seen, "line": line}


def whole(row, i):
    weight = min([row["prior"]] + [d["belief"] for d in row["doubts"]])
    return row | {"candidate": str(i), "weight": weight, "score": None}


beliefs = st.sampled_from([0.0, 0.25, 0.5, 1.0])
row = st.fixed_dictionaries(
    {
        "anchor": st.sampled_from("ab"),
        "sign": st.sampled_from([-1, -1, 0, 1]),
        "grade": st.sampled_from([None, None, 0.0, 2.0]),
        "prior": beliefs,
        "found": st.lists(st.sampled_from(["bm25", "dense"]), unique=True).map(
            lambda names: [{"source": name, "rank": i, "score": None} for i, name in enumerate(names)]
        ),
        "doubts": st.lists(st.sampled_from(PARTS), unique=True).flatmap(
            lambda parts: st.tuples(*(beliefs.map(lambda b, p=p: entry(p, b)) for p in sorted(parts))).map(list)
        ),
    }
)
rows = st.lists(row, max_size=4) | st.lists(row, min_size=8, max_size=24)
evidence = rows.map(lambda rows: pa.Table.from_pylist([whole(row, i) for i, row in enumerate(rows)], SCHEMA))


@st.composite
def objections(draw, size):
    """One call of `doubt`: a part, the rows it doubts (null = no), and belief, seen and line per row or for all."""
    each = st.booleans()
    per_row = lambda values: draw(st.lists(values, min_size=size, max_size=size) if draw(each) else values)
    rows = draw(st.lists(st.sampled_from([True, True, False, None]), min_size=size, max_size=size))
    return draw(st.sampled_from(PARTS)), rows, per_row(beliefs), per_row(st.sampled_from([None, 0.5, -2.0]))


def do(table, objection, judged=False):
    part, rows, belief, seen = objection
    arrays = [pa.array(v, pa.float32()) if isinstance(v, list) else v for v in (belief, seen)]
    return doubt(table, pa.array(rows, pa.bool_()), arrays[0], part, arrays[1], line=0.125, judged=judged)


def slowly(table, objection, judged=False):
    """The definition, one row at a time."""
    part, rows, belief, seen = objection
    for i, row in enumerate(table.to_pylist()):
        if rows[i] and (judged or row["grade"] is None):
            b, s = (v[i] if isinstance(v, list) else v for v in (belief, seen))
            others = [d for d in row["doubts"] if d["part"] != part]
            row["doubts"] = sorted([*others, entry(part, b, s, 0.125)], key=lambda d: d["part"])
            row["weight"] = min([row["prior"]] + [d["belief"] for d in row["doubts"]])
        yield row


@given(evidence, st.data(), st.booleans())
def test_it_is_its_definition_and_stays_evidence(evidence, data, judged):
    objection = data.draw(objections(len(evidence)))
    made = do(evidence, objection, judged)
    assert made.to_pylist() == list(slowly(evidence, objection, judged))
    check(made)


@given(evidence, st.data())
def test_asking_twice_changes_nothing_and_a_doubt_can_be_taken_back(evidence, data):
    objection = data.draw(objections(len(evidence)))
    once = do(evidence, objection)
    assert do(once, objection).equals(once)
    assert undoubt(once, objection[0]).equals(undoubt(evidence, objection[0]))
    assert objection[0] not in doubt_entries(undoubt(once, objection[0]))["part"].to_pylist()


@given(evidence, st.data())
def test_the_order_in_which_different_parts_object_does_not_matter(evidence, data):
    one, other = data.draw(objections(len(evidence))), data.draw(objections(len(evidence)))
    other = ("another", *other[1:])
    assert do(do(evidence, one), other).equals(do(do(evidence, other), one))


@given(evidence, st.data(), st.randoms(use_true_random=False))
def test_the_order_the_chunks_and_the_slices_of_rows_do_not_matter(evidence, data, random):
    objection = part, rows, belief, seen = data.draw(objections(len(evidence)))
    order = random.sample(range(len(evidence)), len(evidence))
    moved = [part, *([v[i] for i in order] if isinstance(v, list) else v for v in (rows, belief, seen))]
    chunked = pa.concat_tables([evidence.slice(0, 3), evidence.slice(3)])
    taken = pa.array(order, pa.int64())
    assert do(chunked.take(taken), moved).equals(do(evidence, objection).take(taken))

    low = len(evidence) // 2  # a slice that does not begin at 0 keeps its own rows, not those before it
    tail = [part, *(v[low:] if isinstance(v, list) else v for v in (rows, belief, seen))]
    assert do(evidence.slice(low), tail).equals(do(evidence, objection).slice(low))


@given(evidence)
def test_reason_and_source_are_views_of_the_strongest_doubt_and_the_first_finder(evidence):
    rows = evidence.to_pylist()
    strongest = [min(r["doubts"], key=lambda d: (d["belief"], d["part"]), default={"part": None})["part"] for r in rows]
    assert reason(evidence).to_pylist() == strongest
    assert source(evidence).to_pylist() == [r["found"][0]["source"] if r["found"] else None for r in rows]
    flat = [(i, f["source"]) for i, r in enumerate(rows) for f in r["found"]]
    assert list(zip(*found_entries(evidence).select(["row", "source"]).to_pydict().values(), strict=True)) == flat


def table(count):
    row = {"anchor": "a", "sign": -1, "grade": None, "prior": 1.0, "found": [], "doubts": []}
    return pa.Table.from_pylist([whole(row, i) for i in range(count)], SCHEMA)


def test_the_last_word_of_a_part_counts_the_lowest_belief_wins_and_people_are_asked_first():
    one = table(2)
    b = doubt(one, pa.array([True, None]), 0.25, "b")
    twice = doubt(doubt(b, pa.array([True, True]), 0.5, "a"), pa.array([True, False]), 0.75, "b", line=0.5)
    assert twice["doubts"].to_pylist() == [[entry("a", 0.5), entry("b", 0.75, line=0.5)], [entry("a", 0.5)]]
    assert twice["weight"].to_pylist() == [0.5, 0.5] and reason(twice).to_pylist() == ["a", "a"]
    assert reason(doubt(twice, pa.array([True, False]), 0.0, "c")).to_pylist() == ["c", "a"]
    assert reason(one).null_count == 2
    graded = pa.Table.from_pylist([row | {"grade": 0.0} for row in one.to_pylist()], SCHEMA)
    assert doubt(graded, pa.array([True, True]), 0.0, "a").equals(graded)
    assert doubt(graded, pa.array([True, False]), 0.0, "a", judged=True)["weight"].to_pylist() == [0.0, 1.0]


def test_numpy_arrays_serve_too_and_a_nan_that_was_seen_is_a_null():
    made = doubt(
        table(3), np.array([True, False, True]), np.array([0.5, 9.0, 0.25]), "a", seen=np.array([np.nan, 1, 2])
    )
    assert made["weight"].to_pylist() == [0.5, 1.0, 0.25]
    assert made["doubts"].to_pylist() == [[entry("a", 0.5)], [], [entry("a", 0.25, 2.0)]]


@pytest.mark.parametrize("rows", [[True, True], [False, False]])
@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf"), None])
def test_a_belief_outside_its_range_is_refused_even_where_no_row_is_doubted(bad, rows):
    with pytest.raises(ValueError, match=r"belief must be in \[0, 1\], got .* from gist\(\)"):
        doubt(table(2), pa.array(rows), bad, "gist()")


def test_beliefs_per_row_are_checked_where_they_are_used():
    with pytest.raises(ValueError, match=r"belief must be in \[0, 1\]"):
        doubt(table(2), pa.array([True, True]), pa.array([0.5, 2.0]), "a")
    assert doubt(table(2), pa.array([True, False]), pa.array([0.5, 2.0]), "a")["weight"].to_pylist() == [0.5, 1.0]


@pytest.mark.parametrize("name", ["rows", "belief", "seen", "line"])
def test_one_value_per_row_means_one_value_per_row(name):
    given = {"rows": pa.array([True, True]), "belief": 0.5, "seen": None, "line": None}
    given[name] = pc.equal(pa.array([1, 1, 1]), 1) if name == "rows" else pa.array([0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=rf"{name} must have one value per row \(2\), got 3"):
        doubt(table(2), part="a", judged=True, **given)


def test_the_empty_table_can_be_doubted():
    assert doubt(table(0), pa.array([], pa.bool_()), 0.5, "a").equals(table(0))
    assert undoubt(table(0), "a").equals(table(0)) and len(reason(table(0))) == len(source(table(0))) == 0
