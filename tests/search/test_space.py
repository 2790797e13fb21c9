"""A space gives the definition's scores, for pairs and for searches alike."""

import numpy as np
import pytest

from litotes.errors import BadInput
from litotes.search.definition import SIMILARITIES, defined
from litotes.search.mask import Mask
from litotes.search.space import Space

NOISE = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_pairs_and_search_speak_of_the_same_scores(similarity):
    space = Space(NOISE[:10], NOISE[10:], similarity)
    rows = np.array([7, 7, 0])
    ids, scores = space.top_k(rows, 30)
    pairs = space.pairs(np.repeat(rows, 30), ids.ravel())
    assert pairs.tobytes() == scores.tobytes() and (np.diff(scores, axis=1) <= 0).all()
    assert pairs.tobytes() == defined(NOISE[np.repeat(rows, 30)], NOISE[10:][ids.ravel()], similarity).tobytes()
    assert ids[0].tolist() == ids[1].tolist() and sorted(ids[2].tolist()) == list(range(30))


def test_the_mask_follows_the_asked_queries_not_their_rows():
    space = Space(NOISE[:10], NOISE[10:])
    first = space.top_k(np.array([3]), 1)[0][0, 0]
    mask = Mask.of(2, 30, exclude=(np.array([0, 0, 1], np.int64), np.array([first], np.int32)))
    assert (space.top_k(np.array([3, 3]), 1, mask)[0][:, 0] == first).tolist() == [True, False]


def test_each_query_may_ask_for_its_own_number():
    space = Space(NOISE[:10], NOISE[10:])
    whole, _ = space.top_k(np.arange(3), 5)
    ids, scores = space.top_k(np.arange(3), np.array([5, 0, 2]))
    assert ids.tolist() == [whole[0].tolist(), [-1] * 5, [*whole[2, :2].tolist(), -1, -1, -1]]
    assert (scores[1] == -np.inf).all()


def test_a_memory_mapped_space_answers_alike(tmp_path):
    np.save(tmp_path / "corpus.npy", NOISE[10:])
    mapped = Space(NOISE[:10], np.load(tmp_path / "corpus.npy", mmap_mode="r"))
    whole = Space(NOISE[:10], NOISE[10:])
    for one, other in zip(mapped.top_k(np.arange(10), 5), whole.top_k(np.arange(10), 5), strict=True):
        assert one.tobytes() == other.tobytes()


def test_another_folder_is_the_same_space_and_other_documents_are_another(tmp_path):
    space = Space(NOISE[:10], NOISE[10:], "dot", "noise", "abc")
    known = space.corpus_norms
    made = space.kept_in(tmp_path)
    assert (made.folder, space.folder) == (tmp_path, None) and made.corpus_norms is known
    assert made.corpus is space.corpus and (made.name, made.checksum) == ("noise", "abc")
    other = space.over(NOISE[20:])
    assert other.similarity == "dot" and other.checksum == "" and other.queries is space.queries
    for one, wanted in zip(
        other.top_k(np.arange(3), 4), Space(NOISE[:3], NOISE[20:], "dot").top_k(np.arange(3), 4), strict=True
    ):
        assert one.tobytes() == wanted.tobytes()
    with pytest.raises(ValueError, match="16 dimensions, the corpus has 8"):
        space.over(NOISE[:, :8].copy())


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="'corpus': found NaN or infinity in row 1"):
        Space(NOISE, np.float32([[1] * 16, [np.nan] * 16]))
    with pytest.raises(ValueError, match="similarity must be 'cosine', 'dot' or 'l2', got 'manhattan'"):
        Space(NOISE, NOISE, "manhattan")
    with pytest.raises(ValueError, match="16 dimensions, the corpus has 8"):
        Space(NOISE, NOISE[:, :8].copy())
    space = Space(NOISE, NOISE)
    with pytest.raises(ValueError, match=r"document_rows must be in \[0, 40\), got -1 to 3"):
        space.pairs(np.array([0, 0]), np.array([-1, 3]))
    with pytest.raises(ValueError, match="2 query rows, but 1 document rows"):
        space.pairs(np.array([0, 0]), np.array([3]))
    with pytest.raises(ValueError, match="query_rows must be whole numbers"):
        space.top_k(np.array([0.5]), 1)
