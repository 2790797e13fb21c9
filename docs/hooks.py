"""What the site is generated from: the catalogue (a page per part), the packages (the reference), the claims board."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
GUIDE = (
    "which-negatives",
    "evidence",
    "mining",
    "search",
    "encoders",
    "audit",
    "structure",
    "batching",
    "training",
    "objectives",
    "recipes",
    "equalities",
    "formats",
    "presets",
    "claims",
)
STAGES = {
    "source": "Sources: where negatives come from",
    "vetter": "Vetters: which to believe",
    "scorer": "Scorers: how alike two things are",
    "memory": "Memories: what is kept from step to step",
    "batcher": "Batchers: what meets what, and when",
    "objective": "Objectives: how the model is pushed",
    "weigher": "Weighers: which anchors count, and how much",
    "temperature": "Temperatures: how sharp the scores are",
    "trainer": "Trainers: whole recipes of several phases",
}
_VERDICTS = ("holds", "not shown", "reversed")
SCALES = {"disk": "on disk (evidence)", "tensor": "in a training step (`SignedBatch`)"}


def on_config(config: Any) -> Any:
    """The navigation: pages that exist, then what is generated."""
    there = [path.stem for path in (ROOT / "docs" / "guide").glob("*.md")]
    guide = [name for name in GUIDE if name in there] + sorted(set(there) - set(GUIDE))
    nav: list[Any] = [{"litotes": "index.md"}]
    if (ROOT / "docs" / "tutorial.md").exists():
        nav.append({"Tutorial": "tutorial.md"})
    nav.append({"Guide": [f"guide/{name}.md" for name in guide]})
    parts: list[Any] = ["parts/index.md"]
    for stage, title in STAGES.items():
        if pages := [f"parts/{entry.name}.md" for entry in _entries() if entry.stage == stage]:
            parts.append({title.split(":")[0]: pages})
    nav.append({"Parts": parts})
    for page, title in (("scale", "Scale"), ("performance", "Performance")):
        if (ROOT / "docs" / f"{page}.md").exists():
            nav.append({title: f"{page}.md"})
    nav.append({"Reference": ["api/index.md", *(f"api/{name}.md" for name in _modules())]})
    config.nav = nav
    return config


def on_files(files: Files, config: Any) -> Files:
    """The generated pages."""
    board = _board()
    pages = {"parts/index.md": _parts_index(), "api/index.md": _api_index()}
    pages |= {f"parts/{entry.name}.md": _part(entry, board) for entry in _entries()}
    pages |= {f"api/{name}.md": _module(name) for name in _modules()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Puts the claims board, or one line of it, where a page asks for it."""
    board = _board()
    lines = {line["name"]: _said(line) for line in board}
    markdown = re.sub(
        r"<!-- claim ([\w-]+) -->", lambda found: lines.get(found[1], f"*{found[1]}: not checked yet*"), markdown
    )
    markdown = markdown.replace("<!-- claims summary -->", _summed(board))
    return markdown.replace("<!-- claims board -->", _board_table(board))


def _entries() -> tuple[Any, ...]:
    from litotes.catalog import ENTRIES

    return ENTRIES


def _board() -> list[dict[str, Any]]:
    file = ROOT / "claims" / "board.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []


