"""Loops that NumPy cannot say, compiled by Numba for this processor and kept for the next process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(*signatures: Any, fastmath: bool | set[str] = False) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: the function compiled without Python objects, so that threads run it side by side.

    What is compiled is cached on disk: beside the function's file, else in the user's cache folder, else, where neither
    can be written to, nowhere, and every process compiles anew. The cache knows the function's own file and the
    processor, not what else the function is built on (this decorator included): after a change there, touch the file.

    Division by zero gives infinity or NaN, as in NumPy. Sums stay in the order in which they are written and no product
    is fused with a sum, so that results are those of NumPy bit for bit, unless `fastmath` says otherwise at that one
    function.

    Args:
        signatures: compile for these kinds of arguments at once. None = for those of each first call.
        fastmath: what the compiler may do with floating-point numbers, by the names of LLVM ({"reassoc", "nsz"}).
    Raises:
        RuntimeError: Numba refuses the function (a cache that cannot be written is no reason).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        import numba

        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
        given: Any = list(signatures) or None
        try:
            return numba.njit(given, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            return numba.njit(given, **options)(function)

    return decorate
