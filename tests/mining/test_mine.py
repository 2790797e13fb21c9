"""mine, vet and explain: what is written, that blocks and interruptions leave no trace, and what is refused."""

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors, normalise
from litotes.data.collection import Collection, judgements_table
from litotes.data.encoder import Encoder
from litotes.errors import BadInput
from litotes.evidence import Evidence, check, check_keys, make, order, scorer_of
from litotes.mining import explain, mine, vet
from litotes.search.approximate import ApproximateIndex
from litotes.search.bm25 import Bm25Index
from litotes.search.space import Space
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.sources.mixture import Mixture
from litotes.sources.random import Random
from litotes.vetting.relative_margin import RelativeMargin
from litotes.vetting.same_group import SameGroup
from litotes.vetting.same_text import SameText

words = st.sampled_from(["red", "green", "blue", "Red", "sea", "sky"])
texts = st.lists(words, min_size=1, max_size=3).map(" ".join)


@st.composite
def worlds(draw):
    """A small collection with repeated texts, all kinds of grades, and vectors with ties."""
    queries, documents = draw(st.lists(texts, min_size=1, max_size=5)), draw(st.lists(texts, min_size=3, max_size=9))
    names = draw(st.permutations([f"d{i}" for i in range(len(documents))]))
    pairs = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(documents) - 1))
    judged = draw(st.dictionaries(pairs, st.sampled_from([0.0, 1.0, 2.0, -1.0]), min_size=1, max_size=12))
    ids = draw(st.permutations([f"q{i}" for i in range(len(queries))]))
    qrels = judgements_table([ids[q] for q, _ in judged], [names[d] for _, d in judged], list(judged.values()))
    tables = pa.table({"id": ids, "text": queries}), pa.table({"id": names, "text": documents})
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    vectors = [numbers.integers(-1, 2, (len(each), 3)).astype(np.float32) for each in (queries, documents)]
    return Collection("drawn", *tables, {"train": qrels}), Space(*vectors, "dot", "drawn", "abc")


def slowly(collection, space, depth):
    """What should be written: (anchor, candidate) -> sign, grade, score, finders."""
    queries, documents = (t["id"].to_pylist() for t in (collection.queries, collection.corpus))
    text = dict(zip(documents, map(normalise, collection.document_texts()), strict=True))
    scores = space.queries.astype(float) @ space.corpus.T.astype(float)
    grades = {(r["query"], r["document"]): r["grade"] for r in collection.qrels["train"].to_pylist()}
    out = {}
    for q, d in ((q, d) for q, d in grades if grades[q, d] >= 0):
        out[q, d] = {"sign": 1 if grades[q, d] > 0 else -1, "grade": grades[q, d], "found": ["qrels"]}
    for q in {q for q, _ in grades}:
        copies = {text[d] for d in documents if grades.get((q, d), 0) > 0}
        row = queries.index(q)
        allowed = [d for d in range(len(documents)) if text[documents[d]] not in copies]
        for d in sorted(allowed, key=lambda d: (-scores[row, d], d))[:depth]:
            entry = out.setdefault((q, documents[d]), {"sign": -1, "grade": None, "found": []})
            entry["found"].append("dense")
    for q, d in out:
        out[q, d]["score"] = scores[queries.index(q), documents.index(d)]
    return out


@given(worlds(), st.integers(1, 12), st.integers(1, 6))
def test_what_is_written_is_the_definition(world, depth, block):
    collection, space = world
    made = mine(collection, space=space, sources=[Mined(depth)], vetters=[], block=block)
    check(made.evidence, scored=True)
    check_keys(made.evidence)
    seen = {}
    for row in made.evidence.to_pylist():
        value = {name: row[name] for name in ("sign", "grade", "score")}
        seen[row["anchor"], row["candidate"]] = value | {"found": [f["source"] for f in row["found"]]}
        assert row["weight"] == row["prior"] == 1.0 and row["doubts"] == []
    assert seen == slowly(collection, space, depth)
    assert made.evidence.equals(order(made.evidence)) and scorer_of(made.evidence)["checksum"] == "abc"


def the_same(one, other):
    """Whether two runs wrote the same, whatever each of them did for it."""
    of_the_run = {"evidence": 0, "seconds": {}, "memory": {}, "resumed": 0, "searches": {}}
    return replace(one, **of_the_run) == replace(other, **of_the_run)


