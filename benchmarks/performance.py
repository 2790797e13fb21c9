"""Writes docs/performance.md from the figures in benchmarks/results/: nothing on that page is typed by hand.

python benchmarks/performance.py            write the page
python benchmarks/performance.py --check    say whether it is as the figures are, and fail if not
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from _harness import about_machine, shown

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
ORDER = ("mine_vs_sentence_transformers", "encode", "search", "approximate")
INTRODUCTION = """\
# Performance

Every figure here comes from a file in `benchmarks/results/`, written by the command above it. A claim of speed is a
ratio against a named peer in the same run, the two in turn, whole processes where it says so. Memory is the largest
RssAnon + RssShmem of the process tree: what the work needs, without file pages that the system can take back. Where a
goal is missed the figure stands as it is. Your machine differs: run the commands, the ratio is what travels.
"""


def main() -> None:
    page = written()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit("docs/performance.md is not what benchmarks/results/ says; run python benchmarks/performance.py")


def written() -> str:
    """The page, from all result files that have no other."""
    figures = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    figures = {name: one for name, one in figures.items() if "page" not in one}  # those have a page of their own
    names = [name for name in ORDER if name in figures] + [name for name in figures if name not in ORDER]
    return "\n".join([INTRODUCTION, *(section(figures[name]) for name in names)])


def section(figures: dict[str, Any]) -> str:
    """One benchmark: what was done, on what, the table and what else has to be said."""
    columns, rows = figures["table"]["columns"], figures["table"]["rows"]
    lines = [
        f"## {figures['title']}",
        "",
        figures["task"],
        "",
        f"`{figures['command']}`",
        "",
        f"Machine: {about_machine(figures['machine'])}.",
        "",
        "| " + " | ".join(columns) + " |",
        "|---" * len(columns) + "|",
        *("| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows),
        "",
        *(f"- {note}" for note in figures.get("notes", ())),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
