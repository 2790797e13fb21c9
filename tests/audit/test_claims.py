import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from litotes.audit.claims import (
    METHOD,
    Claim,
    Result,
    board_markdown,
    find_claims,
    load_claim,
    p_value,
    run_claim,
    update_board,
)
from litotes.audit.significance import Interval

HEAD = "from litotes.audit.claims import Claim\n"
CLAIM = "CLAIM = Claim(claim='It helps', metric='MAP', data='ten texts')\n"
BETTER = HEAD + CLAIM + "def run(seed):\n    return {'baseline': 0.5, 'treated': 0.6 + 0.01 * seed, 'extra': 7}\n"


@pytest.fixture
def claims(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()

    def write(text, name="better.py"):
        (folder / name).write_text(text)
        return folder / name

    write.folder = folder
    return write


def claim(**more):
    return Claim(**{"claim": "It helps", "metric": "MAP", "data": "ten texts"} | more)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"direction": "up"}, "direction must be 'higher' or 'lower', got 'up'"),
        ({"minutes": 0}, "minutes must be > 0, got 0"),
        ({"minutes": math.nan}, "minutes must be > 0, got nan"),
        ({"beats": ()}, r"beats must be a tuple of different arms beside treated, got \(\)"),
        ({"beats": "baseline"}, "beats must be a tuple of different arms beside treated, got 'baseline'"),
        ({"beats": ("a", "treated")}, "beats must be"),
        ({"beats": ("a", "a")}, "beats must be"),
        ({"claim": " "}, "claim must say something"),
        ({"metric": ""}, "metric must say something"),
        ({"data": ""}, "data must say something"),
    ],
)
def test_a_claim_that_cannot_be_checked_is_refused(wrong, said):
    with pytest.raises(ValueError, match=f"Claim: {said}"):
        claim(**wrong)


def test_a_claim_is_run_under_every_seed(claims):
    result = run_claim(claims(BETTER, "it_is_better.py"), range(3, 6))
    differences = [0.13, 0.14, 0.15]
    low, high = stats.t.interval(0.95, 2, np.mean(differences), stats.sem(differences))
    assert (result.name, result.seeds, result.verdict) == ("it-is-better", [3, 4, 5], "holds")
    assert [v["treated"] for v in result.values] == pytest.approx([0.63, 0.64, 0.65])
    assert all(v["extra"] == 7.0 for v in result.values)
    assert (result.effect.value, result.effect.low, result.effect.high) == pytest.approx((0.14, low, high))


BOARD = {
    "name", "claim", "metric", "direction", "values", "effect", "interval", "method", "seeds", "verdict", "seconds",
    "data",
}  # fmt: skip


def test_a_line_of_the_board_has_these_keys_and_is_json(claims):
    line = run_claim(claims(BETTER), [0, 1]).as_board()
    assert line.keys() == BOARD | {"paper", "contrasts", "p"}
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert (line["effect"], line["seeds"], line["method"]) == (pytest.approx(0.105), [0, 1], METHOD)
    assert line["interval"] == [
        line["contrasts"]["baseline"]["interval"][0],
        line["contrasts"]["baseline"]["interval"][1],
    ]


def result(direction="higher", **ends):
    contrasts = {arm: Interval((low + high) / 2, low, high) for arm, (low, high) in ends.items()}
    values = [{"treated": 1.0, **dict.fromkeys(ends, 0.5)}, {"treated": 1.1, **dict.fromkeys(ends, 0.5)}]
    return Result("x", claim(beats=tuple(ends), direction=direction), [0, 1], values, 1.0, contrasts)


@pytest.mark.parametrize(
    "direction, ends, verdict",
    [
        ("higher", {"baseline": (0.1, 0.2)}, "holds"),
        ("lower", {"baseline": (0.1, 0.2)}, "reversed"),
        ("lower", {"baseline": (-0.2, -0.1)}, "holds"),
        ("higher", {"baseline": (-0.1, 0.2)}, "not shown"),
        ("higher", {"baseline": (0.0, 0.2)}, "not shown"),
        ("higher", {"baseline": (0.1, 0.2), "control": (0.1, 0.2)}, "holds"),
        ("higher", {"baseline": (0.1, 0.2), "control": (-0.1, 0.2)}, "not shown"),
        ("higher", {"baseline": (0.1, 0.2), "control": (-0.2, -0.1)}, "not shown"),
        ("higher", {"baseline": (-0.1, 0.2), "control": (-0.2, -0.1)}, "not shown"),
        ("higher", {"baseline": (-0.2, -0.1), "control": (0.1, 0.2)}, "reversed"),
    ],
)
def test_every_contrast_must_hold_and_the_first_says_what_is_reversed(direction, ends, verdict):
    assert result(direction, **ends).verdict == verdict


