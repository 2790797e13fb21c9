"""litotes eval"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given
from litotes.errors import BadInput

EXAMPLES = """
[bold]Examples[/bold]

  litotes eval wordnet:2000 --model all-MiniLM-L6-v2

  litotes eval DATA/scifact --model models/mine --baseline all-MiniLM-L6-v2 --split test

  litotes eval DATA/scifact --model models/mine --run run.trec --json
"""


MEASURES = ("nDCG@10", "MRR@10", "Recall@100", "MAP")


def add(app: typer.Typer) -> None:
    app.command("eval", epilog=EXAMPLES)(evaluate)


def evaluate(
    collection: Annotated[
        str | None, typer.Argument(help="A BEIR folder, wordnet[:N], a file of pairs, hf://...")
    ] = None,
    model: given.Model = given.MINILM,
    baseline: Annotated[str | None, typer.Option(help="A second model: differences with paired intervals.")] = None,
    split: Annotated[str, typer.Option(help="Split whose judgements count.")] = "test",
    measure: Annotated[
        list[str] | None, typer.Option(help="Measures; default: nDCG@10, MRR@10, Recall@100 and MAP.")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Documents retrieved per query.")] = 100,
    run: Annotated[Path | None, typer.Option(help="Also write the ranking as a TREC run.")] = None,
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    qrels: given.Qrels = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    cache: given.Cache = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """How well a model ranks the documents of a collection, with intervals over queries."""
    from litotes.audit.significance import bootstrap_difference, bootstrap_mean, sign_flip_test
    from litotes.cli.say import say

    data = given.collection_of(
        collection,
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        anchor=anchor_column,
        positive=positive_column,
        skip_bad=skip_bad,
    )
    measures = tuple(measure or MEASURES)
    _check(data, split, measures, depth)
    if run is not None:
        _check_ids(data)
    prompts = {"query_prompt": query_prompt, "document_prompt": document_prompt, "cache": cache}
    mine, ranking = _evaluated(data, model, split, measures, depth, prompts)
    other = _evaluated(data, baseline, split, measures, depth, prompts)[0] if baseline else None
    figures: dict[str, Any] = {}
    for name, values in mine.values.items():
        interval = bootstrap_mean(values, seed=seed)
        figures[name] = {"value": interval.value, "interval": [interval.low, interval.high], "change": None}
        if other is not None:
            change = bootstrap_difference(values, other.values[name], seed=seed)
            p = sign_flip_test(mine.minus(other, name), seed=seed)
            figures[name]["change"] = {"value": change.value, "interval": [change.low, change.high], "p": p}
    if run is not None:
        _write_run(run, data, ranking)
    about = {
        "collection": data.name,
        "split": split,
        "model": model,
        "baseline": baseline,
        "queries": len(mine.queries),
    }
    about |= {"without_positives": mine.without_positives, "unanswered": mine.unanswered}
    if json:
        say({**about, "measures": figures})
        return
    _show(about, figures)


def _check(data: Any, split: str, measures: tuple[str, ...], depth: int) -> None:
    """Judge a ranking of nothing: measures, depth and judgements are refused before a model is loaded."""
    import numpy as np

    from litotes.audit.retrieval import Ranking
    from litotes.audit.retrieval import evaluate as judge

    nothing = Ranking(np.empty(0, np.int32), np.empty((0, min(depth, len(data.corpus))), np.int32))
    judge(nothing, data, split, measures)


def _check_ids(data: Any) -> None:
    """A TREC run is columns with blanks between them: no id may hold one."""
    for side in (data.queries, data.corpus):
        for row, name in enumerate(side["id"].to_pylist(), 1):
            if name.split() != [name]:
                raise BadInput(f"{name!r}", "an id without white space, for --run", line=row, field="id")


def _evaluated(
    data: Any, model: str, split: str, measures: tuple[str, ...], depth: int, options: dict[str, Any]
) -> tuple[Any, Any]:
    import numpy as np

    from litotes.audit.retrieval import Ranking
    from litotes.audit.retrieval import evaluate as judge
    from litotes.data.encoder import Encoder
    from litotes.search.space import Space

    encoder = Encoder(model, **options)
    rows = np.unique(data.judgements(split).query)
    texts = data.query_texts()
    queries = encoder.encode([texts[row] for row in rows], kind="query")
    corpus = encoder.encode(data.document_texts(), kind="document")
    space = Space(queries, corpus, encoder.similarity, encoder.name, encoder.checksum)
    documents, _ = space.top_k(np.arange(len(rows)), min(depth, len(corpus)))
    ranking = Ranking(rows, documents)
    return judge(ranking, data, split, measures), ranking


def _write_run(path: Path, data: Any, ranking: Any) -> None:
    from litotes.atomic import atomic_path

    query_ids, document_ids = data.queries["id"].to_pylist(), data.corpus["id"].to_pylist()
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for query, documents in zip(ranking.queries.tolist(), ranking.documents.tolist(), strict=True):
            there = [document for document in documents if document >= 0]
            for rank, document in enumerate(there):
                file.write(f"{query_ids[query]} Q0 {document_ids[document]} {rank + 1} {len(there) - rank} litotes\n")


def _show(about: dict[str, Any], figures: dict[str, Any]) -> None:
    from litotes.cli.say import table

    against = f" against {about['baseline']}" if about["baseline"] else ""
    left_out, unanswered = about["without_positives"], about["unanswered"]
    print(f"{about['collection']}, {about['split']}: {about['model']}{against}")
    print(f"{about['queries']:,} queries; {left_out:,} left out without a positive; {unanswered:,} without a hit\n")
    columns = ["measure", "value", "95 % interval", *(["change", "95 % interval", "p"] if against else [])]
    lines = []
    for name, figure in figures.items():
        line = [name, f"{figure['value']:.4f}", "{:.4f} to {:.4f}".format(*figure["interval"])]
        if figure["change"]:
            change = figure["change"]
            line += [f"{change['value']:+.4f}", "{:+.4f} to {:+.4f}".format(*change["interval"]), f"{change['p']:.4f}"]
        lines.append(line)
    table(columns, lines, wrap=0)
