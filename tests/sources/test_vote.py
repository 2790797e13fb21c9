import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.evidence import check, found_entries
from litotes.sources.judged.vote import Vote, vote

labels = st.none() | st.sampled_from([0.0, 1.0, 0.5, 0.2, 0.8]) | st.floats(0, 1)
tables = st.integers(1, 4).flatmap(
    lambda j: st.lists(st.lists(labels, min_size=j, max_size=j), max_size=6).map(lambda n: (j, n))
)


def as_array(judges, rows):
    return np.array(rows, np.float64).reshape(len(rows), judges)


@pytest.mark.parametrize(
    ("said", "sign", "weight", "reason"),
    [
        ([1, 1, 0], 1, 0.6, "yes"),
        ([1, 0, 0], 0, 0.0, "undecided"),
        ([0, 0, 1], -1, 0.6, "no"),
        ([np.nan] * 3, 0, 0.0, "no votes"),
        ([np.nan, 1, np.nan], 1, 1.0, "yes"),
        ([0.9, 0.9, 0.9], 1, 0.8, "yes"),
    ],
)
def test_weighted_votes_by_hand(said, sign, weight, reason):
    made = vote(np.array([said], float), np.array([0.5, 0.3, 0.2]))
    assert made.sign.tolist() == [sign] and made.reason == [reason]
    assert made.weight[0] == pytest.approx(weight, abs=1e-7) and made.sign.dtype == np.int8


@pytest.mark.parametrize(
    ("weights", "lines", "sign"), [([0.1, 0.7, 0.2], (0.2, 0.8), 1), ([0.1, 0.2, 0.7], (0.3, 0.8), -1)]
)
def test_an_edge_counts_also_where_floating_point_falls_beside_it(weights, lines, sign):
    assert vote(np.array([[1.0, 1.0, 0.0]]), np.array(weights), *lines).sign.tolist() == [sign]


@given(tables, st.sampled_from([(0.2, 0.8), (0.0, 1.0), (0.5, 0.6)]), st.integers(0, 9))
def test_it_is_its_rule(table, lines, seed):
    judges, rows = table
    weights = np.random.default_rng(seed).integers(0, 3, judges).astype(float)
    weights[seed % judges] += 1
    made = vote(as_array(judges, rows), weights, *lines)
    for i, row in enumerate(rows):
        there = [(g, y) for g, y in zip(weights, row, strict=True) if y is not None and g > 0]
        if not there:
            expected = (0, 0.0, "no votes")
        else:
            v = sum(g * y for g, y in there) / sum(g for g, _ in there)
            yes, no = v >= lines[1] - 1e-9, v <= lines[0] + 1e-9
            expected = (
                int(yes) - int(no),
                abs(2 * v - 1) if yes or no else 0.0,
                "yes" if yes else "no" if no else "undecided",
            )
        assert (made.sign[i], made.reason[i]) == (expected[0], expected[2])
        assert made.weight[i] == pytest.approx(expected[1], abs=1e-6) and 0 <= made.weight[i] <= 1


@given(tables, st.floats(0.01, 100))
def test_opposite_votes_make_opposite_signs_and_the_scale_of_weights_does_not_matter(table, factor):
    judges, rows = table
    said, weights = as_array(judges, rows), np.arange(1, judges + 1.0)
    made, other, scaled = vote(said, weights), vote(1 - said, weights), vote(said, weights * factor)
    edge = np.minimum(abs(made.share - 0.2), abs(made.share - 0.8)) < 1e-8  # the tolerance itself may round away
    clear = ~edge | np.isnan(made.share)
    assert (made.sign == -other.sign)[clear].all() and (made.sign == scaled.sign)[clear].all()
    np.testing.assert_allclose(made.weight[clear], other.weight[clear], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [[0.5, 1.5]]}, r"labels must be in \[0, 1\] or NaN, got 1.5 at \[0, 1\]"),
        ({"labels": [0.5]}, r"labels must be \[N, J\], got \[1\]"),
        ({"weights": [1.0]}, "weights must be 2 numbers >= 0, not all 0"),
        ({"weights": [0.0, 0.0]}, "weights must be 2 numbers >= 0, not all 0"),
        ({"weights": [1.0, float("nan")]}, "weights must be 2 numbers >= 0, not all 0"),
        ({"weights": [1.0, -1.0]}, "weights must be 2 numbers >= 0, not all 0"),
        ({"lo": 0.8}, "lo and hi must be 0 <= lo < hi <= 1, got 0.8, 0.8"),
        ({"hi": float("nan")}, "lo and hi must be 0 <= lo < hi <= 1"),
    ],
)
def test_the_gate(options, message):
    with pytest.raises(ValueError, match=f"vote: {message}"):
        vote(**({"labels": [[0.5, 1.0]]} | options))


def votes(*rows):
    names = ("query", "document", "judge", "label")
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})


def test_votes_become_evidence_with_belief_and_who_said_what():
    said = votes(
        ("q1", "d2", "small", 1.0), ("q1", "d1", "small", 0.0), ("q1", "d2", "large", 1.0), ("q1", "d1", "large", 1.0),
        ("q0", "d1", "large", None), ("q0", "d2", "large", 0.1), ("q0", "d2", "small", 0.0),
    )  # fmt: skip
    made = Vote()(said, {"large": 3.0, "small": 1.0})
    check(made)
    assert made.select(["anchor", "candidate", "sign"]).to_pylist() == [
        {"anchor": "q1", "candidate": "d2", "sign": 1},
        {"anchor": "q1", "candidate": "d1", "sign": 0},
        {"anchor": "q0", "candidate": "d1", "sign": 0},
        {"anchor": "q0", "candidate": "d2", "sign": -1},
    ]
    np.testing.assert_allclose(made["weight"], [1.0, 0.0, 0.0, 0.85], atol=1e-6)
    found = found_entries(made)
    assert found["source"].to_pylist() == ["vote:yes", "vote:undecided", "vote:no votes", "vote:no"]
    assert found["score"].to_pylist() == pytest.approx([1.0, 0.75, None, 0.075], abs=1e-6)
    assert (
        Vote()(said.take(pa.array([6, 3, 0, 5, 2, 4, 1])), {"small": 1.0, "large": 3.0})
        .sort_by("weight")["weight"]
        .equals(made.sort_by("weight")["weight"])
    )


def test_no_votes_at_all_are_evidence_without_a_row():
    assert (
        len(
            Vote()(
                votes().cast(
                    pa.schema([(n, pa.string()) for n in ("query", "document", "judge")] + [("label", pa.float64())])
                )
            )
        )
        == 0
    )


def test_votes_that_cannot_be_counted_are_refused():
    twice = votes(("q", "d", "a", 1.0), ("q", "d", "a", 0.0))
    with pytest.raises(ValueError, match="each judge may vote once on a pair, got 1 votes more"):
        Vote()(twice)
    with pytest.raises(ValueError, match=r"weights must name the judges \['a'\], got \['b'\]"):
        Vote()(votes(("q", "d", "a", 1.0)), {"b": 1.0})
    with pytest.raises(ValueError, match=r"\['judge'\] are missing"):
        Vote()(twice.drop_columns(["judge"]))
    with pytest.raises(ValueError, match="ids and judges must be there, got 1 nulls"):
        Vote()(votes(("q", None, "a", 1.0)))
    with pytest.raises(ValueError, match="Vote: low and high must be 0 <= low < high <= 1, got 0.9, 0.8"):
        Vote(low=0.9)
