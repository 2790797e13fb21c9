import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import normalise
from litotes.evidence import check
from litotes.sources.structured.literal_match import literal_match


def tables(names, texts, aliases=None):
    labels = pa.table({"id": [f"l{i}" for i in range(len(names))], "text": pa.array(names, pa.string())})
    if aliases is not None:
        labels = labels.append_column("aliases", pa.array(aliases, pa.list_(pa.string())))
    return pa.table({"id": [f"t{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string())}), labels


def matched(names, texts, aliases=None, **settings):
    found = literal_match(*tables(names, texts, aliases), **settings)
    check(found)
    pairs = list(zip(found["anchor"].to_pylist(), found["candidate"].to_pylist(), strict=True))
    assert pairs == sorted(set(pairs), key=lambda p: (int(p[0][1:]), int(p[1][1:])))
    return {(int(a[1:]), int(c[1:])) for a, c in pairs}


def slowly(names, texts, aliases, longest_only):
    """Every place of every name, then those inside longer ones away."""
    out = set()
    for t, text in enumerate(texts):
        words = re.findall(r"\w+|[^\w\s]", normalise(text))
        spans = []
        for label, (name, others) in enumerate(zip(names, aliases, strict=True)):
            for one in [name, *others]:
                wanted = re.findall(r"\w+|[^\w\s]", normalise(one))
                for i in range(len(words) - len(wanted) + 1):
                    if wanted and words[i : i + len(wanted)] == wanted:
                        spans.append((i, i + len(wanted), label))
        for i, j, label in spans:
            inside = any(a <= i and j <= b and b - a > j - i for a, b, _ in spans)
            if not (longest_only and inside):
                out.add((label, t))
    return out


words = st.lists(st.sampled_from(["a", "b", "A", "c+", "\u00e9"]), min_size=1, max_size=4).map(" ".join)
texts = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "+", "C+", "ab"]), min_size=1, max_size=9).map(" ".join), max_size=4
)


@given(st.lists(words, max_size=5), texts, st.data(), st.booleans())
def test_it_finds_what_trying_every_name_at_every_word_finds(names, texts, data, longest_only):
    aliases = [data.draw(st.lists(words, max_size=2)) for _ in names]
    assert matched(names, texts, aliases, longest_only=longest_only) == slowly(names, texts, aliases, longest_only)


def test_whole_words_and_the_longer_name_wins():
    names = ["r", "machine learning", "learning", "engineer"]
    texts = ["good for it", "Machine Learning engineer", "learning machine learning", "R, and learning"]
    assert matched(names, texts) == {(1, 1), (3, 1), (1, 2), (2, 2), (0, 3), (2, 3)}
    assert matched(["machine", "machine learning", "learn"], ["machine learning machine"]) == {(0, 0), (1, 0)}
    assert matched(["machine", "machine learning"], ["machine learning"]) == {(1, 0)}
    assert matched(names, texts, longest_only=False) - matched(names, texts) == {(2, 1)}


def test_signs_are_words_and_the_case_is_folded():
    assert matched(["c", "C++", "stra\u00dfe"], ["C++ and C#", "STRASSE", "abc"]) == {(0, 0), (1, 0), (2, 1)}


def test_overlapping_names_both_count_and_so_do_two_labels_of_one_name():
    assert matched(["data base", "base line", "Base Line"], ["data base line"]) == {(0, 0), (1, 0), (2, 0)}


def test_short_and_blocked_names_are_left_out_aliases_are_names_too():
    names, texts, aliases = ["go", "word"], ["go word processing"], [["golang"], ["word processing"]]
    assert matched(names, texts, aliases, min_length=3, block=["Word"]) == {(1, 0)}
    assert matched(names, ["Golang"], aliases, min_length=3) == {(0, 0)}
    assert matched(names, texts) == {(0, 0), (1, 0)}


def test_it_says_who_found_and_is_positive_evidence():
    found = literal_match(*tables(["a"], ["a b"]))
    assert found["sign"].to_pylist() == [1] and found["found"].to_pylist()[0][0]["source"] == "literal"
    assert len(literal_match(*tables([], ["a"]))) == len(literal_match(*tables(["a"], []))) == 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="min_length must be >= 1, got 0"):
        literal_match(*tables(["a"], ["a"]), min_length=0)
    with pytest.raises(ValueError, match=r"labels must have a column 'text', got \['id'\]"):
        literal_match(tables(["a"], ["a"])[0], pa.table({"id": ["a"]}))


def test_nested_names_cost_no_more_than_their_letters():
    """A trie tried at every word would take n^2 / 2 steps here: 5e7, not 2e4."""
    from litotes.sources.structured import literal_match as module

    class Counted(dict):
        looks = 0

        def get(self, *a):
            Counted.looks += 1
            return super().get(*a)

        def __contains__(self, key):
            Counted.looks += 1
            return super().__contains__(key)

    automaton = module._Automaton()
    automaton.add(["a"] * 10_000 + ["b"], 0)
    automaton.finish()
    automaton.next = [Counted(node) for node in automaton.next]
    assert not list(automaton.matches(["a"] * 20_000, True))
    assert Counted.looks < 5 * 20_000


@pytest.mark.parametrize("name", ["mined.attribute", "structured.taxonomy", "structured.literal_match"])
def test_the_example_of_the_docstring_comes_out_as_it_says(name):
    import doctest
    import importlib

    ran = doctest.testmod(importlib.import_module(f"litotes.sources.{name}"))
    assert ran.attempted and not ran.failed