mixed = Mixture([Mined(5), Bm25(5), Random(5)], [0.5, 0.3, 0.2], 4)


@given(
    worlds(),
    st.integers(1, 6),
    st.sampled_from([[Mined(3), Random(2, seed=1)], [mixed], [Bm25(2), Mined(2, skip=1), Mined(3)]]),
)
def test_blocks_leave_no_trace_and_all_rows_have_the_score_of_one_scorer(world, block, sources):
    collection, space = world
    vetters = [RelativeMargin(0.1), SameText()]
    whole, cut = (mine(collection, space=space, sources=sources, vetters=vetters, block=b) for b in (100, block))
    assert whole.evidence.equals(cut.evidence)
    assert the_same(whole, cut)
    rows = collection.query_rows(whole.evidence["anchor"]), collection.document_rows(whole.evidence["candidate"])
    assert whole.evidence["score"].to_pylist() == space.pairs(*rows).tolist()


@given(worlds())
def test_the_counts_are_counts(world):
    collection, space = world
    made = mine(collection, space=space, sources=[Mined(4)], vetters=[RelativeMargin(0.5)])
    rows, anchors = made.evidence.to_pylist(), Anchors.of(collection, "train")
    assert made.anchors == len(anchors) and made.rows == len(rows)
    assert made.positives == sum(row["sign"] == 1 for row in rows)
    assert made.judged == sum(row["sign"] == -1 and row["grade"] is not None for row in rows)
    assert made.candidates == sum(row["grade"] is None for row in rows)
    assert made.duplicates == len(anchors.excluded.items) - len(anchors.positives.items)
    assert sum(made.doubted.values()) == sum(len(row["doubts"]) for row in rows)
    found = [
        sum(f["source"] == "dense" for row in rows if row["anchor"] == a for f in row["found"])
        for a in {*anchor_ids(anchors)}
    ]
    assert made.short.get("dense", 0) == sum(n < 4 for n in found)


def anchor_ids(anchors):
    return anchors.collection.queries["id"].take(pa.array(anchors.query)).to_pylist()


def large(n=50, d=80):
    draw = np.random.default_rng(0)
    ids, names = [f"q{i:03d}" for i in range(n)], [f"d{i:03d}" for i in range(d)]
    told = {"id": names, "text": [f"{name} {draw.choice(['sea', 'sky', 'rain'])}" for name in names]}
    asked = {"id": ids, "text": [f"{draw.choice(['sea', 'sky', 'rain'])} {i}" for i in ids]}
    told["group"] = [f"g{i % 9}" for i in range(d)]
    qrels = judgements_table(
        ids * 2, [names[i] for i in draw.permutation(d)[:n]] + [names[0]] * n, [1.0] * n + [0.0] * n
    )
    keep = np.unique([f"{r['query']} {r['document']}" for r in qrels.to_pylist()], return_index=True)[1]
    collection = Collection("large", pa.table(asked), pa.table(told), {"train": qrels.take(pa.array(np.sort(keep)))})
    return collection, Space(*(draw.normal(size=(m, 8)).astype(np.float32) for m in (n, d)), "cosine", "drawn", "abc")


COLLECTION, SPACE = large()
SOURCES = (Mined(6), Random(3))
VETTERS = (RelativeMargin(0.1), SameGroup())


def run(out, block=13, **changes):
    arguments = {"space": SPACE, "sources": SOURCES, "vetters": VETTERS, "out": out, "block": block} | changes
    return mine(arguments.pop("collection", COLLECTION), **arguments)


def files(folder):
    return {
        f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir()) if f.suffix == ".parquet"
    }


@dataclass(frozen=True)
class Fails:
    """A source, spelled like the one it holds, that fails at its nth block."""

    name: ClassVar[str] = "fails"
    of: Random | Bm25
    blocks: int

    def prepare(self, collection, space):
        find, left = self.of.prepare(collection), [self.blocks]

        def until(anchors):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return find(anchors)

        return until

    def __str__(self):
        return str(self.of)


