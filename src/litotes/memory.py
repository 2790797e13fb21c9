"""Memory of a process: how much it holds, how much it held at most, and giving back what C libraries have freed."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from pathlib import Path
from types import TracebackType

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)\s*")


def parse_bytes(size: int | str) -> int:
    """Bytes from a number or a text such as "2GB" (10^9), "512MiB" (2^20), "1.5 gb".

    Raises:
        ValueError: no such unit, or not above 0.
    """
    match = _SIZE.fullmatch(str(size))
    unit = match[2].upper() if match else None
    if match is None or unit not in _UNITS or not int(float(match[1]) * _UNITS[unit]) > 0:
        raise ValueError(f"a size must be a number above 0 with one of {', '.join(list(_UNITS)[1:])}, got {size!r}")
    return int(float(match[1]) * _UNITS[unit])


def spell_bytes(size: int) -> str:
    """Bytes for people: "1.94 GB", "312 MB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{-(-size // 10**6)} MB"


def held_bytes(process: int | None = None) -> int | None:
    """Memory that a process and all its descendants hold and the system cannot reclaim; None if nobody can say.

    On Linux RssAnon + RssShmem of each: pages of mapped files (vectors, libraries) are left out, for the system drops
    them when it needs room. Elsewhere the unique set size that psutil reports.
    """
    process = os.getpid() if process is None else process
    if not sys.platform.startswith("linux"):
        return _unique_bytes(process)
    total = 0
    for each in [process, *_descendants(process)]:
        try:
            with open(f"/proc/{each}/status", "rb") as file:
                for line in file:
                    if line.startswith((b"RssAnon:", b"RssShmem:")):
                        total += int(line.split()[1]) * 1024
        except OSError:  # it has ended meanwhile
            continue
    return total


class PeakMemory:
    """The most that this process and its descendants held while the context was open, sampled in a thread.

    `peak`: bytes, None where nobody can say. A peak shorter than `interval` seconds may be missed.
    """

    def __init__(self, interval: float = 0.05):
        self.interval = interval
        self.peak: int | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        self.sample()
        if self.peak is not None:
            self._thread = threading.Thread(target=self._watch, name="litotes-memory", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        self.sample()

    def sample(self) -> None:
        """Look now."""
        now = held_bytes()
        if now is not None:
            self.peak = max(now, self.peak or 0)

    def _watch(self) -> None:
        while not self._done.wait(self.interval):
            self.sample()


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


def _descendants(process: int) -> list[int]:
    """Processes below this one, as the kernel lists them by thread."""
    found: list[int] = []
    waiting = [process]
    while waiting:
        parent = waiting.pop()
        try:
            lists = [file.read_text() for file in Path(f"/proc/{parent}/task").glob("*/children")]
        except OSError:
            continue
        children = [int(child) for each in lists for child in each.split()]
        found += children
        waiting += children
    return found


def _unique_bytes(process: int) -> int | None:
    import psutil

    total = 0
    try:
        top = psutil.Process(process)
        for each in [top, *top.children(recursive=True)]:
            total += each.memory_full_info().uss
    except psutil.Error:
        return total or None
    return total
