"""litotes vet"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given

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
    cache: given.Cache = None,
    json: given.Json = False,
) -> None:
    """Doubt negatives, take doubts back, see why. Without options: count what is there."""
    from litotes import catalog
    from litotes.cli.say import rows, say
    from litotes.evidence import Evidence, undoubt
    from litotes.mining import vet as let_doubt

    # building the parts first: a misspelt one must not leave half the work done
    vetters = [catalog.parse(text, stage="vetter", scale="disk") for text in vetter or []]
    named = collection is not None or corpus is not None
    data = given.collection_of(collection, corpus=corpus, queries=queries, qrels=qrels) if named else None
    if (explain is not None or truth) and data is None:
        raise ValueError("--explain and --truth need the collection: litotes vet EVIDENCE COLLECTION --explain QUERY")
    store = Evidence.open(evidence)
    if out is not None:
        store = _copied(store, out)
    for part in undo or []:
        if part not in store.describe().parts:
            there = ", ".join(sorted(store.describe().parts)) or "nobody doubts"
            raise ValueError(f"--undo {part!r}: no such part; there are: {there}")
        store.apply(functools.partial(undoubt, part=part))
    if vetters:
        let_doubt(store, vetters, data, cache=cache)
    if explain is not None:
        _explain(store, data, explain, json)
        return
    summary = store.describe()
    counts: dict[str, Any] = {
        "evidence": str(store.path),
        "anchors": summary.anchors,
        "positives": summary.positives,
        "negatives": summary.negatives,
        "believed negatives": summary.believed,
        "anchors without a believed negative": summary.short(1),
        **{f"found by {name}": count for name, count in sorted(summary.sources.items())},
        **{f"doubted by {name}": count for name, count in sorted(summary.parts.items())},
    }
    if truth:
        counts |= _truth(store, data)
    if json:
        say(counts)
    else:
        rows(counts)


def _copied(store: Any, out: Path) -> Any:
    import pyarrow as pa

    from litotes.evidence import Evidence

    if out.suffix == ".parquet":
        if out.exists():
            raise FileExistsError(f"{out} exists; choose another place")
        return store.export(out)
    copy = Evidence.create(out, fingerprints=store.fingerprints, scorer=store.scorer)
    for table in store.tables():
        copy.append(pa.Table.from_batches(table.to_batches()))
    return copy


def _explain(store: Any, data: Any, query: str, json: bool) -> None:
    from dataclasses import asdict

    import pyarrow.compute as pc

    from litotes.cli.say import say
    from litotes.mining import explain

    if not pc.any(pc.equal(data.queries["id"], query)).as_py():
        same = data.queries.filter(pc.equal(data.queries["text"], query))
        if not len(same):
            raise ValueError(f"--explain {query!r}: no query has this id or this text")
        query = same["id"][0].as_py()
    found = explain(store, query, data)
    if json:
        say([asdict(row) for row in found])
        return
    row = int(data.query_rows([query])[0])
    typer.echo(f"{query}  {data.queries['text'][row].as_py()}\n")
    for candidate in found:
        typer.echo(str(candidate))
    if not found:
        typer.echo("the evidence does not speak of this anchor")


def _truth(store: Any, data: Any) -> dict[str, str]:
    from litotes.audit.vetting_truth import vetting_truth

    seen = vetting_truth(store.read(), data)
    return {
        "suspicious among all negatives": str(seen.base),
        "precision: suspicious among the rejected": str(seen.precision),
        "recall: rejected among the suspicious": str(seen.recall),
        "suspicious among the believed": str(seen.left),
        **{f"recall of {name}": str(share) for name, share in seen.relations.items()},
    }
