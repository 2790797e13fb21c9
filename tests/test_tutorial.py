"""The tutorial's commands are run as they stand there, in order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


def test_every_command_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh( fails)?\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 8
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = []
    for fails, block in blocks:
        ran = subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (ran.returncode != 0) == bool(fails), f"{block}\n{ran.stdout}\n{ran.stderr}"
        said.append(ran.stdout + ran.stderr)
    broken = next(text for (fails, _), text in zip(blocks, said, strict=True) if fails)
    assert re.search(r"faq\.csv:2", broken)  # the fault is named with file and line
    explained = next(text for (_, block), text in zip(blocks, said, strict=True) if "--explain" in block)
    assert "positive" in explained and "found by dense at rank 1" in explained
    assert "Forgot password" in explained
    for name in ("triplets.jsonl", "train.jsonl", "model/modules.json"):
        assert (tmp_path / name).stat().st_size > 0