def test_the_first_arm_to_beat_is_the_effect(claims):
    text = HEAD + CLAIM.replace("data=", "beats=('none', 'random'), data=")
    text += "def run(seed):\n    return {'treated': 3.0 + seed, 'none': 1.0, 'random': 2.5 + seed * (1 + seed)}\n"
    made = run_claim(claims(text), [0, 1, 2])
    assert made.effect.value == pytest.approx(3.0) and made.contrasts["random"].value == pytest.approx(-7 / 6)
    assert made.verdict == "not shown" and made.claim.beats == ("none", "random")


FAULTY = [
    ("def", "SyntaxError"),
    ("import litotes_is_not_this", "ModuleNotFoundError: No module named 'litotes_is_not_this'"),
    (HEAD + "CLAIM = Claim(claim='a', metric='b', data='c', minutes=-1)", "ValueError: Claim: minutes must be > 0"),
    (HEAD + CLAIM, r"a claim file holds CLAIM = Claim\(...\) and a function run"),
    (HEAD + CLAIM + "run = 3", "a claim file holds"),
    ("CLAIM = 'a claim'\ndef run(seed): return {}", "a claim file holds"),
    (HEAD + CLAIM + "def run(seed): return {'treated': 1.0}", r"run\(0\) must give baseline too, got treated"),
    (HEAD + CLAIM + "def run(seed): return {}", r"run\(0\) must give baseline, treated too, got nothing"),
    (HEAD + CLAIM + "def run(seed): return 3", r"run\(0\) must give a dict of numbers, got 3"),
    (HEAD + CLAIM + "def run(seed): return {'treated': 1, 'baseline': 'x'}", "must give a dict of numbers"),
    (
        HEAD + CLAIM + "def run(seed): return {'treated': 1, 'baseline': 0.1 if seed == 0 else float('nan')}",
        r"run\(1\) must give finite numbers, got baseline = nan",
    ),
]


@pytest.mark.parametrize("text, said", FAULTY)
def test_a_claim_file_with_a_fault_is_named(claims, text, said):
    with pytest.raises(ValueError, match=rf"faulty.py: .*{said}"):
        run_claim(claims(text, "faulty.py"), [0, 1])


@pytest.mark.parametrize("seeds", [[], [1], [1, 1], [0, 1, 0]])
def test_seeds_are_at_least_two_different_ones(claims, seeds):
    with pytest.raises(ValueError, match="at least 2 different ones"):
        run_claim(claims(BETTER), seeds)


def test_a_claim_that_is_not_there_is_named(claims):
    with pytest.raises(FileNotFoundError, match="none.py"):
        run_claim(claims.folder / "none.py", [0, 1])


def test_claims_share_a_world_and_leave_the_path_of_imports_as_it_was(claims, monkeypatch):
    (claims.folder / "worlds_of_test_claims.py").write_text("SIZE = 4\n")
    (claims.folder.parent / "colorsys.py").write_text("raise RuntimeError('shadowed')\n")  # must not be found
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    text = HEAD + "import colorsys\nfrom claims.worlds_of_test_claims import SIZE\n" + CLAIM
    text += "def run(seed):\n    import claims.worlds_of_test_claims as late\n"
    text += "    return {'treated': late.SIZE + seed, 'baseline': SIZE - 1}\n"
    before, modules = list(sys.path), set(sys.modules)
    others = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "claims"}
    try:
        assert run_claim(claims(text), [0, 1]).verdict in ("holds", "not shown")
        assert sys.path == before
        with pytest.raises(ValueError, match="broken.py"):
            load_claim(claims("import nothing_of_the_kind", "broken.py"))
        assert sys.path == before and "litotes_claim_broken" not in sys.modules
    finally:
        for name in set(sys.modules) - modules:
            if name.split(".")[0] == "claims" or name.startswith("litotes_claim_"):
                del sys.modules[name]
        sys.modules.update(others)


def test_a_claim_file_may_define_dataclasses(claims):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + BETTER
    text += "@dataclass\nclass World:\n    size: int = 3\n"
    assert load_claim(claims(text))[1].World().size == 3


