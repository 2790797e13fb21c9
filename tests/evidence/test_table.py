import json

import numpy as np
import pyarrow as pa
import pytest

from litotes.errors import BadInput
from litotes.evidence import (
    SCHEMA,
    VERSION,
    check,
    check_keys,
    empty,
    make,
    rescore,
    scorer_of,
    with_scorer,
)

MINI = {"name": "mini", "checksum": "ab" * 32, "similarity": "cosine"}
ROW = {"anchor": "a", "candidate": "0", "sign": -1, "grade": None, "prior": 1.0, "weight": 1.0, "score": None}
ROW |= {"found": [], "doubts": []}


def rows(*changes):
    return pa.Table.from_pylist([ROW | {"candidate": str(i)} | change for i, change in enumerate(changes)], SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sign": 2}, r"row 2: field 'sign': found 2, expected -1, 0 or 1"),
        ({"sign": -2}, r"row 2: field 'sign': found -2"),
        ({"sign": -128}, r"row 2: field 'sign': found -128"),  # its absolute value is no int8
        ({"sign": None}, r"row 2: field 'sign': found null"),
        ({"anchor": None}, r"row 2: field 'anchor': found null"),
        ({"candidate": None}, r"row 2: field 'candidate': found null"),
        ({"found": None}, r"row 2: field 'found': found null"),
        ({"doubts": None}, r"row 2: field 'doubts': found null"),
        ({"prior": None}, r"row 2: field 'prior': found null"),
        ({"weight": None}, r"row 2: field 'weight': found null"),
        ({"prior": float("nan")}, r"row 2: field 'prior': found nan, expected a finite number"),
        ({"score": float("inf")}, r"row 2: field 'score': found inf, expected a finite number"),
        ({"score": float("-inf")}, r"row 2: field 'score': found -inf"),
        ({"grade": float("nan")}, r"row 2: field 'grade': found nan"),
        ({"prior": 1.5, "weight": 1.5}, r"row 2: field 'prior': found 1.5, expected a number in \[0, 1\]"),
        ({"weight": -0.5}, r"row 2: field 'weight': found -0.5, expected a number in \[0, 1\]"),
        ({"weight": 0.5}, r"row 2: field 'weight': found 0.5, expected the lowest of prior and the beliefs"),
        (
            {"doubts": [{"part": "a", "belief": 0.25, "seen": None, "line": None}]},
            r"row 2: field 'weight': found 1.0, expected the lowest",
        ),
        (
            {"doubts": [{"part": "a", "belief": 2.0}]},
            r"row 2: field 'doubts': found the doubt \(part 'a', belief 2.0\)",
        ),
        ({"doubts": [{"part": "a", "belief": None}], "weight": 0.0}, r"row 2: field 'doubts'"),
        ({"doubts": [{"part": None, "belief": 0.5}], "weight": 0.5}, r"row 2: field 'doubts'"),
    ],
)
def test_the_column_and_the_row_of_what_is_no_evidence_are_named(change, message):
    with pytest.raises(BadInput, match=message):
        check(rows({}, change, {}))
    with pytest.raises(BadInput, match=message):
        check(pa.concat_tables([rows({}), rows(change, {})]))


def test_what_is_evidence_passes():
    doubts = [{"part": "a", "belief": 0.25, "seen": 1.0, "line": None}]
    check(rows({}, {"grade": 0.0}, {"sign": 1, "grade": 3.0, "score": -4.0}, {"doubts": doubts, "weight": 0.25}))
    check(empty())
    check(SCHEMA.empty_table())


def test_other_columns_and_other_types_are_refused_by_name():
    with pytest.raises(ValueError, match="no evidence of schema version 1: found the columns .*surprise: int64"):
        check(rows({}).append_column("surprise", pa.array([1])))
    with pytest.raises(ValueError, match="found the columns anchor: large_string.*expected anchor: string"):
        check(rows({}).set_column(0, "anchor", pa.array(["a"], pa.large_string())))


