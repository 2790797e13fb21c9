"""The catalogue: every part by its short name, with its stage, its scale and its paper.

`parse("relative_margin(margin=0.05)")` builds a part from its spelling, `str(part)` spells it again; `why_not` says why
a spelling cannot be built, without loading a model or reading a file.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any, Literal

from litotes.spelling import Spelled
from litotes.spelling import parse as read

Stage = Literal["source", "vetter", "scorer", "objective", "temperature"]
Scale = Literal["disk", "tensor"]


@dataclass(frozen=True)
class Entry:
    """One part. `target`: module:Class. `papers`: "title (arXiv id)". `claims`: names of claim checks on the board."""

    name: str
    target: str
    stage: Stage
    scale: Scale
    summary: str
    papers: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    def load(self) -> type:
        """The class itself; imports its room."""
        module, name = self.target.split(":")
        return getattr(importlib.import_module(module), name)

    @property
    def plugs_into(self) -> str:
        """Where the part can be used."""
        if self.scale == "disk":
            key = {"source": "mine.sources", "vetter": "vet.vetters"}[self.stage]
            return f"recipe key {key}, `litotes {'mine --source' if self.stage == 'source' else 'vet --vetter'}`, Python"
        return "recipe key train.objective, `Chain`, sentence-transformers loss (litotes.integrations.sentence_transformers)"


NV_RETRIEVER = "NV-Retriever: Improving text embedding models with effective hard-negative mining (arXiv:2407.15831)"
GIST = "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning (arXiv:2402.16829)"
CPC = "Representation Learning with Contrastive Predictive Coding (arXiv:1807.03748)"

ENTRIES: tuple[Entry, ...] = ()


def entries(stage: Stage | None = None, scale: Scale | None = None) -> list[Entry]:
    """The entries of a stage and a scale, in catalogue order."""
    return [entry for entry in ENTRIES if stage in (None, entry.stage) and scale in (None, entry.scale)]


def entry(name: str) -> Entry:
    """The entry of this name. Raises ValueError that names the nearest ones."""
    import difflib

    names = [entry.name for entry in ENTRIES]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise ValueError(f"no part is called {name!r}; {hint}")
    return ENTRIES[names.index(name)]


def parse(text: str, *, stage: Stage | None = None, scale: Scale | None = None) -> Any:
    """Build the part that `text` spells, nested parts included.

    Args:
        stage, scale: refuse parts of another stage or scale.
    Raises:
        ValueError: unknown name or argument, a value out of range, the wrong stage or scale.
    """
    spelled = read(text)
    if spelled.name != "chain":
        there = entry(spelled.name)
        if (stage and there.stage != stage) or (scale and there.scale != scale):
            wanted = " ".join(filter(None, (stage, f"at {scale} scale" if scale else None)))
            raise ValueError(f"{spelled.name} is a {there.stage} at {there.scale} scale, expected a {wanted}")
    return _build(spelled)


def why_not(text: str, *, stage: Stage | None = None, scale: Scale | None = None) -> str | None:
    """Why `parse` would refuse `text`, or None."""
    try:
        parse(text, stage=stage, scale=scale)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return [_build(item) for item in value]
    if not isinstance(value, Spelled):
        return value
    if value.name == "chain":
        kind: type = importlib.import_module("litotes.chain").Chain
    else:
        kind = entry(value.name).load()
    named = {name: _build(item) for name, item in value.arguments.items() if name != "*"}
    spread = [_build(item) for item in value.arguments.get("*", [])]
    signature = inspect.signature(kind)
    allowed = [name for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in named:
        if name not in allowed:
            raise ValueError(f"{value.name} has no argument {name!r}; it has {', '.join(allowed) or 'none'}")
    try:
        return kind(*spread, **named)
    except TypeError as error:
        raise ValueError(f"{value.name}: {error}; it is called as {value.name}{signature}") from None
