"""rescore: a teacher's scores for every pair, whatever was there before, and wherever a run was cut."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from litotes.assemble import Lookup, assemble
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.pair_scorer import PairScorer
from litotes.evidence import Evidence, doubt, make
from litotes.mining import rescore
from litotes.mining import teacher as module
from litotes.search.space import Space
from litotes.vetting.relative_margin import RelativeMargin

WORDS = ["wing", "lift", "drag", "flow", "heat", "plate", "shock", "wave"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tiny_bert):
    return tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def ranker(tmp_path_factory, encoder):
    from litotes.data.models import load_ranker

    out = tmp_path_factory.mktemp("ranker") / "model"
    load_ranker(encoder, "cpu", seed=3).save_pretrained(str(out))
    return str(out)


@pytest.fixture(scope="module")
def world():
    """60 queries, 90 documents; 1 positive and 5 negatives each, scored by nobody; some are doubted."""
    queries = [f"{WORDS[i % 8]} {WORDS[i % 5]} {i}" for i in range(60)]
    documents = [" ".join(WORDS[(i * j + i) % 8] for j in range(1 + i % 6)) + f" {i}" for i in range(90)]
    tables = [
        pa.table({"id": [f"{side}{i:02}" for i in range(len(texts))], "text": texts})
        for side, texts in (("q", queries), ("d", documents))
    ]
    pairs = [(i, (i + 7 * k) % 90, 1 if k == 0 else -1) for i in range(60) for k in range(6)]
    evidence = make(
        [f"q{i:02}" for i, _, _ in pairs], [f"d{j:02}" for _, j, _ in pairs], [s for _, _, s in pairs], source="made"
    )
    doubted = np.array([s < 0 and i % 3 == 0 for i, _, s in pairs])
    return Collection("wings", *tables), doubt(evidence, doubted, 0.25, "zeal")


def expected(world, table, ranker):
    from sentence_transformers import CrossEncoder
    from torch import nn

    texts = world[0].queries["text"].to_pylist(), world[0].document_texts()
    rows = world[0].query_rows(table["anchor"]), world[0].document_rows(table["candidate"])
    pairs = [(texts[0][q], texts[1][d]) for q, d in zip(*rows, strict=True)]
    return CrossEncoder(ranker, device="cpu").predict(pairs, activation_fn=nn.Identity(), batch_size=1)


@pytest.fixture(params=["e", "e.parquet"])
def store(request, world, tmp_path):
    return Evidence.of(tmp_path / request.param, world[1], fingerprints={"collection": world[0].fingerprint()})


def rest(table):
    """All but the scores, by pair."""
    table = table.take(pc.sort_indices(table, sort_keys=[("anchor", "ascending"), ("candidate", "ascending")]))
    return table.drop_columns(["score"]).replace_schema_metadata(None)


def test_every_score_is_the_teachers_and_nothing_else_changes(world, store, ranker, tmp_path):
    before = store.read()
    done = rescore(store, world[0], PairScorer(ranker, dtype="float32"))
    made = Evidence.open(store.path)
    table = made.read()
    assert made.scorer == done.scorer and done.scorer["similarity"] == "cross-encoder" and done.rows == 360
    np.testing.assert_allclose(table["score"].to_numpy(), expected(world, table, ranker), atol=1e-5)
    assert rest(table).equals(rest(before)) and made.fingerprints["model"] == done.scorer["checksum"]
    assert made.fingerprints["collection"] == world[0].fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]
    assert made.is_file or len(made.parts) == 1
    RelativeMargin(0.05)(table)  # positives have scores now: a threshold vetter takes it
    # the counts, by hand
    rows = table.to_pylist()
    line = {row["anchor"]: row["score"] for row in rows if row["sign"] > 0}
    believed = [row for row in rows if row["sign"] < 0 and row["weight"] > 0]
    assert done.believed == len(believed)
    assert done.outranked == sum(row["score"] >= line[row["anchor"]] for row in believed) > 0


def test_what_is_scored_by_this_teacher_is_left_as_it_is(world, store, ranker, monkeypatch):
    teacher = PairScorer(ranker)
    first = rescore(store, world[0], teacher)
    monkeypatch.setattr(PairScorer, "__call__", lambda *a: pytest.fail("it was scored again"))
    again = rescore(store.path, world[0], teacher)
    assert again.resumed == again.rows == 360 and (again.outranked, again.believed) == (first.outranked, first.believed)


@pytest.mark.parametrize("out", ["new", "new.parquet"])
def test_a_new_place_leaves_the_old_one_alone_and_is_not_made_twice(world, store, ranker, tmp_path, out):
    before, teacher = store.read(), PairScorer(ranker)
    done = rescore(store, world[0], teacher, out=tmp_path / out)
    assert Evidence.open(store.path).read().equals(before) and store.scorer is None
    assert Evidence.open(tmp_path / out).scorer == teacher.about == done.evidence.scorer
    assert rescore(store, world[0], teacher, out=tmp_path / out).resumed == 360
    other = PairScorer(ranker, activation="model")
    with pytest.raises(FileExistsError, match="no result of these arguments"):
        rescore(store, world[0], other, out=tmp_path / out)
    sigmoid = rescore(store, world[0], other, out=tmp_path / "sigmoid").evidence.read()["score"].to_numpy()
    assert ((sigmoid > 0) & (sigmoid < 1)).all() and other.about["checksum"] != teacher.about["checksum"]


def test_a_run_that_was_stopped_goes_on_to_the_same_scores(world, store, ranker, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 64)
    teacher = PairScorer(ranker)
    whole = rescore(store, world[0], teacher, out=tmp_path / "whole").evidence.read()
    before, scored, real = store.read(), [], PairScorer.__call__

    def torn(self, queries, documents):
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(len(queries))
        return real(self, queries, documents)

    monkeypatch.setattr(PairScorer, "__call__", torn)
    with pytest.raises(KeyboardInterrupt):
        rescore(store, world[0], teacher)
    assert Evidence.open(store.path).read().equals(before)
    with pytest.raises(ValueError, match="unfinished run with another teacher"):
        rescore(store, world[0], PairScorer(ranker, activation="model"))
    monkeypatch.setattr(PairScorer, "__call__", lambda self, q, d: (scored.append(len(q)), real(self, q, d))[1])
    done = rescore(Evidence.open(store.path), world[0], teacher)
    assert done.resumed == sum(scored[:3]) and sum(scored) == 360
    assert done.evidence.read().equals(whole)


def test_an_encoder_teaches_too_and_only_texts_of_the_evidence_are_encoded(world, store, encoder, tmp_path):
    collection, _ = world
    teacher = Encoder(encoder, dtype="float32")
    done = rescore(store, collection, teacher)
    table = done.evidence.read()
    space = Space(
        teacher.encode(collection.query_texts(), "query"), teacher.encode(collection.document_texts(), "document")
    )
    pairs = collection.query_rows(table["anchor"]), collection.document_rows(table["candidate"])
    np.testing.assert_allclose(table["score"].to_numpy(), space.pairs(*pairs), atol=1e-6)
    assert done.scorer == {"name": teacher.name, "checksum": teacher.checksum, "similarity": "cosine"}
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]


def test_the_kind_of_a_model_is_told_by_its_configuration(world, store, ranker, encoder, tmp_path):
    assert module.is_cross_encoder(ranker) and not module.is_cross_encoder(encoder)
    by_name = rescore(store, world[0], ranker, out=tmp_path / "a")
    assert by_name.scorer["similarity"] == "cross-encoder" and by_name.scorer["name"] == ranker
    assert rescore(store, world[0], encoder, out=tmp_path / "b").scorer["similarity"] == "cosine"
    with pytest.raises(ValueError, match="kind must be"):
        rescore(store, world[0], encoder, kind="oracle")


def test_the_scores_reach_a_batch_as_the_teacher(world, store, ranker):
    done = rescore(store, world[0], ranker)
    lookup = Lookup.of(done.evidence.tables())
    batch = assemble(["q00", "q01"], ["d00", "d01", "d07", "d50"], lookup)
    said = {(row["anchor"], row["candidate"]): row["score"] for row in done.evidence.read().to_pylist()}
    for i, anchor in enumerate(("q00", "q01")):
        for j, candidate in enumerate(("d00", "d01", "d07", "d50")):
            known = said.get((anchor, candidate))
            assert np.isnan(batch.teacher[i, j]) if known is None else batch.teacher[i, j] == np.float32(known)


def test_evidence_without_a_row_is_scored_in_no_time(world, ranker, tmp_path):
    empty = Evidence.create(tmp_path / "empty")
    done = rescore(empty, world[0], ranker)
    assert (done.rows, done.outranked, done.believed) == (0, 0, 0)


def test_a_score_that_is_no_number_is_refused(ranker):
    import torch

    scorer = PairScorer(ranker)
    with torch.no_grad():
        scorer.model[0].model.classifier.weight[:] = torch.nan
    with pytest.raises(ValueError, match="for the pair"):
        scorer(["a"], ["b"])


@pytest.mark.parametrize(
    "name, value", [("activation", "sigmoid"), ("dtype", "int8"), ("batch_size", 0), ("max_length", 0)]
)
def test_a_bad_argument_is_named(ranker, name, value):
    with pytest.raises(ValueError, match=f"PairScorer: {name} must be"):
        PairScorer(ranker, **{name: value})
