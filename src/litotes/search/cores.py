"""How many threads a search starts."""

from __future__ import annotations

import os


def cores() -> int:
    """What OMP_NUM_THREADS says, else the processors that this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
