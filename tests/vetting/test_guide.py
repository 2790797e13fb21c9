import numpy as np
import pytest
import torch

from litotes.data.encoder import Encoder
from litotes.evidence import doubt_entries
from litotes.ops import keep_under
from litotes.vetting.guide import Guide


@pytest.mark.parametrize("margin, strategy, reference", [(0.0, "absolute", "min"), (0.02, "relative", "mean")])
def test_it_is_keep_under_on_the_guides_cosines(
    bi_encoder, collection, evidence, margin, strategy, reference, tmp_path
):
    part = Guide(bi_encoder, margin, strategy, reference)
    made = part.prepare(collection, tmp_path)(evidence)
    encoder = Encoder(bi_encoder)
    queries = encoder.encode(collection.query_texts(), "query")
    documents = encoder.encode(collection.document_texts(), "document")
    cosine = torch.nn.functional.cosine_similarity(torch.tensor(queries)[:, None], torch.tensor(documents)[None], dim=2)
    query, document = collection.query_rows(evidence["anchor"]), collection.document_rows(evidence["candidate"])
    seen = cosine.numpy()[query, document]
    sign, graded = evidence["sign"].to_numpy(), ~np.isnan(evidence["grade"].to_numpy())
    doubted = np.zeros(len(evidence), bool)
    for q in np.unique(query):
        known = seen[(query == q) & (sign == 1)]
        here = np.flatnonzero((query == q) & (sign == -1) & ~graded)
        if len(known):
            r = torch.tensor([float(getattr(np, reference)(known))])
            doubted[here] = ~keep_under(torch.tensor(seen[here])[None], r, margin, strategy)[0].numpy()
    entries = doubt_entries(made).to_pylist()
    ours = {e["row"]: e for e in entries if e["part"] == str(part)}
    assert sorted(ours) == np.flatnonzero(doubted).tolist() and doubted.any() and not doubted[sign == -1].all()
    np.testing.assert_allclose([e["seen"] for e in ours.values()], seen[list(ours)], atol=1e-6)
    assert all(e["seen"] > e["line"] for e in ours.values())


def test_called_on_a_table_it_encodes_only_what_the_table_names(bi_encoder, collection, evidence):
    one = evidence.slice(0, 20)
    ours, prepared = (
        doubt_entries(vet(one))
        for vet in (lambda t: Guide(bi_encoder)(t, collection), Guide(bi_encoder).prepare(collection))
    )
    assert ours.select(["row", "part"]).equals(prepared.select(["row", "part"])) and len(ours)


def test_vectors_are_kept_in_the_cache(bi_encoder, collection, evidence, tmp_path):
    first = Guide(bi_encoder).prepare(collection, tmp_path)(evidence)
    stored = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.npy")}
    assert len(stored) == 2
    assert Guide(bi_encoder).prepare(collection, tmp_path)(evidence).equals(first)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.npy")} == stored


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("",), "Guide: guide must be"),
        (("m", -1.0), "Guide: margin must be >= 0"),
        (("m", float("nan")), "Guide: margin must be >= 0"),
        (("m", 1.5, "relative"), r"Guide: margin must be in \[0, 1\]"),
        (("m", 0.0, "ratio"), "Guide: strategy must be"),
        (("m", 0.0, "relative", "median"), "Guide: reference must be"),
    ],
)
def test_gates(arguments, message):
    with pytest.raises(ValueError, match=message):
        Guide(*arguments)
