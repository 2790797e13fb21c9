import numpy as np
import pytest

from litotes.evidence import doubt_entries
from litotes.vetting.cross_encoder import CrossEncoder


def test_it_doubts_what_the_model_scores_above_the_lowest_positive(cross_encoder, collection, evidence):
    from sentence_transformers import CrossEncoder as Model

    part = CrossEncoder(cross_encoder, margin=0.01)
    entries = [e for e in doubt_entries(part(evidence, collection)).to_pylist() if e["part"] == str(part)]
    model, texts = Model(cross_encoder), collection.document_texts()
    rows = evidence.to_pylist()
    asked = dict(zip(collection.queries["id"].to_pylist(), collection.query_texts(), strict=True))
    score = model.predict([(asked[row["anchor"]], texts[int(row["candidate"][1:])]) for row in rows])
    expected = {}
    for i, row in enumerate(rows):
        known = [s for s, p in zip(score, rows, strict=True) if p["anchor"] == row["anchor"] and p["sign"] == 1]
        if row["sign"] == -1 and row["grade"] is None and known and score[i] > min(known) - 0.01:
            expected[i] = (score[i], min(known) - 0.01)
    assert [e["row"] for e in entries] == list(expected) and 5 < len(expected) < 80
    np.testing.assert_allclose([(e["seen"], e["line"]) for e in entries], list(expected.values()), atol=1e-5)


def test_a_model_with_two_outputs_is_refused(two_headed, collection, evidence):
    with pytest.raises(ValueError, match="CrossEncoder: model must have one output, got 2"):
        CrossEncoder(two_headed)(evidence, collection)


@pytest.mark.parametrize(
    "arguments, message", [((" ",), "model must be"), (("m", -1.0), "margin"), (("m", 0.0, "x"), "strategy")]
)
def test_gates(arguments, message):
    with pytest.raises(ValueError, match=f"CrossEncoder: {message}"):
        CrossEncoder(*arguments)
