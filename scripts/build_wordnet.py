"""Build the archive of WordNet 3.0 that ships inside the package.

    python scripts/build_wordnet.py [--source /usr/share/wordnet] [--target src/litotes/data/wordnet]

Reads the four data files of WordNet 3.0 as Debian's package `wordnet-base` installs them, checks their SHA-256, and
writes `synsets.parquet`, `relations.parquet` and `LICENSE`. The same files and the same version of pyarrow
give the same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litotes.atomic import atomic_path, sha256_file
from litotes.data.anchors import normalise
from litotes.data.wordnet import place
from litotes.data.wordnet.relations import INVERSE_SYMBOLS, KINDS, SHARED_LEMMA, SYMBOLS, SYMMETRIC

FILES = {
    "data.noun": ("n", "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2"),
    "data.verb": ("v", "adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2"),
    "data.adj": ("a", "c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7"),
    "data.adv": ("r", "444a63bf3955080ab7524f5079cfc07ff9bc682cb98bdb1db73b0fb9829f1139"),
}

LEXICOGRAPHER_FILES = """
    adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition 
    noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person 
    noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state 
    noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition 
    verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social 
    verb.stative verb.weather adj.ppl
""".split()  # noqa: SIM905

ROWS_PER_GROUP = 8192


class Synset(NamedTuple):
    """One line of a data file."""

    key: str
    file: int
    lemmas: list[str]
    definition: str
    examples: list[str]
    pointers: list[tuple[str, str]]


def main() -> None:
    """Parse, order, check and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--source", type=Path, default=Path("/usr/share/wordnet"))
    options.add_argument("--target", type=Path, default=Path("src/litotes/data/wordnet"))
    arguments = options.parse_args()
    synsets = sorted(read(arguments.source), key=lambda synset: place(synset.key))
    arguments.target.mkdir(parents=True, exist_ok=True)
    write(synset_table(synsets), arguments.target / "synsets.parquet")
    write(relation_table(synsets), arguments.target / "relations.parquet")
    with atomic_path(arguments.target / "LICENSE") as path:
        path.write_text(licence(arguments.source / "data.noun"), encoding="utf-8")
    sys.stderr.write(f"{len(synsets)} synsets\n")


def read(folder: Path) -> list[Synset]:
    """Every synset of the four files. Raises SystemExit where a file is not the one this script was written for."""
    synsets = []
    for name, (letter, digest) in FILES.items():
        found = sha256_file(folder / name)
        if found != digest:
            raise SystemExit(f"{folder / name}: SHA-256 is {found}, expected {digest} (WordNet 3.0)")
        with open(folder / name, encoding="ascii") as lines:
            synsets += [parse(line, letter) for line in lines if not line.startswith("  ")]
    return synsets


def parse(line: str, letter: str) -> Synset:
    """A line `offset file type count(hex) (word id)* count (symbol offset pos words)* [frames] | gloss`."""
    head, gloss = line.rstrip().split(" | ", 1)
    fields = head.split()
    words = int(fields[3], 16)
    lemmas = [re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * words : 2]]
    start = 4 + 2 * words
    pointers = []
    for i in range(start + 1, start + 1 + 4 * int(fields[start]), 4):
        if fields[i] not in INVERSE_SYMBOLS:
            pointers.append((SYMBOLS[fields[i]], fields[i + 2] + fields[i + 1]))
    definition, examples = split_gloss(gloss)
    if not definition:
        raise SystemExit(f"{letter}{fields[0]}: the gloss {gloss!r} has no definition")
    return Synset(letter + fields[0], int(fields[1]), list(dict.fromkeys(lemmas)), definition, examples, pointers)


def split_gloss(gloss: str) -> tuple[str, list[str]]:
    """The definition (before the first quotation that is not inside parentheses) and the quoted examples after it."""
    depth, quoted, cut = 0, False, len(gloss)
    for position, character in enumerate(gloss):
        if character == '"' and depth == 0:
            cut = position
            break
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth = max(0, depth + (character == "(") - (character == ")"))
    examples = [example.strip() for example in re.findall(r'"([^"]+)"', gloss[cut:])]
    return " ".join(gloss[:cut].rstrip(" ;:,").split()), [example for example in examples if example]


def synset_table(synsets: list[Synset]) -> pa.Table:
    """One row per synset, in the order of `place`; `same` is the first row whose definition is the same text."""
    first: dict[str, int] = {}
    same = [first.setdefault(normalise(synset.definition), row) for row, synset in enumerate(synsets)]
    return pa.table(
        {
            "key": [synset.key for synset in synsets],
            "file": pa.array([LEXICOGRAPHER_FILES[synset.file] for synset in synsets]).dictionary_encode(),
            "lemmas": [synset.lemmas for synset in synsets],
            "definition": [synset.definition for synset in synsets],
            "examples": pa.array([synset.examples for synset in synsets], pa.list_(pa.string())),
            "same": pa.array(same, pa.int32()),
        }
    )


def relation_table(synsets: list[Synset]) -> pa.Table:
    """Unique (source, target, kind) rows, ascending by the later of the two rows: a subset's relations come first."""
    row = {synset.key: i for i, synset in enumerate(synsets)}
    number = {kind: i for i, kind in enumerate(KINDS)}
    found = set()
    holders = defaultdict(set)
    for source, synset in enumerate(synsets):
        for lemma in synset.lemmas:
            holders[lemma.casefold()].add(source)
        for kind, key in synset.pointers:
            target = row[key]
            if kind in SYMMETRIC and source < target:
                found.add((target, source, number[kind]))
            elif source != target:
                found.add((source, target, number[kind]))
    for sharing in holders.values():
        found.update((late, early, number[SHARED_LEMMA]) for early, late in combinations(sorted(sharing), 2))
    source, target, kind = np.array(sorted(found, key=lambda r: (max(r[:2]), r))).T
    return pa.table(
        {"source": source.astype(np.int32), "target": target.astype(np.int32), "kind": kind.astype(np.int8)}
    )


def write(table: pa.Table, path: Path) -> None:
    """One Parquet file, Zstandard at its densest."""
    texts = "key" in table.column_names
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=22,
            row_group_size=ROWS_PER_GROUP if texts else len(table),
            use_dictionary=["file"] if texts else False,
            column_encoding=None if texts else {"source": "DELTA_BINARY_PACKED", "target": "PLAIN", "kind": "PLAIN"},
            store_schema=False,
            write_statistics=False,
        )


def licence(path: Path) -> str:
    """WordNet's licence as its data files carry it, line numbers stripped."""
    with open(path, encoding="ascii") as lines:
        header = [line for line in lines if line.startswith("  ")]
    return "".join(re.sub(r"^ +\d+ ?", "", line).rstrip() + "\n" for line in header)


if __name__ == "__main__":
    main()
