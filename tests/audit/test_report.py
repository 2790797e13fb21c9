import base64
import copy
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.report import draw, render, words, write_report
from litotes.audit.results_schema import Scores, check_results
from litotes.errors import BadInput

EVIL = "<script>alert('x')</script>"


def change(value, low, high, p=0.01):
    return {"value": value, "interval": [low, high], "p": p}


def arm(name, title, value, changed=None, **more):
    metrics = {
        name: {"value": value, "interval": [value - 0.02, value + 0.02], "change": changed}
        for name in ("nDCG@10", "MRR@10")
    }
    return {
        "name": name,
        "title": title,
        "metrics": metrics,
        "negatives": 40,
        "steps": 7,
        "texts_per_step": 96.0,
    } | more


def results(text="plain words", **more):
    """Every section, every free text the same."""
    candidate = {"text": text, "score": 0.5, "source": text, "reason": text}
    return {
        "name": text, "created": text, "litotes": "0.1.0", "seeds": [0, 1], "headline": text, "interval_label": text,
        "collection": {"name": text, "documents": 9, "train_anchors": 8, "test_queries": 7, "note": text},
        "recipe_toml": text, "versions": {text: text}, "machine": {"cpu": text, "cores": 4, "threads": 2},
        "fingerprints": {text: text}, "notes": [text],
        "arms": [
            arm("zero", text, 0.5, seconds={"total": 3.0}),
            arm("mined", text, 0.54, change(0.04, 0.01, 0.07), judged_false=0.25,
                seconds={"train": 20.0, "mine": 2.0, "total": 22.0}),
        ],
        "vetting": {
            "parts": [{"part": text, "doubted": 5}],
            "truth": {"precision": 0.5, "precision_interval": [0.4, 0.6], "recall": None,
                      "by_relation": [{"relation": text, "pairs": 4, "rejected": 1}]},
        },
        "scores": {"edges": [0.0, 0.5, 1.0], "positives": [1, 3], "kept": [6, 2], "rejected": [0, 0], "scorer": text},
        "curves": {"mined": [{"step": step, "loss": 1 / step} for step in range(1, 90)]},
        "examples": [{"query": text, "query_id": text, "positives": [candidate], "kept": [candidate],
                      "rejected": [candidate]}],
    } | more  # fmt: skip


PLAIN = render(results())


