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
    """The recipe in a TOML file, after `key.sub=value` overrides. Its name, if not said, is the file's without `.toml`.

    The value of an override is TOML (`2e-5`, `true`, `["bm25()"]`); what is none is a text, so quotes may be left out;
    no value at all (`minutes=`) takes the key out, which then has its default.

    Raises:
        RecipeError: the TOML is broken (with its line), a key is unknown, a value is not allowed, a part cannot be
            built. All faults are listed, each with its key.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError):
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
        return Recipe.model_validate(raw)
    except ValidationError as error:
        faults = [_said(fault) for fault in error.errors(include_url=False)]
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise RecipeError("\n".join([f"{where}: {count}", *(f"  {fault}" for fault in faults)])) from None


def _set(raw: dict[str, Any], override: str) -> None:
    key, equals, text = (part.strip() for part in override.partition("="))
    *tables, last = key.split(".")
    if not equals or not all([*tables, last]):
        raise RecipeError(f"--set {override!r}: expected key=value, for example train.lr=2e-5")
    place = raw
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override!r}: {table!r} is no table")
    if text:
        place[last] = _value(text, override)
    else:
        place.pop(last, None)


def _value(text: str, override: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[0] in "[{\"'":
            raise RecipeError(f"--set {override!r}: not TOML: {error}") from None
        return text  # a bare word is a string
    if len(read) > 1:
        raise RecipeError(f"--set {override!r}: expected one value, got several lines")
    return read["value"]


def _said(fault: Any) -> str:
    path = _path(fault["loc"])
    got = fault.get("input")
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key; allowed here: {', '.join(_allowed(fault['loc']))}"
    if fault["type"] == "missing":
        return f"{path}: missing"
    if fault["type"] == "model_type":
        return f"{path}: expected a table, got {got!r}"
    if fault["type"] == "value_error":
        return f"{path}: {fault['msg'].removeprefix('Value error, ')}" + (
            f", in {got!r}" if isinstance(got, str) else ""
        )
    return f"{path}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {got!r}"


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
