from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from litotes.evidence import Evidence, doubt, make
from litotes.training.rows import TrainingRows


def pairs(rows):
    """{anchor id: (positive ids, negative ids)}, one entry per row."""
    ids, names = rows.collection.queries["id"].to_pylist(), rows.collection.corpus["id"].to_pylist()
    return [
        (ids[rows.anchor[i]], [names[j] for j in rows.positives.row(i)], [names[j] for j in rows.negatives.row(i)])
        for i in range(len(rows))
    ]


def test_every_anchor_has_one_row_with_its_positives_and_up_to_n_believed_negatives(world):
    collection, evidence = world
    for n in (0, 1, 2):
        rows = TrainingRows.of(evidence, collection, n=n)
        by_anchor = {}
        for row in evidence.to_pylist():
            by_anchor.setdefault(row["anchor"], []).append(row)
        for anchor, positives, negatives in pairs(rows):
            said = by_anchor.pop(anchor)
            assert sorted(positives) == sorted(r["candidate"] for r in said if r["sign"] > 0)
            # no scores: ties go by the candidate's id
            assert negatives == sorted(r["candidate"] for r in said if r["sign"] < 0)[:n]
        assert not by_anchor
        held = Counter(len(negatives) for _, _, negatives in pairs(rows))
        assert rows.counts["bare"] == held[0] and rows.counts["short"] == sum(held[k] for k in range(n))
        assert rows.counts["rows"] == 24 and rows.counts["negatives"] == sum(k * v for k, v in held.items())


def test_one_row_per_pair_has_each_positive_once_and_the_negatives_of_its_anchor(world):
    collection, evidence = world
    by_anchor = {
        anchor: (positives, negatives)
        for anchor, positives, negatives in pairs(TrainingRows.of(evidence, collection, n=2))
    }
    rows = TrainingRows.of(evidence, collection, n=2, per="pair")
    expected = [(a, [p], negatives) for a, (positives, negatives) in by_anchor.items() for p in positives]
    assert sorted(pairs(rows)) == sorted(expected) and len(rows) == rows.counts["positives"]


def test_one_row_per_triple_has_a_gap_of_the_teachers_scores(world):
    collection, _ = world
    evidence = make(
        ["q00"] * 5 + ["q01"] * 2 + ["q02"],
        ["d00", "d01", "d02", "d03", "d04", "d05", "d06", "d07"],
        [1, 1, -1, -1, -1, 1, -1, 1],
        score=[0.9, 0.5, 0.25, 0.75, 0.125, 0.5, None, 0.5],
        source="s",
        scorer={"name": "m", "checksum": "c", "similarity": "cosine"},
    )
    rows = TrainingRows.of(evidence, collection, n=2, per="triple")
    made = {(a, p, n): gap for (a, (p,), (n,)), gap in zip(pairs(rows), rows.gaps().tolist(), strict=True)}
    scores = {"d00": 0.9, "d01": 0.5, "d02": 0.25, "d03": 0.75}
    wanted = {("q00", p, n): pytest.approx(scores[p] - scores[n]) for p in ("d00", "d01") for n in ("d03", "d02")}
    assert {key: gap for key, gap in made.items() if key[0] == "q00"} == wanted
    assert np.isnan(made.pop(("q01", "d05", "d06"))) and len(made) == 4
    assert rows.counts["bare"] == 1 and rows.counts["without_positive"] == 0 and rows.counts["rows"] == 5
    with pytest.raises(ValueError, match="per='triple' needs negatives"):
        TrainingRows.of(evidence.slice(7), collection, per="triple")


def test_doubted_negatives_have_no_row_but_stay_in_the_lookup_and_are_taken_best_first(world):
    collection, _ = world
    evidence = make(
        ["q00"] * 4, ["d00", "d01", "d02", "d03"], [1, -1, -1, -1], score=[0.9, 0.1, 0.5, 0.8], source="s",
        scorer={"name": "m", "checksum": "c", "similarity": "cosine"},
    )  # fmt: skip
    evidence = doubt(evidence, pa.array([False, False, False, True]), 0.0, "zeal")
    rows = TrainingRows.of(evidence, collection, n=5)
    assert pairs(rows) == [("q00", ["d00"], ["d02", "d01"])]
    assert len(rows.lookup) == 4 and rows.lookup.weight.tolist() == [1, 1, 1, 0]


def test_anchors_without_a_believed_positive_have_no_row_and_are_counted(world):
    collection, _ = world
    evidence = make(["q00", "q01", "q02"], ["d00", "d01", "d02"], [1, -1, 1], prior=[1.0, 1.0, 0.0], source="s")
    rows = TrainingRows.of(evidence, collection)
    assert len(rows) == 1 and rows.counts["without_positive"] == 2 and rows.counts["anchors"] == 3
    with pytest.raises(ValueError, match="none of the 1 anchors has a believed positive"):
        TrainingRows.of(evidence.slice(1, 1), collection)


def test_the_draw_of_a_positive_depends_on_seed_epoch_and_anchor_only(world):
    collection, _ = world
    evidence = make(
        [f"q{i:02}" for i in range(24) for _ in range(4)],
        [f"d{j:02}" for _ in range(24) for j in range(4)],
        1,
        source="s",
    )
    rows = TrainingRows.of(evidence, collection, seed=3)
    drawn = np.array([[rows.draw(i, epoch) for i in range(24)] for epoch in range(40)])
    counts = Counter(drawn.ravel().tolist())
    assert set(counts) == {0, 1, 2, 3} and all(180 < count < 300 for count in counts.values())  # 960 draws, 240 each
    half = TrainingRows.of(evidence.slice(48), collection, seed=3)
    assert [half.draw(i, 5) for i in range(12)] == drawn[5, 12:].tolist()
    other = TrainingRows.of(evidence, collection, seed=4)
    assert [other.draw(i, 5) for i in range(24)] != drawn[5].tolist()


def test_evidence_on_disk_and_in_memory_make_the_same_rows(world, tmp_path):
    collection, evidence = world
    stored = Evidence.create(tmp_path / "evidence")
    stored.append(evidence.slice(0, 20))
    stored.append(evidence.slice(20))
    one, other = (TrainingRows.of(each, collection, n=2) for each in (stored, stored.read()))
    assert pairs(one) == pairs(other) and one.checksum() == other.checksum()
    doubted = doubt(stored.read(), pa.array(stored.read()["sign"].to_numpy() < 0), 0.125, "zeal")
    assert TrainingRows.of(doubted, collection, n=2).checksum() != one.checksum()


def test_a_dataset_may_hold_some_of_the_rows(world):
    rows = TrainingRows.of(world[1], world[0])
    assert rows.dataset()["row"][:] == list(range(24)) and rows.dataset(np.array([5, 2]))["row"][:] == [5, 2]
    with pytest.raises(ValueError, match=r"rows must be in \[0, 23\]"):
        rows.dataset(np.array([24]))


@pytest.mark.parametrize(
    "bad, message", [({"n": -1}, "n must be"), ({"n": 1.5}, "n must be"), ({"per": "query"}, "per must be")]
)
def test_bad_arguments_are_named(world, bad, message):
    with pytest.raises(ValueError, match=f"TrainingRows: {message}"):
        TrainingRows.of(world[1], world[0], **bad)
