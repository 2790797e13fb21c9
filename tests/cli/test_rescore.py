"""litotes rescore, as a user calls it."""

from __future__ import annotations

import pytest

from litotes.evidence import Evidence


@pytest.fixture(scope="module")
def ranker(tmp_path_factory, model):
    from litotes.data.models import load_ranker

    out = tmp_path_factory.mktemp("ranker") / "model"
    load_ranker(model, "cpu").save_pretrained(str(out))
    return str(out)


def test_a_teacher_scores_all_pairs_and_says_how_often_it_disagrees(litotes, world, ranker):
    litotes("mine", world, "--no-model", "--out", "e")
    said = litotes("rescore", "e", world, "--model", ranker, "--out", "taught", "--json").json()
    made = Evidence.open("taught")
    assert made.scorer["similarity"] == "cross-encoder" and said["checksum"] == made.scorer["checksum"][:12]
    assert said["rows"] == len(made) and made.describe().unscored == 0 and said["scored_by"] == ranker
    assert 0 < said["of_them_at_or_above_their_lowest_positive"] <= said["believed_negatives"]
    assert Evidence.open("e").scorer["similarity"] == "bm25"
    litotes("rescore", "e", world, "--model", ranker)  # in place
    assert Evidence.open("e").scorer == made.scorer
    again = litotes("rescore", "e", world, "--model", ranker, "--json").json()
    assert again["rows_scored_by_an_earlier_call"] == again["rows"]


def test_what_has_no_meaning_is_refused_before_any_work(litotes, world, model, ranker):
    litotes("mine", world, "--no-model", "--out", "e")
    assert (
        "--activation is for cross-encoders"
        in litotes("rescore", "e", world, "--model", model, "--activation", "model", code=2).err
    )
    assert "are for encoders" in litotes("rescore", "e", world, "--model", ranker, "--query-prompt", "q: ", code=2).err
    assert "name the teacher" in litotes("rescore", "e", world, code=2).err
    assert (
        "--kind 'oracle' is not known" in litotes("rescore", "e", world, "--model", "x", "--kind", "oracle", code=2).err
    )
    assert Evidence.open("e").scorer["similarity"] == "bm25"