def _part(entry: Any, board: list[dict[str, Any]]) -> str:
    """The page of one part: its catalogue line, its spelling, its claims, its docstring."""
    lines = [
        f"# {entry.name}",
        f"{entry.summary[:1].upper()}{entry.summary[1:].rstrip('.')}.",
        "",
        f"| Stage | {entry.stage}, {SCALES[entry.scale]} |",
        "|---|---|",
        f"| Spelling | `{_spelling(entry)}` |",
        f"| Plugs into | {entry.plugs_into} |",
        *(f"| {'Paper' if i == 0 else ''} | {_paper(paper)} |" for i, paper in enumerate(entry.papers)),
        "",
    ]
    rows = [line for line in board if line["name"] in entry.claims]
    if entry.claims:
        command = f"`litotes claims run {' '.join(entry.claims)}`"
        lines += ["## Claims", "", _board_table(rows) if rows else f"Checked by {command}; not on the board yet.", ""]
    lines += ["## Reference", "", f"::: {entry.target.replace(':', '.')}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def _spelling(entry: Any) -> str:
    """The part as a recipe calls it, with its defaults; `...` for what must be given."""
    given = []
    for name, parameter in inspect.signature(entry.load()).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            given.append("...")
        elif parameter.default is parameter.empty:
            given.append(f"{name}=...")
        else:
            given.append(f"{name}={_shown(parameter.default)}")
    return f"{entry.name}({', '.join(given)})".replace("|", "\\|")


def _shown(default: Any) -> str:
    from litotes.catalog import shown

    return shown(default)


def _paper(paper: str) -> str:
    """Text in a table cell; an arXiv id becomes a link."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper).replace("|", "\\|")


def _parts_index() -> str:
    lines = [
        "# Parts",
        "",
        "Every part has a short name. A recipe, the command line and the log spell it the same way, arguments "
        "included: `relative_margin(margin=0.05, reference=min)`. `litotes list` prints this page, `litotes show NAME` "
        "one entry.",
        "",
    ]
    for stage, title in STAGES.items():
        entries = [entry for entry in _entries() if entry.stage == stage]
        if entries:
            lines += [f"## {title}", "", "| part | works | what it does |", "|---|---|---|"]
            lines += [f"| [{e.name}]({e.name}.md) | {SCALES[e.scale]} | {e.summary} |" for e in entries]
            lines.append("")
    return "\n".join(lines)


def _modules() -> list[str]:
    """Packages and modules of litotes that have something to say, by name below `litotes`."""
    source = ROOT / "src" / "litotes"
    packages = [path.parent.name for path in source.glob("*/__init__.py")]
    files = [path.stem for path in source.glob("*.py") if not path.stem.startswith("__")]
    return sorted({*packages, *files})


def _summary(name: str) -> str:
    """The first sentence of a module's docstring, read without importing it."""
    import ast

    source = ROOT / "src" / "litotes"
    file = source / name / "__init__.py" if (source / name).is_dir() else source / f"{name}.py"
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _api_index() -> str:
    rows = [f"| [{name}]({name}.md) | {_summary(name)} |" for name in _modules()]
    return "\n".join(["# Reference", "", "| `litotes.` | |", "|---|---|", *rows, ""])


def _module(name: str) -> str:
    options = [
        "    options:",
        "      show_submodules: true",
        "      show_root_heading: false",
        "      show_root_toc_entry: false",
        "      heading_level: 2",
    ]
    return "\n".join([f"# litotes.{name}", "", f"::: litotes.{name}", *options, ""])


def _said(line: dict[str, Any]) -> str:
    """One line of the board as a sentence."""
    low, high = line["interval"]
    return (
        f"**{line['verdict']}**: {line['metric']} {line['effect']:+.4f} [{low:+.4f}, {high:+.4f}] over "
        f"{len(line['seeds'])} seeds (`litotes claims run {line['name']}`)"
    )


def _summed(board: list[dict[str, Any]]) -> str:
    """Which claims have which verdict, as a list."""
    verdicts = {word: [f"`{line['name']}`" for line in board if line["verdict"] == word] for word in _VERDICTS}
    return "\n".join(f"- **{word}**: {', '.join(names)}" for word, names in verdicts.items() if names)


def _board_table(board: list[dict[str, Any]]) -> str:
    if not board:
        return "The board is empty: `litotes claims run --all` fills it."
    rows = [
        f"| `{line['name']}` | {line['claim']} | {line['metric']} | {line['effect']:+.4f} "
        f"[{line['interval'][0]:+.4f}, {line['interval'][1]:+.4f}] | {len(line['seeds'])} | **{line['verdict']}** |"
        for line in board
    ]
    head = ["| name | claim | metric | effect, 95 % interval | seeds | verdict |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])
