"""Reading a recipe: TOML, overrides from the command line, and errors that name the key and say what is allowed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from litotes.recipe.schema import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class RecipeError(ValueError):
    """A recipe that cannot be run; every fault stands on a line of its own."""


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a TOML file, after `key.sub=value` overrides.

    Raises:
        RecipeError: the TOML is broken (with its line), a key is unknown, a value is not allowed, a part cannot be
            built. All faults are listed, each with its key.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"no recipe at {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
    raw.setdefault("name", path.stem)
    for override in overrides:
        _set(raw, override)
    return make_recipe(raw, str(path))


def make_recipe(raw: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values, fully checked."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        faults = [_said(fault) for fault in error.errors(include_url=False)]
        raise RecipeError("\n".join([f"{where}: {len(faults)} faults", *(f"  {fault}" for fault in faults)])) from None
    problems = recipe.problems()
    if problems:
        raise RecipeError("\n".join([f"{where}: {len(problems)} faults", *(f"  {problem}" for problem in problems)]))
    return recipe


def _set(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {override!r}: expected key=value, for example train.lr=2e-5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *tables, last = key.strip().split(".")
    place = raw
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override!r}: {table!r} is no table")
    place[last] = value


def _said(fault: Any) -> str:
    path = _path(fault["loc"])
    got = fault.get("input")
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key; allowed here: {', '.join(_allowed(fault['loc']))}"
    if fault["type"] == "missing":
        return f"{path}: missing"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{path}: {message.removeprefix('value error, ')}, got {got!r}" if path else message


def _path(location: Iterable[Any]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def _allowed(location: tuple[Any, ...]) -> list[str]:
    """The keys of the section in which the unknown key stands."""
    model: Any = Recipe
    for step in location[:-1]:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation
        model = annotation if hasattr(annotation, "model_fields") else annotation.__args__[0]
    return sorted(model.model_fields)
