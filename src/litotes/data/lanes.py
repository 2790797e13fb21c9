"""Sixteen float32 numbers at once, for Numba: what is written with them becomes vector instructions, whatever the CPU.

Numba leaves it to its compiler to find vectors in loops over numbers; in the short loops of attention over short texts
it finds none (10 times slower). A value of the type `lanes` is one vector and stays in a register.

Arrays of uint16 hold bfloat16 bit by bit, widened when it is read and rounded to even when it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

WIDTH = 16

_FLOAT = ir.FloatType()
_NUMBERS, _INTEGERS, _HALVES = (ir.VectorType(kind, WIDTH) for kind in (_FLOAT, ir.IntType(32), ir.IntType(16)))
_FREE = ("contract", "reassoc")  # a product may be fused with a sum, a sum over lanes taken in any order
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0, 1.0)


class LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="litotes_lanes")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, _NUMBERS)


@intrinsic
def every(typing: Any, x: Any) -> Any:
    """The number x in every lane."""
    return lanes(types.float32), _code(_splat)


@intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """array[at : at + 16] of a contiguous vector, float32 or bfloat16."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _place(context, builder, signature, values)
        if array.dtype == types.float32:
            return builder.load(builder.bitcast(place, _NUMBERS.as_pointer()), align=4)
        bits = builder.load(builder.bitcast(place, _HALVES.as_pointer()), align=2)
        return builder.bitcast(builder.shl(builder.zext(bits, _INTEGERS), _whole(16)), _NUMBERS)

    return lanes(_known(array), types.intp), code


@intrinsic
def store(typing: Any, array: Any, at: Any, x: Any) -> Any:
    """array[at : at + 16] = x."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, x = _place(context, builder, signature, values), values[2]
        if array.dtype == types.float32:
            builder.store(x, builder.bitcast(place, _NUMBERS.as_pointer()), align=4)
        else:
            bits = builder.bitcast(x, _INTEGERS)
            even = builder.and_(builder.lshr(bits, _whole(16)), _whole(1))
            rounded = builder.lshr(builder.add(builder.add(bits, even), _whole(0x7FFF)), _whole(16))
            # the sum above would carry a NaN over into infinity or zero
            rounded = builder.select(builder.fcmp_unordered("uno", x, x), _whole(0x7FC0), rounded)
            builder.store(builder.trunc(rounded, _HALVES), builder.bitcast(place, _HALVES.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.void(_known(array), types.intp, lanes), code


@intrinsic
def fused(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z."""
    return lanes(lanes, lanes, lanes), _code(_fused)


@intrinsic
def plus(typing: Any, x: Any, y: Any) -> Any:
    return lanes(lanes, lanes), _code(lambda builder, x, y: builder.fadd(x, y, flags=_FREE))


@intrinsic
def times(typing: Any, x: Any, y: Any) -> Any:
    return lanes(lanes, lanes), _code(lambda builder, x, y: builder.fmul(x, y, flags=_FREE))


@intrinsic
def larger(typing: Any, x: Any, y: Any) -> Any:
    """The larger of the two, NaN where x is NaN."""
    return lanes(lanes, lanes), _code(lambda builder, x, y: builder.select(builder.fcmp_ordered("olt", x, y), y, x))


@intrinsic
def first(typing: Any, x: Any, count: Any, other: Any) -> Any:
    """x in the first `count` lanes, `other` in the rest."""

    def build(builder: Any, x: Any, count: Any, other: Any) -> Any:
        numbers = ir.Constant(_INTEGERS, list(range(WIDTH)))
        count = _splat(builder, builder.trunc(count, ir.IntType(32)), _INTEGERS)
        return builder.select(builder.icmp_signed("<", numbers, count), x, _splat(builder, other))

    return lanes(lanes, types.intp, types.float32), _code(build)


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """The sum of the lanes."""

    def build(builder: Any, x: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, (_FLOAT, _NUMBERS))
        add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{WIDTH}f32")
        return builder.call(add, (ir.Constant(_FLOAT, -0.0), x), fastmath=("reassoc",))

    return types.float32(lanes), _code(build)


@intrinsic
def largest(typing: Any, x: Any) -> Any:
    """The largest of the lanes."""

    def build(builder: Any, x: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, (_NUMBERS,))
        largest_of = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fmax.v{WIDTH}f32")
        return builder.call(largest_of, (x,))

    return types.float32(lanes), _code(build)


@intrinsic
def exponential(typing: Any, x: Any) -> Any:
    """e^x for x <= 0, to 2 units in the last place; below -87, e^-87 (about 1e-38). NaN stays NaN."""

    def build(builder: Any, x: Any) -> Any:
        x = builder.select(builder.fcmp_ordered("olt", x, _number(-87)), _number(-87), x)
        halves = builder.fsub(_fused(builder, x, _number(1.4426950408889634), _number(0)), _number(0.5))
        powers = builder.fptosi(halves, _INTEGERS)  # towards zero: the nearest whole number of x / log 2
        n = builder.sitofp(powers, _NUMBERS)
        rest = _fused(builder, n, _number(-0.693359375), x)
        rest = _fused(builder, n, _number(2.12194440e-4), rest)
        value = _number(_EXP[0])
        for coefficient in _EXP[1:]:
            value = _fused(builder, value, rest, _number(coefficient))
        scale = builder.bitcast(builder.shl(builder.add(powers, _whole(127)), _whole(23)), _NUMBERS)
        return builder.fmul(value, scale)

    return lanes(lanes), _code(build)


def _code(build: Callable[..., Any]) -> Callable[..., Any]:
    return lambda context, builder, signature, values: build(builder, *values)


def _known(array: Any) -> Any:
    if array.ndim != 1 or array.layout != "C" or array.dtype not in (types.float32, types.uint16):
        raise TypeError(f"lanes: need a contiguous vector of float32 or uint16, got {array}")
    return array


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.gep(context.make_array(signature.args[0])(context, builder, values[0]).data, [values[1]])


def _fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    return builder.fadd(builder.fmul(x, y, flags=_FREE), z, flags=_FREE)


def _splat(builder: Any, x: Any, kind: Any = _NUMBERS) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_INTEGERS, [0] * WIDTH))


def _number(x: float) -> Any:
    return ir.Constant(_NUMBERS, [x] * WIDTH)


def _whole(x: int) -> Any:
    return ir.Constant(_INTEGERS, [x] * WIDTH)
