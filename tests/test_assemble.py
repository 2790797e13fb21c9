import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.assemble import Lookup, assemble
from litotes.evidence import SCHEMA

ANCHORS, CANDIDATES = ["a", "b", "c"], list("uvwxyz")
row = st.fixed_dictionaries(
    {
        "anchor": st.sampled_from(ANCHORS[:2]),
        "candidate": st.sampled_from(CANDIDATES[:5]),
        "sign": st.sampled_from([-1, -1, -1, 0, 1]),
        "grade": st.sampled_from([None, None, None, 0.0]),
        "weight": st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        "score": st.none() | st.sampled_from([-0.5, 0.0, 0.75]),
    }
)
rows = st.lists(row, max_size=24, unique_by=lambda r: (r["anchor"], r["candidate"]))
groups = st.none() | st.dictionaries(st.sampled_from(CANDIDATES), st.integers(0, 2))
anchor_groups = st.none() | st.dictionaries(st.sampled_from(ANCHORS), st.integers(0, 1))


def table(rows):
    whole = [{"prior": row["weight"], "found": [], "doubts": [], **row} for row in rows]
    return pa.Table.from_pylist(whole, SCHEMA)


def about(anchor, candidate, sign=-1, weight=1.0, grade=None, score=None):
    return {"anchor": anchor, "candidate": candidate, "sign": sign, "weight": weight, "grade": grade, "score": score}


@st.composite
def meetings(draw):
    """Anchors and candidates of a batch, duplicates and ids nobody knows included."""
    anchors = draw(st.lists(st.sampled_from(ANCHORS), min_size=1, max_size=4))
    extra = draw(st.lists(st.sampled_from(CANDIDATES), max_size=6))
    candidates = draw(st.lists(st.sampled_from(CANDIDATES), min_size=len(anchors), max_size=len(anchors))) + extra
    drawn = draw(st.lists(st.integers(-1, len(candidates) - 1), min_size=len(anchors), max_size=len(anchors)))
    of = draw(st.lists(st.integers(-1, len(anchors) - 1), min_size=len(candidates), max_size=len(candidates)))
    return anchors, candidates, np.array(drawn), np.array(of)


def slowly(rows, same, same_anchors, anchors, candidates, drawn, of, in_batch, others):
    """The definition, one pair at a time."""
    known = {row["candidate"] for row in rows} | set(same or {})

    def who(name, column):
        if name not in known:
            return ("unknown", column)
        return ("group", same[name]) if same and name in same else name

    def asks(name):
        return ("group", same_anchors[name]) if same_anchors and name in same_anchors else name

    shape = (len(anchors), len(candidates))
    sign, weight, teacher = np.zeros(shape, np.int8), np.ones(shape, np.float32), np.full(shape, np.nan, np.float32)
    named = [who(name, j) for j, name in enumerate(candidates)]
    for i, anchor in enumerate(anchors):
        counted = set()
        for j, candidate in enumerate(named):
            said = [r for r in rows if asks(r["anchor"]) == asks(anchor) and who(r["candidate"], -1) == candidate]
            signs = [r["sign"] for r in said]
            value = 1 if 1 in signs else 0 if 0 in signs else -1
            if value == 1:
                weight[i, j] = max(r["weight"] for r in said if r["sign"] == 1)
            elif value == -1 and said and all(r["grade"] is None for r in said):
                weight[i, j] = min(r["weight"] for r in said)
            scores = [r["score"] for r in said if r["score"] is not None]
            if scores:
                teacher[i, j] = scores[0]
            if drawn[i] >= 0 and named[drawn[i]] == candidate:
                value = 1
            if value == 1 and others == "silent":
                value = 0
            if j == drawn[i]:
                value = 1
            elif not in_batch and of[j] != i:
                value = 0
            if value == -1 and candidate in counted:
                value = 0
            if value == -1:
                counted.add(candidate)
            sign[i, j] = value
    return sign, weight, teacher