@pytest.mark.parametrize("blocks", [0, 1, 3])
@pytest.mark.parametrize("name", ["folder", "file.parquet"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, blocks, name):
    whole, out = run(tmp_path / f"whole-{name}"), tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        run(out, sources=(Mined(6), Fails(Random(3), blocks)))
    again = run(out)
    assert again.resumed == 13 * blocks
    if name == "folder":
        assert files(out) == files(tmp_path / "whole-folder") and len(files(out)) == 4
    else:
        assert out.read_bytes() == (tmp_path / "whole-file.parquet").read_bytes()
        assert sorted(f.name for f in tmp_path.iterdir()) == ["file.parquet", "whole-file.parquet"]
    assert the_same(again, whole)
    assert again.evidence.read().equals(run(None).evidence)


def test_anchors_of_which_nothing_is_written_do_not_shift_the_blocks(tmp_path):
    ids = [f"q{i}" for i in range(6)]
    qrels = judgements_table(ids, ["d0"] * 6, [1.0, 1.0, -1.0] * 2)
    corpus = pa.table({"id": ["d0", "d1"], "text": ["sea", "sky"]})
    collection = Collection("empty ends", pa.table({"id": ids, "text": ["rain"] * 6}), corpus, {"train": qrels})
    whole = mine(collection, sources=[Bm25(1)], out=tmp_path / "whole", block=3)
    with pytest.raises(KeyboardInterrupt):
        mine(collection, sources=[Fails(Bm25(1), 1)], out=tmp_path / "cut", block=3)
    again = mine(collection, sources=[Bm25(1)], out=tmp_path / "cut", block=3)
    assert again.resumed == 3 and files(tmp_path / "cut") == files(tmp_path / "whole")
    assert whole.short == again.short == {"bm25": 6} and whole.rows == 4


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
def test_a_finished_run_is_returned_without_work(tmp_path, name):
    first = run(tmp_path / name)
    again = run(tmp_path / name, sources=(Mined(6), Fails(Random(3), 0)))
    assert again.resumed == again.anchors == 50 and again.evidence.read().equals(first.evidence.read())
    assert the_same(replace(again, short={}), replace(first, short={})) and again.searches == {}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder that holds a finished run as a folder, and one as a file."""
    place = tmp_path_factory.mktemp("finished")
    for name in ("folder", "file.parquet"):
        run(place / name)
    return place


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"vetters": (RelativeMargin(0.2), SameGroup())}, "recipe"),
        ({"sources": (Mined(6),)}, "recipe"),
        ({"block": 8}, "block"),
        ({"space": replace(SPACE, checksum="abd")}, "model"),
        ({"space": replace(SPACE, checksum="")}, "model"),
    ],
)
def test_evidence_of_something_else_is_not_gone_on_with(finished, changes, what):
    for name in ("folder", "file.parquet"):
        with pytest.raises(ValueError, match=f"{name} holds evidence of another {what} "):
            run(finished / name, **changes)


def test_a_file_is_not_updated_and_its_refusal_says_what_is(finished):
    fewer = COLLECTION.with_qrels({"train": COLLECTION.qrels["train"].slice(1)})
    with pytest.raises(ValueError, match="evidence of another collection .* a folder, unlike a file, is updated"):
        run(finished / "file.parquet", collection=fewer)


def test_foreign_evidence_is_not_gone_on_with(tmp_path):
    Evidence.create(tmp_path / "other")
    with pytest.raises(ValueError, match="holds evidence of another collection"):
        run(tmp_path / "other")


def test_without_a_model_bm25_scores():
    made = mine(COLLECTION, sources=[Bm25(5, k1=1.2), Random(3)], vetters=[])
    texts = dict(zip(COLLECTION.queries["id"].to_pylist(), COLLECTION.query_texts(), strict=True))
    index = Bm25Index.build(COLLECTION.document_texts(), k1=1.2)
    asked = [texts[name] for name in made.evidence["anchor"].to_pylist()]
    assert (
        made.evidence["score"].to_pylist()
        == index.pairs(asked, COLLECTION.document_rows(made.evidence["candidate"])).tolist()
    )
    about = scorer_of(made.evidence)
    assert about["similarity"] == "bm25" and about["name"].startswith("bm25(k1=1.2, b=0.75")
    with pytest.raises(ValueError, match="Mined: needs vectors"):
        mine(COLLECTION)


def test_vectors_alone_are_a_space():
    made = mine(COLLECTION, query_vectors=SPACE.queries, corpus_vectors=SPACE.corpus, sources=SOURCES, vetters=VETTERS)
    assert made.evidence.equals(run(None).evidence) and scorer_of(made.evidence)["name"] == "vectors"
    assert len(scorer_of(made.evidence)["checksum"]) == 64


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"block": 0}, "mine: block must be a whole number >= 1, got 0"),
        ({"query_vectors": SPACE.queries}, "belong together"),
        ({"space": SPACE, "query_vectors": SPACE.queries, "corpus_vectors": SPACE.corpus}, "not several"),
        (
            {"space": replace(SPACE, corpus=SPACE.corpus[1:])},
            "expected 80 corpus vectors, one per row of 'large', got 79",
        ),
        ({"space": replace(SPACE, queries=SPACE.queries[1:])}, "expected 50 query vectors"),
        ({"split": "dev"}, "has no split 'dev'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mine(
            COLLECTION,
            **({"space": SPACE} if "space" not in arguments and "query_vectors" not in arguments else {}) | arguments,
        )


def three(grades, depth=10):
    names = ["d0", "d1", "d2"]
    qrels = judgements_table(["q"] * len(grades), names[: len(grades)], grades)
    tables = pa.table({"id": ["q"], "text": ["what"]}), pa.table({"id": names, "text": ["a", "b", "c"]})
    space = Space(np.ones((1, 1), np.float32), np.array([[1], [2], [3]], np.float32), "dot", "three", "3")
    made = mine(Collection("three", *tables, {"train": qrels}), space=space, sources=[Mined(depth)])
    return made, [(r["candidate"], r["sign"], r["weight"]) for r in made.evidence.to_pylist()]


def test_three_documents_give_what_there_is():
    made, rows = three([1.0])
    assert rows == [("d0", 1, 1.0), ("d2", -1, 0.0), ("d1", -1, 0.0)] and made.short == {"dense": 1}
    made, rows = three([1.0, 1.0, 1.0])
    assert len(rows) == 3 and made.candidates == 0 and made.short == {"dense": 1}


def test_an_anchor_without_positives_keeps_its_candidates():
    made, rows = three([0.0])
    assert rows == [("d2", -1, 1.0), ("d1", -1, 1.0), ("d0", -1, 1.0)]
    assert made.judged == 1 and made.positives == 0 and made.candidates == 2


def test_a_grade_below_0_is_no_judgement():
    assert three([-1.0])[0].evidence["grade"].null_count == 3


def test_vetting_later_is_vetting_at_once(tmp_path):
    run(tmp_path / "late", vetters=())
    doubted = vet(tmp_path / "late", VETTERS, COLLECTION)
    at_once = run(None)
    assert Evidence.open(tmp_path / "late").read().equals(at_once.evidence) and doubted == at_once.doubted
    before = files(tmp_path / "late")
    assert vet(tmp_path / "late", VETTERS, COLLECTION) == doubted and files(tmp_path / "late") == before
    assert vet(tmp_path / "late", [RelativeMargin(0.0)]).keys() == {str(RelativeMargin(0.0))}
    with pytest.raises(ValueError, match="another collection"):
        vet(tmp_path / "late", VETTERS, COLLECTION.with_qrels({}))


def test_an_explanation_says_who_found_and_who_doubts(tmp_path):
    run(tmp_path / "folder")
    rows = explain(tmp_path / "folder", "q003", COLLECTION)
    table = [row for row in run(None).evidence.to_pylist() if row["anchor"] == "q003"]
    assert [row.candidate for row in rows] == [row["candidate"] for row in table]
    assert [row.verdict for row in rows] == [
        "positive"
        if r["sign"] > 0
        else "judged negative"
        if r["grade"] is not None
        else "believed"
        if r["weight"]
        else "doubted"
        for r in table
    ]
    assert explain(run(None).evidence, "q003", COLLECTION) == rows
    doubted = next(row for row in rows if any("relative_margin" in doubt for doubt in row.doubts))
    source = next(row for row in table if row["candidate"] == doubted.candidate)
    entry = next(d for d in source["doubts"] if "relative_margin" in d["part"])
    assert f"{entry['part']}: saw {entry['seen']:.4f}, line {entry['line']:.4f}" in doubted.doubts
    found = source["found"][0]
    assert f"{found['source']} at rank {found['rank'] + 1} with {found['score']:.4f}" in str(doubted)
    assert doubted.text in str(doubted) and "doubted by" in str(doubted)
    with pytest.raises(BadInput, match="unknown id 'nobody'"):
        explain(tmp_path / "folder", "nobody", COLLECTION)


def test_a_model_encodes_once_and_is_named(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel(
            {w: i for i, w in enumerate(["[UNK]", "sea", "sky", "rain", "q003", "d003"])}, unk_token="[UNK]"
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = Encoder(SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu"))
    made = mine(COLLECTION, model=encoder, sources=SOURCES, vetters=VETTERS, cache=tmp_path)
    assert scorer_of(made.evidence) == {"name": encoder.name, "checksum": encoder.checksum, "similarity": "cosine"}
    vectors = [
        encoder.encode(COLLECTION.query_texts(), "query"),
        encoder.encode(COLLECTION.document_texts(), "document"),
    ]
    direct = mine(COLLECTION, query_vectors=vectors[0], corpus_vectors=vectors[1], sources=SOURCES, vetters=VETTERS)
    np.testing.assert_allclose(made.evidence["score"].to_numpy(), direct.evidence["score"].to_numpy(), atol=1e-6)
    stamps = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.npy")}
    again = mine(COLLECTION, model=encoder, sources=SOURCES, vetters=VETTERS, cache=tmp_path)
    assert again.evidence.equals(made.evidence)
    assert len(stamps) == 2 and stamps == {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.npy")}


def test_without_sources_only_what_people_judged_is_written():
    made = mine(COLLECTION, space=SPACE, sources=(), vetters=VETTERS)
    assert made.candidates == 0 and made.rows == len(COLLECTION.qrels["train"]) == made.positives + made.judged


def test_the_run_says_how_its_searches_were_proved(tmp_path):
    sources = (Mined(6), Mined(3, skip=2), Mixture([Mined(4), Random(3)], [0.5, 0.5], 4), Random(3))
    made = run(tmp_path / "out", sources=sources)
    assert list(made.searches) == [str(Mined(6)), str(Mined(3, skip=2)), str(Mined(4))]
    for report in made.searches.values():
        assert report.queries == 50 and 0 <= report.at_once <= 50 and report.survivors_max >= report.survivors_mean > 0
    assert run(None, sources=[Random(3)]).searches == {}


@pytest.mark.parametrize("cache", [True, False])
def test_an_index_is_kept_in_our_own_folders_only(tmp_path, cache, monkeypatch):
    pytest.importorskip("faiss")
    given, ours = tmp_path / "given", tmp_path / "cache"
    given.mkdir()
    for name, vectors in (("q", SPACE.queries), ("d", SPACE.corpus)):
        np.save(given / f"{name}.npy", vectors)
    mapped = {
        f"{side}_vectors": np.load(given / f"{name}.npy", mmap_mode="r")
        for side, name in (("query", "q"), ("corpus", "d"))
    }
    asked = {"space": None, "sources": (Mined(6, search="hnsw"), Fails(Random(3), 2)), "cache": ours if cache else None}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", **mapped, **asked)
    indices = list(tmp_path.rglob("*.faiss"))
    assert [index.parent for index in indices] == [ours if cache else tmp_path / "out.mining"]
    monkeypatch.setattr(ApproximateIndex, "_built", None)  # what goes on does not build it again
    made = run(tmp_path / "out", **mapped, **asked | {"sources": (Mined(6, search="hnsw"), Random(3))})
    assert made.resumed == 26 and [index.exists() for index in indices] == [cache]
    assert sorted(file.name for file in given.iterdir()) == ["d.npy", "q.npy"]
    assert not (tmp_path / "out.mining").exists() and not list((tmp_path / "out").rglob("*.faiss"))


def test_without_a_place_of_ours_no_index_is_kept(tmp_path):
    pytest.importorskip("faiss")
    np.save(tmp_path / "d.npy", SPACE.corpus)
    corpus = np.load(tmp_path / "d.npy", mmap_mode="r")
    run(None, space=replace(SPACE, corpus=corpus), sources=[Mined(6, search="hnsw")])
    assert [file.name for file in tmp_path.iterdir()] == ["d.npy"]


def test_a_folder_to_which_other_anchors_were_added_is_not_gone_on_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "folder", sources=(Mined(6), Fails(Random(3), 2)))
    more = make(["zzz"], ["d000"], 1, score=0.5, source="test", scorer=scorer_of(run(None).evidence))
    Evidence.open(tmp_path / "folder").append(more)
    with pytest.raises(ValueError, match="holds the anchor 'zzz', expected only the anchors of the split 'train'"):
        run(tmp_path / "folder")
