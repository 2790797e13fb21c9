"""The tutorial's commands are run as they stand there, in order, in one folder, and say what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
NUMBER = re.compile(r"\d+\.\d+")


def test_every_command_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```(sh|sh fails|text)\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks].count("sh") >= 8
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "80"}
    said = ""
    for kind, block in blocks:
        if kind == "text":
            shows(said, block)
            continue
        ran = subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (ran.returncode != 0) == (kind == "sh fails"), f"{block}\n{ran.stdout}\n{ran.stderr}"
        said = ran.stdout
        if kind == "sh fails":
            assert ran.returncode == 2 and re.match(r"error: faq\.csv:2: ", ran.stderr)  # with file and line
    for name in ("triplets.jsonl", "train.jsonl", "model/modules.json"):
        assert (tmp_path / name).stat().st_size > 0


def shows(said: str, block: str) -> None:
    """Every line of the page is in what was printed, in this order; scores differ a little between machines."""
    lines = iter(said.splitlines())
    for shown in block.splitlines():
        words = NUMBER.sub("#", shown)
        line = next((line for line in lines if NUMBER.sub("#", line) == words), None)
        assert line is not None, f"{shown!r} is not in\n{said}"
        seen, printed = (list(map(float, NUMBER.findall(text))) for text in (shown, line))
        assert printed == pytest.approx(seen, abs=0.02)
