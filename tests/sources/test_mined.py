import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.catalog import parse
from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.search.bm25 import Bm25Index
from litotes.search.space import Space
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.sources.mixture import Mixture

names = ["a", "b", "c", "d", "e"]
corpus = pa.table({"id": names, "text": ["red sea", "red sky", "blue sea", "green sky red", "sea sea"]})
queries = pa.table({"id": ["q"], "text": ["red sea"]})
collection = Collection("five", queries, corpus, {"train": judgements_table(["q"], ["a"], [1.0])})
anchors = Anchors.of(collection, "train")
space = Space(np.array([[1.0, 0.0]], np.float32), np.array([[5, 0], [2, 0], [4, 0], [2, 1], [3, 0]], np.float32), "dot")


def found_by(source):
    return source.prepare(collection, space)(anchors)


@given(st.integers(1, 6), st.integers(0, 6))
def test_the_window_counts_ranks_after_exclusion(depth, skip):
    found = found_by(Mined(depth, skip))
    ranked = [2, 4, 1, 3]  # scores 4, 3, 2, 2: ties to the lowest row; document 0 is the positive
    assert found.document.tolist() == ranked[skip : skip + depth]
    assert found.rank.tolist() == list(range(4))[skip : skip + depth]
    assert found.score.tolist() == [4.0, 3.0, 2.0, 2.0][skip : skip + depth]
    assert found.short == ({"dense": 1} if skip + depth > 4 else {})
    assert found.of_space == ("dense",)


def test_bm25_gives_the_scores_of_the_index_and_stops_where_no_word_is_shared():
    found = found_by(Bm25(10))
    index = Bm25Index.build(corpus["text"].to_pylist())
    assert set(found.document.tolist()) == {1, 2, 3, 4} and found.short == {"bm25": 1}
    assert (np.diff(found.score) <= 0).all()
    assert found.score.tolist() == index.pairs(["red sea"] * 4, found.document).tolist()


