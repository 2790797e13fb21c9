"""The page: it says the numbers, shows hostile texts and never runs them."""

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litotes.audit.negatives import KINDS, Audit, render, write_page
from litotes.audit.negatives.examples import Example
from litotes.audit.negatives.leak import Leak
from litotes.audit.negatives.share import Estimate
from litotes.audit.negatives.words import headline, hidden_in_words
from litotes.audit.results_schema import Scores


def audit(text="plain words", **more):
    """Every section, every free text the same."""
    example = lambda kind, negative: Example(kind, text, text, (text,), negative, 0.5, 0.9, 0.8)
    made = Audit(
        Path(text.replace("/", "")), "triplets", {"rows": 9}, dict.fromkeys(KINDS, 3), 60, 9, 6,
        Estimate(0.12, 0.1, 0.3, text), Estimate(0.05, 0.0, 0.1), [("harder than 99 %", 7)],
        Scores(edges=[0.0, 0.5, 1.0], positives=[1, 3], kept=[6, 2], rejected=[1, 0], scorer=text), (text, text),
        Leak(10, 2, 1, 8, 4, 5, True), 4,
        [example(kind, None if one.counts == "rows" else text) for kind, one in KINDS.items()],
        done=Counter({("positive", "exchanged"): 2, ("short", "added"): 1}), identical=False,
        repaired=Path(text), changes=Path(text), notes=[text], bad=text,
    )  # fmt: skip
    return replace(made, **more)


class Page(HTMLParser):
    """Tags with the names of their attributes, texts, ids and scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.ids, self.links, self.code, self.open = [], [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [(name, value) for name, value in attributes if name in ("href", "src", "action", "data")]
        if tag not in ("meta", "input", "br", "img", "link", "line", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.code if self.open and self.open[-1] in ("script", "style") else self.texts).append(data)


hostile = st.text(
    st.sampled_from("<>&\"'={}%#!-] scriptonload\u2028\u00e9"), min_size=1, max_size=60
) | st.sampled_from(
    ["<script>alert('x')<script>", "{{ 7 * 7 }}", '" onmouseover="alert(1)', "<!--", "]]>", "&lt;b&gt;"]
)
PLAIN = render(audit())


@settings(max_examples=8)
@given(hostile.filter(lambda text: text.strip()))
def test_texts_are_shown_and_never_become_part_of_the_page(text):
    page = Page(render(audit(text)))
    assert not page.open and page.tags == Page(PLAIN).tags
    assert "\n".join(page.texts).count(text) >= 10


def test_nothing_is_fetched_ids_are_unique_and_only_our_script_may_run():
    page = Page(PLAIN)
    assert len(set(page.ids)) == len(page.ids)
    assert {value for name, value in page.links if name == "href"} == {f"#{name}" for name in (
        "found", "false", "hardness", "test", "repaired", "examples")}  # fmt: skip
    assert all(value[1:] in page.ids for _, value in page.links) and {name for name, _ in page.links} == {"href"}
    digest = base64.b64encode(hashlib.sha256(page.code[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in PLAIN and "url(" not in page.code[0]


def test_the_numbers_stand_in_the_table_with_what_was_done():
    flat = re.sub(r"\s+", " ", " ".join(Page(PLAIN).texts))  # the narrow space before % is white space, too
    for kind in KINDS.values():
        assert kind.title in flat and kind.meaning in flat and kind.name in flat
    assert "2 exchanged" in flat and "1 added" in flat and "5.0 %" in flat and "33.3 %" in flat
    assert "12.0 % 10.0 % to 30.0 %" in flat and "Nobody has read the texts." in flat


@pytest.mark.parametrize(
    "gone, ids",
    [
        ({"leak": None}, {"test"}),
        ({"repaired": None}, {"repaired"}),
        ({"scores": None, "steps": []}, {"hardness"}),
        ({"examples": []}, {"examples", "filter", "where", "nothing", "previous", "next"}),
    ],
)
def test_a_section_without_content_is_left_out(gone, ids):
    page = Page(render(audit(**gone)))
    assert set(Page(PLAIN).ids) - set(page.ids) == ids
    assert all(value[1:] in page.ids for _, value in page.links)


def test_an_audit_without_a_model_and_one_without_negatives_are_pages_too():
    bare = {"hidden": None, "filler": None, "steps": [], "scores": None, "judge": None}
    assert "12.0" not in render(audit(**bare))
    none = audit(**bare, negatives=0, certain=0)
    assert headline(none).endswith("has no negatives.") and hidden_in_words(none) == [] and not Page(render(none)).open


def test_the_sentences_say_what_the_estimate_is():
    said = " ".join(hidden_in_words(audit("SCORES")))
    for part in (
        "Certain: 6 of 60",
        "at most about 12.0",
        "10.0\u202f% to 30.0",
        "rests on the SCORES",
        "too high",
        "too low",
    ):
        assert part in said, part
    assert headline(audit()).startswith("15 of 60 negatives are copies")


def test_the_page_is_written_whole(tmp_path):
    path = write_page(audit(), tmp_path / "new" / "a.html")
    assert path.read_text(encoding="utf-8") == PLAIN and json.dumps(PLAIN)
