"""litotes vet, as a user calls it."""

from __future__ import annotations

import pytest

from litotes.evidence import Evidence

MARGIN, WINDOW = "relative_margin(margin=0.9, reference=min)", "score_window(low=None, high=0.5)"


@pytest.fixture(params=["e", "e.parquet"])
def mined(request, litotes, world):
    litotes("mine", world, "--no-model", "--vetter", MARGIN, "--out", request.param)
    return request.param


def test_a_vetter_doubts_in_place_and_undoing_it_gives_back_what_was_there(litotes, world, mined):
    before = Evidence.open(mined).read()
    said = litotes("vet", mined, "--vetter", "score_window(high=0.5)", "--json").json()
    assert said["doubted_by"] == dict(Evidence.open(mined).describe().parts) and said["doubted_by"][WINDOW] > 0
    assert said["believed_negatives"] < said["negatives"] and said["found_by"]["qrels"] == 10
    litotes("vet", mined, "--undo", WINDOW)
    assert Evidence.open(mined).read().equals(before)
    both = ("--vetter", "score_window(high=0.5)", "--vetter", "same_text")
    said = litotes("vet", mined, world, *both).out  # who found nothing to doubt says so
    assert WINDOW in said and "   0  doubted by same_text(" in said


@pytest.mark.parametrize("out", ["copy", "copy.parquet"])
def test_a_copy_is_changed_and_the_evidence_is_not(litotes, mined, out):
    before = Evidence.open(mined).read()
    litotes("vet", mined, "--vetter", "score_window(high=0.5)", "--undo", MARGIN, "--out", out)
    assert Evidence.open(mined).read().equals(before)
    copy = Evidence.open(out)
    assert set(copy.describe().parts) == {WINDOW} and copy.fingerprints == Evidence.open(mined).fingerprints
    refused = litotes("vet", mined, "--undo", MARGIN, "--out", out, code=2)
    assert f"{out} exists" in refused.err


def test_a_failing_vetter_leaves_no_copy_and_no_change(litotes, world, mined, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for wrong, message in (
        (("--vetter", "same_group(column=page)"), "no column 'page'"),
        (("--vetter", "guide(guide='nobody/nothing')"), "cannot load the model 'nobody/nothing'"),
        (("--vetter", "same_txt"), "did you mean same_text"),
        (("--undo", "relative_margin(margin=0.8, reference=min)"), f"did you mean {MARGIN}"),
        (("--truth",), "says nothing of what is suspicious"),
        (("--explain", "nobody"), "no query has this id or this text"),
    ):
        refused = litotes("vet", mined, world, *wrong, "--out", "copy", code=2)
        assert message in refused.err and not refused.out
    assert sorted(tmp_path.rglob("*")) == before


def test_an_anchor_is_explained_by_its_id_and_by_its_text(litotes, world, mined):
    by_id = litotes("vet", mined, world, "--explain", "q3").out
    text = by_id.splitlines()[0].removeprefix("q3  ")
    assert litotes("vet", mined, world, "--explain", f" {text.upper()}  ").out == by_id
    assert "positive" in by_id and "found by bm25 at rank 1" in by_id
    rows = litotes("vet", mined, world, "--explain", "q3", "--json").json()
    assert [row["candidate"] for row in rows if row["verdict"] == "positive"] == ["d3"]
    table = Evidence.open(mined).of_anchor("q3").to_pylist()
    assert [(row["candidate"], row["weight"]) for row in rows] == [(r["candidate"], r["weight"]) for r in table]
    needs = litotes("vet", mined, "--explain", "q3", code=2)
    assert "need the collection" in needs.err


def test_another_collection_is_remarked(litotes, world, mined):
    assert not litotes("vet", mined, world).err
    with open(world / "corpus.jsonl", "a") as file:
        file.write('{"_id": "new", "text": "a new one"}\n')
    assert "was made from another collection" in litotes("vet", mined, world).err


def test_vetting_is_scored_on_what_wordnet_knows(litotes):
    litotes("mine", "wordnet:300", "--split", "train", "--no-model", "--depth", 20, "--out", "e")
    said = litotes("vet", "e", "wordnet:300", "--truth", "--json").json()
    negatives = said["negatives"]
    base, left = said["suspicious_among_all_negatives"], said["suspicious_among_the_believed"]
    assert base["total"] == negatives and left["total"] == said["believed_negatives"] < negatives
    hits = said["recall:_rejected_among_the_suspicious"]
    assert hits["total"] == base["hits"] == left["hits"] + hits["hits"]
    assert "precision: suspicious among the rejected" in litotes("vet", "e", "wordnet:300", "--truth").out
