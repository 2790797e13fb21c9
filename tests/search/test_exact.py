"""The certified search against an exhaustive scan by the definition, on every path."""

import threading

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litotes.errors import BadInput
from litotes.search.definition import SIMILARITIES, defined, norms
from litotes.search.exact import _full_products, scratch_bytes, top_k
from litotes.search.mask import Mask
from litotes.search.sharded import ShardedSpace

PATHS = [(engine, precision) for engine in ("compiled", "torch") for precision in ("bfloat16", "float32")]
similarities, paths = st.sampled_from(SIMILARITIES), st.sampled_from(PATHS)
few = st.sampled_from([-1.0, 0.0, 0.5, 0.5 + 2**-12, 0.5 + 2**-23])  # many ties, and pairs that low precision confuses
wild = st.sampled_from([1e30, -3e38, 1e-40, -2e-45, 1e-6, 1e6, 2.0**24, -(2.0**24), 1.0, 1.0 + 2**-23, 0.0])


@st.composite
def searches(draw, elements=few):
    wide = draw(st.integers(1, 6))
    queries = draw(arrays(np.float32, (draw(st.integers(1, 4)), wide), elements=elements))
    corpus = draw(arrays(np.float32, (draw(st.integers(1, 14)), wide), elements=elements))
    many = draw(st.sampled_from([1, 1, 40]))  # of each document: enough for buffers to run over, and ties everywhere
    return queries, np.tile(corpus, (many, 1))


@st.composite
def masks(draw, queries, documents):
    def sets():
        rows = [draw(st.lists(st.integers(0, documents - 1), max_size=6)) for _ in range(queries)]
        return np.cumsum([0] + [len(row) for row in rows]), np.array([item for row in rows for item in row], np.int64)

    def numbers(count, elements):
        return np.array(draw(st.lists(elements, min_size=count, max_size=count)))

    group, time = st.integers(-1, 2), st.sampled_from([0.0, 0.5, 1.0, np.nan])
    conditions = {
        "exclude": sets,
        "allow": sets,
        "allowed": lambda: numbers(documents, st.booleans()),
        "groups": lambda: (numbers(queries, group), numbers(documents, group)),
        "times": lambda: (numbers(documents, time), numbers(queries, time), numbers(queries, time)),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(conditions)), max_size=3))
    return Mask.of(queries, documents, **{name: conditions[name]() for name in sorted(chosen)})


def exhaustive(queries, corpus, k, similarity, mask=None):
    """Every document scored by the definition, sorted by score and row."""
    each = np.broadcast_to(k, len(queries))
    ids = np.full((len(queries), each.max()), -1, np.int32)
    scores = np.full(ids.shape, -np.inf, np.float32)
    for i, query in enumerate(queries):
        all_scores = defined(np.broadcast_to(query, corpus.shape), corpus, similarity)
        rows = np.arange(len(corpus))
        best = np.lexsort((rows, -all_scores))
        best = best if mask is None else best[mask.keeps(np.full(len(best), i), best)]
        best = best[: each[i]]
        ids[i, : len(best)], scores[i, : len(best)] = best, all_scores[best]
    return ids, scores


def same(one, other):
    return one[0].tolist() == other[0].tolist() and one[1].tobytes() == other[1].tobytes()


@given(st.data(), searches(), similarities, paths)
def test_it_is_the_exhaustive_scan_whatever_the_path_the_blocks_and_the_mask(data, vectors, similarity, path):
    queries, corpus = vectors
    mask = data.draw(masks(len(queries), len(corpus)))
    k = data.draw(st.integers(1, 18) | arrays(np.int64, len(queries), elements=st.integers(1, 18)))
    engine, precision = path
    blocks = {"query_block": data.draw(st.integers(1, 5)), "corpus_block": data.draw(st.integers(1, 700))}
    options = {"mask": mask, "engine": engine, "precision": precision, "threads": data.draw(st.integers(1, 3))}
    found = top_k(queries, corpus, k, similarity=similarity, **options, **blocks)
    assert same(found, exhaustive(queries, corpus, k, similarity, mask))
    assert found[0].dtype == np.int32 and found[1].dtype == np.float32


