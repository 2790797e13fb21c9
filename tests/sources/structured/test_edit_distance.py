import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.sources.structured.edit_distance import nearest_names


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        new = [i + 1]
        for j, y in enumerate(b):
            new.append(min(row[j] + (x != y), row[j + 1] + 1, new[j] + 1))
        row = new
    return row[-1]


def slowly(names, k, barred):
    out = []
    for i, a in enumerate(names):
        others = [j for j in range(len(names)) if j != i and j not in barred[i]]
        far = sorted((edits(a, names[j]) / max(len(a), len(names[j])), j) for j in others)[:k]
        out.append(far + [(np.inf, -1)] * (k - len(far)))
    return out


few = st.text(alphabet="abé", min_size=1, max_size=9)
long = st.tuples(st.text("ab", min_size=1, max_size=4), st.sampled_from([16, 17, 22])).map(lambda t: t[0] * t[1])
names = st.lists(few | few | long, min_size=1, max_size=6)


@given(names, st.sampled_from([1, 2, 20]), st.data())
def test_the_nearest_names_are_those_of_the_full_table_ties_to_the_lowest_row(names, k, data):
    barred = [data.draw(st.sets(st.integers(0, len(names) - 1), max_size=2)) for _ in names]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in barred])])
    exclude = offsets, np.array([i for row in barred for i in sorted(row)], np.int64)
    ids, far = nearest_names(names, k, exclude)
    for i, row in enumerate(slowly(names, k, barred)):
        assert list(zip(far[i].tolist(), ids[i].tolist(), strict=True)) == row


def test_by_hand_whatever_the_case_and_the_space_around():
    ids, far = nearest_names([" Python ", "pyton", "JAVA"], 2)
    assert ids[0, 0] == 1 and far[0, 0] == pytest.approx(1 / 6) and ids[1, 0] == 0
    assert nearest_names(["Java", "java "], 1)[1].tolist() == [[0.0], [0.0]]
    assert nearest_names(["abc", "abd", "abe"], 1)[0].tolist() == [[1], [0], [0]]
    assert nearest_names([], 3)[0].shape == (0, 3)


def test_names_of_63_to_66_letters_cross_from_words_to_tables():
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("ab"), size)) for size in (63, 64, 65, 66) for _ in range(3)]
    ids, far = nearest_names(names, 5)
    expected = slowly(names, 5, [set()] * len(names))
    assert [[(f, int(j)) for f, j in zip(*row, strict=True)] for row in zip(far, ids, strict=True)] == expected


def test_what_is_no_name_is_refused():
    with pytest.raises(ValueError, match="names must not be empty, got '  '"):
        nearest_names(["a", "  "], 1)
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        nearest_names(["a"], 0)


@pytest.mark.slow
def test_fourteen_thousand_names_take_seconds():
    import time

    from litotes.data.wordnet import load_synsets

    names = [", ".join(lemmas) for lemmas in load_synsets(14_000).table["lemmas"].to_pylist()]
    nearest_names(names[:10], 20)
    start = time.perf_counter()
    ids, far = nearest_names(names, 20)
    assert time.perf_counter() - start < 60  # on one busy core
    for row in range(0, 14_000, 2_000):
        all_far = sorted((edits(names[row].casefold(), n.casefold()) / max(len(names[row]), len(n)), j)
                         for j, n in enumerate(names) if j != row)[:20]  # fmt: skip
        assert [j for _, j in all_far] == ids[row].tolist()
