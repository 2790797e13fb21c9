"""What changed between two tables of the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.evidence import table as t


def differ(old: pa.Table, new: pa.Table) -> np.ndarray:
    """Bool per row: the two tables say different things about it."""
    changed = np.zeros(len(old), bool)
    for name in ("sign", "grade", "prior", "weight", "score"):
        a, b = old[name].to_numpy(), new[name].to_numpy()
        changed |= ~((a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b)
    for entries in (t.found_entries, t.doubt_entries):
        changed[_rows_of_unlike_entries(entries(old), entries(new), len(old))] = True
    return changed


def _rows_of_unlike_entries(old: pa.Table, new: pa.Table, rows: int) -> np.ndarray:
    sizes = [np.bincount(entries["row"].to_numpy(), minlength=rows) for entries in (old, new)]
    unlike = sizes[0] != sizes[1]
    even = [entries.filter(pa.array(~unlike[entries["row"].to_numpy()])) for entries in (old, new)]
    different = np.zeros(len(even[0]), bool)
    for name in even[0].column_names:
        equal = pc.fill_null(pc.equal(even[0][name], even[1][name]), False)
        none = pc.and_(*(pc.is_null(side[name], nan_is_null=True) for side in even))
        different |= ~pc.or_(equal, none).to_numpy()
    return np.union1d(np.flatnonzero(unlike), even[0]["row"].to_numpy()[different])
