import math
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from litotes.audit.retrieval import Evaluation, Ranking, _falling, evaluate, title
from litotes.data.collection import Collection, judgements_table
from litotes.errors import BadInput

DOCUMENTS = 12


def collection(qrels, queries=4, documents=DOCUMENTS):
    """`qrels`: (query row, document row, grade) triples. Ids sort otherwise than rows do."""
    ids = [f"q{queries - i}" for i in range(queries)], [f"d{documents - i}" for i in range(documents)]
    tables = [pa.table({"id": names, "text": [f"text of {name}" for name in names]}) for names in ids]
    judged = judgements_table(
        [ids[0][q] for q, _, _ in qrels], [ids[1][d] for _, d, _ in qrels], [g for _, _, g in qrels]
    )
    return Collection("small", *tables, qrels={"test": judged})


def ranking(*rows, queries=None):
    return Ranking(
        np.arange(len(rows), dtype=np.int32) if queries is None else np.array(queries, np.int32),
        np.array(rows, np.int32),
    )


triples = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, DOCUMENTS - 1)), st.integers(0, 3), min_size=1, max_size=24
).map(lambda pairs: [(q, d, float(g)) for (q, d), g in pairs.items()])


@st.composite
def rankings(draw):
    """Up to four queries, each with 0 to 12 documents, padded."""
    queries = draw(st.permutations(range(4)))[: draw(st.integers(1, 4))]
    rows = []
    for _ in queries:
        found = draw(st.permutations(range(DOCUMENTS)))[: draw(st.integers(0, DOCUMENTS))]
        rows.append(found + [-1] * (DOCUMENTS - len(found)))
    return ranking(*rows, queries=queries)


def slowly(found, grades):
    """nDCG@10, MRR@10, Recall@5 and MAP of one query, from their definitions."""
    gain = [grades.get(d, 0) for d in found]
    dcg = lambda gains: sum(g / math.log2(i + 2) for i, g in enumerate(gains[:10]))
    relevant = sum(g > 0 for g in grades.values())
    first = next((i for i, g in enumerate(gain[:10]) if g > 0), None)
    precisions = [sum(x > 0 for x in gain[: i + 1]) / (i + 1) for i, g in enumerate(gain) if g > 0]
    return {
        "nDCG@10": dcg(gain) / dcg(sorted(grades.values(), reverse=True)),
        "MRR@10": 0.0 if first is None else 1 / (first + 1),
        "Recall@5": sum(g > 0 for g in gain[:5]) / relevant,
        "MAP": sum(precisions) / relevant,
    }


@given(triples, rankings())
def test_it_is_the_definitions(qrels, hits):
    assume(any(grade > 0 for _, _, grade in qrels))
    result = evaluate(hits, collection(qrels), "test", ("nDCG@10", "RR@10", "R@5", "AP"))
    positive = sorted({q for q, _, grade in qrels if grade > 0})
    assert result.queries.tolist() == positive and result.query_ids == [f"q{4 - q}" for q in positive]
    for i, query in enumerate(positive):
        at = np.flatnonzero(hits.queries == query)
        found = [int(d) for d in hits.documents[at[0]] if d >= 0] if len(at) else []
        expected = slowly(found, {d: g for q, d, g in qrels if q == query})
        assert {name: values[i] for name, values in result.values.items()} == pytest.approx(expected, abs=1e-9)
    assert result.means == {name: pytest.approx(np.mean(values)) for name, values in result.values.items()}
    assert result.without_positives == len(set(hits.queries.tolist()) - set(positive))
    answered = {int(q) for q, row in zip(hits.queries, hits.documents, strict=True) if row[0] >= 0}
    assert result.unanswered == len(set(positive) - answered)


@given(triples, st.integers(0, 2**32 - 1))
def test_it_agrees_with_pytrec_eval_where_scores_have_no_ties(qrels, seed):
    import pytrec_eval

    assume(any(grade > 0 for _, _, grade in qrels))
    scores = np.random.default_rng(seed).permutation(4 * DOCUMENTS).reshape(4, DOCUMENTS) / 7.0
    judged: dict = {}
    for q, d, grade in qrels:
        judged.setdefault(str(q), {})[str(d)] = int(grade)
    judged = {q: grades for q, grades in judged.items() if any(grades.values())}
    run = {str(q): {str(d): float(scores[q, d]) for d in range(DOCUMENTS)} for q in range(4)}
    measures = {"ndcg_cut_10": "nDCG@10", "recip_rank": "MRR", "recall_5": "Recall@5", "map": "MAP"}
    peer = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recip_rank", "recall.5", "map"}).evaluate(run)
    hits = Ranking(np.arange(4), np.argsort(-scores, axis=1).astype(np.int32))
    ours = evaluate(hits, collection(qrels), "test", ("nDCG@10", "RR", "R@5", "AP"))
    for name, shown in measures.items():
        assert ours.values[shown] == pytest.approx([peer[str(q)][name] for q in ours.queries], abs=1e-12)


def test_numbers_one_can_do_by_hand():
    qrels = [(0, 0, 1.0), (0, 1, 2.0), (1, 5, 1.0), (2, 3, 0.0), (3, 7, 1.0)]
    hits = ranking([2, 1, 0], [5, -1, -1], [3, 4, 5])
    result = evaluate(hits, collection(qrels), "test", ("nDCG@3", "RR@3", "R@2", "AP"))
    ideal = 2 + 1 / math.log2(3)
    assert result.query_ids == ["q4", "q3", "q1"]  # q2 has no positive; q1 was not answered
    assert result.values["nDCG@3"] == pytest.approx([(2 / math.log2(3) + 1 / 2) / ideal, 1.0, 0.0])
    assert result.values["MRR@3"].tolist() == [0.5, 1.0, 0.0]
    assert result.values["Recall@2"].tolist() == [0.5, 1.0, 0.0]
    assert result.values["MAP"] == pytest.approx([(1 / 2 + 2 / 3) / 2, 1.0, 0.0])
    assert (result.without_positives, result.unanswered, result.depth) == (1, 1, 3)


