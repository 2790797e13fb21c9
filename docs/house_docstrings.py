"""The house style of docstrings (In, Out, Cost, Args, Raises, Source) as Markdown, for the API reference."""

from __future__ import annotations

import re
from typing import Any

import griffe

_FIELD = re.compile(r"^(In|Out|Cost|Args|Raises|Returns|Yields|Source|Sources):\s*(.*)$")
_ITEM = re.compile(r"^(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*):\s+(.*)$")
_CODE = re.compile(r"(`[^`]*`)")


class HouseDocstrings(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(docstring: str) -> str:
    """Fields become definition lists, arguments a list of names; brackets and stars are text; formulas stay code."""
    out: list[str] = []
    for title, lines in _blocks(docstring.splitlines()):
        if title is None:
            out += _prose(lines)
            continue
        if title in ("Args", "Raises"):
            said = [f"- `{name}`: {_escaped(text)}" for name, text in _items(lines)]
        else:
            said = [_escaped(" ".join(line.strip() for line in lines if line.strip()))]
        out += ["", title, "", *(f"{'    ' if i else ':   '}{line}" for i, line in enumerate(said)), ""]
    return "\n".join(out)


def _blocks(lines: list[str]) -> list[tuple[str | None, list[str]]]:
    """The docstring in pieces: prose (no title), or a field with its lines."""
    blocks: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in lines:
        field = _FIELD.match(line)
        if field:
            blocks.append((field[1], [field[2]]))
        elif blocks[-1][0] is not None and line and not line.startswith(" "):
            blocks.append((None, [line]))
        else:
            blocks[-1][1].append(line)
    return blocks


def _items(lines: list[str]) -> list[tuple[str, str]]:
    """`name: text` items with their continuation lines joined."""
    items: list[list[str]] = []
    depth: int | None = None
    for line in filter(str.strip, lines):
        indent, found = len(line) - len(line.lstrip()), _ITEM.match(line.strip())
        depth = indent if depth is None else depth
        if found and indent <= depth:
            items.append([found[1], found[2]])
        elif items:
            items[-1][1] += " " + line.strip()
    return [(name, text) for name, text in items]


def _prose(lines: list[str]) -> list[str]:
    """Indented blocks after a blank line stay code; the rest is text."""
    out: list[str] = []
    code = False
    for i, line in enumerate(lines):
        indented = line.startswith("    ")
        code = indented and (code or i == 0 or not lines[i - 1].strip()) if line.strip() else code
        out.append(line if code or not line.strip() else _escaped(line))
    return out


def _escaped(text: str) -> str:
    """Text in which only `code` has a meaning: [B, C] is no link, a * b no emphasis."""
    parts = _CODE.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"[*_\[\]]", r"\\\g<0>", parts[i]).replace("<", "&lt;")
    return "".join(parts)