@given(searches(wild), st.integers(1, 9) | st.just(600), similarities, paths)
def test_neither_overflow_underflow_nor_cancellation_loses_a_document(vectors, k, similarity, path):
    queries, corpus = vectors
    found = top_k(queries, corpus, k, similarity=similarity, engine=path[0], precision=path[1])
    assert same(found, exhaustive(queries, corpus, k, similarity))


@pytest.mark.parametrize("engine, precision", PATHS)
@pytest.mark.parametrize(
    "similarity, queries, corpus", [("dot", 1e30, 1e10), ("dot", -1e30, 1e10), ("l2", 0.0, 1e25), ("dot", 1e-30, 1e-20)]
)
def test_scores_that_round_to_one_infinity_or_to_zero_tie_and_go_to_the_lowest_row(
    similarity, queries, corpus, engine, precision
):
    rising = np.linspace(1, 2, 700, dtype=np.float32)  # the true scores differ, and the last rows are the best or worst
    vectors = np.full((3, 4), np.float32(queries)), np.float32(corpus) * np.repeat(rising, 4).reshape(-1, 4)
    ids, scores = top_k(*vectors, 6, similarity=similarity, engine=engine, precision=precision)
    assert ids.tolist() == [[0, 1, 2, 3, 4, 5]] * 3 and len(np.unique(scores)) == 1
    assert not np.isfinite(scores).any() or (scores == 0).all()


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("condition", ["exclude", "allow", "allowed", "groups", "times"])
def test_each_condition_of_a_mask_holds_inside_the_scan(condition, engine):
    (queries, corpus), rng = adversarial("many exact ties"), np.random.default_rng(1)
    conditions = {
        "exclude": (np.arange(21) * 200, rng.integers(0, 700, 4000)),
        "allow": (np.arange(21) * 200, rng.integers(0, 700, 4000)),
        "allowed": rng.random(700) < 0.4,
        "groups": (rng.integers(-1, 3, 20), rng.integers(-1, 3, 700)),
        "times": (rng.choice([0.1, 0.5, 0.7, np.nan], 700), rng.choice([0.1, 0.5, np.nan], 20), np.full(20, 0.5)),
    }
    mask = Mask.of(20, 700, **{condition: conditions[condition]})
    for k in (3, 50):
        found = top_k(queries, corpus, k, similarity="dot", mask=mask, engine=engine)
        assert same(found, exhaustive(queries, corpus, k, "dot", mask))


def adversarial(name):
    """20 queries and 700 documents of 24 dimensions that low precision finds hard."""
    rng = np.random.default_rng(len(name))
    queries, corpus = (rng.standard_normal((rows, 24), dtype=np.float32) for rows in (20, 700))
    if name == "cancelling sums":
        corpus[:, 0], corpus[:, 23], queries[:] = 2.0**24, np.where(corpus[:, 23] > 0, -(2.0**24), 1.0), 1.0
    elif name == "all equal":
        corpus[:] = corpus[0]
    elif name == "many exact ties":
        queries, corpus = np.sign(queries), np.sign(corpus)
    elif name == "denormals":
        queries[::2] *= np.float32(1e-40)
        corpus[::3] *= np.float32(1e-40)
    elif name == "mixed norms":
        queries, corpus = (part * 10.0 ** rng.integers(-6, 7, (len(part), 1)) for part in (queries, corpus))
    elif name == "one-hot":
        queries, corpus = (np.eye(24)[rng.integers(0, 24, len(part))] for part in (queries, corpus))
    elif name == "queries equal to documents":
        queries = corpus[100:120].copy()
    elif name == "near ties":
        corpus = corpus[:1] + np.float32(2e-7) * corpus
    return queries.astype(np.float32), corpus.astype(np.float32)


HARD = ["cancelling sums", "all equal", "many exact ties", "denormals", "mixed norms", "one-hot"]
HARD += ["queries equal to documents", "near ties", "ordinary"]