def test_a_positive_without_a_score_is_refused_only_where_scores_are_asked_for():
    check(rows({"sign": 1}))
    check(rows({"sign": -1}, {"sign": 1, "score": 0.5}), scored=True)
    with pytest.raises(BadInput, match="row 2: field 'score': found a positive without a score"):
        check(rows({"sign": -1}, {"sign": 1}), scored=True)


def test_a_pair_that_stands_twice_is_named():
    check_keys(rows({}, {"anchor": "b", "candidate": "0"}, {"candidate": "1"}))
    with pytest.raises(BadInput, match=r"row 3: found the pair \('a', '0'\) a second time"):
        check_keys(rows({}, {}, {"candidate": "0"}))


def test_make_gives_every_row_its_values_and_shares_out_single_ones():
    made = make(
        ["q1", "q2"],
        np.array(["d1", "d2"]),
        [1, -1],
        grade=[2, None],
        prior=[1, 0.5],
        score=np.array([0.25, np.nan]),
        source="dense",
        rank=[0, 7],
        seen=[0.125, None],
        scorer=MINI,
    )
    assert made.schema.equals(SCHEMA) and scorer_of(made) == MINI
    assert made.to_pylist() == [
        {
            "anchor": "q1", "candidate": "d1", "sign": 1, "grade": 2.0, "prior": 1.0, "weight": 1.0, "score": 0.25,
            "found": [{"source": "dense", "rank": 0, "score": 0.125}], "doubts": [],
        },
        {
            "anchor": "q2", "candidate": "d2", "sign": -1, "grade": None, "prior": 0.5, "weight": 0.5, "score": None,
            "found": [{"source": "dense", "rank": 7, "score": None}], "doubts": [],
        },
    ]  # fmt: skip
    assert json.loads(made.schema.metadata[b"litotes"])["version"] == VERSION == 1


def test_make_takes_arrow_columns_and_makes_nothing_from_nothing():
    ids = pa.chunked_array([["a"], ["b"]])
    made = make(ids, pa.array(["x", "y"]), -1, source=pa.array(["s", "t"]))
    assert made["found"].to_pylist() == [[{"source": name, "rank": None, "score": None}] for name in "st"]
    assert make([], [], 1, source="s").equals(empty())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"candidate": ["x"]}, "make: candidate must be one value or 2, got 1"),
        ({"sign": [1]}, "make: sign must be one value or 2, got 1"),
        ({"sign": 3}, "field 'sign': found 3"),
        ({"sign": [1, 300]}, "300"),
        ({"sign": [0.5, 1]}, "0.5"),
        ({"prior": 1.5}, r"field 'prior': found 1.5"),
        ({"score": 0.5}, "score needs scorer"),
        ({"score": [None, 0.5]}, "score needs scorer"),
        ({"score": float("inf"), "scorer": MINI}, "field 'score': found inf"),
        ({"anchor": "ab"}, "anchor must be a sequence of ids, got the text 'ab'"),
    ],
)
def test_make_refuses_what_is_no_evidence(given, message):
    with pytest.raises(ValueError, match=message):
        make(**{"anchor": ["a", "b"], "candidate": ["x", "y"], "sign": -1, "source": "s"} | given)


def test_rescore_replaces_every_score_and_names_the_scorer():
    made = rescore(rows({"sign": 1, "score": 9.0}, {}, {"score": 1.0}), np.array([0.5, 0.25, np.nan]), MINI)
    assert made["score"].to_pylist() == [0.5, 0.25, None] and scorer_of(made) == MINI
    assert scorer_of(with_scorer(made, None)) is None
    with pytest.raises(ValueError, match="expected 3 scores, one per row, got 2"):
        rescore(made, [1, 2], MINI)
    with pytest.raises(BadInput, match="row 1: field 'score': found inf"):
        rescore(made, [np.inf, 0, 0], MINI)
