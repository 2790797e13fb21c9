"""Giving memory back: what C libraries have freed stays with the process until somebody asks the allocator for it."""

from __future__ import annotations

import ctypes
import sys


def release_freed() -> bool:
    """Ask glibc to return freed heap pages to the system; True if something was returned. Elsewhere it does nothing.

    Encoding and search free large buffers of ever new sizes, which glibc keeps in pieces: on WordNet that was a third
    of the peak. A call takes some 10 ms, so it belongs behind a shard or a block, not behind a batch.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library: it has its own habits
        return False
    return bool(trim(0))
