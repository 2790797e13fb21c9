"""Text files line by line, plain or gzipped, with every fault placed."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litotes.errors import BadInput, BadRows
from litotes.progress import progress

LARGE = 1 << 26
"""Bytes from which a file gets a progress bar."""

SURROGATE = re.compile(r"\\u[dD]")
"""JSON can escape half a surrogate pair, which no UTF-8 and no Arrow string can hold."""


def read_lines(path: Path, bad: BadRows) -> Iterator[tuple[int, str]]:
    """(1-based number, line with its end) of every line of a UTF-8 file; `.gz` is unpacked, a byte order mark dropped.

    Lines end at the line feed only, so that a carriage return or U+2028 inside a text stays inside it.

    Raises:
        BadInput: a line is not UTF-8 (or is counted and left out, when skipping); the file is not there or is broken.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            numbered: Any = enumerate(file, 1)
            if path.stat().st_size >= LARGE:
                numbered = progress(numbered, what=f"reading {path.name}", unit="lines")
            for number, raw in numbered:
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    found = f"the byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line"
                    bad.add(BadInput(found, "UTF-8", file=path, line=number))
    except FileNotFoundError:
        raise BadInput("no such file", "a file", file=path) from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadInput(f"a broken gzip stream ({error})", "a whole .gz file", file=path) from None


def read_objects(path: Path, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line of a JSONL file; lines of white space are passed over."""
    for number, line in read_lines(path, bad):
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            bad.add(BadInput(f"broken JSON ({error})", "one JSON object a line", file=path, line=number))
            continue
        if SURROGATE.search(line) and not _writable(value):
            bad.add(BadInput("half a surrogate pair", "text that UTF-8 can hold", file=path, line=number))
        elif isinstance(value, dict):
            yield number, value
        else:
            bad.add(BadInput(spoken(value), "a JSON object", file=path, line=number))


def _writable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def spoken(value: Any) -> str:
    """A value as error messages say it: `3 (int)`, `'abc' (text)`, `a list of 2`, `null`."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"{value[:40]!r}{'...' if len(value) > 40 else ''} (text)"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return f"{value!r} ({type(value).__name__})"
