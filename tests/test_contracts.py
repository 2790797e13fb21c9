"""What every part of the catalogue promises, whatever it does."""

import dataclasses
import importlib
import inspect

import pytest

from litotes import catalog
from litotes.catalog import ENTRIES, entry, parse, why_not
from litotes.spelling import parse as read
from litotes.spelling import part_name

each_entry = pytest.mark.parametrize("one", ENTRIES, ids=[f"{e.scale}:{e.name}" for e in ENTRIES])


@each_entry
def test_a_part_reads_back_from_its_spelling_which_never_changes(one):
    part = parse(one.spelling)
    text = str(part)
    assert type(part) is one.load() and text.startswith(f"{one.name}(") and part_name(type(part)) == one.name
    assert str(parse(text)) == text == str(part)
    assert why_not(text, stage=one.stage, scale=one.scale) is None


@each_entry
def test_a_part_is_frozen_at_disk_scale_and_a_module_at_tensor_scale(one):
    part = parse(one.spelling)
    if one.scale == "disk":
        assert dataclasses.is_dataclass(part) and type(part).__dataclass_params__.frozen
        used = {"source": "prepare", "batcher": "over", "trainer": "train"}.get(one.stage, "__call__")
        assert callable(getattr(part, used, None))
        assert parse(str(part)) == part
    else:
        from torch import nn

        assert isinstance(part, nn.Module)
        if one.stage != "temperature":
            assert part.stage == one.stage


@each_entry
def test_the_spelling_says_every_argument_and_nan_is_refused_where_a_number_is_asked_for(one):
    spelled = read(str(parse(one.spelling)))
    given = {
        name: parameter.default
        for name, parameter in inspect.signature(one.load()).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    assert list(given) == [name for name in spelled.arguments if name != "*"]
    for name, default in given.items():
        if isinstance(default, float):
            refused = why_not(f"{one.name}({name}=nan)")
            assert refused is not None and name in refused, f"{one.name} takes {name}=nan"


@each_entry
def test_an_entry_says_what_the_part_is_for(one):
    assert one.load().__doc__ and one.summary and one.plugs_into
    assert one.name == one.name.lower() and one.target.startswith("litotes.")
    assert importlib.import_module(one.target.split(":")[0]).__doc__
    for paper in one.papers:
        assert "(" in paper and paper.endswith(")"), f"{one.name}: a paper is written `title (arXiv:id)`, got {paper!r}"


def test_names_are_unique_and_found_by_stage_and_scale():
    names = [one.name for one in ENTRIES]
    assert len(set(names)) == len(names)
    for one in ENTRIES:
        assert entry(one.name) is one and one in catalog.entries(one.stage, one.scale)
    assert catalog.entries() == list(ENTRIES)


@pytest.mark.parametrize(
    ("text", "message"),
    [("no_such_part(a=1)", "no part is called 'no_such_part'"), ("1 + 1", "cannot read"), ("", "cannot read")],
)
def test_what_no_part_spells_is_refused(text, message):
    assert message in why_not(text)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse(text)
