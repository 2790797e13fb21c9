"""Loops that NumPy cannot say, compiled on their first call and kept for the next process where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled by Numba without Python objects, so that threads run it side by side.

    Sums stay in the order in which they are written, and no multiplication is fused with an addition: results are those
    of NumPy, bit for bit.
    """
    try:
        return numba.njit(function, nogil=True, cache=True, fastmath=False, error_model="numpy")
    except RuntimeError:  # neither the package nor the user's cache folder can be written to
        return numba.njit(function, nogil=True, fastmath=False, error_model="numpy")
