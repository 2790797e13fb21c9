"""A part has one spelling, `relative_margin(margin=0.05, reference=min)`, and reads back from it.

The spelling is what a recipe says, what the log shows and what stands as `part` in the doubts of evidence; so nothing
may be rounded in it. `litotes.catalog.parse` is the way back.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import math
import re
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBERS = {"nan": math.nan, "inf": math.inf}


@dataclass(frozen=True)
class Spelled:
    """A part as read from text: its catalogue name and its arguments, parts nested as `Spelled`."""

    name: str
    arguments: dict[str, Any]


def snake_case(name: str) -> str:
    """`RelativeMargin` -> `relative_margin`, `InfoNCE` -> `info_nce`, `MarginMSE` -> `margin_mse`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def spell(part: Any) -> str:
    """The one spelling of a part: its name and every constructor argument, read from the attribute of the same name.

    Raises:
        TypeError: an argument cannot be spelled (it is no number, text, None, list or part).
    """
    signature = inspect.signature(type(part).__init__)
    arguments, spread = [], []
    for name, parameter in signature.parameters.items():
        spreads = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if name == "self" or (spreads and not hasattr(part, name)):
            continue  # a torch module without a constructor of its own inherits (*args, **kwargs)
        value = getattr(part, name)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            spread += [_value(item) for item in value]
        else:
            arguments.append(f"{name}={_value(value)}")
    return f"{part_name(type(part))}({', '.join(spread + arguments)})"


def part_name(kind: type) -> str:
    """The name of a class in spellings: its own attribute `name_in_recipes`, else its name in snake case."""
    return str(vars(kind).get("name_in_recipes", snake_case(kind.__name__)))


def parse(text: str) -> Spelled:
    """Read a spelling; `relative_margin` alone means `relative_margin()`.

    Raises:
        ValueError: the text is no spelling; the message shows where.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"cannot read the part {text!r}: {error.msg}; expected name(argument=value, ...)") from None
    part = Spelled(tree.id, {}) if isinstance(tree, ast.Name) else _read(tree, text)
    if not isinstance(part, Spelled):
        raise ValueError(f"cannot read the part {text!r}: expected name(argument=value, ...)")
    return part


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, Integral):
        return repr(int(value))
    if isinstance(value, Real):
        return repr(float(value))  # of a numpy number, repr says its type too
    if isinstance(value, str):
        bare = _BARE.fullmatch(value) and value not in _NUMBERS and not keyword.iskeyword(value)
        return value if bare else repr(str(value))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    text = str(value)
    try:
        parse(text if type(value).__str__ is not object.__str__ else "")  # a repr may look like a spelling
    except ValueError:
        raise TypeError(f"cannot spell {value!r}: arguments are numbers, texts, None, lists or parts") from None
    return text


def _read(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        arguments: dict[str, Any] = {}
        if node.args:
            arguments["*"] = [_read(item, text) for item in node.args]
        for given in node.keywords:
            if given.arg is None:
                raise ValueError(f"cannot read the part {text!r}: ** has no meaning here")
            if given.arg in arguments:
                raise ValueError(f"cannot read the part {text!r}: the argument {given.arg!r} is there twice")
            arguments[given.arg] = _read(given.value, text)
        return Spelled(node.func.id, arguments)
    if isinstance(node, ast.Name):
        return _NUMBERS.get(node.id, node.id)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_read(item, text) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _read(node.operand, text)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return -value
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, int, float, str))):
        return node.value
    raise ValueError(f"cannot read {ast.unparse(node)!r} in the part {text!r}: expected a value, a list or a part")
