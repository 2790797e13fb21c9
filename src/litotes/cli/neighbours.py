"""litotes neighbours"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given
from litotes.cli.say import tell

EXAMPLES = """
[bold]Examples[/bold]

  litotes neighbours DATA/scifact --k 10 --out graph.parquet

  litotes neighbours DATA/scifact --of queries --k 5 --mutual --out queries.parquet

  litotes neighbours DATA/scifact --duplicates-above 0.95 --out duplicates.parquet

  litotes neighbours DATA/scifact --vectors corpus.npy --search hnsw --k 10 --out graph.parquet
"""


def add(app: typer.Typer) -> None:
    app.command("neighbours", epilog=EXAMPLES)(neighbours)


def neighbours(
    ctx: typer.Context,
    collection: Annotated[
        str | None, typer.Argument(help="A BEIR folder, a file of pairs, wordnet[:N], hf://owner/name[:config].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Parquet: (document, neighbour, rank, score) or components.")] = Path(
        "neighbours.parquet"
    ),
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    of: Annotated[str, typer.Option(help="Whose: documents or queries.")] = "documents",
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours of each.")] = 10,
    mutual: Annotated[bool, typer.Option("--mutual", help="Only edges that go both ways.")] = False,
    duplicates_above: Annotated[
        float | None,
        typer.Option(help="Write components of near-duplicates instead: (document, component, size); all pairs count."),
    ] = None,
    search: Annotated[str, typer.Option(help="exact, auto, hnsw, ivf or ivfpq (recall is measured).")] = "exact",
    model: given.Model = given.MINILM,
    vectors: Annotated[Path | None, typer.Option(help="Vectors you have: .npy (+ ids file) or Parquet.")] = None,
    vector_ids: Annotated[Path | None, typer.Option(help="Ids of the .npy rows, .txt or .json.")] = None,
    similarity: Annotated[str, typer.Option(help="How given vectors compare: cosine, dot or l2.")] = "cosine",
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    cache: given.Cache = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    overwrite: given.Overwrite = False,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """The nearest neighbours of every document or query, or the groups of their near-duplicates."""
    given.one_of("--of", of, ("documents", "queries"))
    given.one_of("--search", search, ("exact", "auto", "hnsw", "ivf", "ivfpq"))
    given.one_of("--similarity", similarity, ("cosine", "dot", "l2"))
    if vectors is not None:
        given.refuse(ctx, ("model", "query_prompt", "document_prompt"), "has no meaning where vectors are given")
    else:
        given.refuse(ctx, ("vector_ids", "similarity"), "needs --vectors")
    if duplicates_above is not None:
        given.refuse(ctx, ("k", "mutual", "search"), "has no meaning with --duplicates-above: all pairs are looked at")
    if out.suffix != ".parquet":
        raise ValueError(f"--out {out}: the ending must be .parquet")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or say --overwrite")
    data = given.collection_of(
        collection,
        corpus=corpus,
        queries=queries,
        anchor=anchor_column,
        positive=positive_column,
        skip_bad=skip_bad,
    )
    matrix, similarity = _vectors(
        data, of, vectors, vector_ids, similarity, model, query_prompt, document_prompt, cache
    )
    table, name = (data.corpus, "document") if of == "documents" else (data.queries, "query")
    counts: dict[str, Any] = {"out": str(out), of: len(table)}
    if duplicates_above is not None:
        from litotes.search.components import near_duplicates
        from litotes.search.graph_file import write_components

        component = near_duplicates(matrix, duplicates_above, similarity=similarity)
        tell(
            counts | write_components(component, table["id"], out, name),
            json=json,
            title=f"near-duplicates in {data.name}",
        )
        return
    from litotes.search.graph_file import forget, neighbour_graph, write_graph

    work = out.with_name(f"{out.name}.neighbours")
    graph, notes = neighbour_graph(matrix, k, work, similarity=similarity, search=search)
    graph = graph.mutual() if mutual else graph
    counts["edges"] = write_graph(graph, table["id"], out, name)
    counts[f"{of} without a neighbour"] = int((graph.offsets[1:] == graph.offsets[:-1]).sum())
    forget(work)
    tell(counts | notes, json=json, title=f"neighbours in {data.name}")


def _vectors(
    data: Any,
    of: str,
    vectors: Path | None,
    ids: Path | None,
    similarity: str,
    model: str,
    query_prompt: str | None,
    document_prompt: str | None,
    cache: Path | None,
) -> tuple[Any, str]:
    """One vector per document or query, and how they compare."""
    if vectors is not None:
        from litotes.data.readers.vectors import read_vectors

        return read_vectors(vectors, data, side="corpus" if of == "documents" else "queries", ids=ids), similarity
    from litotes.data.encoder import Encoder

    encoder = Encoder(model, cache=cache, query_prompt=query_prompt, document_prompt=document_prompt)
    texts = data.document_texts() if of == "documents" else data.query_texts()
    return encoder.encode(texts, kind="document" if of == "documents" else "query"), encoder.similarity
