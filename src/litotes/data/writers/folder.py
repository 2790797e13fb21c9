"""A folder that is whole or absent: filled under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.errors import BadInput


@contextmanager
def fresh_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends well, and is removed otherwise.

    Raises:
        FileExistsError: there is a file or a folder that is not empty; nothing is overwritten.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists and is not an empty folder; choose another place or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.litotes-partial")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def split_names(collection: Collection) -> list[str]:
    """The splits. Raises BadInput where one cannot name a file (empty, a slash, a control sign, a dot in front)."""
    for name in collection.splits:
        if not name or name.startswith(".") or not name.isprintable() or "/" in name or "\\" in name:
            raise BadInput(f"the split {name!r}", "a name that can name a file", file=collection.name)
    return collection.splits


def lost_columns(table: pa.Table, kept: Iterable[str], kind: str) -> Counter[str]:
    """How many values stand in the columns that are not kept."""
    names = [name for name in table.column_names if name not in set(kept)]
    return +Counter({f"{kind}: column {name!r}": len(table) - table[name].null_count for name in names})
