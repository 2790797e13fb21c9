"""litotes vet"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given
from litotes.cli.say import remark

EXAMPLES = """
[bold]Examples[/bold]

  litotes vet evidence --vetter 'absolute_margin(margin=0.1)'

  litotes vet evidence DATA/scifact --vetter 'guide(guide="BAAI/bge-base-en-v1.5")' --vetter same_text

  litotes vet evidence DATA/scifact --explain q17

  litotes vet evidence --undo 'relative_margin(margin=0.05, reference=min)'

  litotes vet evidence wordnet:2000 --truth
"""


def add(app: typer.Typer) -> None:
    app.command("vet", epilog=EXAMPLES)(vet)


def vet(
    evidence: Annotated[Path, typer.Argument(help="Evidence: a folder or a .parquet file.")],
    collection: Annotated[
        str | None, typer.Argument(help="The collection, for vetters that read texts, and to explain.")
    ] = None,
    vetter: Annotated[list[str] | None, typer.Option(help="Who doubts; again for several.")] = None,
    undo: Annotated[list[str] | None, typer.Option(help="Take back the doubts of a part, by its spelling.")] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="QUERY", help="Show all that is known about one anchor, by id or text.")
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="Score the vetting on the collection's own relations.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Work on a copy; default: in place.")] = None,
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    qrels: given.Qrels = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    cache: given.Cache = None,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Doubt negatives, take doubts back, see why. Without options: count what is there."""
    from litotes import catalog
    from litotes.cli.say import tell
    from litotes.evidence import Evidence, undoubt
    from litotes.mining import vet as let_doubt

    # all that can be wrong is looked at first: a misspelt part must not leave half the work done
    vetters = [catalog.parse(text, stage="vetter", scale="disk") for text in vetter or []]
    store = Evidence.open(evidence)
    there = sorted(store.describe().parts) if undo else []
    for part in undo or []:
        given.one_of("--undo", part, there)
    data: Any = None
    names = {"corpus": corpus, "queries": queries, "qrels": qrels}
    if collection is not None or any(names.values()):
        columns = {"anchor": anchor_column, "positive": positive_column}
        data = given.collection_of(collection, **names, **columns, skip_bad=skip_bad)  # type: ignore[arg-type]
        given.same_collection(store, data)
    if (explain is not None or truth) and data is None:
        raise ValueError("--explain and --truth need the collection: litotes vet EVIDENCE COLLECTION --explain QUERY")
    if truth and data.related is None:
        raise ValueError(f"--truth: the collection {data.name!r} says nothing of what is suspicious (wordnet does)")
    anchor = None if explain is None else _anchor(data, explain)
    with _place(store, out) as worked:
        for part in undo or []:
            worked.apply(functools.partial(undoubt, part=part))
        if vetters:
            let_doubt(worked, vetters, data, cache=cache)
    store = Evidence.open(out or evidence)
    if anchor is not None:
        _explain(store, data, anchor, json)
        return
    summary = store.describe()
    counts: dict[str, Any] = {
        "evidence": str(store.path),
        "anchors": summary.anchors,
        "positives": summary.positives,
        "negatives": summary.negatives,
        "believed negatives": summary.believed,
        "anchors without a believed negative": summary.short(1),
        "found by": dict(sorted(summary.sources.items())),
        "doubted by": dict(sorted({**dict.fromkeys(map(str, vetters), 0), **summary.parts}.items())),
    }
    if truth:
        counts |= _truth(store, data, json)
    tell(counts, json=json)


@contextmanager
def _place(store: Any, out: Path | None) -> Iterator[Any]:
    """The evidence to work on: what is there, or a copy that takes the name `out` when all went well."""
    if out is None:
        yield store
        return
    from litotes.data.writers.folder import fresh_folder
    from litotes.evidence import Evidence

    if out.exists() and not (out.is_dir() and out.suffix != ".parquet"):
        raise FileExistsError(f"{out} exists; choose another place")
    if out.suffix == ".parquet":
        made = out.with_name(f".{out.stem}.{os.getpid()}.litotes-partial.parquet")
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield store.export(made)
            os.replace(made, out)
        finally:
            made.unlink(missing_ok=True)
    else:
        with fresh_folder(out) as folder:
            copy = Evidence.create(folder, fingerprints=store.fingerprints, scorer=store.scorer)
            for table in store.tables():
                copy.append(table)
            yield copy


def _anchor(data: Any, query: str) -> str:
    """The id of the query that is meant, by its id, else by its text as `normalise` compares texts."""
    from litotes.data.anchors import normalise

    ids, texts = data.queries["id"].to_pylist(), data.queries["text"].to_pylist()
    if query in ids:
        return query
    wanted = normalise(query)
    same = [name for name, text in zip(ids, texts, strict=True) if normalise(text) == wanted]
    if not same:
        import difflib

        near = difflib.get_close_matches(query, [*ids[:10_000], *texts[:10_000]], n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"--explain {query!r}: no query has this id or this text{hint}")
    if len(same) > 1:
        remark(f"note: {len(same)} queries have this text: {', '.join(same[:8])}; shown is the first")
    return str(same[0])


def _explain(store: Any, data: Any, anchor: str, json: bool) -> None:
    from dataclasses import asdict

    from litotes.cli.say import say
    from litotes.mining import explain

    found = explain(store, anchor, data)
    if json:
        say([asdict(row) for row in found])
        return
    row = int(data.query_rows([anchor])[0])
    print(f"{anchor}  {data.queries['text'][row].as_py()}\n")
    for candidate in found:
        print(candidate)
    if not found:
        print("the evidence does not speak of this anchor")


def _truth(store: Any, data: Any, json: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from litotes.audit.vetting_truth import vetting_truth

    seen = vetting_truth(store.read(), data)
    shares = {
        "suspicious among all negatives": seen.base,
        "precision: suspicious among the rejected": seen.precision,
        "recall: rejected among the suspicious": seen.recall,
        "suspicious among the believed": seen.left,
        **{f"recall of {name}": share for name, share in seen.relations.items()},
    }
    return {name: asdict(share) if json else str(share) for name, share in shares.items()}