@given(rows, groups, anchor_groups, meetings(), st.booleans(), st.sampled_from(["silent", "pull"]))
def test_it_is_its_definition(rows, same, same_anchors, meeting, in_batch, others):
    anchors, candidates, drawn, of = meeting
    lookup = Lookup.of(table(rows), same=same, same_anchors=same_anchors)
    found = assemble(anchors, candidates, lookup, drawn=drawn, of=of, in_batch=in_batch, others=others)
    expected = slowly(rows, same, same_anchors, *meeting, in_batch, others)
    for name, one, other in zip(found._fields, found, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert [values.dtype for values in found] == [np.int8, np.float32, np.float32]


@given(rows, groups, meetings())
def test_codes_and_ids_mean_the_same_and_tables_may_come_in_pieces(rows, same, meeting):
    anchors, candidates, drawn, _ = meeting
    whole = Lookup.of(table(rows), same=same)
    pieces = Lookup.of([table(rows[:5]), table(rows[5:])], same=same)
    by_id = assemble(anchors, candidates, whole, drawn=drawn)
    codes = pieces.anchor_codes(anchors), pieces.candidate_codes(candidates)
    for one, other in zip(by_id, assemble(*codes, pieces, drawn=drawn), strict=True):
        np.testing.assert_array_equal(one, other)


@given(rows, st.randoms(use_true_random=False), meetings())
def test_the_order_of_evidence_does_not_matter(rows, random, meeting):
    anchors, candidates, drawn, _ = meeting
    mixed = random.sample(rows, len(rows))
    one, other = (assemble(anchors, candidates, Lookup.of(table(each)), drawn=drawn) for each in (rows, mixed))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_doubt_on_disk_counts_when_the_pair_meets_by_chance():
    evidence = table([about("a", "u", 1), about("b", "v", 1), about("a", "v", weight=0.25, score=0.5), about("b", "w")])
    sign, weight, teacher = assemble(["a", "b"], ["u", "v", "w"], Lookup.of(evidence))
    assert sign.tolist() == [[1, -1, -1], [-1, 1, -1]]
    assert weight.tolist() == [[1, 0.25, 1], [1, 1, 1]]
    assert teacher[0, 1] == 0.5 and np.isnan(teacher).sum() == 5


def test_a_duplicate_of_a_positive_is_silent_and_one_of_a_doubted_candidate_is_doubted():
    evidence = table([about("a", "u", 1), about("a", "v", weight=0.0), about("b", "x", 1)])
    lookup = Lookup.of(evidence, same={"u": 1, "w": 1, "v": 2, "y": 2})
    sign, weight, _ = assemble(["a", "b"], ["u", "x", "w", "y"], lookup)
    assert sign.tolist() == [[1, -1, 0, -1], [-1, 1, 0, -1]]  # for b, w is u a second time
    assert weight.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert assemble(["a"], ["u", "w"], lookup, others="pull").sign.tolist() == [[1, 1]]


def test_people_are_believed_over_doubts_of_a_duplicate_and_a_positive_over_a_negative():
    doubted, judged = about("a", "u", weight=0.0), about("a", "v", weight=1.0, grade=0.0)
    lookup = Lookup.of(table([doubted, judged]), same={"u": 0, "v": 0})
    assert assemble(["a"], ["u"], lookup, drawn=np.array([-1])).weight.tolist() == [[1.0]]
    lookup = Lookup.of(table([about("a", "u", 1), judged]), same={"u": 0, "v": 0})
    assert assemble(["a"], ["v"], lookup, drawn=np.array([-1])).sign.tolist() == [[0]]


def test_a_row_sees_only_what_it_brought_without_in_batch():
    lookup = Lookup.of(table([about("a", "u", 1), about("b", "v", 1)]))
    found = assemble(["a", "b"], ["u", "v", "w", "w"], lookup, of=np.array([0, 1, 0, 1]), in_batch=False)
    assert found.sign.tolist() == [[1, 0, -1, 0], [0, 1, 0, -1]]


def test_an_empty_batch_and_empty_evidence_have_their_shapes():
    lookup = Lookup.of(table([]))
    assert len(lookup) == 0 and Lookup.of([]).offsets.tolist() == [0]
    assert assemble([], [], lookup).sign.shape == (0, 0)
    assert assemble(["a"], ["u", "v"], lookup).sign.tolist() == [[1, -1]]


def test_what_cannot_be_is_refused():
    lookup = Lookup.of(table([about("a", "u", 1)]))
    with pytest.raises(ValueError, match="others must be 'silent' or 'pull', got 'push'"):
        assemble(["a"], ["u"], lookup, others="push")
    with pytest.raises(ValueError, match="in_batch=False needs `of`"):
        assemble(["a"], ["u"], lookup, in_batch=False)
    with pytest.raises(ValueError, match=r"drawn must hold one column in \[-1, 0\]"):
        assemble(["a"], ["u"], lookup, drawn=np.array([1]))
    with pytest.raises(ValueError, match="of must hold one row for each of 1 columns, got 2"):
        assemble(["a"], ["u"], lookup, of=np.array([0, 0]))
    with pytest.raises(ValueError, match="no evidence of schema version"):
        Lookup.of(pa.table({"anchor": ["a"]}))