class Page(HTMLParser):
    """Tags in order, texts, attributes, and what stands in scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts, self.code, self.tables = [], [], [], [], []
        self._open, self._cell = None, False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self.attributes += [(tag, name, value) for name, value in attributes]
        self._open = tag
        if tag == "tr":
            self.tables.append([])
        if tag in ("td", "th"):
            self.tables[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self.tags.append(("/" + tag,))
        self._open = None
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open in ("script", "style"):
            self.code.append((self._open, data))
        else:
            self.texts.append(data)
            if self._cell:
                self.tables[-1][-1] += data

    def ids(self):
        return [value for _, name, value in self.attributes if name == "id"]


hostile = st.text(st.sampled_from("<>&\"'/={}%#\\!-] scriptonload\u2028é"), min_size=1, max_size=60) | st.sampled_from(
    [
        EVIL,
        "</script><img src=x onerror=alert(1)>",
        "</style><b>",
        "{{ 7 * 7 }}",
        '" onmouseover="alert(1)',
        "<!--",
        "]]>",
        "&lt;b&gt;",
    ]
)


@given(hostile)
def test_texts_are_shown_and_never_become_part_of_the_page(text):
    page, plain = Page(render(results(text))), Page(PLAIN)
    assert page.tags == plain.tags
    seen = "\n".join(page.texts)
    assert seen.count(text) >= 10 if text.strip() else True
    for (_, block), (_, same) in zip(page.code, plain.code, strict=True):
        if block != same:  # only data may differ, and it still says the text
            assert text in [value["title"] for stop in json.loads(block) for value in stop["values"]]


def test_a_script_in_a_document_is_text():
    page = render(results(EVIL))
    assert EVIL not in page and "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_nothing_is_fetched_and_only_our_script_may_run():
    page = Page(render(results()))
    for _, name, value in page.attributes:
        assert name not in ("src", "srcset", "data", "action", "poster")
        assert name != "href" or value.startswith("#")
        assert not name.startswith("on")
    style = next(code for kind, code in page.code if kind == "style")
    assert "url(" not in style and "@import" not in style
    policy = next(
        value for tag, name, value in page.attributes if tag == "meta" and (value or "").startswith("default-src")
    )
    script = page.code[-1][1]
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy


def test_ids_are_unique_and_links_lead_somewhere():
    page = Page(render(results()))
    assert len(set(page.ids())) == len(page.ids())
    links = {value[1:] for _, name, value in page.attributes if name == "href"}
    labels = {value for tag, name, value in page.attributes if tag == "label" and name == "for"}
    assert links | labels <= set(page.ids()) and {"arms", "changes", "examples", "training"} <= links


SECTIONS = {"scores": "scores", "vetting": "vetting", "curves": "training", "examples": "examples"}


@pytest.mark.parametrize("key", SECTIONS)
@pytest.mark.parametrize("how", ["gone", "null"])
def test_a_section_without_results_is_left_out(key, how):
    without = results()
    if how == "gone":
        del without[key]
    else:
        without[key] = [] if key == "examples" else None
    page = Page(render(without))
    assert SECTIONS[key] not in page.ids() and ("a", "href", f"#{SECTIONS[key]}") not in page.attributes
    assert set(SECTIONS.values()) - {SECTIONS[key]} <= set(page.ids())


def test_one_arm_and_nothing_else_is_a_report_too():
    least = {
        "name": "n",
        "created": "now",
        "litotes": "0",
        "seeds": [0],
        "arms": [{"name": "a", "title": "A", "metrics": {"MAP": {"value": 0.25}}}],
    }
    page = Page(render(least))
    assert [name for name in page.ids() if name not in ("theme", "copy")] == ["arms", "origin"]
    assert "A reaches MAP\u00a00.250." in page.texts


def test_the_table_says_the_numbers():
    rows = [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in Page(render(results("t"))).tables]
    assert rows[0] == [
        "Arm",
        "nDCG@10",
        "MRR@10",
        "Change in nDCG@10",
        "Negatives",
        "Judged false",
        "Texts per step",
        "Seconds",
    ]
    assert rows[1] == ["t", "0.500 [0.480, 0.520]", "0.500 [0.480, 0.520]", "–", "40", "–", "96 7 steps", "3.0"]
    assert rows[2] == [
        "t",
        "0.540 [0.520, 0.560]",
        "0.540 [0.520, 0.560]",
        "+0.040 [+0.010, +0.070]",
        "40",
        "25.0 %",
        "96 7 steps",
        "22 train 20, mine 2.0",
    ]
    assert rows[4] == ["t", "", "+0.040 [+0.010, +0.070]", "0.010", "higher"]


def test_long_texts_can_be_unfolded():
    text = "word " * 200
    page = render(results())
    longer = render(results(examples=[{"query": "q", "query_id": "1", "kept": [{"text": text}]}]))
    assert 'class="text"><summary>' not in page and longer.count('class="text"><summary>') == 1 and text in longer


@pytest.mark.parametrize(
    "low, high, value, says",
    [
        (0.01, 0.07, 0.04, "Mined reaches nDCG@10 0.540: 0.040 above zero (interval +0.010 to +0.070)."),
        (-0.07, -0.01, -0.04,
         "The only arm, mined, falls below zero: nDCG@10 0.540, 0.040 less (interval −0.070 to −0.010)."),
        (-0.01, 0.07, 0.04,
         "Mined is not shown to differ from zero: at nDCG@10 0.540, a change of +0.040 (interval −0.010 to +0.070)."),
        (0.0, 0.07, 0.04,
         "Mined is not shown to differ from zero: at nDCG@10 0.540, a change of +0.040 (interval 0.000 to +0.070)."),
    ],
)  # fmt: skip
def test_the_headline_claims_no_more_than_the_interval(low, high, value, says):
    arms = [arm("zero", "Zero", 0.5), arm("mined", "mined", 0.54, change(value, low, high))]
    assert words.headline(check_results(results(headline=None, arms=arms, curves=None))).replace("\u00a0", " ") == says


def test_of_several_arms_the_best_speaks():
    arms = [
        arm("zero", "Zero", 0.5),
        arm("a", "A", 0.53, change(0.03, -0.01, 0.07)),
        arm("b", "B", 0.48, change(-0.02, -0.03, -0.01)),
    ]
    made = words.headline(check_results(results(headline=None, arms=arms, curves=None)))
    assert made.startswith("No arm is shown to beat zero: the best, A, is at")
    sure = arm("c", "GIST", 0.52, change(0.02, 0.01, 0.03))  # below A, but shown to be above zero
    made = words.headline(check_results(results(headline=None, arms=[*arms, sure], curves=None)))
    assert made.startswith("GIST reaches nDCG@10\u00a00.520: 0.020 above zero")
    below = [arms[0], arm("a", "A", 0.49, change(-0.01, -0.02, -0.005)), arms[2]]
    assert words.headline(check_results(results(headline=None, arms=below, curves=None))).startswith(
        "Even the best arm, A, falls below zero"
    )


def broken(*path, to=None):
    """Results in which the value at `path` is `to` (or gone)."""
    whole = copy.deepcopy(results())
    at = whole
    for step in path[:-1]:
        at = at[step]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return whole


@pytest.mark.parametrize(
    "bad, message",
    [
        (broken("name"), "field 'name': found nothing, expected this key"),
        (broken("arms", to=[]), "field 'arms': "),
        (broken("arms", 1, "metrics", "nDCG@10", "value", to="high"),
         r"field 'arms.1.metrics.nDCG@10.value': found 'high' \(str\), expected a valid number"),
        (broken("arms", 1, "metrics", "MRR@10", "value", to=math.nan),
         r"field 'arms.1.metrics.MRR@10.value': found nan \(float\), expected a finite number"),
        (broken("arms", 0, "metrics", "MRR@10", "interval", to=[0.6, 0.4]),
         r"field 'arms.0.metrics.MRR@10': .*must be \[low, high\], got \[0.6, 0.4\]"),
        (broken("arms", 1, "name", to="zero"), "arms must have different names"),
        (broken("notse", to=["x"]), "field 'notse': .*expected no such key"),
        (broken("scores", "kept", to=[1]), "field 'scores': .*kept must have 2 counts, got 1"),
        (broken("scores", "edges", to=[0.0, 1.0, 0.5]), "field 'scores': .*edges must rise"),
        (broken("vetting", "truth", "by_relation", 0, "rejected", to=5), "rejected must be <= pairs, got 5 of 4"),
        (broken("curves", "other", to=[]), r"curves must be of the arms \['zero', 'mined'\], got \['other'\]"),
        (broken("arms", 1, "judged_false", to=1.5), "field 'arms.1.judged_false'"),
    ],
)  # fmt: skip
def test_bad_results_name_the_key(bad, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        write_report(bad, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_whole(tmp_path):
    path = write_report(results(), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render(results()) and len(list(path.parent.iterdir())) == 1


spans = st.tuples(st.floats(-1e4, 1e4), st.floats(1e-4, 1e5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(spans, st.integers(4, 8))
def test_ticks_are_round_evenly_spaced_inside_and_not_too_many(span, most):
    low, high = span
    marks = draw.ticks(low, high, most)
    slack = 1e-6 * max(abs(low), abs(high), high - low)
    assert 1 <= len(marks) <= most + 1 and all(low - slack <= mark <= high + slack for mark in marks)
    if len(marks) > 1:
        step = marks[1] - marks[0]
        mantissa = step / 10 ** math.floor(math.log10(step * (1 + 1e-9)))
        assert min(abs(mantissa - round_) for round_ in (1, 2, 5)) < 1e-4
        assert [b - a for a, b in zip(marks, marks[1:], strict=False)] == pytest.approx(
            [step] * (len(marks) - 1), rel=1e-4
        )


def test_a_forest_stands_where_its_numbers_are():
    arms = [
        arm("zero", "Zero", 0.5),
        arm("up", "Up", 0.6, change(0.1, 0.05, 0.15)),
        arm("no", "No", 0.5, change(0.0, -0.05, 0.05, p=1e-4)),
    ]
    forest = draw.forest(check_results(results(arms=arms, curves=None)), "nDCG@10")
    scale = 100 / (0.2 * 1.12)  # from -0.05 to 0.15, and 6 % room on both sides
    at = lambda value: pytest.approx(scale * (value + 0.05 + 0.012), abs=0.01)
    up, no = forest["rows"]
    assert (up["low"], up["x"], up["high"], up["verdict"]) == (at(0.05), at(0.1), at(0.15), "higher")
    assert (no["low"], no["x"], no["high"], no["verdict"], no["p"]) == (
        at(-0.05),
        at(0),
        at(0.05),
        "not shown",
        "< 0.001",
    )
    assert forest["zero"] == at(0) and forest["ticks"] == [
        (at(-0.05), "−0.05"),
        (at(0), "0"),
        (at(0.05), "+0.05"),
        (at(0.1), "+0.10"),
        (at(0.15), "+0.15"),
    ]


@pytest.mark.parametrize(
    "low, high, says", [(0, 1, "not shown"), (-1, 0, "not shown"), (1, 2, "higher"), (-2, -1, "lower")]
)
def test_an_interval_that_touches_0_shows_nothing(low, high, says):
    arms = [arm("zero", "Zero", 0.5), arm("a", "A", 0.6, change((low + high) / 2, low, high))]
    assert draw.forest(check_results(results(arms=arms, curves=None)), "MRR@10")["rows"][0]["verdict"] == says


def test_histograms_compare_shares_not_counts():
    drawn = draw.histogram(Scores(edges=[0, 1, 2], positives=[1, 1], kept=[0, 3000], rejected=[0, 0]))
    positives, kept = drawn["series"]  # rejected is empty: no line
    assert positives["line"] == "0.0,100 0.0,53.0 50.0,53.0 50.0,53.0 100.0,53.0 100.0,100"  # half of the highest bin
    assert kept["line"] == "0.0,100 0.0,100.0 50.0,100.0 50.0,6.0 100.0,6.0 100.0,100" and kept["total"] == "3,000"
    flat = draw.histogram(Scores(edges=[0, 1, 2], positives=[1, 1], kept=[0, 0], rejected=[0, 0]))["series"][0]["line"]
    assert flat == "0.0,100 0.0,6.0 50.0,6.0 50.0,6.0 100.0,6.0 100.0,100"  # the highest bin fills the height
    assert [value["text"] for value in drawn["bins"][1]["values"]] == ["1 (50.0\u202f%)", "3,000 (100.0\u202f%)"]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 8))
def test_the_running_mean_is_the_mean_of_the_neighbours(values, reach):
    slow = [sum(near) / len(near) for near in (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))]
    assert draw._running_mean(values, reach) == pytest.approx(slow, abs=1e-9)


def test_curves_fall_where_the_loss_falls_and_say_every_arm():
    both = results(
        curves={"zero": [{"step": 10, "loss": 2.0}], "mined": [{"step": 20, "loss": 1.0}, {"step": 0, "loss": 3.0}]}
    )
    drawn = draw.curves(check_results(both))
    line = [tuple(map(float, point.split(","))) for point in drawn["series"][1]["raw"].split()]
    assert line == [(0, pytest.approx(3.7, abs=0.1)), (100, pytest.approx(96.3, abs=0.1))]  # 4 % room above and below
    assert [[value["text"] for value in stop["values"]] for stop in drawn["stops"]] == [
        ["–", "3.000"],
        ["2.000", "–"],
        ["–", "1.000"],
    ]
    assert all(
        len(
            draw.curves(check_results(results(curves={"mined": [{"step": i, "loss": 1.0} for i in range(n)]})))["stops"]
        )
        <= 200
        for n in (200, 201, 999)
    )


def test_numbers_read_well():
    assert [words.number(v) for v in (0.64531, -0.5, -0.0001, 0.0)] == ["0.645", "−0.500", "0.000", "0.000"]
    assert [words.signed(v) for v in (0.031, -0.031, 0.0004, -0.0004)] == ["+0.031", "−0.031", "0.000", "0.000"]
    assert [words.seconds(v) for v in (2.14, 203.4, 12345.6)] == ["2.1", "203", "12,346"]
    assert words.share(0.0162) == "1.6\u202f%" and words.count(14520) == "14,520"


@given(st.text(st.sampled_from("ab \n"), max_size=600))
def test_an_excerpt_is_a_start_and_only_of_long_texts(text):
    start = words.excerpt(text)
    assert (start == "") == (len(text) <= 340)
    if start:
        assert text.startswith(start[:-2]) and len(start) <= 282