def test_what_is_kept_of_a_window_is_an_even_draw():
    draws = [found_by(Mined(4, per_anchor=2, seed=seed)).rank for seed in range(400)]
    kept = np.array([[rank in ranks for rank in range(4)] for ranks in draws])
    assert (kept.sum(axis=1) == 2).all()
    assert (abs(kept.mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(400)).all()
    assert len({tuple(row) for row in kept}) == 6


def test_spelling():
    spelled = (
        "dense(depth=9, skip=0, per_anchor=None, seed=0, search=hnsw, apart=group, time=date, before=0, after=-30, "
    )
    part = Mined(9, search="hnsw", apart="group", time="date", before=0, after=-30, only="language=en")
    assert str(part) == spelled + "only='language=en')" and parse(str(part)) == part


@pytest.mark.parametrize("kind", [Mined, Bm25])
@pytest.mark.parametrize(
    "bad", [{"depth": 0}, {"skip": -1}, {"per_anchor": 0}, {"depth": 3, "per_anchor": 4}, {"depth": float("nan")}]
)
def test_a_bad_window_is_refused(kind, bad):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: {list(bad)[-1]} must be"):
        kind(**bad)


@pytest.mark.parametrize("bad", [{"k1": -0.1}, {"k1": float("inf")}, {"b": 1.1}, {"b": float("nan")}, {"method": "x"}])
def test_a_bad_setting_of_bm25_is_refused(bad):
    with pytest.raises(ValueError, match=f"Bm25: {next(iter(bad))} must be"):
        Bm25(**bad)


# -- what may be found

WHEN = ["2020-01-10", "2020-01-01", "2020-01-10", None, "2020-03-01T12:00:00"]
GROUPS = ["x", "y", "x", None, "x"]
KIND = ["answer", "page", "page", "answer", "page"]


def small(of_queries, of_documents):
    """Five documents of falling score for the one query, whose positive is none of them."""
    texts = ["sea one", "sea two", "sea three", "sea four", "sea five"]
    documents = pa.table(
        {"id": [*names, "p"], "text": [*texts, "answer"]} | {k: [*v, v[0]] for k, v in of_documents.items()}
    )
    asked = pa.table({"id": ["q"], "text": ["sea"]} | of_queries)
    made = Collection("six", asked, documents, {"train": judgements_table(["q"], ["p"], [1.0])})
    vectors = np.array([[5, 0], [4, 0], [3, 0], [2, 0], [1, 0], [9, 0]], np.float32)
    return made, Space(np.array([[1.0, 0.0]], np.float32), vectors, "dot")


CONDITIONS = [
    ({}, [0, 1, 2, 3, 4]),
    ({"apart": "group"}, [1, 3]),
    ({"time": "date", "before": 0}, [0, 1, 2]),
    ({"time": "date", "before": 1}, [1]),
    ({"time": "date", "before": 0, "after": -8}, [0, 2]),
    ({"time": "date", "after": 0}, [0, 2, 4]),
    ({"time": "date", "after": 51.5}, [4]),
    ({"time": "date", "after": 51.6}, []),
    ({"only": "kind=page"}, [1, 2, 4]),
    ({"only": "kind=page", "apart": "group", "time": "date", "before": 0}, [1]),
]


@pytest.mark.parametrize("kind", [Mined, Bm25])
@pytest.mark.parametrize(("options", "wanted"), CONDITIONS)
def test_what_is_ruled_out_is_not_found_and_takes_no_rank(kind, options, wanted):
    made, space = small({"group": ["x"], "date": ["2020-01-10"]}, {"group": GROUPS, "date": WHEN, "kind": KIND})
    anchors = Anchors.of(made, "train")
    found = kind(10, **options).prepare(made, space)(anchors)
    assert found.document.tolist() == wanted and found.rank.tolist() == list(range(len(wanted)))
    assert found.short == {kind.name: 1}
    second = kind(1, skip=1, **options).prepare(made, space)(anchors)
    assert second.document.tolist() == wanted[1:2] and second.rank.tolist() == [1] * len(wanted[1:2])


@pytest.mark.parametrize(
    "clock", [["7", "5", "7", None, "58.5"], [7, 5, 7, None, 58], [7.0, 5.0, 7.0, None, 58.5], "timestamp", "date"]
)
def test_times_are_numbers_days_or_moments_in_any_column(clock):
    if isinstance(clock, str):
        kind = pa.timestamp("ms") if clock == "timestamp" else pa.date32()
        days = [7, 5, 7, None, 58]
        clock = (
            pa.array([None if day is None else day * (86_400_000 if kind != pa.date32() else 1) for day in days])
            .cast(pa.int64() if kind != pa.date32() else pa.int32())
            .cast(kind)
            .to_pylist()
        )
        query = [clock[0]]
    else:
        query = [clock[0]]
    made, space = small({"date": query}, {"date": clock})
    found = Mined(10, time="date", before=2).prepare(made, space)(Anchors.of(made, "train"))
    assert found.document.tolist() == [1]


def test_a_query_without_a_time_finds_nothing_and_is_counted_one_without_a_group_finds_all():
    made, space = small(
        {"group": pa.nulls(1, pa.string()), "date": pa.nulls(1, pa.string())}, {"group": GROUPS, "date": WHEN}
    )
    anchors = Anchors.of(made, "train")
    found = Mined(2, time="date", before=0).prepare(made, space)(anchors)
    assert len(found) == 0 and found.short == {"dense": 1}
    assert Mined(5, apart="group").prepare(made, space)(anchors).document.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("search", ["auto", "hnsw", "ivf"])
def test_an_approximate_search_finds_a_window_and_says_how_well(search, tmp_path):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    ids, asked = [f"d{i}" for i in range(400)], [f"q{i}" for i in range(30)]
    tables = (pa.table({"id": own, "text": own}) for own in (asked, ids))
    made = Collection("many", *tables, {"train": judgements_table(asked, ids[:30], [1.0] * 30)})
    given, ours = tmp_path / "given", tmp_path / "ours"
    given.mkdir()
    np.save(given / "corpus.npy", rng.standard_normal((400, 8)).astype(np.float32))
    corpus = np.load(given / "corpus.npy", mmap_mode="r")
    space, anchors = Space(rng.standard_normal((30, 8)).astype(np.float32), corpus), Anchors.of(made, "train")
    nowhere, space = space, space.kept_in(ours)
    finder = Mined(20, skip=5, search=search).prepare(made, space)
    found, exact = finder(anchors), Mined(20, skip=5).prepare(made, space)(anchors)
    assert len(found) == len(exact) and found.rank.tolist() == exact.rank.tolist() and found.of_space == ("dense",)
    assert found.score.tolist() == space.pairs(anchors.query[found.anchor], found.document).tolist()
    assert finder.notes["search"] == ("flat" if search == "auto" else search)
    recall = float(str(finder.notes["recall"]).split()[0])
    assert recall >= 0.9 and "at 25 over 30 queries" in str(finder.notes["recall"])
    kept = [file.name.partition("-")[0] for file in ours.glob("*.faiss")]
    assert kept == ([] if search == "auto" else [search]) and finder.searches == {}
    for place in (space, nowhere):
        again = Mined(20, skip=5, search=search).prepare(made, place)(anchors)
        assert again.document.tolist() == found.document.tolist()
    assert [file.name for file in given.iterdir()] == ["corpus.npy"]  # a folder that is not ours stays as it was


def test_a_mixture_passes_on_what_its_parts_say():
    pytest.importorskip("faiss")
    made, space = small({}, {})
    finder = Mixture([Mined(2, search="hnsw"), Bm25(2)], [0.5, 0.5], depth=2).prepare(made, space)
    assert {name.rsplit(" ", 1)[1] for name in finder.notes} == {"search", "effort", "recall"}
    exact = Mixture([Mined(2), Bm25(2)], [0.5, 0.5], depth=2).prepare(made, space)
    assert exact.searches == {}
    exact(Anchors.of(made, "train"))
    assert [(name, report.queries) for name, report in exact.searches.items()] == [(str(Mined(2)), 1)]


@pytest.mark.parametrize("kind", [Mined, Bm25])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apart": "page"}, "apart names 'page'; the columns of six/queries are id, text, group, date"),
        ({"time": "day", "before": 0}, "time names 'day'; the columns of six/queries are"),
        ({"only": "tongue=en"}, "only names 'tongue'; the columns of six/corpus are id, text, group, date"),
        ({"only": "group=z"}, "only='group=z': no document has this value; there are 'x', 'y'"),
        ({"time": "group", "before": 0}, "six/queries:1: field 'group': found 'x', expected a number or a date"),
    ],
)
def test_a_condition_that_does_not_fit_the_collection_is_named(kind, options, message):
    made, space = small({"group": ["x"], "date": ["2020-01-10"]}, {"group": GROUPS, "date": WHEN})
    with pytest.raises(ValueError, match=message):
        kind(10, **options).prepare(made, space)


@pytest.mark.parametrize("kind", [Mined, Bm25])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apart": ""}, "apart must be the name of a column, or None, got ''"),
        ({"time": "date"}, "time needs before or after, and they need time, got time='date', before=None"),
        ({"before": 1}, "time needs before or after"),
        ({"time": "date", "before": float("nan")}, "before must be a finite number, or None, got nan"),
        ({"time": "date", "before": 1, "after": 0}, "must leave a window, after <= -before, got before=1, after=0"),
        ({"only": "english"}, "only must be 'column=value', or None, got 'english'"),
    ],
)
def test_a_condition_that_says_nothing_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*{message}"):
        kind(10, **options)


def test_an_unknown_search_is_refused():
    with pytest.raises(ValueError, match="Mined: search must be 'exact', 'auto', 'hnsw', 'ivf', 'ivfpq', got 'annoy'"):
        Mined(search="annoy")
