import copy
import pickle

import pytest

from litotes.errors import BadInput, BadRows
from litotes.extras import need


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "found 3 (int), expected a string"),
        ({"file": "c.jsonl"}, "c.jsonl: found 3 (int), expected a string"),
        ({"file": "c.jsonl", "line": 17}, "c.jsonl:17: found 3 (int), expected a string"),
        (
            {"file": "c.jsonl", "line": 17, "field": "text"},
            "c.jsonl:17: field 'text': found 3 (int), expected a string",
        ),
        ({"line": 17, "field": "text"}, "row 17: field 'text': found 3 (int), expected a string"),
        ({"field": "text"}, "field 'text': found 3 (int), expected a string"),
    ],
)
def test_a_fault_says_where_it_is_what_was_found_and_what_was_expected(place, message):
    fault = BadInput("3 (int)", "a string", **place)
    assert str(fault) == message and isinstance(fault, ValueError)
    for twin in (pickle.loads(pickle.dumps(fault)), copy.copy(fault)):
        assert str(twin) == message and vars(twin) == vars(fault)


def test_bad_rows_stop_at_the_first():
    fault = BadInput("x", "y")
    with pytest.raises(BadInput) as caught:
        BadRows().add(fault)
    assert caught.value is fault


def test_skipped_rows_are_counted_by_reason_and_the_first_are_remembered():
    rows = BadRows(skip=True, keep=2)
    assert rows.summary() == ""
    for line in range(1, 5):
        rows.add(BadInput(f"thing {line}", "a string", file="f", line=line, field="text"))
    rows.add(BadInput("nothing", "an id", file="f", line=9))
    assert rows.total == 5 and [fault.line for fault in rows.first] == [1, 2]
    assert rows.summary().splitlines() == [
        "skipped 5 bad rows:",
        "  4 x field 'text': expected a string",
        "  1 x expected an id",
        "  f:1: field 'text': found thing 1, expected a string",
        "  f:2: field 'text': found thing 2, expected a string",
        "  ... and 3 more",
    ]


def test_a_missing_extra_is_named_with_the_command_that_brings_it():
    assert need("json", extra="x", why="reading").loads("1") == 1
    with pytest.raises(
        ImportError, match=r"BM25 search needs the package 'no_such_thing': pip install 'litotes\[bm25\]'"
    ):
        need("no_such_thing", extra="bm25", why="BM25 search")


@pytest.mark.parametrize("skip", [False, True])
def test_around_a_row_only_faults_of_the_data_are_counted(skip):
    bad = BadRows(skip=skip)
    with bad:
        pass
    assert bad.total == 0
    fault = BadInput("3 (int)", "a string", file="a.jsonl", line=2, field="text")
    if skip:
        with bad:
            raise fault
        assert bad.total == 1 and bad.first == [fault]
    else:
        with pytest.raises(BadInput) as seen, bad:
            raise fault
        assert seen.value is fault and bad.total == 0
    with pytest.raises(ZeroDivisionError), bad:
        _ = 1 / 0
    assert bad.total == skip