@pytest.mark.parametrize("engine, precision", PATHS)
@pytest.mark.parametrize("name", HARD)
def test_hard_vectors_give_the_answer_of_the_definition(name, engine, precision):
    queries, corpus = adversarial(name)
    for similarity in SIMILARITIES:
        wanted = exhaustive(queries, corpus, len(corpus), similarity)
        for k in (1, 10, len(corpus)):
            found = top_k(queries, corpus, k, similarity=similarity, engine=engine, precision=precision)
            assert same(found, (wanted[0][:, :k], wanted[1][:, :k].copy()))


@pytest.mark.parametrize("engine, precision", PATHS)
def test_a_product_that_ranks_wrongly_is_put_right_and_ordinary_vectors_are_certified_at_once(engine, precision):
    queries, corpus = adversarial("ordinary")
    low = (torch.from_numpy(part).to(getattr(torch, precision)) for part in (queries, corpus))
    wanted = exhaustive(queries, corpus, 300, "dot")
    if precision == "bfloat16":
        ranked = (next(low) @ next(low).T).float().topk(300).indices.numpy()
        assert (ranked != wanted[0]).any(axis=1).all()  # so there is something to repair
    reports = []
    assert same(
        top_k(queries, corpus, 300, similarity="dot", engine=engine, precision=precision, report=reports.append), wanted
    )
    seen = reports[0]
    assert (seen.queries, seen.at_once, seen.engine, seen.precision) == (20, 20, engine, precision)
    assert 300 <= seen.survivors_mean <= seen.survivors_max <= (330 if precision == "bfloat16" else 302)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_where_everything_ties_survivors_are_scored_early_and_the_report_says_so(engine):
    queries, corpus = adversarial("all equal")
    corpus, reports = np.tile(corpus, (3, 1)), []
    ids, _ = top_k(queries, corpus, 5, engine=engine, report=reports.append)
    assert ids.tolist() == [[0, 1, 2, 3, 4]] * 20
    assert reports[0].at_once == 0 and reports[0].survivors_max < 600


def test_where_bfloat16_cannot_tell_documents_apart_float32_takes_over_and_keeps_what_was_found(monkeypatch):
    rng = np.random.default_rng(0)
    corpus = np.float32(0.02) * rng.standard_normal((4000, 32), dtype=np.float32) + np.float32(1)
    queries = corpus[:40] + np.float32(0.01)
    monkeypatch.setattr("litotes.search.exact._fastest", lambda device, engine: "bfloat16")
    for similarity in SIMILARITIES:
        reports = []
        options = {"similarity": similarity, "engine": "compiled", "corpus_block": 1024, "report": reports.append}
        found = top_k(queries, corpus, 10, **options)
        assert same(found, exhaustive(queries, corpus, 10, similarity))
        top_k(queries, corpus, 10, precision="bfloat16", **options)  # asked for, it stays
        assert [one.finer for one in reports] == [40, 0] and reports[0].survivors_max < reports[1].survivors_max


@given(st.integers(0, 30), st.integers(1, 30), paths)
def test_a_window_of_ranks_is_a_slice(skip, k, path):
    queries, corpus = adversarial("many exact ties")
    options = {"engine": path[0], "precision": path[1]}
    whole = top_k(queries, corpus[:40], 60, **options)
    found = top_k(queries, corpus[:40], k, skip=skip, **options)
    assert same(found, (whole[0][:, skip : skip + k], whole[1][:, skip : skip + k].copy()))
    each = np.arange(len(queries)) % 4
    rows, _ = top_k(queries, corpus[:40], each, skip=skip, **options)
    assert [[i for i in row if i >= 0] for row in rows.tolist()] == [
        [i for i in row[skip : skip + n] if i >= 0] for row, n in zip(whole[0].tolist(), each, strict=True)
    ]


def test_the_answer_does_not_depend_on_threads_autocast_or_lowered_product_precision():
    noise = np.random.default_rng(2).standard_normal((600, 96)).astype(np.float32)
    threads, found = torch.get_num_threads(), []
    wanted = exhaustive(noise[:100], noise[100:], 20, "cosine")
    try:
        for count, precision in ((1, "highest"), (2, "medium")):
            for engine in ("compiled", "torch"):
                torch.set_num_threads(count)
                torch.set_float32_matmul_precision(precision)
                with torch.autocast("cpu", torch.bfloat16):
                    found.append(top_k(noise[:100], noise[100:], 20, engine=engine, precision="float32"))
                assert torch.get_float32_matmul_precision() == precision and torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
    assert all(same(one, wanted) for one in found)