@pytest.mark.parametrize("order", [range(DOCUMENTS), range(DOCUMENTS - 1, -1, -1)])
def test_our_order_of_ties_is_the_order_that_is_judged(order):
    """All raw scores tied: a library that ranks by (score, id) gives one answer to both orders, we must not."""
    found = list(order)
    result = evaluate(ranking(found), collection([(0, 0, 1.0)]), "test", ("RR@12",))
    assert result.values["MRR@12"].tolist() == [1 / (found.index(0) + 1)]


@given(st.permutations(range(30)), st.integers(0, 5))
def test_what_the_library_is_given_falls_strictly_in_our_order(documents, padding):
    scores = _falling(np.array(documents + [-1] * padding, np.int32))
    assert list(scores) == [str(d) for d in documents]
    assert all(a > b > 0 for a, b in zip(list(scores.values()), list(scores.values())[1:], strict=False))


def test_moving_a_positive_up_never_hurts():
    judged = collection([(0, 4, 2.0), (0, 9, 1.0)])
    hits = lambda place: (
        [d for d in range(DOCUMENTS) if d != 4][:place] + [4] + [d for d in range(DOCUMENTS) if d != 4][place:]
    )
    results = [
        evaluate(ranking(hits(place)), judged, "test", ("nDCG@10", "RR@10", "AP")).means for place in range(DOCUMENTS)
    ]
    for better, worse in zip(results, results[1:], strict=False):
        assert all(better[name] >= worse[name] for name in better)
    assert results[0]["nDCG@10"] > results[5]["nDCG@10"] > results[11]["nDCG@10"]


def test_display_names():
    assert [title(name) for name in ("nDCG@10", "RR@10", "R@100", "AP", "P@5")] == [
        "nDCG@10",
        "MRR@10",
        "Recall@100",
        "MAP",
        "P@5",
    ]
    shown = evaluate(ranking(range(DOCUMENTS)), collection([(0, 1, 1.0)]), "test", ("MRR@10", "Recall@5", "MAP"))
    assert list(shown.values) == ["MRR@10", "Recall@5", "MAP"]


def test_differences_are_paired_by_query():
    judged = collection([(0, 0, 1.0), (1, 1, 1.0)])
    one = evaluate(ranking([0, 1, 2], [0, 1, 2]), judged, "test", ("RR@3",))
    other = evaluate(ranking([2, 0, 1], [0, 2, 1], queries=[1, 0]), judged, "test", ("RR@3",))
    assert one.minus(other, "MRR@3") == pytest.approx([1 - 1, 1 / 2 - 1 / 3])
    fewer = Evaluation(np.array([0], np.int32), ["q4"], {"MRR@3": np.ones(1)}, 0, 0, 3)
    with pytest.raises(ValueError, match="same queries, got 2 and 1"):
        one.minus(fewer, "MRR@3")


@pytest.mark.parametrize(
    "queries, documents, message",
    [
        ([0], [[1.0, 2.0]], r"documents must be integers \[Q, k\]"),
        ([[0]], [[1, 2]], r"queries must be integers \[Q\]"),
        ([0, 1], [[1, 2]], "equally long, got 2 and 1"),
        ([3, 3], [[1, 2], [1, 2]], "each query row once"),
        ([0], [[-1, 2]], "at the end only"),
        ([0], [[1, -2]], "at the end only"),
        ([0, 7], [[1, 2, -1, -1], [5, 2, 5, -1]], "query row 7"),
    ],
)
def test_a_ranking_that_is_none_is_refused(queries, documents, message):
    with pytest.raises(ValueError, match=message):
        Ranking(np.array(queries), np.array(documents))


def test_bad_questions_are_refused_by_name():
    judged = collection([(0, 0, 1.0)])
    with pytest.raises(ValueError, match="Recall@100 looks at 100 documents per query, the ranking has 3"):
        evaluate(ranking([0, 1, 2]), judged, "test", ("R@100",))
    assert evaluate(ranking(range(DOCUMENTS)), judged, "test", ("R@100",)).means == {"Recall@100": 1.0}
    with pytest.raises(ValueError, match="'nDCCG@10' is no measure"):
        evaluate(ranking([0, 1, 2]), judged, "test", ("nDCCG@10",))
    with pytest.raises(ValueError, match="below 12, the size of the corpus, got 12"):
        evaluate(ranking([0, 12]), judged, "test", ("RR@2",))
    with pytest.raises(BadInput, match="field 'grade': found 0.5, expected whole grades"):
        evaluate(ranking([0]), collection([(0, 0, 0.5)]), "test", ("RR@1",))
    with pytest.raises(BadInput, match="at least one query with a positive"):
        evaluate(ranking([0]), collection([(0, 0, 0.0)]), "test", ("RR@1",))


def test_it_is_quick():
    random = np.random.default_rng(0)
    hits = Ranking(np.arange(1500), np.stack([random.choice(5000, 100, replace=False) for _ in range(1500)]))
    judged = collection([(q, int(hits.documents[q, q % 100]), 1.0) for q in range(1500)], 1500, 5000)
    start = time.perf_counter()
    result = evaluate(hits, judged, "test")
    assert time.perf_counter() - start < 1.5
    assert result.means["Recall@100"] == 1.0
    assert result.means["MRR@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 100)
