"""The README's Python is run as it stands there, in order, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs_and_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 15  # "about a dozen lines"
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)

    summary = names["mining"].evidence.describe()
    assert summary.anchors == 64
    assert summary.rows == summary.positives + summary.negatives
    assert 0 < summary.believed < summary.negatives  # some were doubted, none is gone
    assert names["trained"].steps == 2 and (tmp_path / "model" / "modules.json").exists()


def test_every_command_that_the_readme_shows_exists() -> None:
    from typer.main import get_command

    from litotes.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    shown = re.findall(r"^litotes (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert shown and set(shown) <= set(commands)
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_line_of_the_readme_that_is_a_command_parses() -> None:
    from typer.main import get_command

    from litotes.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("litotes ")]
    assert len(lines) >= 4
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        commands[name].make_context(name, words)