def test_products_are_full_while_the_search_runs_and_as_before_afterwards():
    torch.set_float32_matmul_precision("medium")
    reduced = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    try:
        with pytest.raises(KeyError), torch.autocast("cpu", torch.bfloat16), _full_products("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == reduced
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_memory_map_and_rows_with_gaps_are_read_like_an_array(engine, tmp_path):
    queries, corpus = adversarial("ordinary")
    np.save(tmp_path / "corpus.npy", corpus)
    wanted = exhaustive(queries[:, :16].copy(), corpus[:, :16].copy(), 7, "l2")
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    assert same(top_k(queries[:, :16], mapped[:, :16], 7, similarity="l2", engine=engine), wanted)
    whole = top_k(queries, mapped, 7, engine=engine)
    assert same(whole, top_k(queries, corpus, 7, engine=engine))


def test_the_engine_chosen_does_not_show_in_the_answer(monkeypatch):
    queries, corpus = adversarial("ordinary")
    reports = []
    small = top_k(queries, corpus, 9, report=reports.append)
    monkeypatch.setattr("litotes.search.exact.WORTH_COMPILING", 0)
    assert same(top_k(queries, corpus, 9, report=reports.append), small)
    assert [one.engine for one in reports] == ["torch", "compiled"]


def test_three_documents_and_a_k_of_five():
    corpus = np.float32([[1, 0], [0, 1], [1, 0]])
    mask = Mask.of(1, 3, exclude=(np.array([0, 2]), np.array([0, 0])))
    ids, scores = top_k(np.float32([[2, 0]]), corpus, 5, mask=mask)
    assert ids.tolist() == [[2, 1, -1, -1, -1]] and scores.tolist() == [[1.0, 0.0, *[-np.inf] * 3]]
    assert top_k(np.float32([[2, 0]]), corpus, 2)[0].tolist() == [[0, 2]]


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_no_queries_no_documents_nothing_allowed_and_nothing_wanted(engine):
    one, none = np.ones((1, 3), np.float32), np.zeros((0, 3), np.float32)
    assert top_k(none, one, 2, engine=engine)[0].shape == (0, 2)
    assert top_k(one, none, 2, engine=engine)[0].tolist() == [[-1, -1]]
    nothing = Mask.of(1, 1, allowed=np.array([False]))
    assert top_k(one, one, 1, mask=nothing, engine=engine)[0].tolist() == [[-1]]
    two = np.ones((2, 3), np.float32)
    assert top_k(two, two, np.array([0, 1]), engine=engine)[0].tolist() == [[-1], [0]]


def test_few_allowed_pairs_are_scored_without_a_scan():
    queries, corpus = adversarial("ordinary")
    mask = Mask.of(20, 700, allow=(np.minimum(np.arange(21), 10), np.arange(10) * 3), allowed=np.arange(700) % 2 == 0)
    reports = []
    found = top_k(queries, corpus, 4, mask=mask, report=reports.append)
    assert same(found, exhaustive(queries, corpus, 4, "cosine", mask)) and reports[0].engine == "definition"


@pytest.mark.parametrize("pairs", [1, 7, 1 << 20])
@given(data=st.data())
def test_lists_of_any_length_are_scored_in_parts(pairs, data):
    queries, corpus = adversarial("many exact ties")
    lengths = data.draw(st.lists(st.integers(0, 30), min_size=len(queries), max_size=len(queries)))
    items = [np.sort(np.random.default_rng(i).permutation(len(corpus))[:n]) for i, n in enumerate(lengths)]
    allow = np.cumsum([0, *lengths]), np.concatenate([*items, np.zeros(0, int)])
    mask = Mask.of(len(queries), len(corpus), allow=allow, allowed=np.arange(len(corpus)) % 3 > 0)
    each, reports = np.arange(len(queries)) % 5, []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("litotes.search.exact._PAIRS", pairs)
        patched.setattr("litotes.search.exact._FEW_ALLOWED", 0)
        found = top_k(queries, corpus, each, mask=mask, report=reports.append)
    assert same(found, exhaustive(queries, corpus, each, "cosine", mask)) and reports[0].engine == "definition"


def test_rows_that_ids_cannot_number_are_refused():
    many = np.broadcast_to(np.zeros((1, 1), np.float32), (2**31, 1))
    for search in (lambda: top_k(many[:1], many, 1), lambda: ShardedSpace(many[:1], [many, many[:5]], checked=True)):
        with pytest.raises(ValueError, match=r"must have fewer than 2\^31 rows, which ids can number, got 2,147,483,6"):
            search()


def test_given_norms_are_those_that_are_computed():
    queries, corpus = adversarial("mixed norms")
    for engine in ("compiled", "torch"):
        given = top_k(queries, corpus, 9, query_norms=norms(queries), corpus_norms=norms(corpus), engine=engine)
        assert same(given, top_k(queries, corpus, 9, engine=engine))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_memory_stays_within_what_was_announced(precision):
    rng = np.random.default_rng(0)
    queries, corpus = (rng.standard_normal((rows, 64), dtype=np.float32) for rows in (3000, 60_000))
    top_k(queries[:600], corpus, 50, engine="compiled", precision=precision)  # loads what is loaded once
    settings = {"query_block": 2048, "corpus_block": 4096}
    announced = scratch_bytes(len(queries), 50, 64, **settings, documents=len(corpus), threads=2)
    before, peak = psutil.Process().memory_info().rss, [0]

    def watch(stop):
        while not stop.wait(0.002):
            peak[0] = max(peak[0], psutil.Process().memory_info().rss)

    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(stop,))
    watcher.start()
    top_k(queries, corpus, 50, engine="compiled", precision=precision, threads=2, **settings)
    stop.set()
    watcher.join()
    assert peak[0] - before <= announced < len(queries) * len(corpus) / 4  # far from a byte for each pair


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("side", ["queries", "corpus"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_with_input_and_row(side, bad, engine):
    vectors = {"queries": np.ones((3, 2), np.float32), "corpus": np.ones((5000, 2), np.float32)}
    vectors[side][2, 1] = bad
    with pytest.raises(BadInput, match=rf"'{side}': found NaN or infinity in row 2, expected finite"):
        top_k(**vectors, k=1, engine=engine)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": 0}, "k must be a whole number >= 1, got 0"),
        ({"k": 1.5}, "k must be a whole number >= 1, got 1.5"),
        ({"k": np.array([1, 2])}, r"one per query \[1\]"),
        ({"skip": -1}, "skip must be a whole number >= 0, got -1"),
        ({"threads": 0}, "threads must be a whole number >= 1, got 0"),
        ({"corpus_block": 0}, "corpus_block must be"),
        ({"similarity": "euclid"}, "'cosine', 'dot' or 'l2', got 'euclid'"),
        ({"precision": "int8"}, "'auto', 'bfloat16' or 'float32', got 'int8'"),
        ({"engine": "gpu"}, "'auto', 'compiled' or 'torch', got 'gpu'"),
        ({"engine": "compiled", "device": "cuda"}, "compiled engine runs on the device 'cpu', got 'cuda'"),
        ({"device": "meta", "precision": "float32"}, "'cpu' or 'cuda' .no error bound is known of others.*'meta'"),
        ({"queries": np.ones((1, 3), np.float32)}, "queries have 3 dimensions, the corpus has 2"),
        ({"queries": np.ones((1, 2))}, "found dtype float64, expected float32"),
        ({"queries": np.ones(2, np.float32)}, r"found \[2\], expected a matrix"),
        ({"mask": Mask.of(1, 5)}, "expected a mask of 1 queries over 4 documents"),
    ],
)
def test_bad_arguments_are_named(change, message):
    fine = {"queries": np.ones((1, 2), np.float32), "corpus": np.ones((4, 2), np.float32), "k": 1}
    with pytest.raises(ValueError, match=message):
        top_k(**(fine | change))