def test_claims_are_found_by_name(claims):
    for name in ("b_c.py", "a.py", "_helper.py", "notes.md"):
        claims("", name)
    (claims.folder / "worlds").mkdir()
    assert find_claims(claims.folder) == {"a": claims.folder / "a.py", "b-c": claims.folder / "b_c.py"}
    assert find_claims(claims.folder / "none") == {}


def values(*differences, **more):
    return [{"baseline": 0.0, "treated": d} | {k: v[i] for k, v in more.items()} for i, d in enumerate(differences)]


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=8))
def test_p_is_that_of_the_paired_t_test(differences):
    made = p_value(values(*differences), claim())
    if len(set(differences)) > 1:
        assert made == pytest.approx(stats.ttest_rel(differences, np.zeros(len(differences))).pvalue)
    else:
        assert made == (0.0 if differences[0] else 1.0)


def test_p_of_several_contrasts_is_the_largest():
    both = values(1.0, 1.1, 0.9, other=[1.0, 0.9, 1.2])
    one = p_value(both, claim())
    assert one == pytest.approx(stats.ttest_1samp([1.0, 1.1, 0.9], 0).pvalue)
    assert p_value(both, claim(beats=("baseline", "other"))) == pytest.approx(
        stats.ttest_1samp([0, 0.2, -0.3], 0).pvalue
    )


@pytest.mark.parametrize("differences, p", [((0.0, 0.0), 1.0), ((0.1, 0.1, 0.1), 0.0), ((1e-200, 2e-200), 0.0)])
def test_p_of_differences_without_spread(differences, p):
    assert p_value(values(*differences), claim()) == p


def test_the_board_keeps_other_lines_and_replaces_its_own(claims):
    first = run_claim(claims(BETTER, "b.py"), [0, 1])
    update_board(claims.folder, [first])
    other = run_claim(claims(BETTER, "a.py"), [0, 1, 2])
    board = update_board(claims.folder, [other])
    assert [line["name"] for line in board] == ["a", "b"] and board[1] == first.as_board()
    again = run_claim(claims(BETTER, "b.py"), [5, 6])
    board = update_board(claims.folder, [again])
    assert [line["seeds"] for line in board] == [[0, 1, 2], [5, 6]]
    assert json.loads((claims.folder / "board.json").read_text()) == board
    assert (claims.folder / "board.md").read_text() == board_markdown(board)


@pytest.mark.parametrize("text", ["", "{", "3", '[{"claim": "x"}]'])
def test_a_damaged_board_is_named_and_left_alone(claims, text):
    (claims.folder / "board.json").write_text(text)
    with pytest.raises(ValueError, match=r"board.json: not a claims board, or damaged"):
        update_board(claims.folder, [result(baseline=(0.1, 0.2))])
    assert (claims.folder / "board.json").read_text() == text


def line(name, p, verdict, **more):
    return {
        "name": name, "claim": f"claim of {name}", "metric": "MAP", "effect": 0.25, "interval": [0.125, 0.375], "p": p,
        "seeds": [0, 1, 2], "verdict": verdict, "data": "texts",
    } | more  # fmt: skip


def test_the_board_counts_and_marks_what_survives_the_correction():
    # Benjamini and Hochberg at 5 % over 4 lines: the sorted p against 0.0125, 0.025, 0.0375, 0.05
    board = [
        line("a", 0.012, "holds"),
        line("b", 0.024, "reversed"),
        line("c", 0.04, "holds"),
        line("d", 0.5, "not shown"),
    ]
    page = board_markdown(board)
    assert "4 claims: 2 hold, 1 not shown, 1 reversed. " in page and "about 0.20 intervals" in page
    rows = {row.split(" | ")[0]: row for row in page.splitlines() if row.startswith("| ") and "claim of" in row}
    assert [("✓" in row) for row in rows.values()] == [True, True, False, False]
    assert "| +0.2500 [+0.1250, +0.3750] | 3 | **holds** ✓ | texts |" in rows["| a"]


def test_a_line_that_is_not_shown_carries_no_mark_however_small_its_p():
    assert "✓ |" not in board_markdown([line("a", 0.001, "not shown")])


def test_texts_do_not_break_the_table():
    page = board_markdown([line("a", 0.5, "not shown", claim="one | two\nthree", data="a|b")])
    row = next(row for row in page.splitlines() if row.startswith("| a "))
    assert "one \\| two three" in row and row.replace("\\|", "").count("|") == 8


def test_an_empty_board_is_a_board():
    assert "0 claims: 0 hold, 0 not shown, 0 reversed." in board_markdown([])
