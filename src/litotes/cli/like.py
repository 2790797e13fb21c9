"""litotes mine --like: another miner's rules, its defaults and its file format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litotes.cli import given

_COUNT = {
    "sentence-transformers": "num_negatives",
    "flagembedding": "negative_number",
    "nemo": "hard_negatives_to_mine",
}
_ENDINGS = {
    "sentence-transformers": (".jsonl", ".parquet"),
    "flagembedding": (".jsonl", ".json"),
    "nemo": (".json",),
}


@dataclass(frozen=True)
class Like:
    """Another miner's choice, checked as far as it can be without data.

    `preset`: what `litotes.mining.like` gives; `target`: the training file, in that miner's format.
    """

    name: str
    preset: Any
    out: Path
    target: Path

    @classmethod
    def of(
        cls, name: str, options: list[str], *, n: int | None, seed: int, out: Path, to_out: Path | None, overwrite: bool
    ) -> Like:
        """Raises ValueError or FileExistsError for what cannot be done, before anything is."""
        from litotes.mining import like

        given.one_of("--like", name, _COUNT)
        chosen = dict(_option(text) for text in options)
        if n is not None:
            chosen[_COUNT[name]] = n
        if name != "nemo":
            chosen.setdefault("seed", seed)
        try:
            preset = like(name, chosen)
        except TypeError as error:  # a word where a number belongs
            raise ValueError(f"--like-option: {name}: {error}") from None
        target = to_out or out.with_name(out.name.removesuffix(".parquet") + _ENDINGS[name][0])
        if target.suffix not in _ENDINGS[name]:
            raise ValueError(f"--to-out {target}: the ending is {' or '.join(_ENDINGS[name])} with --like {name}")
        if target.resolve() == out.resolve():
            raise ValueError(f"--to-out {target}: the evidence goes there")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists; choose another --to-out, or say --overwrite")
        if out.exists():
            raise FileExistsError(f"{out} exists; choose another --out, or delete it")
        return cls(name, preset, out, target)

    def mine(
        self, data: Any, split: str, encoder: Any, space: Any, *, layout: str, scores: bool, cache: Path | None
    ) -> dict[str, Any]:
        """Mine as that miner does; write the rows it would write, and the evidence that was looked at."""
        from litotes.evidence import Evidence
        from litotes.vetting.guide import space_of

        if space is None:
            space = space_of(encoder, data.query_texts(), data.document_texts(), cache)
        selection = self.preset.mine(data, split, space)
        counts: dict[str, Any] = {
            "like": str(self.preset),
            "evidence": str(self.out),
            "training file": str(self.target),
        }
        counts |= {"anchors": len(selection.query), "anchors with fewer negatives than asked": selection.short}
        if self.name == "sentence-transformers":
            made = selection.rows(layout, scores)
            _write_rows(made.table, self.target)
            counts |= {"rows": len(made.table), "pairs left out for want of negatives, as there": made.dropped}
        else:
            written = _write_chosen(selection, data, self.target, self.name, split)
            counts |= {"rows": written.rows, "lost": dict(written.lost)}
            if selection.filled.any():
                counts["random padding among the negatives"] = int(selection.filled.sum())
        Evidence.of(self.out, selection.evidence, fingerprints={"collection": data.fingerprint()})
        return counts


def _write_rows(table: Any, target: Path) -> None:
    from litotes.atomic import atomic_path

    with atomic_path(target) as temporary:
        if target.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, temporary)
        else:
            import json

            with open(temporary, "w", encoding="utf-8") as file:
                for row in table.to_pylist():
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_chosen(selection: Any, data: Any, target: Path, name: str, split: str) -> Any:
    """The preset's own choice, in its own file format."""
    import tempfile

    import numpy as np
    import pyarrow as pa

    from litotes.data.formats import convert
    from litotes.evidence import Evidence

    evidence = selection.evidence
    anchor, document = data.query_rows(evidence["anchor"]), data.document_rows(evidence["candidate"])
    pair = anchor.astype(np.int64) << 32 | document
    wanted = []
    for part in (selection.positives, selection.negatives):
        query = np.repeat(selection.query, np.diff(part.offsets))
        wanted.append(query.astype(np.int64) << 32 | part.items)
    kept = evidence.filter(pa.array(np.isin(pair, np.concatenate(wanted))))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "chosen.parquet"
        Evidence.of(place, kept)
        return convert(
            place, target, source_format="evidence", target_format=name, collection=data, split=split, overwrite=True
        )


def _option(text: str) -> tuple[str, Any]:
    import ast

    name, value = given.option("--like-option", text)
    if value.lower() in ("true", "false", "none"):
        value = value.capitalize()
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a bare word or a range such as 10-210
