"""What the pages show can be typed: code compiles, and every name it imports from litotes is there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "```python" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_compiles_and_imports_what_exists(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("litotes"):
                module = importlib.import_module(node.module or "")
                missing = [name.name for name in node.names if not hasattr(module, name.name)]
                assert not missing, f"{page}: {node.module} has no {missing}"


def test_the_recipe_page_names_every_key_of_a_recipe() -> None:
    from litotes.recipe.schema import Recipe

    page = (DOCS / "guide" / "recipes.md").read_text(encoding="utf-8")
    for name, field in Recipe.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        for key in [f"{name}.{sub}" for sub in inner] if inner else [name]:
            assert f"`{key}`" in page, f"docs/guide/recipes.md does not name {key}"
