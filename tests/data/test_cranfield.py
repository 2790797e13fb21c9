"""A real set of documents, queries and graded judgements, with two real defects."""

from pathlib import Path

import numpy as np
import pytest

from litotes.data.anchors import Anchors
from litotes.data.readers import read_collection
from litotes.data.writers import write_beir
from litotes.errors import BadInput

CRANFIELD = Path(__file__).parents[3] / "shared" / "data" / "cranfield"
pytestmark = pytest.mark.skipif(not CRANFIELD.exists(), reason="Cranfield does not lie beside the repository")


def test_its_first_empty_document_stops_the_reader():
    with pytest.raises(
        BadInput, match=r"corpus\.jsonl:471: field 'text': found empty text '', expected text that is not"
    ):
        read_collection(CRANFIELD)


def test_two_of_its_1400_documents_are_empty_and_one_of_them_is_judged():
    read = read_collection(CRANFIELD, skip_bad=True)
    collection, bad = read.collection, read.bad
    assert (CRANFIELD / "corpus.jsonl").read_bytes().count(b"\n") == 1400
    assert [(fault.file.name, fault.line, fault.field) for fault in bad.first] == [
        ("corpus.jsonl", 471, "text"),
        ("corpus.jsonl", 995, "text"),
        ("test.tsv", 866, "corpus-id"),
    ]
    assert bad.total == 3 and (len(collection.corpus), len(collection.queries)) == (1398, 225)
    grade = collection.judgements("test").grade
    assert dict(zip(*(part.tolist() for part in np.unique(grade, return_counts=True)), strict=True)) == {
        1.0: 363, 2.0: 733, 3.0: 387, 4.0: 128,
    }  # fmt: skip
    anchors = Anchors.of(collection, "test")
    assert len(anchors) == 225 and len(anchors.positives.items) == 1611 and len(anchors.judged.items) == 0


def test_it_survives_writing_and_reading(tmp_path):
    collection = read_collection(CRANFIELD, skip_bad=True).collection
    assert write_beir(collection, tmp_path / "out") == {}
    assert read_collection(tmp_path / "out").collection.fingerprint() == collection.fingerprint()
