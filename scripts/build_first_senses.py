"""Build the first senses of WordNet's ambiguous nouns, which the archive in the package does not hold.

    python scripts/build_first_senses.py [--source /usr/share/wordnet] [--target claims/worlds]

Reads `index.noun` of WordNet 3.0 as Debian's package `wordnet-base` installs it, in which the senses of a word stand in
order of frequency, and writes `first_noun_senses.parquet`: for every word with several senses, one of which has five
or more nouns within three levels below it, the key of its first one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from litotes.atomic import atomic_path
from litotes.data.wordnet import load_synsets


def main() -> None:
    """Parse, choose, write."""
    import sys

    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--source", type=Path, default=Path("/usr/share/wordnet"))
    arguments.add_argument("--target", type=Path, default=Path("claims/worlds"))
    given = arguments.parse_args()
    sys.path.append(str(Path(__file__).parents[1]))
    from claims.worlds.skills import nouns

    wide = {key for key, below in nouns().below().items() if len(below) >= 5}
    known = set(load_synsets("all").table["key"].to_pylist())
    rows = []
    for line in (given.source / "index.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue  # the licence
        fields = line.split()
        keys = [f"n{offset}" for offset in fields[-int(fields[2]) :]]
        if not known.issuperset(keys):
            raise SystemExit(f"{fields[0]}: {keys} are not all in the archive: is this WordNet 3.0?")
        if len(keys) > 1 and wide.intersection(keys):
            rows.append((fields[0].replace("_", " "), keys[0]))
    table = pa.table({"lemma": [lemma for lemma, _ in rows], "key": [key for _, key in rows]})
    with atomic_path(given.target / "first_noun_senses.parquet") as path:
        pq.write_table(table, path, compression="zstd")
    print(f"{len(rows):,} words")


if __name__ == "__main__":
    main()
