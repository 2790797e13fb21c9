import importlib.util
import time
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import normalise
from litotes.data.wordnet import SPLITS, SYNSETS, load_synsets, load_wordnet, place, relation_table
from litotes.data.wordnet.relations import INVERSE, KINDS, SUSPICIOUS, SYMMETRIC, relation_names

ROOT = Path(__file__).parents[2]
DEBIAN = Path("/usr/share/wordnet")


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("build_wordnet", ROOT / "scripts" / "build_wordnet.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def everything():
    return load_wordnet("all", field="lemmas")


@pytest.fixture(scope="module")
def texts(everything):
    table = load_synsets().table
    return {row["key"]: row for row in table.select(["key", "definition", "lemmas", "examples"]).to_pylist()}


def positives_of(collection):
    found = defaultdict(set)
    for table in collection.qrels.values():
        for row in table.to_pylist():
            found[row["query"]].add(row["document"])
    return found


def test_the_script_reads_a_line_of_every_kind(script):
    line = (
        "00002312 00 a 02 abaxial(ip) 0 dor_sal 4 003 ;c 06037666 n 0000 ~ 00000001 a 0000 ! 00002527 a 0101"
        ' | facing (as "in" x) away;  "a surface; it"; "b"  \n'
    )
    synset = script.parse(line, "a")
    assert synset.key == "a00002312" and synset.lemmas == ["abaxial", "dor sal"]
    assert synset.definition == 'facing (as "in" x) away' and synset.examples == ["a surface; it", "b"]
    assert synset.pointers == [("topic_domain", "n06037666"), ("antonym", "a00002527")]  # the inverse is left out


@pytest.mark.parametrize(
    "gloss, definition, examples",
    [
        ("an act", "an act", []),
        ('push :"He knocked"', "push", ["He knocked"]),
        ('steps (as in "make strides"); "big strides"', 'steps (as in "make strides")', ["big strides"]),
        ('(of a ball) "out of play is dead"', "(of a ball)", ["out of play is dead"]),
        ('move; "she rose"; "to great', "move", ["she rose"]),
    ],
)
def test_a_gloss_ends_at_its_first_example(script, gloss, definition, examples):
    assert script.split_gloss(gloss) == (definition, examples)


@pytest.mark.skipif(not DEBIAN.exists(), reason="WordNet's files are not installed")
def test_a_file_that_is_not_wordnet_3_is_refused(script, tmp_path):
    (tmp_path / "data.noun").write_bytes((DEBIAN / "data.noun").read_bytes()[:-1])
    with pytest.raises(SystemExit, match=r"data\.noun: SHA-256 is"):
        script.read(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN.exists(), reason="WordNet's files are not installed")
def test_the_shipped_archive_is_what_the_script_builds(script, tmp_path):
    synsets = sorted(script.read(DEBIAN), key=lambda synset: place(synset.key))
    shipped = load_synsets()
    assert script.synset_table(synsets).to_pylist() == shipped.table.to_pylist()
    built = script.relation_table(synsets)
    for name in ("source", "target", "kind"):
        assert (built[name].to_numpy() == getattr(shipped, name)).all()
    for run in "ab":
        script.write(script.synset_table(synsets), tmp_path / run)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert script.licence(DEBIAN / "data.noun") == (files("litotes.data.wordnet") / "LICENSE").read_text()


def test_known_entries_of_wordnet_are_there(texts):
    assert len(texts) == SYNSETS
    dog = texts["n02084071"]
    assert dog["lemmas"] == ["dog", "domestic dog", "Canis familiaris"] and dog["examples"] == [
        "the dog barked all night"
    ]
    assert dog["definition"].startswith("a member of the genus Canis")
    assert texts["n00001740"]["lemmas"] == ["entity"]
    assert all(row["definition"].strip() for row in texts.values())
    assert not any(lemma.endswith(")") or "_" in lemma for row in texts.values() for lemma in row["lemmas"])


def test_known_relations_of_wordnet_are_there():
    table = relation_table(load_synsets())
    rows = set(zip(*(table[name].to_pylist() for name in ("source", "target", "relation")), strict=True))
    assert ("n02084071", "n02083346", "hypernym") in rows  # dog -> canine
    assert ("a00001740", "a00002098", "antonym") in rows or ("a00002098", "a00001740", "antonym") in rows
    assert len(rows) == len(table)


def test_a_suspicious_relation_is_read_from_both_ends(texts):
    assert set(SUSPICIOUS) <= set(KINDS) and set(INVERSE) == set(SUSPICIOUS) - SYMMETRIC
    collection = load_wordnet(4000, field="lemmas")
    related = {tuple(row.values()) for row in collection.related.to_pylist()}
    assert related and {relation for *_, relation in related} <= set(relation_names())
    head = {
        text: key
        for key, text in zip(collection.corpus["id"].to_pylist(), collection.corpus["text"].to_pylist(), strict=True)
    }
    standing = lambda query: head[", ".join(texts[query]["lemmas"])]
    back = {name: name for name in SYMMETRIC} | INVERSE | {there: here for here, there in INVERSE.items()}
    own = {key: standing(key) for key in collection.queries["id"].to_pylist()}
    for query, document, relation in sorted(related)[:500]:
        behind = [key for key, at in own.items() if at == document]
        assert any((key, own[query], back[relation]) in related or own[query] == own[key] for key in behind)


@pytest.mark.parametrize("field", ["text", "lemmas"])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_collection_is_its_definition(field, seed):
    """A slow twin over the synsets: documents once each, shared definitions share positives and suspects."""
    synsets = load_synsets(3000, seed)
    rows = synsets.table.to_pylist()
    limits = {"train": 1000, "test": 50}
    collection = load_wordnet(3000, field, seed=seed, **limits)
    texts = [
        ", ".join(r["lemmas"]) + (". " + "; ".join(r["examples"]) if field == "text" and r["examples"] else "")
        for r in rows
    ]
    document = [rows[texts.index(text)]["key"] for text in texts]
    twins = defaultdict(list)
    for i, row in enumerate(rows):
        twins[normalise(row["definition"])].append(i)
    split, taken, expected, kept = {}, defaultdict(int), defaultdict(set), set()
    for i, row in enumerate(rows):
        share = place(rows[twins[normalise(row["definition"])][0]]["key"], seed) % 100
        split[i] = next(name for name, (low, high) in SPLITS.items() if low <= share < high)
        taken[split[i]] += 1
        if taken[split[i]] <= limits.get(split[i], len(rows)):
            kept.add(i)
            expected[split[i]] |= {(row["key"], document[j]) for j in twins[normalise(row["definition"])]}
    assert collection.queries["id"].to_pylist() == [row["key"] for i, row in enumerate(rows) if i in kept]
    assert dict(zip(collection.corpus["id"].to_pylist(), collection.corpus["text"].to_pylist(), strict=True)) == dict(
        zip(document, texts, strict=True)
    )
    for name, table in collection.qrels.items():
        assert set(zip(table["query"].to_pylist(), table["document"].to_pylist(), strict=True)) == expected[name]
        assert len(table) == len(expected[name]) and set(table["grade"].to_pylist()) <= {1.0}
    suspects = set()
    for source, target, kind in zip(
        synsets.source.tolist(), synsets.target.tolist(), synsets.kind.tolist(), strict=True
    ):
        name = KINDS[kind]
        if name in SUSPICIOUS:
            for here, there, relation in ((source, target, name), (target, source, INVERSE.get(name, name))):
                for twin in twins[normalise(rows[here]["definition"])]:
                    if twin in kept and (rows[twin]["key"], document[there]) not in expected[split[twin]]:
                        suspects.add((rows[twin]["key"], document[there], relation))
    found = [tuple(row.values()) for row in collection.related.to_pylist()]
    assert set(found) == suspects and len(found) == len(suspects)


def test_synsets_that_share_a_word_are_related_and_no_positive_is_suspicious(texts):
    collection = load_wordnet(8000)
    rows = collection.related.to_pylist()
    shared = [row for row in rows if row["relation"] == "shared_lemma"]
    assert len(shared) > 500
    for row in shared[:300]:
        words = [{lemma.casefold() for lemma in texts[row[side]]["lemmas"]} for side in ("query", "document")]
        merged = texts[row["query"]]["definition"]
        assert words[0] & words[1] or sum(normalise(t["definition"]) == normalise(merged) for t in texts.values()) > 1
    positives = positives_of(collection)
    assert not any(row["document"] in positives[row["query"]] for row in rows)


def test_queries_of_one_text_share_their_positives_and_their_split(everything):
    positives, split = positives_of(everything), {}
    for name, table in everything.qrels.items():
        split.update(dict.fromkeys(table["query"].to_pylist(), name))
    same = defaultdict(list)
    for row in everything.queries.select(["id", "text"]).to_pylist():
        same[normalise(row["text"])].append(row["id"])
    repeated = [ids for ids in same.values() if len(ids) > 1]
    assert len(repeated) > 500
    assert all(
        len({frozenset(positives[i]) for i in ids}) == 1 and len({split[i] for i in ids}) == 1 for ids in repeated
    )


def test_splits_are_80_5_15_and_depend_on_neither_size_nor_field(everything):
    large = {name: set(table["query"].to_pylist()) for name, table in everything.qrels.items()}
    assert sum(map(len, large.values())) == SYNSETS
    for name, share in (("train", 0.80), ("dev", 0.05), ("test", 0.15)):
        assert len(large[name]) / SYNSETS == pytest.approx(share, abs=0.005)
    for name, table in load_wordnet(2000, field="text").qrels.items():
        assert set(table["query"].to_pylist()) <= large[name]


@given(st.integers(2, 1200), st.integers(2, 1200), st.sampled_from(["text", "lemmas"]))
def test_a_smaller_size_lies_inside_a_larger_one(one, other, field):
    small, large = (load_wordnet(size, field) for size in sorted([one, other]))
    for side in ("queries", "corpus"):
        rows = getattr(small, side)
        assert getattr(large, side).slice(0, len(rows)).equals(rows)
    inside, outside = ({tuple(row.values()) for row in c.related.to_pylist()} for c in (small, large))
    assert inside <= outside


def test_a_seed_draws_another_subset_and_the_same_one_again():
    first, again, other = load_wordnet(500, seed=1), load_wordnet(500, seed=1), load_wordnet(500, seed=2)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert len(set(first.queries["id"].to_pylist()) & set(other.queries["id"].to_pylist())) < 50


def test_limits_take_the_first_queries_of_a_split_and_leave_the_corpus_whole():
    whole, cut = load_wordnet(2000), load_wordnet(2000, train=100, test=7)
    assert cut.corpus.equals(whole.corpus)
    for name, limit in (("train", 100), ("test", 7), ("dev", None)):
        rows = whole.query_rows(whole.qrels[name]["query"])
        assert np.unique(cut.qrels[name]["query"].to_numpy()).tolist() == sorted(
            whole.queries["id"].take(np.unique(rows)[:limit]).to_pylist()
        )
    assert set(cut.related["query"].to_pylist()) <= set(cut.queries["id"].to_pylist())


def test_group_and_taxonomy_are_part_of_speech_and_lexicographer_file(everything):
    row = everything.queries.slice(everything.query_rows(["n02084071"])[0], 1).to_pylist()[0]
    assert (row["group"], row["taxonomy"]) == ("noun", "noun/animal")
    files_there = set(everything.queries["taxonomy"].to_pylist())
    assert len(files_there) == 45 and set(everything.queries["group"].to_pylist()) == {"noun", "verb", "adj", "adv"}
    for key, kind in zip(everything.queries["id"].to_pylist(), everything.queries["group"].to_pylist(), strict=True):
        assert key[0] == {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}[kind]


def test_ten_thousand_synsets_load_within_a_second():
    load_wordnet(100)
    began = time.perf_counter()
    load_wordnet(10_000)
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"size": 1}, r"size must be in \[2, 117659\] or 'all', got 1"),
        ({"size": 117_660}, "got 117660"),
        ({"size": "most"}, "got 'most'"),
        ({"field": "gloss"}, "field must be 'text' or 'lemmas', got 'gloss'"),
        ({"train": 0}, "train must be >= 1 or None, got 0"),
        ({"test": float("nan")}, "test must be >= 1 or None, got nan"),
    ],
)
def test_a_bad_argument_is_named_with_its_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_wordnet(**arguments)
