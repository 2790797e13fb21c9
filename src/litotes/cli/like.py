"""litotes mine --like: another miner's rules, its defaults and its file format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_COUNT = {
    "sentence-transformers": "num_negatives",
    "flagembedding": "negative_number",
    "nemo": "hard_negatives_to_mine",
}


def mine_like(
    name: str,
    options: list[str],
    data: Any,
    split: str,
    encoder: Any,
    vectors: dict[str, Any],
    *,
    n: int | None,
    seed: int,
    out: Path,
    layout: str,
    scores: bool,
    to_out: Path | None,
    cache: Path | None,
    json: bool,
) -> None:
    """Mine as `name` does, in float32; write the evidence that was looked at, and the rows that miner would write."""
    from litotes.cli.say import rows, say
    from litotes.evidence import Evidence
    from litotes.mining.presets import like
    from litotes.search.space import Space
    from litotes.vetting.guide import space_of

    chosen = dict(_option(text) for text in options)
    if n is not None and name in _COUNT:
        chosen[_COUNT[name]] = n
    if name != "nemo":
        chosen.setdefault("seed", seed)
    preset = like(name, chosen)
    if vectors:
        space = Space(vectors["query_vectors"], vectors["corpus_vectors"], name="vectors")
    elif encoder is not None:
        space = space_of(encoder, data.query_texts(), data.document_texts(), cache)
    else:
        raise ValueError("--like needs a model or vectors: none of these miners works with BM25")
    selection = preset.mine(data, split, space)
    Evidence.of(out, selection.evidence, fingerprints={"collection": data.fingerprint()})
    target = to_out or out.with_suffix(".json" if name == "nemo" else ".jsonl")
    counts: dict[str, Any] = {"preset": str(preset), "evidence": str(out), "anchors": len(selection.query)}
    counts["anchors with fewer negatives than asked"] = selection.short
    if name == "sentence-transformers":
        made = selection.rows(layout, scores)  # type: ignore[arg-type]
        _write_rows(made.table, target)
        counts |= {"rows": len(made.table), "pairs left out for want of negatives, as there": made.dropped}
    else:
        written = _write_chosen(selection, data, target, name, split)
        counts |= {"rows": written.rows, **{f"lost: {reason}": count for reason, count in written.lost.items()}}
        if selection.filled.any():
            counts["random padding among the negatives"] = int(selection.filled.sum())
    counts["training file"] = str(target)
    if json:
        say(counts)
    else:
        rows(counts, title=f"mined {data.name}, {split}, like {name}")


def _write_rows(table: Any, target: Path) -> None:
    from litotes.atomic import atomic_path

    with atomic_path(target) as temporary:
        if target.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, temporary)
        elif target.suffix == ".jsonl":
            import json

            with open(temporary, "w", encoding="utf-8") as file:
                for row in table.to_pylist():
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            raise ValueError(f"--to-out {str(target)!r}: the rows of this preset go to .jsonl or .parquet")


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
        return convert(place, target, source_format="evidence", target_format=name, collection=data, split=split)


def _option(text: str) -> tuple[str, Any]:
    import ast

    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--like-option {text!r}: expected name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a bare word or a range such as 10-210
